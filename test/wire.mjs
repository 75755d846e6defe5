/* wire.mjs: the language of the black-box tests. It starts the real binary (SNUG names it, else ../snug) on a free port
 * with a data file in a folder of its own, speaks raw HTTP to it, and reads what comes back more strictly than any
 * client has to: an answer that breaks RFC 9112, an error that is no plain sentence, an event that is not as the
 * contract spells it fail the test that came upon them.
 *
 * A test reads: `const ann = await join(server, 'tea', 'Ann'); await say(ann, 'hi'); await expectNext(bob, 'hi');`
 * What a test started ends with the test, whatever became of it. Every wait has an end. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export { assert, sleep };
export const BINARY = path.resolve(process.env.SNUG ?? fileURLToPath(new URL('../snug', import.meta.url)));

/* How long to wait for what must come, ms: long, for a sanitizer's build on a busy machine. */
export const PATIENCE_MS = 15000;

/* How long to wait for what must not come, ms. */
export const QUIET_MS = 150;

/* ---- waiting ---- */

/* What PROMISE yields, or a failure that names WHAT when it takes longer than MS. */
export async function within(promise, what, ms = PATIENCE_MS) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
    });
    try {
        return await Promise.race([promise, late]);
    } finally {
        clearTimeout(timer);
    }
}

/* The first true value of PROBE, asked over and over. */
export async function until(what, probe, ms = PATIENCE_MS) {
    const end = Date.now() + ms;
    for (;;) {
        const value = await probe();
        if (value)
            return value;
        if (Date.now() > end)
            throw new Error(`waited ${ms} ms in vain for ${what}`);
        await sleep(10);
    }
}

/* CHECK of every one of ROWS, WIDTH at a time; fails with a list of all rows that failed. */
export async function each(rows, check, width = 8) {
    const failures = [];
    let next = 0;
    async function work() {
        while (next < rows.length) {
            const row = rows[next++];
            try {
                await check(row);
            } catch (error) {
                failures.push(`${row.name ?? JSON.stringify(row)}: ${error.message}`);
            }
        }
    }
    await Promise.all(Array.from({ length: Math.min(width, rows.length) }, work));
    if (failures.length > 0)
        assert.fail(`${failures.length} of ${rows.length} rows failed:\n- ${failures.join('\n- ')}`);
}

/* ---- answers (RFC 9112) ---- */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const DATE = new RegExp('^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \\d\\d ' +
    '(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \\d{4} \\d\\d:\\d\\d:\\d\\d GMT$');

/* An answer that ended before it was whole. */
export class BrokenOff extends Error {
    constructor(bytes) {
        super(`the connection ended inside an answer: ${JSON.stringify(bytes.toString('latin1').slice(0, 300))}`);
        this.bytes = bytes;
    }
}

export class Answer {
    constructor(status, fields, head) {
        Object.assign(this, { status, fields, head, body: Buffer.alloc(0), chunked: false, untilClose: false });
    }
    all(name) {
        return this.fields.filter(([key]) => key === name).map(([, value]) => value);
    }
    field(name) {
        const values = this.all(name);
        assert.ok(values.length <= 1, `${name} is there ${values.length} times`);
        return values[0];
    }
    get text() {
        return new TextDecoder('utf-8', { fatal: true }).decode(this.body);
    }
    get json() {
        assert.match(this.field('content-type') ?? '', /^application\/json\b/);
        return JSON.parse(this.text);
    }
}

function parseHead(head) {
    const [line, ...lines] = head.split('\r\n');
    assert.ok(!/[\r\n\0]/.test(line + lines.join('')), `a bare CR, LF or NUL in ${JSON.stringify(head)}`);
    const status = /^HTTP\/1\.1 ([1-5]\d\d) [\t\x20-\x7e]*$/.exec(line);
    assert.ok(status, `no status line: ${JSON.stringify(line)}`);
    const fields = lines.map((text) => {
        const colon = text.indexOf(':');
        const name = text.slice(0, colon);
        assert.ok(colon > 0 && TOKEN.test(name), `no field line: ${JSON.stringify(text)}`);
        assert.match(text.slice(colon + 1), /^ ?[\x21-\x7e]?([\t\x20-\x7e]*[\x21-\x7e])?$/, `the value of ${name}`);
        return [name.toLowerCase(), text.slice(colon + 1).trim()];
    });
    return new Answer(Number(status[1]), fields, head);
}

