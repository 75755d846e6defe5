/* install.mjs: snug as people install it: the release, its manual page, and what README shows for systemd, OpenWrt, BSD
 * and containers, taken from there. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { before, after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BINARY, assert, atTheEndOf, each, freePort, join, request, run, say, start, temporaryFolder, until,
    within } from './wire.mjs';

const top = fileURLToPath(new URL('..', import.meta.url));
const readme = fs.readFileSync(path.join(top, 'README.md'), 'utf8');

/* The one block of README that holds LINE. */
function blockWith(line) {
    const blocks = readme.match(/^( {4}.*\n|\n(?= {4}))+/gm).map((block) => block.replace(/^( {4}|\n(?= {4}\S))/, '')
        .replace(/^ {4}/gm, '')).filter((block) => block.split('\n').includes(line));
    assert.equal(blocks.length, 1, `README shows "${line}" in one block`);
    return blocks[0];
}

const SERVICE = blockWith('Description=snug, rooms to talk in');
const SOCKET = blockWith("Description=snug's port");
const PROCD = blockWith('USE_PROCD=1');
const CONTAINER = blockWith('FROM scratch');

/* What COMMAND says, which must go well. */
function output(command, args, options = {}) {
    const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...options });
    assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? ''}\n${stdout}${stderr}`);
    return stdout;
}

/* The files below FOLDER, by their paths from there. */
function filesOf(folder) {
    return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ?
        filesOf(path.join(folder, entry.name)).map((name) => `${entry.name}/${name}`) : entry.name)).sort();
}

/* The processes that PID has begun and not yet taken leave of. */
function childrenOf(pid) {
    try {
        return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    } catch {
        return []; // it ended itself
    }
}

/* ---- the release ---- */

/* The release, unpacked and built as README's container does it, but sooner. */
let folder, source, built;

before(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'snug-install-'));
    for (const name of ['Makefile', 'README.md', 'index.html', 'main.c', 'http.c', 'http.h', 'store.c', 'store.h'])
        fs.copyFileSync(path.join(top, name), path.join(folder, name));
    output('make', ['dist'], { cwd: folder });
    const [release, ...more] = fs.readdirSync(folder).filter((name) => name.endsWith('.tar.gz'));
    const [, version] = /^snug (\S+)\n$/.exec(output(BINARY, ['-V']));
    assert.deepEqual([release, more], [`snug-${version}.tar.gz`, []]);
    fs.mkdirSync(path.join(folder, 'empty'));
    output('tar', ['-xzf', path.join('..', release)], { cwd: path.join(folder, 'empty') });
    assert.deepEqual(fs.readdirSync(path.join(folder, 'empty')), [`snug-${version}`]);
    source = path.join(folder, 'empty', `snug-${version}`);
    const [, flags] = /^RUN make -C \S+ (LDFLAGS='[^']*')/m.exec(CONTAINER);
    built = spawnSync('sh', ['-c', `umask 077; make CC=gcc CFLAGS=-O0 ${flags}`], { cwd: source, encoding: 'utf8' });
});

after(() => fs.rmSync(folder, { recursive: true, force: true }));

test('a release unpacked in an empty folder builds, installs, and takes away all that it installed', async (t) => {
    assert.equal(built.status, 0, built.stderr);
    const place = path.join(folder, 'a place');
    const words = [`DESTDIR=${place}`, 'PREFIX=/usr', 'CC=gcc', 'CFLAGS=-O0'];
    output('sh', ['-c', 'umask 077; exec make install "$@"', 'sh', ...words], { cwd: source });
    assert.deepEqual(filesOf(place), ['usr/bin/snug', 'usr/share/man/man1/snug.1']);
    const [binary, manual] = filesOf(place).map((name) => path.join(place, name));
    for (const [name, mode] of [[binary, 0o755], [manual, 0o644]])
        assert.equal(fs.statSync(name).mode & 0o7777, mode, name);
    for (let above = path.dirname(manual); above !== folder; above = path.dirname(above))
        assert.equal(fs.statSync(above).mode & 0o7777, 0o755, above);
    assert.ok(fs.readFileSync(binary).equals(fs.readFileSync(path.join(source, 'snug'))));
    assert.ok(fs.readFileSync(manual).equals(fs.readFileSync(path.join(source, 'snug.1'))));

    const port = await freePort();
    const old = spawn(binary, ['-a', '127.0.0.1', '-p', String(port), '-f', path.join(folder, 'data')]);
    const gone = new Promise((resolve) => old.once('close', resolve));
    atTheEndOf(t, () => old.kill('SIGKILL'));
    await until('the installed server to say so', async () => old.stderr.read() ?? false);
    output('make', ['install', ...words], { cwd: source });
    old.kill('SIGTERM');
    assert.equal(await within(gone, 'the end of the old server'), 0);

    output('make', ['uninstall', ...words], { cwd: source });
    assert.deepEqual(filesOf(place), []);
    output('make', ['install', ...words, 'MANDIR=/man'], { cwd: source });
    assert.deepEqual(filesOf(place), ['man/man1/snug.1', 'usr/bin/snug']);
});

test('a release holds the whole server as one file', () => {
    const plain = output('gcc', ['-std=c99', '-o', path.join(folder, 'one'), 'snug.c'], { cwd: source });
    assert.equal(plain, '');
    assert.equal(output(path.join(folder, 'one'), ['-h']), output(BINARY, ['-h']));
});

/* ---- the manual page ---- */

test('the manual page is in order, and tells every option and default that -h tells', () => {
    const page = path.join(source, 'snug.1');
    assert.equal(output('mandoc', ['-T', 'lint', '-W', 'warning', page]), '');
    const text = output('mandoc', ['-T', 'ascii', '-O', 'width=200', page]).replace(/.\x08/g, ''); // no bold
    const help = output(BINARY, ['-h']);
    const options = [...help.matchAll(/^ {2}-o (\w+)=(.*) \(([^)]*)\)$/gm)];
    assert.ok(options.length > 10, help);
    for (const [, name, , fallback] of options) {
        const entry = new RegExp(`\n {7}${name}=.*\n +(.*)\n`).exec(text);
        assert.ok(entry, `${name} in ${text}`);
        assert.equal(/^default ([^;]*);/.exec(entry[1])?.[1] ?? 'none', fallback, name);
    }
    const letters = [...help.matchAll(/^ {2}(-\w.*?) {2}/gm)].map(([, letter]) => letter);
    assert.ok(letters.length > 3, help);
    for (const letter of letters)
        assert.match(text, new RegExp(`\n {7}${letter}[\n ]`));
    assert.match(text, /^NAME\n {7}snug - a chat server/m);
    assert.match(text, /^SYNOPSIS\n {7}snug \[-a ADDRESS\].*\[-o NAME=VALUE\]\.\.\.\n/m);
    for (const heading of ['DESCRIPTION', 'OPTIONS', 'SIGNALS AND EXIT STATUS', 'FILES', 'LIMITS'])
        assert.match(text, new RegExp(`^${heading}\n {7}\\S`, 'm'));
    assert.ok(!/[`|]|\*\*/.test(text.replace(/'.*?'/g, '')), 'nothing of README\'s marks is left');
});

