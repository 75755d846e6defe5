/* wire_proxy.mjs: behind a reverse proxy (the contract, sections 5 and 6). A real nginx stands in front, with the lines
 * that README shows, taken from there; snug runs with README's options. Each scenario has a network of its own, where
 * clients have addresses and both have their usual ports. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert, atTheEndOf, formOf, scenariosOf, sleep, start, temporaryFolder, until, within } from './wire.mjs';

const HOME = '10.77.0.1';
const [ONE, TWO, THREE] = ['10.77.1.1', '10.77.1.2', '10.77.1.3'];
const NAME = 'chat.example';
const SNUG_PORT = 8080;
const here = fileURLToPath(new URL('.', import.meta.url));
const readme = fs.readFileSync(path.join(here, '../README.md'), 'utf8');
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:${here}nginx/usr/sbin` };
const hasNginx = spawnSync('nginx', ['-v'], { env }).status === 0;
const scenario = scenariosOf(import.meta.url, hasNginx ? undefined : 'there is no nginx; test/setup brings it');

/* ---- README ---- */

/* The block of README that begins with FIRST. */
function blockOf(first) {
    const lines = readme.split('\n');
    const begin = lines.indexOf(`    ${first}`);
    assert.ok(begin > 0, `README shows "${first}"`);
    const end = lines.findIndex((line, i) => i > begin && !line.startsWith('    '));
    return lines.slice(begin, end).map((line) => line.slice(4)).join('\n');
}

/* TEXT with FROM, which must be there, as TO. */
function changed(text, from, to) {
    assert.ok(text.includes(from), `README says "${from}"`);
    return text.replace(from, to);
}

const NGINX = blockOf('upstream snug {');
const [, ADDRESS, OPTIONS] = /^ {4}snug -a (\S+) -o (\S+)$/m.exec(readme);

/* ---- the two ---- */

/* snug as README starts it, with OPTIONS beside; SETTINGS as start() has them. */
function startSnug(t, options = [], settings = {}) {
    return start(t, { host: ADDRESS, port: SNUG_PORT, options: [OPTIONS, ...options], ...settings });
}