/* The content of the chunks at START (RFC 9112, 7.1), and where they end; null if they do not yet. */
function parseChunks(bytes, start) {
    const parts = [];
    for (let at = start; ;) {
        const lineEnd = bytes.indexOf('\r\n', at, 'latin1');
        if (lineEnd < 0)
            return null;
        const size = bytes.toString('latin1', at, lineEnd);
        assert.match(size, /^[0-9A-Fa-f]{1,8}$/, 'a chunk size');
        const length = parseInt(size, 16);
        const end = lineEnd + 2 + length + 2;
        if (bytes.length < end)
            return null;
        assert.equal(bytes.toString('latin1', end - 2, end), '\r\n', 'what follows a chunk');
        if (length === 0)
            return { body: Buffer.concat(parts), end };
        parts.push(bytes.subarray(lineEnd + 2, end - 2));
        at = end;
    }
}

/* Where ANSWER's content, from START in BYTES, ends; fills in the body. -1: more bytes are needed. */
function parseBody(answer, bytes, start, method, ended) {
    const { status } = answer;
    const coding = answer.field('transfer-encoding');
    const length = answer.field('content-length');
    assert.ok(!(coding && length), 'both Content-Length and Transfer-Encoding');
    if (status < 200 || status === 204)
        assert.ok(!coding && !length, `${status} with a content length`);
    if (status < 200 || status === 204 || status === 304 || method === 'HEAD')
        return start;
    if (coding !== undefined) {
        assert.equal(coding, 'chunked');
        answer.chunked = true;
        const chunks = parseChunks(bytes, start);
        if (!chunks)
            return -1;
        answer.body = Buffer.from(chunks.body);
        return chunks.end;
    }
    if (length !== undefined) {
        assert.match(length, /^\d{1,12}$/, 'Content-Length');
        const end = start + Number(length);
        if (bytes.length < end)
            return -1;
        answer.body = Buffer.from(bytes.subarray(start, end));
        return end;
    }
    answer.untilClose = true;
    if (!ended)
        return -1;
    answer.body = Buffer.from(bytes.subarray(start));
    return bytes.length;
}