/* ---- as README shows it ---- */

/* The words after the binary in each command that README shows for a system. */
function shownCommands() {
    const stubs = 'procd_open_instance() { :; }; procd_close_instance() { :; }; mkdir() { :; }; chown() { :; }\n' +
        'procd_set_param() { if [ "$1" = command ]; then shift; printf "%s\\n" "$@"; fi; }\n';
    const procd = output('sh', ['-c', `${stubs}${PROCD}start_service`]).trim().split('\n');
    const words = (pattern, text) => pattern.exec(text)[1].trim().split(/ +/);
    return {
        systemd: words(/^ExecStart=(.*)$/m, SERVICE),
        procd,
        FreeBSD: words(/(\/usr\/local\/bin\/snug.*)$/m, blockWith(/^ {4}(daemon .*)$/m.exec(readme)[1])),
        OpenBSD: words(/'(\/usr\/local\/bin\/snug.*?) 2>&1/, blockWith(/^ {4}(su .*)$/m.exec(readme)[1])),
        container: JSON.parse(/^ENTRYPOINT (.*)$/m.exec(CONTAINER)[1])
    };
}

test('every command that README shows for a system starts a server', async (t) => {
    const shown = Object.entries(shownCommands()).map(([name, words]) => ({ name, words }));
    const [, files] = /nofile="(\d+) /.exec(PROCD);
    await each(shown, async ({ name, words: [binary, f, file, ...args] }) => {
        assert.match(binary, /^(\/usr\/local\/bin|\/usr\/bin|)\/snug$/);
        assert.equal(f, '-f');
        assert.match(file, /^\/.*\/snug\.data$/);
        const server = await start(t, { args, before: name === 'procd' ? `ulimit -n ${files}` : undefined });
        await say(await join(server, 'tea', 'Ann'), 'hi');
        await server.stop();
    });
});

test('the scripts for OpenWrt and BSD are shell, and write only in the folder they prepare', (t) => {
    const script = path.join(temporaryFolder(t), 'snug');
    for (const text of [PROCD, ...[/^ {4}(daemon .*)$/m, /^ {4}(su .*)$/m].map((line) => line.exec(readme)[1])]) {
        fs.writeFileSync(script, text);
        output('sh', ['-n', script]);
    }
    const [, , data] = shownCommands().procd;
    assert.ok(PROCD.includes(`mkdir -p ${path.dirname(data)}\n`));
    assert.ok(PROCD.includes(`chown nobody ${path.dirname(data)}\n`));
});

/* ---- systemd ---- */

/* README's units in a folder, with the binary's place as it is here. */
function writeUnits(t) {
    const units = temporaryFolder(t);
    fs.writeFileSync(path.join(units, 'snug.service'), SERVICE.replace('/usr/local/bin/snug', BINARY));
    fs.writeFileSync(path.join(units, 'snug.socket'), SOCKET);
    return units;
}

test('systemd takes the units as they stand, and counts the service among the safest', (t) => {
    const units = writeUnits(t);
    const names = ['snug.service', 'snug.socket'].map((name) => path.join(units, name));
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...names], {
        encoding: 'utf8' });
    assert.deepEqual([status, stdout, stderr.split('\n').filter((line) => line.includes(units))], [0, '', []]);
    output('systemd-analyze', ['security', '--no-pager', '--offline=true', '--threshold=15', names[0]]);
});

