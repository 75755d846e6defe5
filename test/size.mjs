/* size.mjs: how little snug needs. SNUG is the smallest build, .build/size/snug, with its object file beside it: static,
 * with musl, by -Os. Its memory is what Linux counts as the process's own (VmRSS and RssAnon of /proc/PID/status); the
 * child that does the fsyncs shares most of its pages with it and is not added.
 *
 * `node test/size.mjs table` (make size) prints the sizes and tests nothing. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { BINARY, assert, join, messages, say, sleep, start, subscriber, temporaryFolder } from './wire.mjs';

const ROOT = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..');
const OBJECT = `${BINARY}.o`;

const STATIC_MAX = 160 * 1024;    /* the whole file, the page inside */
const CODE_MAX = 64 * 1024;       /* our own machine code in it */
const CONSTANTS_MAX = 20 * 1024;  /* our own texts and tables, the page aside */
const ORDINARY_MAX = 190000;      /* what `make` makes by itself */
const RESIDENT_MAX = 400;         /* KiB at rest, the program's own pages counted */
const SMALL_MAX = 192;            /* KiB of memory of its own, by SMALL, at rest with a reader in a room, */
const SMALL_FULL_MAX = 272;       /* and with four full rooms; 56 of it are the page, unpacked */
const SMALL = ['rooms=4', 'history=8k', 'members=16', 'connections=16'];
const FRAME_MAX = 9216;           /* bytes of stack for one function: a message's frame, and a little */

function output(program, ...args) {
    const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', cwd: ROOT });
    assert.ok(status === 0, `${program} ${args.join(' ')}: ${error ?? stderr}`);
    return stdout;
}

/* The bytes of the sections of FILE whose names begin with one of NAMES. */
function sections(file, ...names) {
    const rows = output('size', '-A', file).split('\n').map((line) => line.trim().split(/\s+/));
    return rows.filter(([name]) => names.some((begin) => name === begin || name.startsWith(`${begin}.`)))
        .reduce((sum, [, size]) => sum + Number(size), 0);
}

function measure() {
    const page = Number.parseInt(/ 0*([0-9a-f]+) \w packed_page$/m.exec(output('nm', '-S', OBJECT))[1], 16);
    const code = sections(OBJECT, '.text'), constants = sections(OBJECT, '.rodata', '.data') - page;
    const all = sections(BINARY, '.text', '.rodata', '.data');
    return { page, code, constants, libc: all - page - code - constants, file: fs.statSync(BINARY).size };
}

/* KiB of FIELD (VmRSS, RssAnon) that SERVER has. */
function kib(server, field) {
    return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(
        fs.readFileSync(`/proc/${server.pid}/status`, 'latin1'))[1]);
}

/* Asserts that VALUE is MOST at most, and says what it is. */
function atMost(t, what, value, most) {
    t.diagnostic(`${what}: ${value}, at most ${most}`);
    assert.ok(value <= most, `${what}: ${value}, more than ${most}`);
}

if (process.argv[2] === 'table') {
    const sizes = measure();
    const row = (name, bytes) => console.log(name.padEnd(28), String(bytes).padStart(7));
    row('our code', sizes.code);
    row('our texts and tables', sizes.constants);
    row('the page, packed', sizes.page);
    row('libc (musl)', sizes.libc);
    row('the whole file, static', sizes.file);
    row('as make builds it', fs.statSync(path.join(ROOT, 'snug')).size);
} else {
    const isLinux = os.platform() === 'linux';

    test('the whole server, static and with its page, fits into 160 KB, our own code into 64', (t) => {
        const sizes = measure();
        atMost(t, 'the file', sizes.file, STATIC_MAX);
        atMost(t, 'our code', sizes.code, CODE_MAX);
        atMost(t, 'our texts and tables', sizes.constants, CONSTANTS_MAX);
    });

    test('what make builds is well under two hundred kilobytes', (t) => {
        atMost(t, 'snug', fs.statSync(path.join(ROOT, 'snug')).size, ORDINARY_MAX);
    });

    test('at rest it holds 400 KiB of memory, all counted', { skip: !isLinux }, async (t) => {
        const server = await start(t);
        await sleep(500);
        atMost(t, 'resident KiB', kib(server, 'VmRSS'), RESIDENT_MAX);
    });

    test('by small options it does with 192 KiB of its own, and with little more when its four rooms are full',
        { skip: !isLinux }, async (t) => {
            const server = await start(t, { options: SMALL });
            await subscriber(await join(server, 'a', 'Ann'));
            atMost(t, 'anonymous KiB at rest', kib(server, 'RssAnon'), SMALL_MAX);
            for (const room of ['a', 'b', 'c', 'd']) {
                for (let i = 0; i < 15; i++) {
                    const member = await join(server, room, `member ${i} of the room`);
                    if (i < 3) await subscriber(member);
                    for (let n = 0; n < 5; n++) await say(member, 'word '.repeat(40));
                    if (i === 14) assert.ok((await messages(member)).length < 75); /* the ring has gone round */
                }
            }
            atMost(t, 'anonymous KiB when full', kib(server, 'RssAnon'), SMALL_FULL_MAX);
        });

    test('no function takes much stack, or as much as somebody else likes', (t) => {
        const folder = temporaryFolder(t);
        let most = 0;
        for (const file of ['main', 'http', 'store']) {
            for (const level of ['-O0', '-O2', '-Os']) {
                const out = path.join(folder, 'out.o');
                output('gcc', '-std=c99', level, '-I.build', '-Wvla', '-Werror=vla', '-fstack-usage', '-c', '-o', out,
                    `${file}.c`);
                const rows = fs.readFileSync(path.join(folder, 'out.su'), 'latin1').trim().split('\n')
                    .map((line) => line.split('\t'));
                assert.ok(rows.length > 20);
                for (const [name, bytes, kind] of rows) {
                    assert.ok(Number(bytes) <= FRAME_MAX, `${level} ${name}: ${bytes} bytes of stack`);
                    assert.notEqual(kind, 'dynamic', name);
                    most = Math.max(most, Number(bytes));
                }
            }
        }
        t.diagnostic(`most: ${most}`);
    });

    test('no function comes back to itself', (t) => {
        const folder = temporaryFolder(t);
        const calls = new Map();
        for (const file of ['main', 'http', 'store']) {
            output('gcc', '-std=c99', '-O0', '-I.build', '-fcallgraph-info', '-c', '-o', path.join(folder, `${file}.o`),
                `${file}.c`);
            for (const [, from, to] of fs.readFileSync(path.join(folder, `${file}.ci`), 'latin1')
                .matchAll(/^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"/gm))
                calls.set(from, [...calls.get(from) ?? [], to]);
        }
        assert.ok(calls.size > 300, `${calls.size} functions that call others`);
        const done = new Set();
        const walk = (name, way) => {
            assert.ok(!way.includes(name), `${[...way, name].join(' calls ')}`);
            if (done.has(name)) return;
            for (const next of calls.get(name) ?? []) walk(next, [...way, name]);
            done.add(name);
        };
        for (const name of calls.keys()) walk(name, []);
    });
}