/* What every answer must be, whatever was asked (the contract, sections 2 and 5). */
function checkAnswer(answer, method) {
    const { status } = answer;
    if (status < 200)
        return;
    if (status < 500 || answer.field('date') !== undefined)
        assert.match(answer.field('date') ?? 'no Date', DATE, `Date of ${status}`);
    assert.equal(answer.field('x-content-type-options'), 'nosniff', `X-Content-Type-Options of ${status}`);
    assert.equal(answer.field('referrer-policy'), 'same-origin', `Referrer-Policy of ${status}`);
    if (status < 400)
        return;
    assert.match(answer.field('content-type') ?? 'none', /^text\/plain(; *charset=utf-8)?$/i, `the type of ${status}`);
    if (method !== 'HEAD')
        assert.match(answer.text, /^[\p{L}"'][^\r\n\0]{8,300}\.\n$/u, `the sentence of ${status}`);
}

/* The answer to METHOD that BYTES begin with and how many bytes it takes; null if it is not all there. ENDED: no more
 * will come. */
export function parseAnswer(bytes, method, ended) {
    const end = bytes.indexOf('\r\n\r\n', 0, 'latin1');
    if (end >= 0) {
        const answer = parseHead(bytes.toString('latin1', 0, end));
        const used = parseBody(answer, bytes, end + 4, method, ended);
        if (used >= 0) {
            checkAnswer(answer, method);
            return { answer, used };
        }
    }
    if (ended)
        throw new BrokenOff(Buffer.from(bytes));
    return null;
}

/* ---- requests ---- */

function toBytes(value) {
    return Buffer.isBuffer(value) ? value : Buffer.from(String(value), 'utf8');
}

/* VALUE (text or bytes) with every byte escaped that is not unreserved (RFC 3986, 2.3). */
export function escape(value) {
    let text = '';
    for (const byte of toBytes(value)) {
        const character = String.fromCharCode(byte);
        text += /[A-Za-z0-9\-._~]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    }
    return text;
}

/* A form of pairs: an object, or an array of pairs where a name comes twice. */
export function formOf(pairs) {
    const list = Array.isArray(pairs) ? pairs : Object.entries(pairs).filter(([, value]) => value !== undefined);
    return list.map(([name, value]) => `${escape(name)}=${escape(value)}`).join('&');
}

export function pathOf(room) {
    return `/r/${escape(room)}`;
}

/* The bytes of a request. FIELDS: an object or pairs; FORM: pairs or ready text, with its type and length; HOST and
 * LENGTH null: not sent. */
export function requestOf(method, target, { fields = {}, form, cookie, host = 'localhost', version = '1.1',
    length } = {}) {
    const list = Array.isArray(fields) ? [...fields] : Object.entries(fields);
    if (host !== null)
        list.unshift(['Host', host]);
    if (cookie)
        list.push(['Cookie', cookie]);
    let body = Buffer.alloc(0);
    if (form !== undefined) {
        body = typeof form === 'string' || Buffer.isBuffer(form) ? toBytes(form) : Buffer.from(formOf(form));
        if (!list.some(([name]) => name.toLowerCase() === 'content-type'))
            list.push(['Content-Type', 'application/x-www-form-urlencoded']);
        if (length !== null)
            list.push(['Content-Length', length ?? body.length]);
    }
    const head = `${method} ${target} HTTP/${version}\r\n${list.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`;
    return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}

/* ---- connections ---- */

export class Connection {
    /* A connection to SERVER, from FROM where it matters. */
    static async open(server, { from, host = server.host } = {}) {
        const connection = new Connection();
        const socket = net.connect({ port: server.port, host, localAddress: from, allowHalfOpen: true, noDelay: true });
        Object.assign(connection, { socket, server, bytes: Buffer.alloc(0), ended: false, broken: null, waiters: [] });
        socket.on('data', (data) => {
            connection.bytes = connection.bytes.length > 0 ? Buffer.concat([connection.bytes, data]) : data;
            connection.news();
        });
        socket.on('end', () => connection.finish(null));
        socket.on('error', (error) => connection.finish(error));
        socket.on('close', () => connection.finish(null));
        server.connections.add(connection);
        try {
            await within(new Promise((resolve, reject) => {
                socket.once('connect', resolve);
                socket.once('error', reject);
            }), 'a connection');
        } catch (error) {
            connection.close();
            throw error;
        }
        return connection;
    }
    finish(error) {
        this.ended = true;
        this.broken ??= error;
        this.news();
    }
    news() {
        for (const wake of this.waiters.splice(0))
            wake();
    }
    /* Until something new has happened here: bytes, or the end. */
    more() {
        return new Promise((resolve) => this.waiters.push(resolve));
    }
    write(bytes) {
        if (this.socket.writable)
            this.socket.write(bytes);
    }
    /* Sends no more, and still reads. */
    end() {
        this.socket.end();
    }
    close() {
        this.socket.destroy();
        this.server.connections.delete(this);
    }
    /* Stops and goes on taking what comes: the peer's bytes wait in the system's buffers meanwhile. */
    pause() {
        this.socket.pause();
    }
    resume() {
        this.socket.resume();
    }
    /* The next answer, to METHOD. null: the connection ended before one began. */
    async answerOrEnd(method = 'GET', ms = PATIENCE_MS) {
        const end = Date.now() + ms;
        for (;;) {
            if (this.bytes.length === 0 && this.ended) {
                if (this.broken)
                    throw this.broken;
                return null;
            }
            const parsed = parseAnswer(this.bytes, method, this.ended);
            if (parsed) {
                this.bytes = this.bytes.subarray(parsed.used);
                return parsed.answer;
            }
            await within(this.more(), `an answer to ${method}, having ${this.bytes.length} bytes`, end - Date.now());
        }
    }
    async answer(method = 'GET', ms = PATIENCE_MS) {
        const answer = await this.answerOrEnd(method, ms);
        assert.ok(answer, 'the connection ended without an answer');
        return answer;
    }
    /* Asks and returns the answer. OPTIONS as requestOf's. */
    ask(method, target, options) {
        this.write(requestOf(method, target, options));
        return this.answer(method);
    }
    /* All answers up to the peer's end, to METHODS in order (GET where there is none). */
    async answersToEnd(methods = []) {
        const answers = [];
        for (;;) {
            const final = answers.filter((each) => each.status >= 200).length;
            const answer = await this.answerOrEnd(methods[final] ?? 'GET');
            if (!answer)
                return answers;
            answers.push(answer);
        }
    }
    /* Waits for the peer to end the connection, and for nothing before. */
    async endedByPeer(ms = PATIENCE_MS) {
        const end = Date.now() + ms;
        while (!this.ended)
            await within(this.more(), 'the end of the connection', end - Date.now());
        assert.equal(this.bytes.toString('latin1'), '', 'bytes before the end');
    }
    /* Until the server has read what was sent to it before this call, anywhere. */
    async settle() {
        const answer = await this.ask('GET', '/healthz');
        assert.equal(answer.status, 200);
    }
}

/* The answer to one request on a connection of its own. OPTIONS as requestOf's. */
export async function request(server, method, target, options = {}) {
    const connection = await Connection.open(server, { from: options.from });
    try {
        return await connection.ask(method, target, options);
    } finally {
        connection.close();
    }
}

/* Sends BYTES in one piece on a connection of its own, and yields all answers up to the server's end of it. */
export async function raw(server, bytes, { half = false, methods = [] } = {}) {
    const connection = await Connection.open(server);
    try {
        connection.write(bytes);
        if (half)
            connection.end();
        return await connection.answersToEnd(methods);
    } finally {
        connection.close();
    }
}

/* ---- the server ---- */

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
process.on('SIGTERM', () => process.exit(143));
process.on('SIGINT', () => process.exit(130));

/* Shell words for BEFORE that make an ordinary user of root, for whom limits and modes hold; null where that can't be
 * done. */
export function asNobody() {
    if (process.getuid() !== 0)
        return ':';
    const words = 'set -- setpriv --reuid=65534 --regid=65534 --clear-groups "$@"';
    return spawnSync(...command(['-V'], words)).status === 0 ? words : null;
}

/* A port nobody listens on, below those the system gives to clients. */
export async function freePort(host = '127.0.0.1') {
    for (;;) {
        const port = 10000 + Math.floor(Math.random() * 20000);
        const probe = net.createServer();
        const free = await new Promise((resolve) => {
            probe.once('error', () => resolve(false));
            probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(true)));
        });
        if (free)
            return port;
    }
}

