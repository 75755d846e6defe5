/* wire_contract.mjs: every row of the contract's table of requests (section 2), and who may ask (section 5): statuses,
 * fields, and which error comes first where several apply. */
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import { describe, test } from 'node:test';
import { Connection, ask, assert, cookieOf, each, formOf, join, messages, pathOf, request, requestOf, say, start,
    subscriber } from './wire.mjs';

const PLAIN = { Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };

/* Asks for each row [method, target, status, options] on a connection of its own. */
function statusRows(server, rows) {
    const named = rows.map(([method, target, status, options]) => (
        { name: `${method} ${target} ${JSON.stringify(options ?? '')}`, method, target, status, options }));
    return each(named, async (row) => {
        const answer = await request(server, row.method, row.target, row.options);
        assert.equal(answer.status, row.status);
    });
}

/* ---- the page ---- */

test('the page is served at / and in every room, and asked for once only', async (t) => {
    const server = await start(t);
    for (const target of ['/', '/r/tea', '/?plain', '/r/tea?x', '/r/caf%C3%A9']) {
        const answer = await request(server, 'GET', target);
        assert.equal(answer.status, 200, target);
        assert.match(answer.field('content-type'), /^text\/html; *charset=utf-8$/i);
        assert.equal(answer.field('cache-control'), 'no-cache');
        assert.match(answer.field('etag'), /^"[^"]+"$/, 'a strong ETag');
        assert.match(answer.text, /^<!doctype html>/i);
    }
    const { fields, body } = await request(server, 'GET', '/');
    assert.ok(body.equals(fs.readFileSync(new URL('../index.html', import.meta.url))), 'index.html as it stands');
    assert.ok(body.equals((await request(server, 'GET', '/r/tea')).body));
    assert.ok(fields.length > 0);
});

test('a page that has not changed is not sent again', async (t) => {
    const server = await start(t);
    const etag = (await request(server, 'GET', '/')).field('etag');
    const rows = [
        [etag, 304], [`W/${etag}`, 304], [`"x", ${etag}`, 304], [`"x",W/"y" ,${etag},"z"`, 304], ['*', 304],
        ['"x"', 200], ['W/"x"', 200], [etag.slice(1, -1), 200], [`"${etag.slice(1, -1)}x"`, 200]
    ].map(([value, status]) => ({ name: value, value, status }));
    for (const target of ['/', '/r/tea']) {
        await each(rows, async ({ value, status }) => {
            for (const method of ['GET', 'HEAD']) {
                const answer = await request(server, method, target, { fields: { 'If-None-Match': value } });
                assert.equal(answer.status, status);
                assert.equal(answer.field('etag'), etag);
                assert.equal(answer.field('cache-control'), 'no-cache');
            }
        });
    }
    const connection = await Connection.open(server);
    for (let i = 0; i < 3; i++)
        assert.equal((await connection.ask('GET', '/', { fields: { 'If-None-Match': etag } })).status, 304);
    assert.equal((await connection.ask('GET', '/')).status, 200, 'the connection goes on after 304');
});

test('the page may run its own script and style, and nothing else', async (t) => {
    const server = await start(t);
    const answer = await request(server, 'GET', '/r/tea');
    const directives = answer.field('content-security-policy').split(/; */).filter(Boolean);
    const policy = Object.fromEntries(directives.map((text) => {
        const [name, ...values] = text.trim().split(/ +/);
        return [name, values];
    }));
    const hashes = (pattern) => [...answer.text.matchAll(pattern)].map(([, text]) => (
        `'sha256-${crypto.createHash('sha256').update(text).digest('base64')}'`));
    assert.deepEqual(policy, {
        'default-src': ["'none'"],
        'script-src': hashes(/<script[^>]*>([^]*?)<\/script>/g),
        'style-src': hashes(/<style[^>]*>([^]*?)<\/style>/g),
        'connect-src': ["'self'"],
        'img-src': ["'self'", 'data:'],
        'form-action': ["'self'"],
        'base-uri': ["'none'"],
        'frame-ancestors': ["'none'"]
    });
});

test('nobody guesses at types, and addresses of rooms stay in the house', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const rows = [
        ['GET', '/'], ['GET', '/rooms'], ['GET', '/healthz'], ['GET', '/nowhere'], ['PUT', '/'], ['BREW', '/'],
        ['GET', '/r/Tea'], ['GET', '/r/tea/messages'], ['POST', '/r/tea/typing'],
        ['GET', '/', { host: 'evil.example' }],
        ['GET', '/', { host: null }], ['POST', '/join', { form: { room: 'tea', name: 'Bob' } }]
    ].map(([method, target, options]) => ({ name: `${method} ${target}`, method, target, options }));
    await each(rows, async ({ method, target, options }) => {
        const answer = await request(server, method, target, { cookie: ann.cookie, ...options });
        assert.equal(answer.field('x-content-type-options'), 'nosniff');
        assert.equal(answer.field('referrer-policy'), 'same-origin');
        assert.ok(Math.abs(Date.parse(answer.field('date')) - Date.now()) < 60000, 'Date is now');
    });
});

/* ---- rooms ---- */

const listed = async (server) => (await request(server, 'GET', '/rooms')).json;

