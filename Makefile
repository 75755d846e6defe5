# Makefile: POSIX make, a C compiler, sed, awk and od. `make` builds snug; `make check` runs every test.
.POSIX:

# With -Os instead of -O2 it is 32 KB smaller, and a message costs a tenth more. Tables for unwinding are 16 KB that C
# has no use for.
CC = cc
CFLAGS = -O2 -fno-asynchronous-unwind-tables
LDFLAGS = -s
PREFIX = /usr/local
MANDIR = $(PREFIX)/share/man
DESTDIR =

# What we need, whatever is set above. A compiler that we do not know may warn of what it likes: only tests stop there.
WARNED = -std=c99 -pedantic -Wall -Wextra -Wshadow -Wconversion
STRICT = $(WARNED) -Werror
BUILD = $(CC) $(WARNED) $(CFLAGS) -I.build
SANITIZE = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

all: snug

# The server, from its parts.
snug: .build/main.o .build/http.o .build/store.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ .build/main.o .build/http.o .build/store.o

.build/main.o: main.c http.h store.h .build/page.inc
	$(BUILD) -c -o $@ main.c

.build/http.o: http.c http.h
	mkdir -p .build
	$(BUILD) -c -o $@ http.c

.build/store.o: store.c store.h
	mkdir -p .build
	$(BUILD) -c -o $@ store.c

# The page as the elements of a byte array, packed as main.c's unpack_page says: at every byte the longest copies of what
# came before, near and far, are looked for; then, from the end, the cheapest way through.
.build/page.inc: index.html Makefile
	mkdir -p .build/asan
	od -An -v -tu1 index.html | awk ' \
	    { for (field = 1; field <= NF; field++) byte[count++] = $$field } \
	    END { \
	        if (count == 0) exit 1; \
	        for (i = 0; i < count - 2; i++) { \
	            key = byte[i] " " byte[i + 1] " " byte[i + 2]; \
	            before[i] = key in latest ? latest[key] : -1; \
	            for (from = before[i]; from >= 0 && i - from < 65536 && far[i] < 66; from = before[from]) { \
	                for (run = 3; run < 66 && byte[from + run] == byte[i + run] && i + run < count; run++) continue; \
	                if (run > far[i]) { far[i] = run; far_back[i] = i - from - 1 } \
	                if (run > 18) run = 18; \
	                if (i - from <= 1024 && run > near[i]) { near[i] = run; near_back[i] = i - from - 1 } \
	            } \
	            latest[key] = i; \
	        } \
	        for (i = count - 1; i >= 0; i--) { \
	            take[i] = 1; cost[i] = cost[i + 1] + (byte[i] < 128 ? 1 : 2); \
	            for (run = 3; run <= near[i]; run++) \
	                if (cost[i + run] + 2 < cost[i]) { take[i] = run; kind[i] = 2; cost[i] = cost[i + run] + 2 } \
	            for (run = 3; run <= far[i]; run++) \
	                if (cost[i + run] + 3 < cost[i]) { take[i] = run; kind[i] = 3; cost[i] = cost[i + run] + 3 } \
	        } \
	        print "#define INDEX_SIZE " count; \
	        for (i = 0; i < count; i += take[i]) { \
	            if (kind[i] == 2) \
	                printf "%d,%d,", 128 + (take[i] - 3) * 4 + int(near_back[i] / 256), near_back[i] % 256; \
	            else if (kind[i] == 3) \
	                printf "%d,%d,%d,", 192 + take[i] - 3, int(far_back[i] / 256), far_back[i] % 256; \
	            else if (byte[i] < 128 && byte[i] != 1) printf "%d,", byte[i]; \
	            else printf "1,%d,", byte[i]; \
	            if (++printed % 32 == 0) print ""; \
	        } \
	        print ""; \
	    }' > $@.new
	mv $@.new $@

# The same program as one file.
single: snug.c