const endings = new WeakMap();

/* Has END called when the test T is over, what came last first. */
export function atTheEndOf(t, end) {
    if (!endings.has(t)) {
        endings.set(t, []);
        t.after(async () => {
            let failure = null;
            for (const end of endings.get(t).reverse())
                await Promise.resolve().then(end).catch((error) => (failure ??= error));
            if (failure)
                throw failure;
        });
    }
    endings.get(t).push(end);
}

/* A folder that goes with the test T. */
export function temporaryFolder(t) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'snug-'));
    atTheEndOf(t, () => fs.rmSync(folder, { recursive: true, force: true }));
    return folder;
}

/* The command that runs the binary with ARGS, after the shell's words BEFORE if any ("ulimit -f 8"), which may change
 * "$@", the whole command. */
function command(args, before) {
    return before ? ['/bin/sh', ['-c', `${before}; exec "$@"`, 'sh', BINARY, ...args]] : [BINARY, args];
}

/* Runs the binary to its end: {code, signal, stdout, stderr}. For starts that are refused. */
export async function run(args, { before, cwd, env, ms = PATIENCE_MS } = {}) {
    const child = spawn(...command(args, before), {
        cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    const result = { stdout: '', stderr: '' };
    child.stdout.on('data', (data) => (result.stdout += data));
    child.stderr.on('data', (data) => (result.stderr += data));
    try {
        await within(new Promise((resolve, reject) => {
            child.once('error', reject);
            child.once('close', (code, signal) => resolve(Object.assign(result, { code, signal })));
        }), `the end of snug ${args.join(' ')}, which said ${JSON.stringify(result.stderr)}`, ms);
    } finally {
        child.kill('SIGKILL');
        running.delete(child);
    }
    return result;
}

class Server {
    constructor(settings) {
        const { options = [], args = [], folder, file, host = '127.0.0.1', port, before, env, quick = true } = settings;
        Object.assign(this, { options, args, folder, host, port, before, env, quick, isPortGiven: port !== undefined });
        this.address = settings.address === undefined ? host : settings.address;
        this.file = file ?? path.join(folder, 'snug.data');
        this.connections = new Set();
        this.child = null;
    }
    get pid() {
        return this.child.pid;
    }
    commandLine() {
        const where = this.address === null ? [] : ['-a', this.address];
        const options = this.options.flatMap((option) => ['-o', option]);
        return [...where, '-p', String(this.port), '-f', this.file, ...options, ...this.args];
    }
    spawn() {
        const child = spawn(...command(this.commandLine(), this.before), {
            cwd: this.folder, env: { ...process.env, ...this.env }, stdio: ['ignore', 'ignore', 'pipe'] });
        running.add(child);
        this.child = child;
        this.stderr = '';
        this.exit = null;
        this.isToEnd = false;
        child.stderr.on('data', (data) => (this.stderr += data));
        this.gone = new Promise((resolve) => {
            child.once('error', (error) => resolve({ error }));
            child.once('close', (code, signal) => resolve({ code, signal }));
        }).then((exit) => {
            running.delete(child);
            this.exit = exit;
            return exit;
        });
    }
    /* Starts the process and waits until it answers. */
    async launch() {
        for (let tries = 0; ; tries++) {
            if (!this.isPortGiven && this.child === null)
                this.port = await freePort(this.host);
            this.spawn();
            if (await this.answers())
                return;
            if (this.isPortGiven || tries >= 3 || !/in use/i.test(this.stderr))
                throw new Error(`snug ended at its start: ${JSON.stringify(this.exit)} ${this.stderr}`);
            this.child = null;
        }
    }
    /* Until it answers: true, or has ended: false. */
    async answers() {
        return until('the server to answer', async () => {
            if (this.exit)
                return 'ended';
            try {
                return (await request(this, 'GET', '/healthz')).status === 200 && 'answers';
            } catch (error) {
                if (!/ECONNREFUSED|ECONNRESET|EPIPE/.test(error.code))
                    throw error;
                return false;
            }
        }).then((how) => how === 'answers');
    }
    dropConnections() {
        for (const connection of [...this.connections])
            connection.close();
    }
    complaints() {
        const found = /^.*(Sanitizer|runtime error|Assertion).*$/m.exec(this.stderr);
        assert.ok(!found, `the server complained: ${this.stderr}`);
    }
    /* Asks it to end, and sees that it does, well. */
    async stop(signal = 'SIGTERM') {
        this.isToEnd = true;
        this.child.kill(signal);
        const exit = await within(this.gone, `the server to end after ${signal}`);
        this.dropConnections();
        this.complaints();
        assert.deepEqual(exit, { code: 0, signal: null }, `how it ended after ${signal}, saying: ${this.stderr}`);
    }
    /* Ends it as a power cut would, but for the kernel's caches. */
    async kill() {
        this.isToEnd = true;
        this.child.kill('SIGKILL');
        await within(this.gone, 'the server to be killed');
        this.dropConnections();
        this.complaints();
    }
    /* Starts it again on the same file and port; CHANGES to its settings. */
    async start(changes = {}) {
        Object.assign(this, changes);
        await this.launch();
    }
    async restart(changes) {
        await this.stop();
        await this.start(changes);
    }
    /* The end of a test: stops what still runs. A server that ended by itself is a failure. */
    async end() {
        if (this.child === null)
            return;
        try {
            if (this.exit === null)
                await this.stop();
            else if (!this.isToEnd)
                assert.fail(`the server ended by itself: ${JSON.stringify(this.exit)} ${this.stderr}`);
        } finally {
            this.child.kill('SIGKILL');
            this.dropConnections();
        }
    }
}

/* Starts a server for the test T. SETTINGS: OPTIONS ('rate=off') for -o, ARGS beside, FILE and FOLDER of the data, HOST
 * to listen on and to ask, ADDRESS for -a where it differs (null: none), PORT, BEFORE: shell words run before it, ENV.
 * Messages are unlimited unless OPTIONS say something of the rate. */
export async function start(t, settings = {}) {
    const options = settings.options ?? [];
    const rate = options.some((option) => option.includes('rate=')) ? [] : ['rate=off'];
    const server = new Server({ folder: settings.folder ?? temporaryFolder(t), ...settings,
        options: [...options, ...rate] });
    atTheEndOf(t, () => server.end());
    await server.launch();
    return server;
}

/* How much of one processor SERVER used in MS, 0 to 1; null where the system does not tell. */
export async function busyShare(server, ms = 600) {
    const ticks = () => {
        const fields = fs.readFileSync(`/proc/${server.pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
        return Number(fields[11]) + Number(fields[12]);
    };
    if (!fs.existsSync(`/proc/${server.pid}/stat`))
        return null;
    const before = ticks();
    await sleep(ms);
    return ((ticks() - before) * 10) / ms;
}

/* The memory SERVER holds, KiB; null where the system does not tell. */
export function residentKiB(server) {
    try {
        return Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${server.pid}/status`, 'latin1'))[1]);
    } catch {
        return null;
    }
}