/* The system calls of systemd's set NAME. */
function callsOf(name) {
    return output('systemd-analyze', ['--no-pager', 'syscall-filter', name]).split('\n').map((line) => line.trim())
        .filter((line) => line !== '' && line !== name && !line.startsWith('#'))
        .flatMap((line) => (line.startsWith('@') ? callsOf(line) : [line]));
}

test('no system call of a server with talk, fsyncs and a rewrite is one that the unit forbids', async (t) => {
    const calls = new Set();
    for (const [, not, sets] of SERVICE.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
        for (const call of sets.split(' ').flatMap(callsOf))
            calls[not ? 'delete' : 'add'](call);
    }
    assert.ok(calls.size > 100);
    const trace = path.join(temporaryFolder(t), 'trace');
    const server = await start(t, { before: `set -- strace -D -f -o ${trace} "$@"`, address: null,
        options: ['sync=always'] });
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    server.child.kill('SIGUSR1');
    await say(ann, 'ho');
    await server.stop();
    const made = await until('the end of the trace', () => {
        const text = fs.readFileSync(trace, 'utf8');
        return /exit_group[^]*exit_group/.test(text) && text;
    });
    const names = new Set([...made.matchAll(/^\d+ +(\w+)\(/gm)].map(([, name]) => name));
    assert.ok(names.has('fsync') && names.has('rename') && names.has('accept'), [...names].join(' '));
    assert.deepEqual([...names].filter((name) => !calls.has(name) && name !== 'execve'), []);
    const families = new Set([...made.matchAll(/ socket\((AF_\w+)/g)].map(([, name]) => name));
    const allowed = /^RestrictAddressFamilies=(.*)$/m.exec(SERVICE)[1].split(' ');
    assert.deepEqual([...families].filter((name) => !allowed.includes(name)), []);
});

/* ---- sockets that were passed ---- */

/* Shell words that start the binary as systemd does, with sockets on PORTS of loopback at descriptor 3 and up; KIND in
 * perl's words, COUNT said to be there, PID said to be who they are for. */
function passing(ports, { count = ports.length, kind = 'SOCK_STREAM', pid = '$$', isConnected = false } = {}) {
    const here = 'sockaddr_in($port, INADDR_LOOPBACK)';
    const listen = isConnected ? `connect($s, ${here}) or die;` : kind === 'SOCK_STREAM' ? 'listen($s, 9) or die;' : '';
    const script = `$^F = 10; for my $port (${ports.join()}) {
        socket(my $s, PF_INET, ${kind}, 0) or die; push @kept, $s;
        setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); bind($s, ${here}) or die; ${listen}
        fileno($s) == 2 + @kept or die } $ENV{LISTEN_FDS} = ${count}; $ENV{LISTEN_PID} = ${pid}; exec @ARGV`;
    return `set -- perl -MSocket -e '${script}' "$@"`;
}

test('a server serves the port that systemd opened for it, and its child does not hold it', async (t) => {
    const [port, other] = [await freePort(), await freePort()];
    const server = await start(t, { port, args: ['-p', String(other)], before: passing([port]) });
    assert.ok(server.stderr.includes(`:${port}/`), server.stderr);
    assert.match(server.stderr, /Others on this network/, '-a says nothing');
    await assert.rejects(request({ host: server.host, port: other, connections: new Set() }, 'GET', '/healthz'),
        /ECONNREFUSED/);
    const ann = await join(server, 'tea', 'Ann');
    assert.ok(ann.cookie.includes(`snug${port}=`), ann.cookie);
    await say(ann, 'hi');
    const [child] = childrenOf(server.pid);
    await until('the child to hold its pipes alone', () => { // it may not have come to run yet
        const held = spawnSync('ls', ['-l', `/proc/${child}/fd`], { encoding: 'utf8' }).stdout
            .split('\n').filter((line) => / \d+ -> /.test(line) && !/ [012] -> /.test(line))
            .map((line) => line.replace(/^.* -> /, ''));
        return held.length >= 2 && held.every((what) => !what.startsWith('socket:') && what !== '/dev/urandom');
    });
});

test('sockets passed to another process are left alone', async (t) => {
    const [port, other] = [await freePort(), await freePort()];
    const server = await start(t, { port, before: passing([other], { pid: 1 }) });
    assert.equal((await request(server, 'GET', '/healthz')).status, 200);
});

test('what was passed and can\'t be listened on is refused', async (t) => {
    const [one, two, three] = [await freePort(), await freePort(), await freePort()];
    const args = ['-f', path.join(temporaryFolder(t), 'snug.data')];
    const rows = [{ name: 'three', ports: [one, two, three] },
        { name: 'two of which one is none', ports: [one], count: 2 },
        { name: 'a datagram socket', ports: [one], kind: 'SOCK_DGRAM' },
        { name: 'a connection', ports: [one], isConnected: true }];
    await each(rows, async ({ ports, ...row }) => {
        const { code, stderr } = await run(args, { before: passing(ports, row), ms: 5000 });
        assert.equal(code, 1, stderr);
        assert.match(stderr, /^snug: Can't listen on the sockets passed[^\n]*\.\n$/);
    }, 1);
});

test('two sockets that were passed are both served', async (t) => {
    const ports = [await freePort(), await freePort()];
    const server = await start(t, { port: ports[0], before: passing(ports) });
    for (const port of ports) {
        const answer = await request({ host: server.host, port, connections: new Set() }, 'GET', '/healthz');
        assert.equal(answer.status, 200);
    }
});

/* ---- the container ---- */

/* What README's container holds, made of the release; the container's runtime brings /dev. */
function makeContainer(t, { hasDevices = true } = {}) {
    const root = temporaryFolder(t);
    const [uid, gid] = /^USER (\d+):(\d+)$/m.exec(CONTAINER).slice(1).map(Number);
    const [, volume] = /^VOLUME (\S+)$/m.exec(CONTAINER);
    const kept = CONTAINER.split('FROM scratch')[1];
    const [, binary] = /^COPY --from=build \/src\/snug (\S+)$/m.exec(kept);
    assert.match(kept, new RegExp(`^COPY --from=build --chown=${uid}:${gid} \\S+ ${volume}$`, 'm'));
    fs.chmodSync(root, 0o755);
    fs.copyFileSync(path.join(source, 'snug'), path.join(root, binary));
    fs.chmodSync(path.join(root, binary), 0o755);
    fs.mkdirSync(path.join(root, volume));
    fs.chownSync(path.join(root, volume), uid, gid);
    fs.mkdirSync(path.join(root, 'dev'));
    if (hasDevices)
        output('mknod', ['-m', '666', path.join(root, 'dev/urandom'), 'c', '1', '9']);
    return { root, user: `${uid}:${gid}`, entry: JSON.parse(/^ENTRYPOINT (.*)$/m.exec(CONTAINER)[1]) };
}

/* Runs the container as process 1: the process that waits for it, and what becomes of that. */
function runContainer(t, { root, user, entry }, args) {
    const child = spawn('unshare', ['-p', '-f', 'chroot', `--userspec=${user}`, root, ...entry, ...args],
        { stdio: ['ignore', 'ignore', 'pipe'] });
    const container = { child, stderr: '' };
    child.stderr.on('data', (data) => (container.stderr += data));
    container.gone = new Promise((resolve) => child.once('close', (code) => resolve(code)));
    atTheEndOf(t, () => {
        for (const pid of childrenOf(child.pid)) // process 1, which takes all others with it
            process.kill(pid, 'SIGKILL');
        child.kill('SIGKILL');
    });
    return container;
}

const skip = process.getuid() === 0 ? false : 'a container of files alone takes root';

test('in a container that holds nothing else the static binary serves, and stops cleanly as process 1', { skip },
    async (t) => {
        const container = makeContainer(t);
        const port = await freePort();
        const { child, gone } = runContainer(t, container, ['-a', '127.0.0.1', '-p', String(port)]);
        const server = { host: '127.0.0.1', port, connections: new Set() };
        await until('the container to answer', async () => {
            assert.equal(child.exitCode, null);
            return (await request(server, 'GET', '/healthz').catch(() => null))?.status === 200;
        });
        const [pid] = childrenOf(child.pid);
        assert.match(fs.readFileSync(`/proc/${pid}/status`, 'utf8'), /^NSpid:\s+\d+\s+1$/m);
        await say(await join(server, 'tea', 'Ann'), 'hi');
        const [syncer, ...more] = childrenOf(pid);
        assert.deepEqual(more, []);
        process.kill(syncer, 'SIGKILL');
        await until('no zombie to be left', () => childrenOf(pid).length === 0);
        process.kill(pid, /^STOPSIGNAL (\w+)$/m.exec(CONTAINER)[1]);
        assert.equal(await within(gone, 'the container to end'), 0);
        const files = filesOf(container.root).filter((name) => !/^data\/snug\.data(\.lock)?$/.test(name));
        assert.deepEqual(files, ['dev/urandom', 'snug']);
        assert.match(fs.readFileSync(path.join(container.root, 'data/snug.data'), 'utf8'), /"text":"hi"/);
    });

test('without /dev/urandom a container says so and does not start', { skip }, async (t) => {
    const container = runContainer(t, makeContainer(t, { hasDevices: false }), []);
    assert.equal(await within(container.gone, 'the container to end'), 1);
    assert.match(container.stderr, /^snug: \/dev\/urandom can't be opened [^\n]*\.\n$/);
});