test('/rooms lists rooms with people or messages, the latest first', async (t) => {
    const server = await start(t);
    assert.equal((await request(server, 'GET', '/rooms')).text, '[]');
    const ann = await join(server, 'tea time', 'Ann');
    assert.deepEqual(await listed(server), [], 'a name alone is neither');
    const reader = await subscriber(ann);
    await reader.people('Ann');
    const answer = await request(server, 'GET', '/rooms');
    assert.equal(answer.text, '[{"room":"tea time","people":1,"last":null}]');
    assert.equal(answer.field('cache-control'), 'no-store');
    assert.match(answer.field('content-type'), /^application\/json\b/);
    const first = await say(ann, 'hi');
    assert.deepEqual(await listed(server), [{ room: 'tea time', people: 1, last: first.t }]);
    const bob = await join(server, 'kaffee', 'Bob');
    const second = await say(bob, 'hallo');
    const rooms = await listed(server);
    assert.deepEqual(rooms.find((one) => one.room === 'kaffee'), { room: 'kaffee', people: 0, last: second.t });
    const third = await say(ann, 'again');
    assert.ok(third.t >= second.t);
    for (let tries = 0; tries < 50 && (await say(ann, 'later')).t === second.t; tries++);
    assert.deepEqual((await listed(server)).map((one) => one.room), ['tea time', 'kaffee']);
});

test('/rooms lists 64 rooms at most, and never one whose name begins with a dot', async (t) => {
    const server = await start(t, { options: ['rooms=100'] });
    const names = Array.from({ length: 70 }, (_, i) => `r${i}`);
    for (const name of [...names, '.secret', '..also', 'a.b'])
        await say(await join(server, name, 'Ann'), 'hi');
    const rooms = (await listed(server)).map((one) => one.room);
    assert.equal(rooms.length, 64);
    assert.ok(rooms.includes('a.b') && !rooms.includes('.secret') && !rooms.includes('..also'), rooms.join());
    const times = (await listed(server)).map((one) => one.last);
    assert.deepEqual(times, [...times].sort((a, b) => b - a), 'the latest first');
    assert.ok(!rooms.includes('r0'), 'the one silent longest is the one left out');
});

test('/rooms holds 64 rooms of the longest names', async (t) => {
    const server = await start(t);
    for (let i = 0; i < 64; i++)
        await say(await join(server, `"${i}`.padEnd(64, '"'), 'Ann'), 'hi');
    const rooms = await listed(server);
    assert.equal(rooms.length, 64);
    assert.ok(rooms.every((one) => one.room.length === 64));
});

test('the people of /rooms are those who are here', async (t) => {
    const server = await start(t);
    const readers = [];
    for (const name of ['Ann', 'Bob', 'Carl']) {
        const member = await join(server, 'tea', name);
        readers.push(await subscriber(member), await subscriber(member));
    }
    await readers[0].people('Ann', 'Bob', 'Carl');
    assert.deepEqual(await listed(server), [{ room: 'tea', people: 3, last: null }], 'each once, however many tabs');
});

/* ---- joining ---- */

test('the landing form leads to the form of its room, and changes nothing', async (t) => {
    const server = await start(t);
    const rows = [
        [{ room: 'tea', name: 'Ann' }, '/r/tea', 'Ann'],
        [{ room: '  Tea  Time ', name: 'Ann Lee' }, '/r/tea%20time', 'Ann Lee'],
        [{ room: 'CAFÉ', name: 'Zoë & Co?#%+' }, '/r/caf%C3%A9', 'Zoë & Co?#%+'],
        [{ room: 'a&b=c', name: 'x=y' }, '/r/a%26b%3Dc', 'x=y'],
        [{ room: "it's!", name: 'Ann' }, '/r/it%27s%21', 'Ann']
    ].map(([form, path, name]) => ({ name: formOf(form), form, path, called: name }));
    await each(rows, async ({ form, path, called }) => {
        for (const fields of [{}, PLAIN]) {
            const answer = await request(server, 'POST', '/join', { form, fields });
            assert.equal(answer.status, 303);
            const [where, query] = answer.field('location').split('?');
            assert.equal(where, path);
            const parts = query.split('&');
            assert.equal(parts[0], 'plain');
            assert.equal(new URLSearchParams(parts[1]).get('name'), called);
            assert.equal(answer.all('set-cookie').length, 0);
        }
    });
    await statusRows(server, [['POST', '/r/tea/join', 200, { form: { name: 'Ann' } }]]);
    await statusRows(server, ['', '.', '..', 'a/b', 'a\\b', ' ', '\u200b', 'x'.repeat(65)].map((room) => (
        ['POST', '/join', 400, { form: { room, name: 'Ann' } }])));
    await statusRows(server, [['POST', '/join', 400, { form: { name: 'Ann' } }]]);
});

test('joining gives a name, a number and a cookie', async (t) => {
    const server = await start(t);
    const answer = await request(server, 'POST', '/r/tea%20time/join', { form: { name: '  Ann   Lee ' } });
    assert.equal(answer.status, 200);
    const { by } = answer.json;
    assert.equal(answer.text.trim(), `{"room":"tea time","name":"Ann Lee","by":${by}}`);
    assert.ok(Number.isSafeInteger(by) && by > 0);
    assert.equal(answer.field('cache-control'), 'no-store');
    const cookie = cookieOf(answer);
    assert.ok(cookie.name.includes(String(server.port)), 'cookies know no ports: the name says it');
    assert.match(cookie.value, /^([0-9a-fA-F]{32,}|[A-Za-z0-9_-]{22,})$/, '128 bits');
    assert.deepEqual(cookie.attributes.map((text) => text.toLowerCase()).sort(),
        ['httponly', 'max-age=2592000', 'path=/r/tea%20time', 'samesite=lax']);
    assert.ok(cookie.attributes.includes('Path=/r/tea%20time'));
    const other = cookieOf(await request(server, 'POST', '/r/tea%20time/join', { form: { name: 'Bob' } }));
    assert.equal(other.name, cookie.name);
    assert.notEqual(other.value, cookie.value);
});