/* ---- a network of their own ---- */

/* Loopback is exempt from what holds for an address, so some tests run in a network namespace of their own, where
 * 10.77.0.0/16 is this machine. */
const INSIDE = process.env.SNUG_SCENARIO;
const UNSHARE = process.getuid() === 0 ? ['-n'] : ['-r', '-n'];
const NETWORK = 'ip link set lo up && ip route add local 10.77.0.0/16 dev lo';

/* What declares tests of the file at URL, as test(NAME, BODY) does. They are skipped if WHYNOT says why, or without the
 * right to make a namespace; in it the file is run again, with the test's name in SNUG_SCENARIO. */
export function scenariosOf(url, whyNot) {
    const hasNamespaces = () => spawnSync('unshare', [...UNSHARE, 'sh', '-c', NETWORK]).status === 0;
    const skip = whyNot ?? (INSIDE !== undefined || hasNamespaces() ? false : 'no network namespace can be made');
    return (name, body) => {
        if (INSIDE === undefined)
            test(name, { skip }, () => runInside(fileURLToPath(url), name));
        else if (INSIDE === name)
            setImmediate(() => runHere(body));
    };
}

function runInside(file, name) {
    const env = { ...process.env, SNUG_SCENARIO: name };
    delete env.NODE_TEST_CONTEXT;
    const script = `${NETWORK} && exec "$0" "$1"`;
    const { status, stdout, stderr } = spawnSync('unshare', [...UNSHARE, 'sh', '-c', script, process.execPath, file],
        { env, encoding: 'utf8', timeout: 60000 });
    assert.equal(status, 0, `${stdout}${stderr}`);
}