snug.c: main.c http.c http.h store.c store.h .build/page.inc Makefile
	( sed -n 's|^#define VERSION "\(.*\)".*|/* snug \1: rooms to talk in, for everyone on the same network; a chat server in one file.|p' main.c; \
	  echo ' *'; \
	  echo ' *     cc -o snug snug.c && ./snug'; \
	  echo ' *'; \
	  echo ' * It needs C99, POSIX.1-2008 and nothing else. Joined by `make single` from http.h, http.c, store.h, store.c, main.c'; \
	  echo ' * and index.html (packed, as packed_page): better change those. */'; \
	  echo '#define _XOPEN_SOURCE 700'; \
	  cat http.h http.c store.h store.c; \
	  sed -e '/#include "page.inc"/{' -e 'r .build/page.inc' -e 'd' -e '}' main.c ) | sed -e '/^#include "/d' > $@.new
	mv $@.new $@

# The smallest one that we know how to build: static, with musl.
SMALL = musl-gcc -std=c99 -Os -fwhole-program -fno-inline-functions-called-once -fno-asynchronous-unwind-tables -fno-pie

.build/size/snug: snug.c
	mkdir -p .build/size
	$(SMALL) -c -o $@.o snug.c
	musl-gcc -static -no-pie -s -Wl,-z,noseparate-code -o $@ $@.o

# What of it is libc, the page, and our own. test/size.mjs holds the limits.
size: snug
	test/setup
	$(MAKE) .build/size/snug
	@SNUG=$$PWD/.build/size/snug node test/size.mjs table

run: snug
	./snug

# Measures snug beside a bare send() loop, nchan and nginx: no test. BENCH=full takes its time, BENCH=readme writes the
# last table into README.
BENCH = quick

bench: snug .build/bench
	test/setup bench
	node test/bench.mjs $(BENCH)

.build/bench: test/bench.c
	mkdir -p .build
	$(CC) $(STRICT) -O2 -o $@ test/bench.c

# Every test, plain and under the sanitizers. test/setup installs what they need. What measures runs by itself, once.
check:
	test/setup
	$(MAKE) snug unit-programs fuzz-targets .build/asan/snug $(SINGLES) .build/size/snug .build/asan/snug_faults \
	    .build/slow_fsync.so
	test/cross/cross build s390x
	test/run $(UNITS) test/fuzz/fuzz SNUG=$$PWD/snug test/wire_*.mjs test/page_*.mjs \
	    test/burst.mjs test/sync.mjs test/kill_soak.mjs test/attack.mjs test/portable.mjs test/small.mjs test/install.mjs \
	    SNUG=$$PWD/.build/asan/snug test/wire_*.mjs test/page_talk.mjs test/page_outage.mjs \
	    SNUG=$$PWD/.build/asan/snug_faults test/faults.mjs SNUG=$$PWD/.build/size/snug test/size.mjs $(SINGLE_TESTS) \
	    $(CROSS_TESTS)

# Likewise, and what takes longer: more of the same, and what reads the code.
check-all: check lint judge memcheck eva fuzz cross
	test/run CRASH_SEED=1000 CRASH_RUNS=100 .build/crash SNUG=$$PWD/snug KILLS=220 test/kill_soak.mjs \
	    ATTACK=long test/attack.mjs test/slow_page.mjs SNUG=$$PWD/.build/asan/snug_faults FAULTS=long test/faults.mjs

# The unit tests alone; cmocka must be there.
unit: unit-programs
	test/run $(UNITS)

UNITS = .build/unit_http .build/unit_store .build/unit_main .build/crash \
    .build/asan/unit_http .build/asan/unit_store .build/asan/unit_main .build/asan/crash
UNIT = $(CC) $(STRICT) -I.build -g -O1
UNIT_ASAN = $(CC) $(STRICT) $(SANITIZE) -I.build

unit-programs: $(UNITS)

.build/unit_http: test/unit_http.c test/unit.h http.c http.h
	mkdir -p .build
	$(UNIT) -o $@ test/unit_http.c -lcmocka