test('a cookie lasts as long as the name is held, if that is over 30 days', async (t) => {
    const server = await start(t, { options: ['hold=60d'] });
    const answer = await request(server, 'POST', '/r/tea/join', { form: { name: 'Ann' } });
    assert.ok(cookieOf(answer).attributes.includes(`Max-Age=${60 * 86400}`));
});

test('who joins with his cookie is the same member, under a new name if it differs', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const again = await join(server, 'tea', 'Ann', { cookie: ann.cookie });
    assert.equal(again.by, ann.by);
    const other = await join(server, 'tea', 'Anna', { cookie: ann.cookie });
    assert.deepEqual([other.by, other.name], [ann.by, 'Anna']);
    assert.equal((await ask({ ...other }, 'POST', 'typing')).status, 204);
    const stranger = await join(server, 'tea', 'Bob', { cookie: ann.cookie.replace(/=.*/,
        '=0123456789abcdef0123456789abcdef') });
    assert.notEqual(stranger.by, ann.by, 'a cookie of nobody is none');
});

test('a name that is taken is refused with 409', async (t) => {
    const server = await start(t);
    await join(server, 'tea', 'Ann');
    const bob = await join(server, 'tea', 'Bob');
    await statusRows(server, [
        ['POST', '/r/tea/join', 409, { form: { name: 'Ann' } }],
        ['POST', '/r/tea/join', 409, { form: { name: ' aNN ' }, fields: PLAIN }],
        ['POST', '/r/tea/join', 409, { form: { name: 'Ann' }, cookie: bob.cookie }],
        ['POST', '/r/coffee/join', 200, { form: { name: 'Ann' } }]
    ]);
    assert.equal((await join(server, 'tea', 'bob', { cookie: bob.cookie })).name, 'bob', 'his own name is not');
});

test('a full room and a full house are refused with 503', async (t) => {
    const server = await start(t, { options: ['members=2', 'rooms=2'] });
    for (const name of ['Ann', 'Bob'])
        await join(server, 'tea', name);
    await join(server, 'coffee', 'Ann');
    await statusRows(server, [
        ['POST', '/r/tea/join', 503, { form: { name: 'Carl' } }],
        ['POST', '/r/tea/join', 409, { form: { name: 'Bob' } }],
        ['POST', '/r/juice/join', 503, { form: { name: 'Ann' } }],
        ['POST', '/r/coffee/join', 200, { form: { name: 'Carl' } }]
    ]);
});

/* ---- speaking ---- */

test('saying something gives its id and time, and typing and leaving nothing', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const answer = await ask(ann, 'POST', 'send', { form: { text: 'hi' } });
    assert.equal(answer.status, 200);
    const { id, t: time } = answer.json;
    assert.equal(answer.text.trim(), `{"id":${id},"t":${time}}`);
    assert.equal(answer.field('cache-control'), 'no-store');
    assert.ok(Math.abs(time - Date.now()) < 60000);
    assert.equal((await ask(ann, 'POST', 'typing')).status, 204);
    const left = await ask(ann, 'POST', 'leave');
    assert.equal(left.status, 204);
    const cookie = cookieOf(left);
    assert.equal(cookie.name, ann.cookie.split('=')[0]);
    const attributes = cookie.attributes.map((text) => text.toLowerCase());
    assert.ok(attributes.includes('max-age=0') && cookie.attributes.includes('Path=/r/tea'), attributes.join());
    await statusRows(server, [['POST', '/r/tea/send', 401, { form: { text: 'hi' }, cookie: ann.cookie }]]);
});

test('a request without content needs no type, however it says so', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (const fields of [{}, { 'Content-Length': 0 }, { 'Content-Length': 0, 'Content-Type': 'text/plain' }])
        assert.equal((await ask(ann, 'POST', 'typing', { fields })).status, 204, JSON.stringify(fields));
    assert.equal((await ask(ann, 'POST', 'leave')).status, 204);
});

test('a plain form is led on from the longest names too', async (t) => {
    const server = await start(t);
    const long = '漢'.repeat(21); // 63 bytes, three times that in a path
    const path = `/r/${encodeURIComponent(long)}`;
    const answer = await request(server, 'POST', `${path}/join`, { form: { name: long }, fields: PLAIN });
    assert.equal(answer.status, 303);
    assert.equal(answer.field('location'), `${path}?plain`);
    const landing = await request(server, 'POST', '/join', { form: { room: long, name: long }, fields: PLAIN });
    assert.equal(landing.status, 303);
    assert.equal(landing.field('location'), `${path}?plain&name=${encodeURIComponent(long)}`);
});

test('a path that can be no room says why', async (t) => {
    const server = await start(t);
    for (const [path, words] of [['/r/a%2Fb', /has no \/ /], [`/r/${'x'.repeat(65)}`, /longer than 64 bytes/], ['/r/a%00', /control/]]) {
        const answer = await request(server, 'GET', path);
        assert.equal(answer.status, 404);
        assert.match(answer.text, words);
    }
});