async function runHere(body) {
    const ends = [];
    try {
        try {
            await body({ after: (end) => ends.push(end) });
        } finally {
            for (const end of ends)
                await end();
        }
        process.exit(0);
    } catch (error) {
        console.error(error.stack);
        process.exit(1);
    }
}

/* ---- members ---- */

/* The one cookie that ANSWER sets: {pair, name, value, attributes}. */
export function cookieOf(answer) {
    const [text, ...others] = answer.all('set-cookie');
    assert.ok(text !== undefined && others.length === 0, 'one cookie is set');
    const [pair, ...attributes] = text.split(/; */);
    const [name, value] = pair.split(/=(.*)/s);
    return { pair, name, value, attributes };
}

/* Joins ROOM as NAME: a member to speak and read as. COOKIE: as the member of that cookie. */
export async function join(server, room, name, { cookie, from } = {}) {
    const answer = await request(server, 'POST', `${pathOf(room)}/join`, { form: { name }, cookie, from });
    assert.equal(answer.status, 200, `joining ${room} as ${name}: ${answer.text}`);
    const member = { server, room, path: pathOf(room), from, connection: null };
    return Object.assign(member, { name: answer.json.name, by: answer.json.by, cookie: cookieOf(answer).pair });
}

/* What MEMBER is answered to METHOD on its room's ACTION, on a connection it keeps. */
export async function ask(member, method, action, options = {}) {
    if (member.connection === null || member.connection.ended || !member.server.connections.has(member.connection))
        member.connection = await Connection.open(member.server, { from: member.from });
    const answer = await member.connection.ask(method, `${member.path}/${action}`,
        { cookie: member.cookie, ...options });
    if (answer.field('connection') === 'close')
        member.connection.close();
    return answer;
}