.build/unit_store: test/unit_store.c test/unit.h store.c store.h
	mkdir -p .build
	$(UNIT) -o $@ test/unit_store.c -lcmocka

.build/unit_main: test/unit_main.c main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT) -o $@ test/unit_main.c http.c store.c -lcmocka

.build/crash: test/crash.c test/unit.h store.c store.h
	mkdir -p .build
	$(UNIT) -o $@ test/crash.c -lcmocka

.build/asan/unit_http: test/unit_http.c test/unit.h http.c http.h
	mkdir -p .build/asan
	$(UNIT_ASAN) -o $@ test/unit_http.c -lcmocka

.build/asan/unit_store: test/unit_store.c test/unit.h store.c store.h
	mkdir -p .build/asan
	$(UNIT_ASAN) -o $@ test/unit_store.c -lcmocka

.build/asan/unit_main: test/unit_main.c main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT_ASAN) -o $@ test/unit_main.c http.c store.c -lcmocka

.build/asan/crash: test/crash.c test/unit.h store.c store.h
	mkdir -p .build/asan
	$(UNIT_ASAN) -o $@ test/crash.c -lcmocka

# The server under the sanitizers.
.build/asan/snug: main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT_ASAN) -o $@ main.c http.c store.c

# The same with test/faults.c in front of the system calls that it wraps.
.build/asan/snug_faults: test/faults.c main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT_ASAN) -U_FORTIFY_SOURCE $$(sed -n 's/^WRAP([^,]*, \([a-z_0-9]*\),.*/-Wl,--wrap=\1/p' test/faults.c) \
	    -o $@ test/faults.c main.c http.c store.c

# A disk and a clock as a test wants them, for LD_PRELOAD.
.build/slow_fsync.so: test/slow_fsync.c
	mkdir -p .build
	$(CC) $(STRICT) -fPIC -shared -o $@ test/slow_fsync.c -ldl

# The server as valgrind runs it.
.build/snug: main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT) -o $@ main.c http.c store.c

# The server from its single file, as everybody builds it, by four compilers.
SINGLES = .build/single/cc/snug .build/single/clang/snug .build/single/tcc/snug .build/single/musl-gcc/snug
SINGLE_TESTS = SNUG=$$PWD/.build/single/cc/snug test/wire_contract.mjs \
    SNUG=$$PWD/.build/single/clang/snug test/wire_contract.mjs SNUG=$$PWD/.build/single/tcc/snug test/wire_contract.mjs \
    SNUG=$$PWD/.build/single/musl-gcc/snug test/wire_contract.mjs

.build/single/cc/snug: snug.c
	mkdir -p .build/single/cc
	cc -o $@ snug.c

.build/single/clang/snug: snug.c
	mkdir -p .build/single/clang
	clang -o $@ snug.c

.build/single/tcc/snug: snug.c
	mkdir -p .build/single/tcc
	tcc -o $@ snug.c

.build/single/musl-gcc/snug: snug.c
	mkdir -p .build/single/musl-gcc
	musl-gcc -o $@ snug.c

# The fuzz targets; libFuzzer comes with clang (test/setup). Each stands on a unit test.
FUZZED = request chunks text file chat
FUZZ = clang $(STRICT) -Wno-sign-conversion -Wno-string-plus-int -Wno-shadow -I.build -fsanitize=fuzzer

# Fuzzes each target for FUZZ_SECONDS (60): make fuzz FUZZ_SECONDS=600
fuzz: fuzz-targets
	FUZZ_SECONDS=$(FUZZ_SECONDS) test/fuzz/fuzz run

fuzz-targets: .build/fuzz/built

.build/fuzz/built: test/fuzz/request.c test/fuzz/chunks.c test/fuzz/text.c test/fuzz/file.c test/fuzz/chat.c \
    test/fuzz/fuzz.h test/fuzz/disk.h test/unit.h test/unit_http.c test/unit_store.c main.c http.c http.h store.c store.h \
    .build/page.inc
	mkdir -p .build/fuzz
	for target in $(FUZZED); do \
	    $(FUZZ) $(SANITIZE) -o .build/fuzz/$$target test/fuzz/$$target.c -lcmocka || exit 1; \
	done
	touch $@

