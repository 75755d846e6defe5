/* wire_qr.mjs: the address of a room as a QR code, in an answer and on the terminal, read by a decoder (zbarimg). */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import {
    assert, atTheEndOf, BINARY, Connection, each, escape, freePort, pathOf, request, requestOf, start, temporaryFolder,
    until, within
} from './wire.mjs';

const MARGIN = 4;

/* Where others come in. */
const HOME = Object.values(os.networkInterfaces()).flat()
    .find((own) => own.family === 'IPv4' && !own.internal)?.address;
const skip = HOME === undefined && 'no network';

/* Bytes that level M holds in each version (ISO/IEC 18004, table 7). */
const HOLDS = [14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504];

/* ---- pictures ---- */

/* The picture of an answer: {title, side, rows}, rows of booleans without the margin. It takes the very form it is to
 * have: a white ground, and on it strokes a module wide, within the code. */
function readSvg(answer) {
    const form = new RegExp('^<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4.5 (\\d+) \\1" ' +
        'shape-rendering="crispEdges"><title>([^<>&]*)</title>' +
        '<path fill="#fff" d="M-4-4.5h\\1v\\1h-\\1z"/><path stroke="#000" d="((?:[Mm]\\d+ \\d+h\\d+)+)"/></svg>\n$');
    assert.equal(answer.field('content-type'), 'image/svg+xml');
    const found = form.exec(answer.text);
    assert.ok(found, answer.text.slice(0, 300));
    const side = Number(found[1]) - 2 * MARGIN;
    const rows = Array.from({ length: side }, () => Array(side).fill(false));
    let x = 0, y = 0;
    for (const [, letter, across, down, length] of found[3].matchAll(/([Mm])(\d+) (\d+)h(\d+)/g)) {
        x = Number(across) + (letter === 'm' ? x : 0);
        y = Number(down) + (letter === 'm' ? y : 0);
        assert.ok(y < side && x + Number(length) <= side, 'a stroke leaves the code');
        rows[y].fill(true, x, x + Number(length));
        x += Number(length);
    }
    return { title: found[2], side, rows };
}