test('a plain form is led on with 303', async (t) => {
    const server = await start(t);
    const joined = await request(server, 'POST', '/r/tea%20time/join', { form: { name: 'Ann' }, fields: PLAIN });
    assert.deepEqual([joined.status, joined.field('location')], [303, '/r/tea%20time?plain']);
    const { pair: cookie } = cookieOf(joined);
    const send = (accept) => request(server, 'POST', '/r/tea%20time/send',
        { form: { text: 'hi' }, cookie, fields: { Accept: accept } });
    const rows = [
        ['text/html', 303], ['TEXT/HTML', 303], ['text/html;q=0.9', 303], ['*/*, text/html', 303],
        ['application/json,text/html ; q=1', 303],
        ['*/*', 200], ['text/*', 200], ['text/htmlx', 200], ['application/json', 200], ['', 200]
    ].map(([accept, status]) => ({ name: accept, accept, status }));
    await each(rows, async ({ accept, status }) => {
        const answer = await send(accept);
        assert.equal(answer.status, status);
        assert.equal(answer.field('location'), status === 303 ? '/r/tea%20time?plain' : undefined);
    });
    const form = (action, fields) => request(server, 'POST', `/r/tea%20time/${action}`,
        { cookie, fields: { ...PLAIN, ...fields } });
    const typed = await form('typing');
    assert.deepEqual([typed.status, typed.field('location')], [303, '/r/tea%20time?plain']);
    const left = await form('leave');
    assert.deepEqual([left.status, left.field('location')], [303, '/']);
    assert.equal(cookieOf(left).value, '');
    assert.equal((await form('typing')).status, 401, 'errors are as for all');
});

test('a retry with its nonce is not said twice', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const bob = await join(server, 'tea', 'Bob');
    const first = await say(ann, 'one', 'n1');
    assert.deepEqual(await say(ann, 'one', 'n1'), first);
    assert.deepEqual(await say(ann, 'another text', 'n1'), first, 'whatever its text');
    const bobs = await say(bob, 'one', 'n1');
    assert.notEqual(bobs.id, first.id, 'a nonce is its member\'s own');
    for (let i = 2; i <= 8; i++)
        await say(ann, `message ${i}`, `n${i}`);
    assert.deepEqual(await say(ann, 'one', 'n1'), first, 'eight are remembered');
    await say(ann, 'message 9', 'n9');
    assert.notEqual((await say(ann, 'one again', 'n1')).id, first.id, 'nine are not');
    await say(ann, 'without');
    await say(ann, 'without');
    assert.deepEqual((await messages(ann)).map((one) => one.text),
        ['one', 'one', ...[2, 3, 4, 5, 6, 7, 8, 9].map((i) => `message ${i}`),
        'one again', 'without', 'without']);
    const long = 'x'.repeat(64);
    assert.deepEqual(await say(ann, 'long', long), await say(ann, 'long', long));
    await statusRows(server, [['POST', '/r/tea/send', 400, { form: { text: 'longer', nonce: `${long}x` },
        cookie: ann.cookie }]]);
});

test('a retry with its nonce is answered even over the rate', async (t) => {
    const server = await start(t, { options: ['rate=1/1000'] });
    const ann = await join(server, 'tea', 'Ann');
    const first = await say(ann, 'one', 'n1');
    assert.equal((await ask(ann, 'POST', 'send', { form: { text: 'two', nonce: 'n2' } })).status, 429);
    assert.deepEqual(await say(ann, 'one', 'n1'), first);
});

test('retries of one message sent all at once are said once', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const receipts = await Promise.all(Array.from({ length: 30 }, async () => (
        (await request(server, 'POST', '/r/tea/send', { form: { text: 'hi', nonce: 'n' },
            cookie: ann.cookie })).text)));
    assert.equal(new Set(receipts).size, 1);
    assert.equal((await messages(ann)).length, 1);
});

test('messages are an array of the very events', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const ids = [];
    for (const text of ['one', 'two "quoted" \\ and\n\ttabbed', 'drei ✓ 🦊'])
        ids.push((await say(ann, text)).id);
    const reader = await subscriber(ann);
    while (reader.frames.length < 3)
        await reader.next();
    const frames = reader.frames.map((frame) => /^data: (.*)$/m.exec(frame)[1]);
    const answer = await ask(ann, 'GET', 'messages');
    assert.equal(answer.text.replace(/\s+$/, ''), `[${frames.join(',')}]`);
    assert.equal(answer.field('cache-control'), 'no-store');
    assert.ok(answer.chunked);
    assert.deepEqual((await messages(ann, `?after=${ids[0]}`)).map((one) => one.id), ids.slice(1));
    assert.deepEqual(await messages(ann, `?after=${ids[2]}`), []);
    assert.deepEqual(await messages(ann, `?after=${ids[2]}&wait=0`), []);
    assert.equal((await messages(ann, '?after=')).length, 3, 'an empty one counts as absent');
});

test('messages go to HTTP/1.0 in one piece', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (let i = 0; i < 50; i++)
        await say(ann, `${i}`.padEnd(2000, '.'));
    const connection = await Connection.open(server);
    connection.write(requestOf('GET', '/r/tea/messages', { cookie: ann.cookie, version: '1.0' }));
    const answer = await connection.answer();
    assert.ok(!answer.chunked && answer.field('transfer-encoding') === undefined);
    assert.equal(JSON.parse(answer.text).length, 50);
    assert.deepEqual(JSON.parse(answer.text), await messages(ann));
});