# Which lines of http.c and store.c the corpora do not reach.
coverage: .build/page.inc
	test/setup coverage
	mkdir -p .build/fuzz/coverage
	for target in $(FUZZED); do \
	    $(FUZZ) -g -O1 -fprofile-instr-generate -fcoverage-mapping -o .build/fuzz/coverage/$$target \
	        test/fuzz/$$target.c -lcmocka || exit 1; \
	done
	test/fuzz/fuzz coverage

# What reads the code without running it; each must have nothing to say. cppcheck goes without the page, which it reads
# for a minute, and without two rules of taste: variables are declared where a function begins (variableScope), and a
# loop that does all in its head says `continue` (redundantContinue).
lint: .build/page.inc
	test/setup lint
	for file in main.c http.c store.c; do \
	    gcc $(STRICT) -I.build -O2 -fanalyzer -c -o .build/lint.o $$file && \
	    clang-tidy --quiet $$file -- -std=c99 -I.build || exit 1; \
	done
	cppcheck --quiet --error-exitcode=1 --std=c99 --enable=warning,style,performance,portability \
	    --suppress=variableScope --suppress=redundantContinue main.c http.c store.c
	shellcheck $$(grep -ls '^#!/bin/sh' .ci/* test/* test/fuzz/* test/cross/*)
	sed -n '/^    #!.*rc.common$$/,/^    }$$/s/^    //p' README.md | shellcheck -s sh -e SC2034 -
	test/run test/page_lint.mjs

# One big-endian machine, without the unit tests that take long and meet nothing that differs from machine to machine.
CROSS = .build/cross/s390x
CROSS_TESTS = LEAVE_OUT='whatever,nothing is lost whatever,the ring keeps the newest,a resting connection' \
    JOBS=2 $(CROSS)/unit_http $(CROSS)/unit_store $(CROSS)/unit_main JOBS=1 \
    OWN=$$PWD/snug SNUG=$$PWD/$(CROSS)/snug test/wire_contract.mjs test/cross/exchange.mjs

# Built for seven kinds of machine, two of them big endian, and run under qemu: takes minutes.
cross: snug
	test/setup cross
	test/cross/cross

# The page before Lighthouse, axe-core, the Nu checker and ESLint.
judge: snug
	test/setup judge
	test/run SNUG=$$PWD/snug test/page_lint.mjs test/page_axe.mjs test/judge/judge.mjs

# Memory and descriptors under valgrind: takes minutes.
memcheck:
	test/setup memcheck
	$(MAKE) unit-programs .build/snug
	mkdir -p .build/memcheck .build/log
	rm -f .build/log/memcheck.[0-9]*
	for name in snug unit_http unit_store unit_main; do ln -sf ../../test/memcheck .build/memcheck/$$name || exit 1; done
	test/run .build/memcheck/unit_http .build/memcheck/unit_store .build/memcheck/unit_main \
	    SNUG=$$PWD/.build/memcheck/snug test/wire_contract.mjs test/wire_syntax.mjs test/wire_names.mjs \
	    test/wire_events.mjs test/memcheck

# The parsers and decoders before Frama-C's Eva, which shows them harmless for all bytes of a few at once: takes minutes.
eva:
	test/setup eva
	test/run test/eva

# Puts binary and manual where PREFIX, MANDIR and, for packages, DESTDIR say. A server that runs is not disturbed.
install: snug .build/snug.1
	umask 022 && mkdir -p "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(MANDIR)/man1"
	cp snug "$(DESTDIR)$(PREFIX)/bin/snug.new"
	chmod 755 "$(DESTDIR)$(PREFIX)/bin/snug.new"
	mv -f "$(DESTDIR)$(PREFIX)/bin/snug.new" "$(DESTDIR)$(PREFIX)/bin/snug"
	cp .build/snug.1 "$(DESTDIR)$(MANDIR)/man1/snug.1"
	chmod 644 "$(DESTDIR)$(MANDIR)/man1/snug.1"

# Takes away what install brought, and leaves the folders.
uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/snug" "$(DESTDIR)$(MANDIR)/man1/snug.1"

# The manual page, from the sections of README that are one. A cell of a table is told with what stands above it, but
# where that is "meaning" or in the second column of two.
manual: .build/snug.1

.build/snug.1: README.md main.c Makefile
	mkdir -p .build
	sed -n 's|^#define VERSION "\(.*\)" /\* of \([0-9-]*\).*|.TH SNUG 1 "\2" "snug \1"|p' main.c > $@.new
	awk ' \
	function put(text) { \
	    gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); \
	    while ((at = index(text, "`")) > 0) { \
	        text = substr(text, 1, at - 1) (code ? "\\fR" : "\\fB") substr(text, at + 1); code = !code; \
	    } \
	    print (text ~ /^[.\047]/ ? "\\&" : "") text; \
	} \
	function begin(kind) { \
	    if (last == "block" && kind != "block") print ".fi\n.RE"; \
	    if (kind == "text" && gap && last != "heading") print ".PP"; \
	    if (kind == "block" && last != "block") print (last == "heading" ? "" : ".PP\n") ".RS 4\n.nf"; \
	    else if (kind == "block" && gap) print ""; \
	    last = kind; gap = 0; \
	} \
	NR == 1 { print ".SH NAME"; next; } \
	NR == 3 { sub(/A/, "a"); sub(/:.*/, ""); put("snug - " $$0); } \
	/^## / { wanted = /^## (Use|From curl|The data file|Limits)$$/; } \
	!wanted { next; } \
	/^##+ / { \
	    begin("heading"); sub(/^##+ /, ""); \
	    print ".SH " ($$0 == "Use" ? "SYNOPSIS" : $$0 == "The data file" ? "FILES" : toupper($$0)); \
	    synopsis = $$0 == "Use"; next; \
	} \
	/^    / && synopsis { put("`snug`" substr($$0, 9)); print ".SH DESCRIPTION"; synopsis = 0; gap = 0; next; } \
	/^$$/ { gap = 1; next; } \
	/^    / { begin("block"); put(substr($$0, 5)); next; } \
	/^\| --- / { next; } \
	/^\| / { \
	    columns = split(substr($$0, 3, length($$0) - 4), cell, / *\| */); \
	    if (last != "row") { split(substr($$0, 3, length($$0) - 4), head, / *\| */); begin("row"); next; } \
	    print ".TP"; put(cell[1] ~ /`/ ? cell[1] : "`" cell[1] "`"); \
	    text = ""; \
	    for (i = 2; i <= columns; i++) { \
	        if (cell[i] == "") continue; \
	        text = text (text == "" ? "" : "; ") (columns == 2 || head[i] == "meaning" ? "" : head[i] " ") cell[i]; \
	    } \
	    put(text); next; \
	} \
	{ begin("text"); put($$0); }' README.md >> $@.new
	mv $@.new $@

# A release: what it takes to build and install, in a folder snug-VERSION.
dist: snug.c .build/snug.1
	umask 022; version=$$(sed -n 's/^#define VERSION "\(.*\)".*/\1/p' main.c) && \
	rm -rf .build/dist && mkdir -p ".build/dist/snug-$$version" && \
	cp Makefile README.md main.c http.c http.h store.c store.h index.html snug.c .build/snug.1 \
	    ".build/dist/snug-$$version" && chmod 644 ".build/dist/snug-$$version"/* && \
	(cd .build/dist && tar -cf - "snug-$$version") | gzip -9 > "snug-$$version.tar.gz" && \
	rm -rf .build/dist

clean:
	rm -rf .build snug snug.c snug.c.new snug-*.tar.gz

.PHONY: all single size run bench check check-all unit unit-programs fuzz fuzz-targets coverage lint cross judge memcheck \
    eva install uninstall manual dist clean