/* MEMBER says TEXT: {id, t}. */
export async function say(member, text, nonce) {
    const answer = await ask(member, 'POST', 'send', { form: { text, nonce } });
    assert.equal(answer.status, 200, `saying ${String(text).slice(0, 40)}: ${answer.text}`);
    const receipt = answer.json;
    assert.ok(Number.isSafeInteger(receipt.id) && Number.isSafeInteger(receipt.t), answer.text);
    return receipt;
}

/* The messages MEMBER is answered. */
export async function messages(member, query = '') {
    const answer = await ask(member, 'GET', `messages${query}`);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
}

export function textsOf(list) {
    return list.map((message) => message.text);
}

/* ---- event streams ---- */

const ID = '[1-9]\\d{0,15}';
const STRING = '"(?:[^"\\\\]|\\\\.)*"';
const MESSAGE = new RegExp(`^\\{"id":${ID},"t":\\d{1,15},"by":${ID},"name":${STRING},"text":${STRING}\\}$`);

/* What an event of each kind must look like. */
const shapes = {
    you: (data) => /^\{"by":\d+,"name":".*"\}$/.test(data),
    people: (data) => /^\{"here":\d+,"people":\[.*\]\}$/.test(data),
    typing: (data) => /^\[.*\]$/.test(data),
    gap: (data) => /^\{"oldest":(null|\d+)\}$/.test(data),
    message: (data) => MESSAGE.test(data)
};

/* An event of LINES; {kind, id, data, raw}. */
function parseEvent(lines) {
    const event = { kind: 'message', raw: `${lines.join('\n')}\n\n` };
    for (const line of lines) {
        const found = /^(event|id|data|retry): (.*)$/s.exec(line);
        assert.ok(found, `no field of an event: ${line}`);
        const [, name, value] = found;
        const key = { event: 'kind', id: 'id', data: 'text', retry: 'retry' }[name];
        assert.ok(key === 'kind' || event[key] === undefined, `${name} twice in ${event.raw}`);
        event[key] = value;
    }
    if (event.text === undefined) {
        assert.ok(event.retry !== undefined && lines.length === 1, `an event without data: ${event.raw}`);
        return { ...event, kind: 'retry' };
    }
    assert.ok(shapes[event.kind]?.(event.text), `not as the contract spells it: ${event.raw}`);
    event.data = JSON.parse(event.text);
    if (event.kind === 'message')
        assert.equal(event.id, String(event.data.id), 'the id of a message, twice');
    else
        assert.equal(event.id !== undefined, event.kind === 'gap', `an id of ${event.kind}`);
    return event;
}

/* One who reads a room's event stream. Events come into LOG in their order; messages and gaps are taken from it in one
 * row, people, typing and you each in another. */