/* ---- paths and methods ---- */

test('what is nowhere is 404', async (t) => {
    const server = await start(t);
    const paths = [
        '/nowhere', '/r', '/r/', '/r//', '//', '/r/tea/', '/r//tea', '/r/tea/nowhere', '/r/tea/send/', '/r/tea/send/x',
        '/r/tea//send',
        '/rooms/', '/healthz/', '/join/', '/index.html', '/favicon.ico', '/R/tea', '/Rooms', '/r/tea/Send', '/r/tea/QR',
        '/r/.', '/r/..', '/r/%2E', '/r/%2e%2E', '/r/./send', '/r/../events', '/r/../../etc/passwd', '/../healthz',
        '/./healthz',
        '/r/a%2Fb', '/r/a%5Cb', '/r/a%2fb/send', '/r/%00', '/r/a%00b', '/r/a%0Ab', '/r/%7F', '/r/%C2%80',
        '/r/%E2%80%8B', '/r/a%EF%BB%BF',
        '/r/%FF', '/r/%C3', '/r/%ED%A0%80', '/r/%C0%AF', '/r/%20', '/r/%C2%A0', `/r/${'a'.repeat(65)}`,
        `/r/${'%C3%A9'.repeat(33)}`,
        '/%72/tea', '/room%73', '/r/Tea/nowhere'
    ];
    await statusRows(server, paths.flatMap((path) => [['GET', path, 404], ['POST', path, 404]]));
    await statusRows(server, [['GET', `/r/${'a'.repeat(64)}`, 200], ['GET', `/r/${'%C3%A9'.repeat(32)}`, 200],
        ['GET', '/r/...', 200]]);
});

test('every method has its answer at every path', async (t) => {
    const server = await start(t);
    const paths = {
        '/': 'GET, HEAD', '/r/tea': 'GET, HEAD', '/rooms': 'GET, HEAD', '/healthz': 'GET, HEAD', '/join': 'POST',
        '/r/tea/join': 'POST',
        '/r/tea/send': 'POST', '/r/tea/typing': 'POST', '/r/tea/leave': 'POST', '/r/tea/events': 'GET, HEAD',
        '/r/tea/messages': 'GET, HEAD', '/r/tea/qr': 'GET, HEAD'
    };
    const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'];
    const rows = Object.entries(paths).flatMap(([path,
        allowed]) => methods.filter((method) => !allowed.split(', ').includes(method))
        .map((method) => ({ name: `${method} ${path}`, method, path, allowed })));
    await each(rows, async ({ method, path, allowed }) => {
        const answer = await request(server, method, path);
        assert.equal(answer.status, 405);
        assert.deepEqual(answer.field('allow').split(/, */).sort(), allowed.split(', ').sort());
    });
    await statusRows(server, ['PROPFIND', 'get', 'Post', 'M-SEARCH', 'SUBSCRIBE'].map((method) => [method, '/', 501]));
    assert.equal((await request(server, 'GET', '/healthz')).text, 'ok\n');
});

test('a room has one address, and every other spelling leads there', async (t) => {
    const server = await start(t);
    const rows = [
        ['GET', '/r/Tea', '/r/tea'], ['GET', '/r/TEA?plain', '/r/tea?plain'], ['GET', '/r/%74ea', '/r/tea'],
        ['GET', '/r/%C3%84', '/r/%C3%A4'], ['GET', '/r/%c3%a4', '/r/%C3%A4'], ['GET', '/r/%20tea%20%20', '/r/tea'],
        ['GET', '/r/tea%20%20time', '/r/tea%20time'], ['GET', '/r/tea%C2%A0time', '/r/tea%20time'],
        ['GET', '/r/tea%E3%80%80time', '/r/tea%20time'],
        ['GET', '/r/tea+time', '/r/tea%2Btime'], ['GET', "/r/it's!", '/r/it%27s%21'], ['GET', '/r/a%7Eb', '/r/a~b'],
        ['GET', '/r/a%2Db', '/r/a-b'],
        ['GET', '/r/a@b:c', '/r/a%40b%3Ac'], ['GET', '/r/a=b&c;d,e$(f)*', '/r/a%3Db%26c%3Bd%2Ce%24%28f%29%2A'],
        ['GET', '/r/%D0%A7%D0%B0%D0%B9', '/r/%D1%87%D0%B0%D0%B9'], ['GET', '/r/%CE%A3', '/r/%CF%83'],
        ['GET', '/r/Tea/events?after=3&x=%20', '/r/tea/events?after=3&x=%20'],
        ['GET', '/r/Tea/messages?', '/r/tea/messages?'],
        ['HEAD', '/r/Tea', '/r/tea'], ['POST', '/r/Tea/send', '/r/tea/send'],
        ['POST', '/r/Tea/join?a', '/r/tea/join?a'],
        ['PUT', '/r/Tea', '/r/tea'], ['GET', 'http://localhost/r/Tea?q', '/r/tea?q'],
        ['GET', '/r/%E2%84%AA', '/r/k'] /* KELVIN SIGN is Latin */
    ].map(([method, from, to]) => ({ name: `${method} ${from}`, method, from, to }));
    await each(rows, async ({ method, from, to }) => {
        const answer = await request(server, method, from);
        assert.equal(answer.status, 308);
        assert.equal(answer.field('location'), to);
        const there = await request(server, 'GET', to.split('?')[0].split('/').slice(0, 3).join('/'));
        assert.equal(there.status, 200, 'it leads to where the way ends');
    });
    await statusRows(server, ['/r/tea', '/r/a~b-c_d.e', '/r/tea%20time', '/r/it%27s%21', '/r/%C3%A4',
        '/r/%2B'].map((path) => ['GET', path, 200]));
    const joined = await request(server, 'POST', '/r/tea/join', { form: { name: 'Ann' } });
    assert.equal(joined.json.room, 'tea');
});