/* nginx with LINES, on port 443 as they say, and without TLS on 80 and 8081. */
async function startNginx(t, lines = NGINX) {
    const folder = temporaryFolder(t);
    const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
        '-days', '2', '-subj', `/CN=${NAME}`, '-keyout', `${NAME}.key`, '-out', `${NAME}.pem`], { cwd: folder });
    assert.equal(made.status, 0, String(made.stderr));
    const listens = changed(lines, 'listen 443 ssl;', 'listen 443 ssl; listen 80; listen 8081;');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);
    fs.writeFileSync(path.join(folder, 'nginx.conf'), `daemon off; master_process off; user root; pid nginx.pid;
error_log stderr error;
events { worker_connections 512; }
http { access_log off; ${temporary.join(' ')}
${listens}
}
`);
    const child = spawn('nginx', ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'],
        { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const nginx = { stderr: '' };
    child.stderr.on('data', (data) => (nginx.stderr += data));
    const gone = new Promise((resolve) => child.once('close', resolve));
    const kill = () => child.kill('SIGKILL');
    process.on('exit', kill);
    atTheEndOf(t, () => {
        kill();
        return gone;
    });
    await until('nginx to answer', async () => {
        assert.equal(child.exitCode, null, nginx.stderr);
        return (await ask(ONE, 'GET', '/healthz').catch(() => null))?.status === 200;
    });
    return nginx;
}

async function startBoth(t, options, lines) {
    const server = await startSnug(t, options);
    await startNginx(t, lines);
    return server;
}

/* ---- clients ---- */

const schemes = { 443: https };

function open(from, method, target, { form, cookie, fields = {}, port = 80, agent = false, host = HOME } = {}) {
    const content = form === undefined ? '' : formOf(form);
    const headers = { Host: port === 80 || port === 443 ? NAME : `${NAME}:${port}`, ...fields };
    if (cookie !== undefined)
        headers.Cookie = cookie;
    if (method === 'POST')
        Object.assign(headers, { 'Content-Type': 'application/x-www-form-urlencoded',
            'Content-Length': content.length });
    const request = (schemes[port] ?? http).request({ host, port, method, path: target, headers, agent,
        localAddress: from, rejectUnauthorized: false, servername: NAME });
    request.end(content);
    return request;
}

/* What one at address FROM is answered: {status, fields, text}. PORT: of nginx, or snug's own. */
function ask(from, method, target, options) {
    const request = open(from, method, target, options);
    return within(new Promise((resolve, reject) => {
        request.on('error', reject);
        request.on('response', (response) => {
            const parts = [];
            response.on('data', (data) => parts.push(data));
            response.on('error', reject);
            response.on('end', () => resolve({ status: response.statusCode, fields: response.headers,
                text: Buffer.concat(parts).toString() }));
        });
    }), `the answer to ${method} ${target}`);
}

const statusOf = async (...words) => (await ask(...words)).status;

/* The status of NAME's joining from FROM. */
const joining = (from, name, options) => statusOf(from, 'POST', '/r/tea/join', { form: { name }, ...options });

async function join(from, name, options) {
    const answer = await ask(from, 'POST', '/r/tea/join', { form: { name }, ...options });
    assert.equal(answer.status, 200, answer.text);
    return { from, cookie: answer.fields['set-cookie'][0].split(';')[0], ...options };
}

/* MEMBER asks for ACTION of the room, from where it is. */
const act = (member, method, action, options) =>
    ask(member.from, method, `/r/tea/${action}`, { ...member, ...options });

const say = (member, text) => act(member, 'POST', 'send', { form: { text } });

/* MEMBER's event stream: what has come (text), and whether it has ended. */
async function listen(member) {
    const request = open(member.from, 'GET', '/r/tea/events', member);
    const stream = { text: '', ended: false, close: () => request.destroy() };
    request.on('error', () => (stream.ended = true));
    stream.status = await within(new Promise((resolve) => request.on('response', (response) => {
        response.setEncoding('utf8');
        response.on('data', (data) => (stream.text += data));
        response.on('error', () => (stream.ended = true));
        response.on('end', () => (stream.ended = true));
        resolve(response.statusCode);
    })), 'the head of a stream');
    stream.hears = (text, ms) => until(`${text} on a stream that said ${stream.text}`,
        () => stream.text.includes(text), ms);
    return stream;
}

/* ---- limits of an address ---- */

scenario('each client of the proxy joins so often', async (t) => {
    await startBoth(t, ['joins=3/1000']);
    for (let i = 0; i < 5; i++)
        assert.equal(await joining(ONE, `Ann${i}`), i < 3 ? 200 : 429);
    for (let i = 0; i < 4; i++)
        assert.equal(await joining(TWO, `Bob${i}`, { port: 443 }), i < 3 ? 200 : 429);
    assert.equal(await joining(TWO, 'Bobby'), 429, 'whichever way he comes');
    assert.equal(await joining(THREE, 'Cy'), 200);
    for (let i = 0; i < 9; i++)
        assert.equal(await joining('127.0.0.1', `Eve${i}`), 200, 'loopback is exempt');
});

scenario('each client of the proxy says so much', async (t) => {
    await startBoth(t, ['rate=2/1000', 'joins=off']);
    const members = [];
    for (let i = 0; i < 6; i++)
        members.push(await join(ONE, `Ann${i}`));
    const statuses = [];
    for (const member of members)
        statuses.push((await say(member, 'x')).status, (await say(member, 'x')).status);
    assert.deepEqual(statuses, [...Array(8).fill(200), ...Array(4).fill(429)]);
    assert.equal((await say({ ...members[5], from: TWO }, 'x')).status, 200, 'from another address he may');
});

scenario('each client of the proxy has so many streams', async (t) => {
    await startBoth(t, ['peer=3', 'joins=off']);
    const ann = await join(ONE, 'Ann');
    const bob = await join(TWO, 'Bob');
    const streams = [];
    for (let i = 0; i < 3; i++)
        streams.push(await listen(ann));
    assert.deepEqual(streams.map((one) => one.status), [200, 200, 200]);
    const answer = await act(ann, 'GET', 'events');
    assert.equal(answer.status, 503);
    assert.match(answer.text, /^Your address has as many streams as it may have; close one of them\.\n$/);
    assert.equal((await act(ann, 'GET', 'messages?after=1&wait=9')).status, 503, 'nor may a request wait');
    for (let i = 0; i < 9; i++)
        assert.equal((await act(ann, 'GET', 'messages')).status, 200, 'what does not wait may');
    assert.equal((await listen(bob)).status, 200, 'another client may');
    assert.equal((await say(ann, 'still here')).status, 200);
    for (const stream of streams)
        await stream.hears('still here');
    streams[1].close();
    await until('a place to be free', async () => {
        const stream = await listen(ann);
        stream.close();
        return stream.status === 200;
    });
});

scenario('a proxy elsewhere that is not named is one client with all of its own', async (t) => {
    const lines = changed(NGINX, `server ${ADDRESS}:`, `server ${HOME}:`);
    const rows = [
        { option: `host=${NAME}`, statuses: [200, 200, 429, 429] },
        { option: `host=${NAME},proxy=${HOME}`, statuses: [200, 200, 200, 200] },
        { option: `host=${NAME},proxy=10.77.0.2`, statuses: [200, 200, 429, 429] }
    ];
    await Promise.all([startNginx(t, lines), (async () => {
        for (const { option, statuses } of rows) {
            const server = await start(t, { host: HOME, port: SNUG_PORT, options: [option, 'joins=2/1000'] });
            await until('nginx', async () => await statusOf(ONE, 'GET', '/healthz').catch(() => 0) === 200);
            const found = [];
            for (const from of [ONE, TWO, THREE, '10.77.1.4'])
                found.push(await joining(from, `At ${from}`));
            assert.deepEqual(found, statuses, option);
            await server.stop();
        }
    })()]);
});

scenario('nobody makes himself another by X-Forwarded-For', async (t) => {
    await startSnug(t, ['joins=2/1000'], { address: '0.0.0.0' });
    await startNginx(t);
    const forged = ['10.9.9.1', '127.0.0.1', '::1', `10.9.9.2, ${THREE}`, ADDRESS, ',', 'unknown, ', HOME];
    for (const [from, port] of [[ONE, 80], [TWO, SNUG_PORT]]) {
        for (let i = 0; i < forged.length; i++) {
            const fields = { Host: HOME, 'X-Forwarded-For': forged[i], 'X-Real-IP': forged[i],
                Forwarded: `for="${forged[i]}"` };
            assert.equal(await joining(from, `P${port} ${i}`, { fields, port }), i < 2 ? 200 : 429,
                `${forged[i]} on port ${port}`);
        }
    }
    assert.equal(await joining(THREE, 'Cy'), 200, 'nor is anything taken from the one he named');
});

/* ---- streams ---- */

scenario('what is said arrives at once through the proxy', async (t) => {
    await startBoth(t, ['joins=off']);
    for (const port of [80, 443]) {
        const ann = await join(ONE, `Ann${port}`, { port });
        const bob = await join(TWO, `Bob${port}`, { port });
        const stream = await listen(ann);
        await stream.hears('retry: ');
        await stream.hears('event: you\n');
        await stream.hears(`"name":"Ann${port}"}]}\n\n`);
        for (let i = 0; i < 20; i++) {
            assert.equal((await say(bob, `news ${i} of ${port}`)).status, 200);
            await stream.hears(`news ${i} of ${port}`);
            await sleep(5);
        }
        assert.ok(!stream.ended, 'the stream is still open');
        stream.close();
    }
});

scenario('a request waits through the proxy until something is said', async (t) => {
    await startBoth(t, ['joins=off']);
    const ann = await join(ONE, 'Ann');
    const bob = await join(TWO, 'Bob');
    assert.ok(Number(/proxy_read_timeout (\d+)s;/.exec(NGINX)?.[1]) > 60, 'nginx is more patient than any request');
    const { id } = JSON.parse((await say(bob, 'first')).text);
    const begun = Date.now();
    assert.equal((await act(ann, 'GET', `messages?after=${id}&wait=1`)).text, '[]');
    assert.ok(Date.now() - begun >= 990, 'not before its time');
    const held = act(ann, 'GET', `messages?after=${id}&wait=60`);
    await sleep(100);
    await say(bob, 'second');
    assert.deepEqual(JSON.parse((await held).text).map((one) => one.text), ['second']);
});

scenario('who closes the page behind the proxy is gone within seconds', async (t) => {
    await startBoth(t, ['joins=off']);
    const ann = await join(ONE, 'Ann');
    const bob = await join(TWO, 'Bob');
    const [hers, his] = [await listen(ann), await listen(bob)];
    await his.hears('"here":2');
    const at = his.text.length;
    hers.close();
    await until('Ann to be gone', () => his.text.indexOf('{"here":1,', at) >= 0, 12000);
    assert.ok(!his.ended);
});

/* ---- who may ask ---- */

const SAME = { 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'cors' };

scenario('a browser posts through the proxy, and no other site through a browser', async (t) => {
    await startBoth(t, ['joins=off']);
    const rows = [
        [443, { Origin: `https://${NAME}`, ...SAME }, 200],
        [443, { Origin: `https://${NAME}:443`, ...SAME }, 200],
        [443, { ...SAME }, 200],
        [80, { Origin: `http://${NAME}`, ...SAME }, 200],
        [80, { Origin: `http://${HOME}`, Host: HOME, ...SAME }, 200],
        [8081, { Origin: `http://${NAME}:8081`, ...SAME }, 200],
        [8081, { Origin: `http://${HOME}:8081`, Host: `${HOME}:8081`, ...SAME }, 200],
        [443, { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' }, 403],
        [443, { Origin: 'https://evil.example' }, 403],
        [443, { Origin: 'null' }, 403],
        [443, { Origin: `https://${NAME}:8443` }, 403],
        [8081, { Origin: `http://${NAME}` }, 403],
        [8081, { Origin: `http://${NAME}:${SNUG_PORT}` }, 403],
        [443, { 'Sec-Fetch-Site': 'same-site' }, 403],
        [443, { Host: 'evil.example', Origin: 'https://evil.example' }, 421]
    ];
    for (const [i, [port, fields, status]] of rows.entries())
        assert.equal(await joining(ONE, `Ann${i}`, { port, fields }), status, `${port} ${JSON.stringify(fields)}`);
});

scenario('a proxy that keeps Host to itself is told so', async (t) => {
    await startBoth(t, ['joins=off'], changed(NGINX, 'proxy_set_header Host $http_host;', ''));
    assert.equal(await statusOf(ONE, 'GET', '/'), 200);
    const answer = await ask(ONE, 'POST', '/r/tea/join', { port: 443, form: { name: 'Ann' },
        fields: { Origin: `https://${NAME}`, ...SAME } });
    assert.equal(answer.status, 403);
    assert.match(answer.text, /A proxy must pass on Host as it came\.\n$/);
});

/* ---- answers ---- */

scenario('long answers come whole through the proxy', async (t) => {
    await startBoth(t, ['joins=off', 'history=1m']);
    const direct = { port: SNUG_PORT, host: ADDRESS };
    for (const port of [80, 443]) {
        const page = await ask(ONE, 'GET', '/r/tea', { port });
        assert.equal(page.status, 200);
        assert.equal(page.text, (await ask(ADDRESS, 'GET', '/r/tea', direct)).text);
        assert.ok(page.text.length > 20000 && page.text.trimEnd().endsWith('</html>'), 'the page');
        assert.equal(await statusOf(ONE, 'GET', '/', { port, fields: { 'If-None-Match': page.fields.etag } }), 304);
        assert.equal((await ask(ONE, 'HEAD', '/', { port })).text, '');
    }
    const ann = await join(ONE, 'Ann');
    for (let i = 0; i < 200; i++)
        assert.equal((await say(ann, `${i} ${'long '.repeat(790)}`)).status, 200);
    for (const port of [80, 443]) {
        const list = JSON.parse((await act({ ...ann, port }, 'GET', 'messages')).text);
        assert.deepEqual(list.map((one) => parseInt(one.text)), Array.from({ length: 200 }, (_, i) => i));
    }
});

/* ---- kept connections ---- */

/* So many callers at once ask and say, COUNT times each, with pauses; what they are answered, counted by status. */
async function crowd(member, callers, count) {
    const found = {};
    await Promise.all(Array.from({ length: callers }, async (_, caller) => {
        for (let i = 0; i < count; i++) {
            const { status } = i % 2 ? await act(member, 'GET', 'messages?after=0')
                : await say(member, `${caller} ${i}`);
            found[status] = (found[status] ?? 0) + 1;
            if (i % 10 === 9)
                await sleep(Math.random() * 60);
        }
    }));
    return found;
}

/* The connections that are open to snug in this network. */
function keptConnections() {
    const remote = `:${SNUG_PORT.toString(16).toUpperCase().padStart(4, '0')} 01 `; /* 01: established */
    return fs.readFileSync('/proc/net/tcp', 'latin1').split('\n').filter((line) => line.includes(remote)).length;
}

scenario('hundreds of requests go over kept connections, and none is lost', async (t) => {
    const server = await startSnug(t, ['joins=off', 'connections=20', 'peer=off']);
    const nginx = await startNginx(t);
    const ann = await join(ONE, 'Ann');
    let isOver = false;
    let pushes = 0;
    const idle = (async () => { /* others push at the limit: the longest idle, the proxy's too, make room for them */
        const agent = new http.Agent({ keepAlive: true, maxFreeSockets: 1000 });
        for (let i = 0; !isOver; i = (i + 1) % 250) {
            const answer = await ask(`10.77.2.${i + 1}`, 'GET', '/healthz', { agent, port: SNUG_PORT, host: ADDRESS });
            pushes += answer.status === 200;
            await sleep(2);
        }
        agent.destroy();
    })();
    assert.deepEqual(await crowd(ann, 8, 80), { 200: 640 }, nginx.stderr);
    isOver = true;
    await idle;
    assert.ok(pushes > 20, `${pushes} pushes`);
    assert.deepEqual(await crowd(ann, 8, 20), { 200: 160 }, nginx.stderr);
    assert.ok(keptConnections() > 0, 'nginx keeps connections');
    await server.stop();
    assert.equal((await say(ann, 'lost')).status, 502, 'nobody is there');
    await server.start();
    assert.deepEqual(await crowd(ann, 8, 20), { 200: 160 }, nginx.stderr);
    const restarted = server.restart();
    const during = await crowd(ann, 4, 60);
    await restarted;
    assert.deepEqual(Object.keys(during).filter((status) => status !== '200' && status !== '502'), []);
    assert.deepEqual(await crowd(ann, 8, 20), { 200: 160 }, nginx.stderr);
});