/* What stands on a terminal, likewise. Each line is black on white, and its half blocks are two modules. */
function readTerminal(lines) {
    const rows = lines.flatMap((line) => {
        const [, cells] = /^\x1b\[30;47;107m([ ▀▄█]+)\x1b\[0m$/.exec(line) ?? assert.fail(JSON.stringify(line));
        return ['▀█', '▄█'].map((dark) => [...cells].map((cell) => dark.includes(cell)));
    });
    const side = rows[0].length - 2 * MARGIN;
    assert.equal(rows.length, side + 2 * MARGIN + 1, 'as many lines as columns, and the half of a line');
    const inner = rows.slice(MARGIN, MARGIN + side).map((row) => row.slice(MARGIN, MARGIN + side));
    const darks = (some) => some.flat().filter((isDark) => isDark).length;
    assert.equal(darks(rows), darks(inner), 'the margin is light');
    return { side, rows: inner };
}

/* What the decoder reads in it. */
function decode(t, { side, rows }) {
    const scale = 3, width = scale * (side + 2 * MARGIN);
    const pixels = Buffer.alloc(width * width, 255);
    for (let y = 0; y < width; y++) {
        for (let x = 0; x < width; x++) {
            if (rows[Math.floor(y / scale) - MARGIN]?.[Math.floor(x / scale) - MARGIN])
                pixels[y * width + x] = 0;
        }
    }
    const file = path.join(temporaryFolder(t), 'code.pgm');
    fs.writeFileSync(file, Buffer.concat([Buffer.from(`P5\n${width} ${width}\n255\n`), pixels]));
    const { stdout, stderr, status } = spawnSync('zbarimg', ['--quiet', '--nodbus', '--raw', file], { encoding: 'utf8' });
    assert.equal(status, 0, `zbarimg reads nothing: ${stderr}`);
    return stdout.replace(/\n$/, '');
}

/* Of the five bits of the format (7.9), the three of the mask; the others say level M. */
function maskOf({ rows }) {
    const bits = [0, 1, 2, 3, 4].map((x) => Number(rows[8][x]) ^ Number('10101'[x]));
    assert.deepEqual(bits.slice(0, 2), [0, 0], 'level M');
    return bits[2] * 4 + bits[3] * 2 + bits[4];
}

/* ---- addresses ---- */

async function codeOf(server, room, options) {
    const answer = await request(server, 'GET', `${pathOf(room)}/qr`, options);
    assert.equal(answer.status, 200);
    return readSvg(answer);
}

/* A host and a room that make an address of LENGTH bytes. */
function partsOf(length) {
    const host = 'h'.repeat(Math.min(length - 'http:///r/r'.length, 255));
    const rest = length - 'http:///r/'.length - host.length;
    const escaped = Math.max(0, Math.ceil((rest - 64) / 2)); /* each takes three bytes */
    return { host, room: '+'.repeat(escaped) + 'r'.repeat(rest - 3 * escaped) };
}

test('a phone reads the address at every size, from the least to the most that each holds', async (t) => {
    const server = await start(t);
    const lengths = HOLDS.flatMap((most, i) => [(HOLDS[i - 1] ?? 11) + 1, Math.min(most, 457)]);
    const rows = lengths.map((length, i) => ({ length, version: Math.floor(i / 2) + 1 }));
    await each(rows, async ({ length, version }) => {
        const { host, room } = partsOf(length);
        const code = await codeOf(server, room, { host });
        assert.equal(code.title, `http://${host}${pathOf(room)}`);
        assert.equal(code.title.length, length);
        assert.equal(code.side, 17 + 4 * version);
        assert.equal(decode(t, code), code.title);
    });
    const longest = await codeOf(server, 'é'.repeat(32), { host: 'h'.repeat(255),
        fields: { 'X-Forwarded-Proto': 'https' } });
    assert.equal(longest.title.length, 458);
    assert.equal(decode(t, longest), longest.title);
});

test('a phone reads every mask', async (t) => {
    const server = await start(t);
    const masks = new Map();
    for (let i = 0; masks.size < 8 && i < 200; i++) {
        const code = await codeOf(server, `${i}`, { host: 'pi' });
        if (!masks.has(maskOf(code)))
            masks.set(maskOf(code), code);
    }
    assert.deepEqual([...masks.keys()].sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
    for (const code of masks.values())
        assert.equal(decode(t, code), code.title);
});

test('the address is the one that was asked for', async (t) => {
    const server = await start(t);
    const rows = ['pi', 'pi:8080', 'pi:', 'PI.Local', 'pi.local.', '10.1.2.3:80', '[fd00::1]', '[fd00::1]:8080',
        'a-b_c~d.lan', 'localhost.lan'].map((host) => ({ host }));
    await each(rows, async ({ host }) => {
        const code = await codeOf(server, 'tea', { host });
        assert.equal(code.title, `http://${host}/r/tea`);
        assert.equal(decode(t, code), code.title);
    });
    const absolute = await request(server, 'GET', 'http://pi.lan/r/tea/qr', { host: 'localhost' });
    assert.equal(readSvg(absolute).title, 'http://pi.lan/r/tea');
});

test('behind a proxy that speaks https it is an https address', async (t) => {
    const server = await start(t);
    const rows = [['https', 'https'], ['HTTPS', 'https'], ['https, http', 'https'], ['http', 'http'],
        ['http, https', 'http'], ['', 'http'], ['x', 'http']].map(([said, scheme]) => ({ said, scheme }));
    await each(rows, async ({ said, scheme }) => {
        const code = await codeOf(server, 'tea', { host: 'pi.lan', fields: { 'X-Forwarded-Proto': said } });
        assert.equal(code.title, `${scheme}://pi.lan/r/tea`);
        assert.equal(decode(t, code), code.title);
    });
});

test('who asks on the machine itself gets the address that the others can open', async (t) => {
    const server = await start(t, { host: '127.0.0.5' });
    const hosts = ['localhost', 'localhost:1', 'LOCALHOST.', 'pi.localhost', '127.0.0.1:8080', '127.9.9.9',
        '[::1]:8080', '0.0.0.0', null];
    for (const host of hosts) {
        const version = host === null ? '1.0' : '1.1';
        const code = await codeOf(server, 'tea', { host, version, fields: { 'X-Forwarded-Proto': 'https' } });
        assert.equal(code.title, `http://127.0.0.5:${server.port}/r/tea`, `for ${host}`);
        assert.equal(decode(t, code), code.title);
    }
    const open = await start(t, { address: null });
    const [, first] = /^ {2}(http:\S+)\/$/m.exec(open.stderr);
    assert.equal((await codeOf(open, 'tea', { host: 'localhost' })).title, `${first}/r/tea`);
});

test('any room has a code, and its title no markup', async (t) => {
    const server = await start(t);
    const rooms = ['tea time', '<b>&amp;"', "it's", 'чай', '🍵', '50%', 'a+b', '...', '\'"><script>'];
    await each(rooms.map((room) => ({ room })), async ({ room }) => {
        const code = await codeOf(server, room, { host: 'pi' });
        assert.equal(code.title, `http://pi/r/${escape(room)}`);
        assert.equal(decode(t, code), code.title);
    });
    for (const host of ['a&b', 'a<b', "a'b", 'a"b', 'a%26b']) {
        const answer = await request(server, 'GET', '/r/tea/qr', { host });
        assert.ok([400, 421].includes(answer.status), `${host}: ${answer.status}`);
    }
});

test('a code is for the asker alone, who needs to be nobody, and opens no room', async (t) => {
    const server = await start(t);
    const got = await request(server, 'GET', '/r/tea/qr?x=1');
    assert.equal(got.status, 200);
    assert.equal(got.field('cache-control'), 'no-store');
    assert.equal(got.field('set-cookie'), undefined);
    assert.equal((await request(server, 'GET', '/rooms')).text, '[]');
    const head = await request(server, 'HEAD', '/r/tea/qr');
    assert.equal(head.field('content-length'), got.field('content-length'));
    assert.equal(head.body.length, 0);
    const rows = [['POST', '/r/tea/qr', 405], ['DELETE', '/r/tea/qr', 405], ['GET', '/r/%00/qr', 404],
        ['GET', '/r/../qr', 404], ['GET', '/r/tea/qr/', 404], ['GET', '/r/tea/QR', 404], ['GET', '/r/Tea/qr', 308],
        ['POST', '/r/Tea/qr', 308]];
    for (const [method, target, status] of rows)
        assert.equal((await request(server, method, target)).status, status, `${method} ${target}`);
    assert.equal((await request(server, 'GET', '/r/Tea/qr')).field('location'), '/r/tea/qr');
    assert.equal((await request(server, 'GET', '/r/tea/qr', { host: 'evil.example' })).status, 421);
});

test('a Host that no code can hold is refused with a sentence', async (t) => {
    const server = await start(t);
    const answer = await request(server, 'GET', '/r/tea/qr', { host: `[fd00::1]:${'0'.repeat(7000)}80` });
    assert.equal(answer.status, 400);
    assert.match(answer.text, /too long/);
    const connection = await Connection.open(server);
    connection.write(requestOf('GET', '/healthz'));
    assert.equal((await connection.answer()).status, 200);
});

/* ---- the terminal ---- */

/* The lines that the server says at its start when its standard error is a terminal. */
async function bannerOnTerminal(t, address, port) {
    const file = path.join(temporaryFolder(t), 'snug.data');
    const command = `echo $$; exec ${BINARY} -a ${address} -p ${port} -f ${file}`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (data) => (said += data));
    const gone = new Promise((resolve) => child.once('close', resolve));
    atTheEndOf(t, () => child.kill('SIGKILL'));
    await until('the banner', () => /\nmemory .* at most\r\n/.test(said));
    const [pid, ...lines] = said.trimEnd().split('\r\n');
    process.kill(Number(pid), 'SIGTERM');
    assert.equal(await within(gone, 'the server to end'), 0);
    return lines;
}

test('a phone reads the first address from the terminal', { skip }, async (t) => {
    const port = await freePort();
    const lines = await bannerOnTerminal(t, HOME, port);
    const first = lines.findIndex((line) => line.includes('\x1b'));
    assert.equal(lines[first - 1], `  http://${HOME}:${port}/`, 'it is below the addresses');
    const code = readTerminal(lines.filter((line) => line.includes('\x1b')));
    assert.equal(decode(t, code), `http://${HOME}:${port}/`);
    assert.ok(lines.every((line) => [...line.replace(/\x1b\[[\d;]*m/g, '')].length <= 80), 'it fits a terminal');
});

test('where only this machine comes in, no code leads a phone to itself', async (t) => {
    for (const address of ['127.0.0.1', '127.0.0.5', '::1']) {
        const lines = await bannerOnTerminal(t, address, await freePort());
        assert.deepEqual(lines.filter((line) => line.includes('\x1b')), [], address);
    }
});

test('where standard error is no terminal, no code is printed', { skip }, async (t) => {
    const server = await start(t, { address: HOME, host: HOME });
    assert.match(server.stderr, /^[\x20-\x7e\n]*$/);
});