export class Reader {
    constructor(member, connection) {
        Object.assign(this, { member, connection, log: [], lines: [], rest: Buffer.alloc(0), taken: {}, frames: [] });
    }
    /* Takes in what has come. */
    parse() {
        let bytes = Buffer.concat([this.rest, this.connection.bytes]);
        this.connection.bytes = Buffer.alloc(0);
        for (let end; (end = bytes.indexOf(10)) >= 0; bytes = bytes.subarray(end + 1))
            this.take(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, end)));
        this.rest = bytes;
    }
    take(line) {
        if (line.startsWith(':')) {
            assert.equal(this.lines.length, 0, `a comment inside an event: ${line}`);
            this.add({ kind: 'comment', raw: line });
        } else if (line !== '') {
            this.lines.push(line);
        } else if (this.lines.length > 0) {
            this.add(parseEvent(this.lines.splice(0)));
        }
    }
    add(event) {
        event.at = Date.now();
        this.log.push(event);
        if (event.kind === 'message')
            this.frames.push(event.raw);
    }
    /* The next event of KINDS that WANTED says yes to; those before it are passed over. null: the stream ended. */
    async nextOf(kinds, wanted = () => true, ms = PATIENCE_MS) {
        const row = kinds.join();
        const end = Date.now() + ms;
        for (;;) {
            this.parse();
            for (let at = this.taken[row] ?? 0; at < this.log.length; at++) {
                this.taken[row] = at + 1;
                if (kinds.includes(this.log[at].kind) && wanted(this.log[at]))
                    return this.log[at];
            }
            if (this.connection.ended)
                return null;
            const last = JSON.stringify(this.log.slice(-3).map((event) => event.raw));
            await within(this.connection.more(), `${row} on a stream whose last events are ${last}`, end - Date.now());
        }
    }
    /* The next message or gap; null: the stream ended. */
    nextOrEnd(ms) {
        return this.nextOf(['message', 'gap'], undefined, ms);
    }
    async next() {
        const event = await this.nextOrEnd();
        assert.ok(event, 'the stream ended');
        return event;
    }
    /* The next state of KIND whose data WANTED says yes to. */
    async state(kind, wanted = () => true, ms = PATIENCE_MS) {
        const event = await this.nextOf([kind], (each) => wanted(each.data), ms);
        assert.ok(event, `the stream ended before ${kind}`);
        return event.data;
    }
    /* Until the people here are NAMES, in any order. */
    people(...names) {
        const wanted = [...names].sort().join();
        return this.state('people', (data) => data.people.map((one) => one.name).sort().join() === wanted);
    }
    /* Until the typing are NAMES. */
    typing(...names) {
        return this.state('typing', (data) => [...data].sort().join() === [...names].sort().join());
    }
    /* The texts of the next messages, up to and with TEXT. */
    async textsTo(text) {
        const texts = [];
        while (texts.at(-1) !== text) {
            const event = await this.next();
            assert.equal(event.kind, 'message', `a gap before ${text}`);
            texts.push(event.data.text);
        }
        return texts;
    }
    /* Waits for the server's end of the stream, which must lie between two events. */
    async end() {
        await this.nextOf(['end']);
        assert.equal(this.rest.length + this.lines.length, 0, 'the stream ended inside an event');
    }
    close() {
        this.connection.close();
    }
}

/* Opens MEMBER's event stream and waits for its head. LASTEVENTID for the field, AFTER for the query. */
export async function subscriber(member, { lastEventId, after, version, fields = {} } = {}) {
    const connection = await Connection.open(member.server, { from: member.from });
    const target = `${member.path}/events${after === undefined ? '' : `?after=${after}`}`;
    const all = lastEventId === undefined ? fields : { ...fields, 'Last-Event-ID': lastEventId };
    connection.write(requestOf('GET', target, { fields: all, cookie: member.cookie, version }));
    const reader = new Reader(member, connection);
    reader.answer = await streamHead(connection);
    return reader;
}

/* The head of an answer whose content goes on for ever. */
async function streamHead(connection) {
    for (;;) {
        const end = connection.bytes.indexOf('\r\n\r\n', 0, 'latin1');
        if (end >= 0) {
            const answer = parseHead(connection.bytes.toString('latin1', 0, end));
            checkAnswer(answer, 'HEAD');
            assert.equal(answer.status, 200, `the status of a stream: ${connection.bytes.toString('latin1')}`);
            connection.bytes = connection.bytes.subarray(end + 4);
            return answer;
        }
        assert.ok(!connection.ended, 'the connection ended before a stream began');
        await within(connection.more(), 'the head of a stream');
    }
}

/* READER's next message is TEXT, with no gap before it. */
export async function expectNext(reader, text) {
    const event = await reader.next();
    assert.equal(event.kind, 'message', `a gap where ${text} should come: ${event.raw}`);
    assert.equal(event.data.text, text);
    return event;
}

/* READER is told a gap next. */
export async function expectGap(reader) {
    const event = await reader.next();
    assert.equal(event.kind, 'gap', `no gap but ${event.raw}`);
    return event;
}
