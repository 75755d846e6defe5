/* portable.mjs: what snug asks of a system and of a compiler. It reads the sources and snug.c, and runs no server. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { assert, temporaryFolder } from './wire.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STRICT = ['-std=c99', '-pedantic-errors', '-Wall', '-Wextra', '-Wshadow', '-Wconversion', '-Wvla', '-Werror'];
const POSIX_ALONE = ['-D_POSIX_C_SOURCE=200809L', '-D_XOPEN_SOURCE=700'];
const PARTS = ['main', 'http', 'store'];

/* What is not POSIX's, why we want it all the same, and what keeps it away from systems without it. */
const EXCEPTIONS = {
    getifaddrs: { file: 'main', ifdef: 'HAS_GETIFADDRS', why: 'the only way to learn all addresses of the machine' },
    freeifaddrs: { file: 'main', ifdef: 'HAS_GETIFADDRS', why: 'gives back what getifaddrs took' },
};

/* What names of POSIX become in the objects of one libc or another. */
const SPELLINGS = {
    __errno_location: 'errno', ___errno: 'errno', __assert_fail: 'assert', __sysv_signal: 'signal',
    _GLOBAL_OFFSET_TABLE_: 'the linker', __stack_chk_fail: 'the compiler',
};

const POSIX = new Set(fs.readFileSync(path.join(ROOT, 'test/posix.txt'), 'utf8').split('\n')
    .filter((line) => line !== '' && !line.startsWith('#')).flatMap((line) => line.replace(/^\S+: /, '').split(' ')));

function compile(compiler, ...args) {
    const { status, stderr, error } = spawnSync(compiler, args, { encoding: 'utf8', cwd: ROOT });
    assert.ok(status === 0, `${compiler} ${args.join(' ')}\n${error ?? stderr}`);
    assert.equal(stderr, '', `${compiler} ${args.join(' ')}`);
}

function has(program) {
    return spawnSync(program, ['-v']).error === undefined;
}

/* The symbols that OBJECTS want and do not have themselves. No fortified names: -O0. */
function imports(objects) {
    const names = { U: new Set(), T: new Set() };
    for (const line of spawnSync('nm', objects, { encoding: 'utf8' }).stdout.split('\n')) {
        const [, kind, name] = /([A-Z]) (\S+)$/.exec(line) ?? [];
        (names[kind] ??= new Set()).add(name);
    }
    return [...names.U].filter((name) => !names.T.has(name)).sort();
}

function isPosix(name) {
    return POSIX.has(name) || name in SPELLINGS;
}

test('every function that it calls is one of POSIX.1-2008, or is named here and kept away by an #ifdef', (t) => {
    const folder = temporaryFolder(t);
    for (const part of PARTS) compile('gcc', '-std=c99', '-O0', '-I.build', '-c', '-o', `${folder}/${part}.o`, `${part}.c`);
    const others = imports(PARTS.map((part) => `${folder}/${part}.o`)).filter((name) => !isPosix(name));
    assert.deepEqual(others.filter((name) => !(name in EXCEPTIONS)), [], 'not of POSIX');
    assert.deepEqual(others.sort(), Object.keys(EXCEPTIONS).sort(), 'exceptions that nobody needs any more');
    for (const [name, { file, ifdef }] of Object.entries(EXCEPTIONS)) {
        const source = fs.readFileSync(path.join(ROOT, `${file}.c`), 'latin1');
        const parts = source.split(new RegExp(`^#ifdef ${ifdef}\\b[^]*?^#(?:else|endif)`, 'm'));
        assert.ok(parts.length > 1 && !parts.some((part) => part.includes(`${name}(`)), `${name} without its #ifdef`);
    }
});

test('a system that has POSIX alone builds it, and is asked for nothing else', (t) => {
    const folder = temporaryFolder(t);
    const source = fs.readFileSync(path.join(ROOT, 'snug.c'), 'latin1')
        .replace(/^#define HAS_GETIFADDRS.*\n#include <ifaddrs.h>\n/m, '').replaceAll('TCP_USER_TIMEOUT', 'TCP_OF_NO_SYSTEM');
    assert.ok(!/ifaddrs.h/.test(source));
    fs.writeFileSync(`${folder}/plain.c`, source);
    compile('gcc', ...STRICT, '-Wno-shadow', '-D_POSIX_C_SOURCE=200809L', '-O2', '-c', '-o', `${folder}/plain.o`, `${folder}/plain.c`);
    compile('gcc', '-std=c99', '-O0', '-c', '-o', `${folder}/plain.o`, `${folder}/plain.c`);
    assert.deepEqual(imports([`${folder}/plain.o`]).filter((name) => !isPosix(name)), []);
    for (const compiler of ['gcc', 'clang'].filter(has)) {
        for (const part of PARTS)
            compile(compiler, ...STRICT, ...POSIX_ALONE, '-I.build', '-c', '-o', `${folder}/part.o`, `${part}.c`);
    }
});

for (const compiler of ['cc', 'gcc', 'clang', 'tcc', 'musl-gcc']) {
    const skip = has(compiler) ? false : `there is no ${compiler}`;
    test(`cc -o snug snug.c: ${compiler} builds it so, without a flag and without a word`, { skip }, (t) => {
        const folder = temporaryFolder(t);
        compile(compiler, '-o', `${folder}/snug`, 'snug.c');
        const { stdout } = spawnSync(`${folder}/snug`, ['-V'], { encoding: 'utf8' });
        assert.match(stdout, /^snug \d/);
    });
}

for (const awk of ['mawk', 'gawk', 'busybox awk', 'original-awk']) {
    const skip = has(awk.split(' ')[0]) ? false : `there is no ${awk}`;
    test(`${awk} packs the page and makes the manual like any other`, { skip }, (t) => {
        const folder = temporaryFolder(t);
        for (const name of ['Makefile', 'README.md', 'index.html', 'main.c'])
            fs.copyFileSync(path.join(ROOT, name), path.join(folder, name));
        fs.writeFileSync(path.join(folder, 'awk'), `#!/bin/sh\nexec ${awk} "$@"\n`, { mode: 0o755 });
        const { status, stderr } = spawnSync('make', ['.build/page.inc', '.build/snug.1'],
            { cwd: folder, encoding: 'utf8', env: { ...process.env, PATH: `${folder}:${process.env.PATH}` } });
        assert.equal(status, 0, stderr);
        for (const name of ['.build/page.inc', '.build/snug.1']) {
            execFileSync('make', [name], { cwd: ROOT });
            assert.ok(fs.readFileSync(path.join(folder, name)).equals(fs.readFileSync(path.join(ROOT, name))), name);
        }
    });
}

test('as one file it says what it is and how it is built', () => {
    const head = fs.readFileSync(path.join(ROOT, 'snug.c'), 'latin1').slice(0, 700);
    const version = /^#define VERSION "(.*)"/m.exec(fs.readFileSync(path.join(ROOT, 'main.c'), 'latin1'))[1];
    assert.ok(head.startsWith(`/* snug ${version}`), head);
    assert.match(head, /cc -o snug snug\.c/);
});