test('a redirect breaks no line, whatever it is made of', async (t) => {
    const server = await start(t);
    const answer = await request(server, 'GET', `/r/Tea?${'x%0d%0aSet-Cookie:%20a=b'.repeat(300)}`);
    assert.equal(answer.status, 308);
    assert.equal(answer.all('set-cookie').length, 0);
    assert.ok(answer.field('location').endsWith('%20a=b'), 'the query is kept whole');
});

/* ---- who may ask ---- */

test('only members speak and read, and everybody else is told so', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const elsewhere = await join(server, 'coffee', 'Ann');
    const [name, token] = ann.cookie.split('=');
    const cookies = [undefined, `${name}=`, `${name}=x`, `${name}=${token}x`, `${name}=${token.slice(1)}`,
        `${name}x=${token}`, `x${name}=${token}`,
        `${name.toUpperCase()}x=${token}`, elsewhere.cookie, token, '=', ';;;', `a=b; ${name}`,
            `${name}=${'0'.repeat(token.length)}`];
    const routes = [['POST', 'send'], ['POST', 'typing'], ['POST', 'leave'], ['GET', 'events'], ['HEAD', 'events'],
        ['GET', 'messages'], ['GET', 'messages?wait=9']];
    const rows = routes.flatMap(([method, action]) => [
        ...cookies.map((cookie) => ({ path: `/r/tea/${action}`, method, cookie })),
        { path: `/r/nowhere/${action}`, method, cookie: ann.cookie }
    ]).map((row) => ({ ...row, name: `${row.method} ${row.path} ${row.cookie}` }));
    await each(rows, async ({ method, path, cookie }) => {
        const answer = await request(server, method, path, { cookie });
        assert.equal(answer.status, 401);
        assert.equal(answer.field('www-authenticate'), 'Snug');
    });
    const good = [ann.cookie, `a=b; ${ann.cookie}`, `${ann.cookie}; a=b`, `a;${ann.cookie};b`, ` ${ann.cookie} `,
        `${name}=x; ${ann.cookie}`,
        `${ann.cookie}; ${name}=x`, Array.from({ length: 20 },
            (_, i) => `${name}=x${i}`).join('; ') + `; ${ann.cookie}`];
    await statusRows(server, good.map((cookie) => ['POST', '/r/tea/typing', 204, { cookie }]));
    assert.deepEqual(await listed(server), [], 'asking made no room');
});

test('another site cannot write in a member\'s name', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const host = `localhost:${server.port}`;
    const rows = [
        [{}, 204], [{ 'Sec-Fetch-Site': 'same-origin' }, 204], [{ 'Sec-Fetch-Site': 'none' }, 204],
        [{ 'Sec-Fetch-Site': 'same-site' }, 403], [{ 'Sec-Fetch-Site': 'cross-site' }, 403],
        [{ 'Sec-Fetch-Site': 'anything' }, 403],
        [{ 'Sec-Fetch-Site': '' }, 403],
        [{ Origin: `http://${host}` }, 204], [{ Origin: `https://${host}` }, 204],
        [{ Origin: `http://LOCALHOST:${server.port}` }, 204],
        [{ Origin: 'http://localhost' }, 403], [{ Origin: `http://localhost:${server.port + 1}` }, 403],
        [{ Origin: 'http://evil.example' }, 403],
        [{ Origin: `http://evil.example:${server.port}` }, 403], [{ Origin: `http://${host}.evil.example` }, 403],
        [{ Origin: `http://evil.example/${host}` }, 403], [{ Origin: `http://x@${host}` }, 403],
        [{ Origin: `http://${host}/` }, 403],
        [{ Origin: 'null' }, 403], [{ Origin: '' }, 403], [{ Origin: host }, 403], [{ Origin: `x${host}` }, 403],
        [{ Origin: `http://${host}`, 'Sec-Fetch-Site': 'cross-site' }, 403],
        [{ Origin: 'http://evil.example', 'Sec-Fetch-Site': 'same-origin' }, 403],
        [{ Origin: `http://${host}`, 'Sec-Fetch-Site': 'same-origin' }, 204],
        [[['Origin', `http://${host}`], ['Origin', 'http://evil.example']], 403],
        [[['Sec-Fetch-Site', 'none'], ['Sec-Fetch-Site', 'cross-site']], 403]
    ].map(([fields, status]) => ({ name: JSON.stringify(fields), fields, status }));
    await each(rows, async ({ fields, status }) => {
        const answer = await request(server, 'POST', '/r/tea/typing', { fields, host, cookie: ann.cookie });
        if (Array.isArray(fields))
            assert.ok([400, 403].includes(answer.status), `${answer.status}`);
        else
            assert.equal(answer.status, status);
    });
    const cross = { 'Sec-Fetch-Site': 'cross-site' };
    await statusRows(server, ['join', 'send', 'typing', 'leave'].map((action) => (
        ['POST', `/r/tea/${action}`, 403, { fields: cross, form: { name: 'Eve', text: 'x' }, cookie: ann.cookie }])));
    await statusRows(server, [['GET', '/', 200, { fields: cross }], ['GET', '/r/tea', 200, { fields: cross }],
        ['GET', '/healthz', 200, { fields: cross }]]);
    await statusRows(server, [['POST', '/r/tea/typing', 204, { host: 'snug.local',
        fields: { Origin: 'http://snug.local' }, cookie: ann.cookie }],
        ['POST', '/r/tea/typing', 204, { host: '[::1]:80', fields: { Origin: 'http://[::1]:80' },
            cookie: ann.cookie }]]);
});

