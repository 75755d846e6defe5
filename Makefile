# Makefile: POSIX make, a C compiler, sed and od. `make` builds snug; `make check` runs every test.
.POSIX:

CC = cc
CFLAGS = -Os
LDFLAGS = -s
PREFIX = /usr/local
DESTDIR =

# What we need, whatever is set above.
STRICT = -std=c99 -pedantic -Wall -Wextra -Wshadow -Wconversion -Werror
BUILD = $(CC) $(STRICT) $(CFLAGS) -I.build
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

# The page as the elements of a byte array.
.build/page.inc: index.html
	mkdir -p .build/asan
	od -An -v -tu1 index.html | sed 's/  *\([0-9][0-9]*\)/\1,/g' > $@.new
	mv $@.new $@

# The same program as one file.
single: snug.c

snug.c: main.c http.c http.h store.c store.h .build/page.inc
	( echo '#define _XOPEN_SOURCE 700'; cat http.h http.c store.h store.c; sed -e '/#include "page.inc"/{' -e 'r .build/page.inc' -e 'd' -e '}' main.c ) | \
	    sed -e '/^#include "/d' > $@.new
	mv $@.new $@

run: snug
	./snug

# Every test, plain and under the sanitizers. test/setup installs what they need.
check:
	test/setup
	$(MAKE) snug unit-programs .build/asan/snug .build/single/snug
	test/run $(UNITS) SNUG=$$PWD/snug test/wire_*.mjs test/page_*.mjs \
	    SNUG=$$PWD/.build/asan/snug test/wire_*.mjs test/page_*.mjs \
	    SNUG=$$PWD/.build/single/snug test/wire_contract.mjs

# Likewise, and what takes longer.
check-all: check lint

# The unit tests alone; cmocka must be there.
unit: unit-programs
	test/run $(UNITS)

UNITS = .build/unit_http .build/unit_store .build/unit_main \
    .build/asan/unit_http .build/asan/unit_store .build/asan/unit_main
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

.build/asan/unit_http: test/unit_http.c test/unit.h http.c http.h
	mkdir -p .build/asan
	$(UNIT_ASAN) -o $@ test/unit_http.c -lcmocka

.build/asan/unit_store: test/unit_store.c test/unit.h store.c store.h
	mkdir -p .build/asan
	$(UNIT_ASAN) -o $@ test/unit_store.c -lcmocka

.build/asan/unit_main: test/unit_main.c main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT_ASAN) -o $@ test/unit_main.c http.c store.c -lcmocka

# The server under the sanitizers.
.build/asan/snug: main.c http.c http.h store.c store.h .build/page.inc
	$(UNIT_ASAN) -o $@ main.c http.c store.c

# The server from its single file, in plain C99.
.build/single/snug: snug.c
	mkdir -p .build/single
	$(CC) -std=c99 -o $@ snug.c

# What reads the code without running it.
lint: .build/page.inc
	for file in main.c http.c store.c; do clang-tidy --quiet $$file -- -std=c99 -I.build || exit 1; done

install: snug
	mkdir -p $(DESTDIR)$(PREFIX)/bin
	cp snug $(DESTDIR)$(PREFIX)/bin/snug
	chmod 755 $(DESTDIR)$(PREFIX)/bin/snug

clean:
	rm -rf .build snug snug.c snug.c.new

.PHONY: all single run check check-all unit unit-programs lint install clean