test('a name from outside is no Host, against DNS rebinding', async (t) => {
    const server = await start(t, { options: ['host=chat.example.org', 'host=other.example'] });
    const good = ['127.0.0.1', '10.1.2.3:8080', '255.255.255.255', '[::1]', '[fe80::1]:8080', '[2001:DB8::1]',
        '[::ffff:1.2.3.4]', 'localhost', 'LocalHost:1',
        'localhost.', 'pi', 'my-pi:8080', 'pi.', 'snug.local', 'SNUG.LOCAL.', 'a.b.lan', 'x.home', 'x.home.arpa',
        'x.internal', 'x.localdomain', 'x.localhost',
        'chat.example.org', 'CHAT.Example.ORG:9', 'chat.example.org.', 'other.example', os.hostname()];
    const bad = ['evil.example.com', 'localhost.evil.com', 'evil.localhos', 'evil.locals', 'xlocal.com',
        'evil.home.arpa.com', 'evil.arpa', 'evilhome.arpa',
        '127.0.0.1.evil.com', '1.2.3', '1.2.3.4.5', '1.2.3.256', '999.1.1.1', '1.2.3.0x4', 'sub.chat.example.org',
        'chat.example.orgx', 'xchat.example.org',
        'chat.example', 'evil.com.', 'example.org', 'a.b'];
    await statusRows(server, good.map((host) => ['GET', '/healthz', 200, { host }]));
    await statusRows(server, bad.flatMap((host) => [['GET', '/healthz', 421, { host }],
        ['GET', '/', 421, { host: `${host}:${server.port}` }]]));
    assert.match((await request(server, 'GET', '/', { host: 'evil.example.com' })).text, /host=/,
        'the sentence names the option');
});

/* ---- what is asked for wrongly ---- */

test('a field that is given twice, broken or no number is refused', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    const { cookie } = ann;
    const send = (form, status) => ['POST', '/r/tea/send', status, { form, cookie }];
    const get = (query, status) => ['GET', `/r/tea/messages?${query}`, status, { cookie }];
    await statusRows(server, [
        send('text=a&text=a', 400), send('text=a&te%78t=b', 400), send('text=a&nonce=1&nonce=1', 400),
        send('nonce=1', 400), send('text', 400), send('text=', 400),
        send('', 400), send('text=%zz', 400), send('text=a%', 400), send('text=a%4', 400), send('text=%00', 400),
        send('text=a&x=1&x=2', 400), send('&&text=a&&', 200), send('text=a=b', 200), send('text=a+b%2B', 200),
        ['POST', '/r/tea/join', 400, { form: 'name=Bob&name=Bob' }], ['POST', '/r/tea/join', 400, { form: '' }],
        ['POST', '/r/tea/join', 400],
        ['POST', '/r/tea/join', 400, { form: 'name=%' }], ['POST', '/join', 400, { form: 'room=a&room=b&name=Ann' }],
        ['POST', '/join', 400, { form: 'room=a&name=x&name=y' }],
        get('wait=x', 400), get('wait=-1', 400), get('wait=1.5', 400), get('wait=%2B1', 400), get('wait=1e1', 400),
        get('wait=0x1', 400), get('wait=+1', 400),
        get('wait=1&wait=1', 400), get('after=1&after=1', 400), get('after=1&%61fter=1', 400), get('wait=%zz', 400),
        get('wait=60', 200), get('wait=61', 200), get('wait=86400', 200), get('wait=007', 200), get('x=1&x=2', 400),
        get('after=x', 200), get('after=-1', 200), get('after=99999999999999999999', 200),
        ['GET', '/r/tea/events?after=1&after=2', 400, { cookie }]
    ]);
});

test('a text is what the form says, byte for byte', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const rows = [['text=a+b%2Bc', 'a b+c'], ['text=%26%3d%3D', '&=='], ['x=y&text=a%20b&z', 'a b'],
        ['text=caf%C3%A9', 'café'], ['text=a=b', 'a=b'], ['te%78t=x', 'x'],
        ['text=a;b', 'a;b'], [Buffer.from('text=café ✓'), 'café ✓']];
    for (const [form] of rows)
        assert.equal((await ask(ann, 'POST', 'send', { form })).status, 200, String(form));
    assert.deepEqual((await messages(ann)).map((one) => one.text), rows.map(([, text]) => text));
});

test('where several errors apply, the first of the contract\'s order is told', async (t) => {
    const server = await start(t, { options: ['rate=1/1000', 'members=2'] });
    const ann = await join(server, 'tea', 'Ann');
    await join(server, 'tea', 'Bob');
    await say(ann, 'hi');
    const { cookie } = ann;
    const evil = { host: 'evil.example.com' };
    const cross = { 'Sec-Fetch-Site': 'cross-site' };
    const text = { 'Content-Type': 'text/plain' };
    const rows = [
        ['a version over a method', 'BREW', '/', 505, { version: '2.0' }],
        ['no Host over a method', 'BREW', '/', 400, { host: null }],
        ['a bad field over another host', 'GET', '/', 400, { ...evil, fields: { 'X ': 'a' } }],
        ['two lengths over nowhere', 'POST', '/nowhere', 400,
            { fields: [['Content-Length', 1], ['Content-Length', 2]] }],
        ['a method over another host', 'BREW', '/', 501, evil],
        ['another host over nowhere', 'GET', '/nowhere', 421, evil],
        ['another host over another spelling', 'GET', '/r/Tea', 421, evil],
        ['another host over another method', 'PUT', '/', 421, evil],
        ['another host over another site', 'POST', '/r/tea/typing', 421, { ...evil, fields: cross, cookie }],
        ['nowhere over another method', 'PUT', '/nowhere', 404, {}],
        ['nowhere over another spelling', 'GET', '/r/Tea/nowhere', 404, {}],
        ['nowhere over a type', 'POST', '/nowhere', 404, { form: 'x', fields: text }],
        ['nowhere over a length', 'POST', '/nowhere', 404, { form: '', length: 99999 }],
        ['another spelling over another method', 'PUT', '/r/Tea/send', 308, {}],
        ['another spelling over another site', 'POST', '/r/Tea/send', 308, { fields: cross }],
        ['another spelling over a type', 'POST', '/r/Tea/send', 308, { form: 'x', fields: text }],
        ['another method over another site', 'PUT', '/r/tea/send', 405, { fields: cross }],
        ['another method over a type', 'PUT', '/r/tea/send', 405, { form: 'x', fields: text }],
        ['another method over a length', 'PUT', '/r/tea/send', 405, { form: '', length: 99999 }],
        ['another method over nobody', 'GET', '/r/tea/send', 405, {}],
        ['another site over a type', 'POST', '/r/tea/send', 403, { form: 'x', fields: { ...cross, ...text } }],
        ['another site over a length', 'POST', '/r/tea/send', 403, { form: '', length: 99999, fields: cross }],
        ['another site over an expectation', 'POST', '/r/tea/send', 403,
            { form: 'text=x', fields: { ...cross, Expect: 'tea' } }],
        ['another site over nobody', 'POST', '/r/tea/send', 403, { fields: cross }],
        ['a type over nobody', 'POST', '/r/tea/send', 415, { form: 'text=x', fields: text }],
        ['a length over nobody', 'POST', '/r/tea/send', 413, { form: '', length: 99999 }],
        ['an expectation over nobody', 'POST', '/r/tea/send', 417, { form: 'text=x', fields: { Expect: 'tea' } }],
        ['nobody over a field twice', 'POST', '/r/tea/send', 401, { form: 'text=x&text=y' }],
        ['nobody over no text', 'POST', '/r/tea/send', 401, {}],
        ['nobody over no number', 'GET', '/r/tea/messages?wait=x', 401, {}],
        ['nobody over a broken form', 'POST', '/r/tea/send', 401, { form: 'text=%zz' }],
        ['no text over the rate', 'POST', '/r/tea/send', 400, { form: 'text=', cookie }],
        ['a field twice over the rate', 'POST', '/r/tea/send', 400, { form: 'text=a&text=b', cookie }],
        ['a long text over the rate', 'POST', '/r/tea/send', 400, { form: { text: 'a'.repeat(4001) }, cookie }],
        ['the rate, when all else is well', 'POST', '/r/tea/send', 429, { form: 'text=b', cookie }],
        ['no name over a full room', 'POST', '/r/tea/join', 400, { form: 'name=' }],
        ['a taken name over a full room', 'POST', '/r/tea/join', 409, { form: 'name=ann' }]
    ].map(([name, method, target, status, options]) => ({ name, method, target, status, options }));
    await each(rows, async ({ method, target, status, options }) => {
        assert.equal((await request(server, method, target, options)).status, status);
    });
});

describe('an error changes nothing', () => {
    test('a refused request leaves the room as it was', async (t) => {
        const server = await start(t);
        const ann = await join(server, 'tea', 'Ann');
        const reader = await subscriber(ann);
        await say(ann, 'before');
        for (const form of ['text=', 'text=%FF', 'text=a&text=b', 'text=%01', { text: 'a'.repeat(4001) }])
            assert.equal((await ask(ann, 'POST', 'send', { form })).status, 400);
        const { id } = await say(ann, 'after');
        assert.deepEqual(await reader.textsTo('after'), ['before', 'after']);
        assert.deepEqual((await messages(ann)).map((one) => one.id), [id - 1, id]);
    });

    test('asking for rooms that are not there makes none', async (t) => {
        const server = await start(t, { options: ['rooms=2'] });
        for (let i = 0; i < 20; i++) {
            for (const [method, path] of [['GET', `/r/x${i}`], ['GET', `/r/x${i}/events`], ['POST', `/r/x${i}/send`],
                ['POST', `/r/x${i}/leave`]])
                await request(server, method, path);
            assert.equal((await request(server, 'POST', `/r/x${i}/join`, { form: { name: '' } })).status, 400);
        }
        await join(server, 'one', 'Ann');
        await join(server, 'two', 'Ann');
        assert.equal((await request(server, 'GET', pathOf('three'))).status, 200, 'the page of a room needs no room');
    });
});
