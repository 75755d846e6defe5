/* wire_plain.mjs: the room without JavaScript, `/r/ROOM?plain`: what a member reads, what others don't, and how w3m and
 * lynx join, write, read and leave. */
import { spawnSync, spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { PATIENCE_MS, assert, ask, cookieOf, each, escape, join, messages, pathOf, request, say, start, subscriber,
    temporaryFolder, textsOf, within } from './wire.mjs';

const PLAIN = { Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };
const ANSWER_MAX = 14848; // HTTP_ANSWER_MAX

/* ---- reading the page as strictly as possible ---- */

const ENTITIES = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'" };

/* What MARKUP says as text. Anything that is not escaped as it must be is a failure. */
function unescape(markup) {
    assert.match(markup, /^([^&<>"']|&(amp|lt|gt|quot|#39);)*$/, 'text that is escaped');
    return markup.replace(/&[^;]*;/g, (entity) => ENTITIES[entity]);
}

/* The text of messages: with line breaks. */
function unbreak(markup) {
    return markup.split('<br>').map(unescape).join('\n');
}

const TAGS = ('html meta title /title style /style h1 /h1 h2 /h2 form /form p /p label /label input a /a b /b bdi /bdi ' +
    'time /time br').split(' ');
const ATTRIBUTES = ('lang charset name content dir method action for type value id size autocomplete href ' +
    'datetime').split(' ');

/* Whatever people wrote, the page has these elements and attributes alone, and text that is escaped. */
function checkMarkup(html) {
    const body = html.replace(/^<!DOCTYPE html>\n/, '').replace(/<style>[^<]*<\/style>/, '');
    for (const [, text, name, attributes] of body.matchAll(/([^<]*)(?:<([a-z0-9/]*)([^>]*)>)?/g)) {
        unescape(text);
        assert.ok(name === undefined || TAGS.includes(name), `an element of ours: ${name}`);
        const rest = (attributes ?? '').replace(/ ([a-z]+)="([^"<>]*)"/g, (_, attribute, value) => {
            assert.ok(ATTRIBUTES.includes(attribute), `an attribute of ours: ${attribute}`);
            unescape(value);
            return '';
        });
        assert.match(rest, /^( required| autofocus)*$/);
    }
}

/* What ANSWER, a page without JavaScript, has on it. */
function read(answer) {
    assert.equal(answer.status, 200);
    assert.match(answer.field('content-type'), /^text\/html; *charset=utf-8$/i);
    assert.equal(answer.field('cache-control'), 'no-store');
    assert.equal(answer.field('etag'), undefined);
    const html = answer.text;
    const style = crypto.createHash('sha256').update(/<style>([^<]*)<\/style>/.exec(html)[1]).digest('base64');
    assert.equal(answer.field('content-security-policy'), `default-src 'none'; style-src 'sha256-${style}'; ` +
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
    assert.match(html, /^<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>[^<]+<\/title>\n/);
    checkMarkup(html);
    const value = (pattern) => (pattern.exec(html) ?? [])[1];
    const one = '<p dir="auto"><b><bdi>([^<]*)</bdi></b> <time datetime="([^"]*)">([^<]*)</time><br>(.*)</p>\n';
    return {
        html, room: unescape(value(/<h1[^>]*>([^<]*)<\/h1>/)),
        actions: [...html.matchAll(/<form method="post" action="([^"]*)">/g)].map((found) => found[1]),
        link: value(/<a href="([^"]*)">New messages<\/a>/),
        nonce: value(/name="nonce" value="([^"]*)"/),
        prefilled: unescape(value(/name="name"[^>]* value="([^"]*)"/) ?? ''),
        said: [...html.matchAll(new RegExp(one, 'g'))].map(([, name, at, shown, text]) => {
            assert.equal(shown, at.replace('T', ' ').slice(0, 16));
            return { name: unescape(name), at, text: unbreak(text) };
        })
    };
}

async function look(server, room, { cookie, query = '?plain', fields } = {}) {
    return read(await request(server, 'GET', `${pathOf(room)}${query}`, { cookie, fields }));
}

function isEntrance(page, room) {
    assert.equal(page.room, room);
    assert.deepEqual(page.actions, [`${pathOf(room)}/join`]);
    assert.deepEqual(page.said, []);
    assert.match(page.html, /<label for="name">Your name<\/label>.*<input id="name" name="name"[^>]*>.*value="Join">/);
}

/* A plain form's answer to FORM sent to ACTION. */
function post(server, action, form, { cookie, fields } = {}) {
    return request(server, 'POST', action, { form, cookie, fields: { ...PLAIN, ...fields } });
}

/* ---- who reads what ---- */

test('a member reads what was said, the newest first, and when (UTC)', async (t) => {
    const server = await start(t, { env: { TZ: 'JST-9' } });
    const ann = await join(server, 'tea time', 'Ann');
    const bob = await join(server, 'tea time', 'Bob');
    assert.match((await look(server, 'tea time', ann)).html, /Nobody has said anything yet/);
    const receipts = [await say(ann, 'one'), await say(bob, 'two\n  and\tthree\r\n\nfour'), await say(ann, 'five')];
    const page = await look(server, 'tea time', ann);
    assert.deepEqual(page.said.map(({ name, text }) => [name, text]),
        [['Ann', 'five'], ['Bob', 'two\n  and\tthree\n\nfour'], ['Ann', 'one']]);
    assert.deepEqual(page.said.map(({ at }) => at),
        receipts.reverse().map((receipt) => `${new Date(receipt.t).toISOString().slice(0, 19)}Z`));
    assert.equal(page.room, 'tea time');
    assert.deepEqual(page.actions, ['/r/tea%20time/send', '/r/tea%20time/leave']);
    assert.equal(page.link, '/r/tea%20time?plain');
    assert.match(page.html, /<label for="text">Message<\/label> \(you are <bdi>Ann<\/bdi>\)/);
    assert.match(page.html, /<input type="submit" value="Send">/);
    assert.match(page.html, /<input type="submit" name="leave" value="Leave">/);
    assert.match(page.html, /<a href="\/r\/tea%20time\/qr">Invite/);
    assert.doesNotMatch(page.html, /Older messages/);
    const renewed = cookieOf(await request(server, 'GET', '/r/tea%20time?plain', { cookie: ann.cookie }));
    assert.equal(renewed.pair, ann.cookie, 'the cookie begins its age anew');
    assert.ok(renewed.attributes.includes('Path=/r/tea%20time'));
});

test('who is no member gets the form to join, and nothing that was said', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const eve = await join(server, 'cup', 'Eve');
    const gone = await join(server, 'tea', 'Gone');
    await say(ann, 'a secret');
    assert.equal((await ask(gone, 'POST', 'leave')).status, 204);
    const name = ann.cookie.split('=')[0];
    const others = [eve.cookie, gone.cookie, `${name}=`, `${name}=${'0'.repeat(32)}`, `x${ann.cookie}`];
    for (const cookie of [undefined, ...others]) {
        const page = await look(server, 'tea', { cookie });
        isEntrance(page, 'tea');
        assert.doesNotMatch(page.html, /secret|Ann/, cookie);
        assert.equal(page.prefilled, '');
    }
    const empty = await look(server, 'nowhere');
    isEntrance(empty, 'nowhere');
    const there = await look(server, 'tea');
    assert.equal(empty.html.replaceAll('nowhere', 'tea'), there.html, 'nor whether there is such a room');
    assert.equal((await look(server, 'tea', { cookie: `${name}=x; ${eve.cookie}; ${ann.cookie}` })).said.length, 1);
    assert.equal((await request(server, 'GET', '/r/tea?plain')).all('set-cookie').length, 0);
});

test('the name in the query is filled in if it can be one', async (t) => {
    const server = await start(t);
    const rows = [['Ann', 'Ann'], ['  Ann   B ', 'Ann B'], ['"><script>hit()</script>', '"><script>hit()</script>'],
        ["' onfocus='hit()", "' onfocus='hit()"], ['&quot;&#34;', '&quot;&#34;'], ['é漢🙂', 'é漢🙂'],
        ['"'.repeat(64), '"'.repeat(64)], ['', ''], ['x'.repeat(65), ''], ['a\nb', ''], ['a\0b', ''],
        ['\u202ereversed', ''], [Buffer.from([0x41, 0xff]), ''], [Buffer.from([0xc3]), '']];
    const named = rows.map(([given, filled]) => ({ name: JSON.stringify(given), given, filled }));
    await each(named, async ({ given, filled }) => {
        for (const query of [`?plain&name=${escape(given)}`, `?name=${escape(given)}&plain=`]) {
            const page = await look(server, 'tea', { query });
            isEntrance(page, 'tea');
            assert.equal(page.prefilled, filled);
        }
    });
});

test('the page without JavaScript is had by asking for it alone', async (t) => {
    const server = await start(t);
    const page = (await request(server, 'GET', '/r/tea')).text;
    for (const query of ['', '?', '?x', '?plainer', '?PLAIN', '?name=plain', '?x=plain'])
        assert.equal((await request(server, 'GET', `/r/tea${query}`)).text, page, query);
    for (const query of ['?plain', '?plain=', '?plain=1', '?name=x&plain', '?pl%61in&x'])
        isEntrance(await look(server, 'tea', { query }), 'tea');
    for (const query of ['?plain&plain', '?plain&name=a&name=b'])
        assert.equal((await request(server, 'GET', `/r/tea${query}`)).status, 400, query);
    assert.equal((await request(server, 'POST', '/r/tea?plain', { form: {} })).status, 405);
    const moved = await request(server, 'GET', '/r/TEA?plain&name=A%20b');
    assert.deepEqual([moved.status, moved.field('location')], [308, '/r/tea?plain&name=A%20b']);
});

test('HEAD gets the fields of the page', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    for (const cookie of [undefined, ann.cookie]) {
        const [get, head] = [await request(server, 'GET', '/r/tea?plain', { cookie }),
            await request(server, 'HEAD', '/r/tea?plain', { cookie })];
        const fields = (answer) => answer.fields.filter(([name]) => name !== 'date');
        assert.deepEqual(fields(head), fields(get));
        assert.equal(head.body.length, 0);
        assert.equal(Number(head.field('content-length')), get.body.length);
    }
});

/* ---- whatever they write ---- */

const HOSTILE = ['<script>hit()</script>', '</p></form><form action=//evil>', '"><img src=x onerror=hit()>',
    "' onclick='hit()", '<!--', '-->', '<![CDATA[', ']]>', '&lt;b&gt;', '&#60;b&#62;', '&', '&amp', '&&&;', '<', '>', '"', "'",
    '`', '\\', '\\n', '\\"', '\\u003c', '</title><h1>', '</style>', '{"text":"x"}', '%3Cb%3E', '<br>',
    '<p dir="auto"><b><bdi>Eve</bdi></b>', 'é漢🙂 עברית عربى'];

test('what people write is text, whatever it looks like', async (t) => {
    const server = await start(t);
    await each(HOSTILE.map((word) => ({ word })), async ({ word }) => {
        const room = word.toLowerCase().replaceAll('/', '|').replaceAll('\\', '|').replace(/\s+/g, ' ');
        const ann = await join(server, room, word.replace(/\s+/g, ' '));
        const text = `${word}\n\t${word}\n\n${word}`;
        await say(ann, text);
        await say(ann, word);
        const page = await look(server, room, ann);
        assert.equal(page.room, room);
        assert.deepEqual(page.said.map(({ text: said }) => said), [word, text]);
        assert.equal(page.said[0].name, ann.name);
        isEntrance(await look(server, room), room);
    });
});

test('the newest messages that fit are shown', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (let i = 0; i < 300; i++)
        await say(ann, `message ${i}\n${'x'.repeat(i)}`);
    const answer = await request(server, 'GET', '/r/tea?plain', { cookie: ann.cookie });
    const { said, html } = read(answer);
    assert.ok(said.length > 10 && said.length < 100, `${said.length} messages`);
    said.forEach(({ text }, i) => assert.equal(text, `message ${299 - i}\n${'x'.repeat(299 - i)}`));
    assert.match(html, /Older messages have no place here/);
    assert.ok(answer.body.length > ANSWER_MAX - 3000 && answer.body.length < ANSWER_MAX, 'the page is well filled');
});

test('a message that does not fit is cut between two characters, the longest names beside it', async (t) => {
    const server = await start(t);
    const worst = '"'.repeat(64);
    const ann = await join(server, worst, worst);
    const [heart, quote] = ['❤'.repeat(1333), '"'.repeat(4000)];
    for (const text of ['&'.repeat(4000), quote, `a${'\n'.repeat(3998)}b`, `${'"'.repeat(1000)}${'❤'.repeat(1000)}`]) {
        await say(ann, text);
        const page = await look(server, worst, ann);
        assert.equal(page.room, worst);
        assert.match(page.html, /no place here/);
        assert.equal(page.said[0].name, worst);
        const shown = page.said[0].text.replace(/ \(The rest has no place here\.\)$/, '');
        assert.ok(shown.length > 1000 && text.startsWith(shown), `${shown.length} of ${text.length}`);
        assert.deepEqual(page.actions.map((action) => path.basename(action)), ['send', 'leave']);
    }
    for (let i = 0; i < 60; i++) { // the cut comes at every place of a character
        const text = `${'"'.repeat(1200 + i)}${heart}`.slice(0, 2000);
        await say(ann, text);
        const { said } = await look(server, worst, ann);
        assert.ok(text.startsWith(said[0].text.replace(/ \(The rest has no place here\.\)$/, '')));
    }
    await say(ann, 'short');
    assert.equal((await look(server, worst, ann)).said[0].text, 'short');
});

test('a message of which nothing is cut is not said to be cut', async (t) => {
    const server = await start(t, { options: ['rate=off'] });
    const ann = await join(server, 'tea', 'Ann');
    const isWhole = async (text) => {
        await say(ann, text);
        const { said } = await look(server, 'tea', ann);
        const shown = said[0].text.replace(/ \(The rest has no place here\.\)$/, '');
        assert.equal(said[0].text === shown, shown === text, `${text.length} characters`);
        return shown === text;
    };
    let [least, most] = [1000, 4000]; // quotes that fit, and that do not
    while (most - least > 1) {
        const middle = (least + most) >> 1;
        if (await isWhole('"'.repeat(middle)))
            least = middle;
        else
            most = middle;
    }
    for (let i = 0; i < 14; i++)
        await isWhole('"'.repeat(least - 1) + 'x'.repeat(i));
});

/* ---- forms ---- */

test('forms lead from the landing page through the room and out', async (t) => {
    const server = await start(t);
    const landed = await post(server, '/join', { room: 'Tea', name: 'Ann' });
    assert.deepEqual([landed.status, landed.field('location')], [303, '/r/tea?plain&name=Ann']);
    const entrance = read(await request(server, 'GET', landed.field('location')));
    assert.equal(entrance.prefilled, 'Ann');
    const joined = await post(server, entrance.actions[0], { name: entrance.prefilled });
    assert.deepEqual([joined.status, joined.field('location')], [303, '/r/tea?plain']);
    const { pair: cookie } = cookieOf(joined);
    const page = read(await request(server, 'GET', joined.field('location'), { cookie }));
    const sent = await post(server, page.actions[0], { nonce: page.nonce, text: 'hi' }, { cookie });
    assert.deepEqual([sent.status, sent.field('location')], [303, '/r/tea?plain']);
    const then = read(await request(server, 'GET', sent.field('location'), { cookie }));
    assert.deepEqual(then.said.map(({ name, text }) => [name, text]), [['Ann', 'hi']]);
    const left = await post(server, then.actions[1], { leave: 'Leave' }, { cookie });
    assert.deepEqual([left.status, left.field('location')], [303, '/']);
    isEntrance(await look(server, 'tea', { cookie }), 'tea');
    isEntrance(await look(server, 'tea', { query: '?plain&name=Bob' }), 'tea');
});

test('what a plain form can not have done is answered with a sentence', async (t) => {
    const server = await start(t, { options: ['rate=1/60', 'rooms=1'] });
    const { cookie } = await join(server, 'tea', 'Ann');
    assert.equal((await post(server, '/r/tea/send', { text: 'hi' }, { cookie })).status, 303);
    const rows = [['tea/join', { name: 'ann' }, 409], ['tea/join', { name: '' }, 400], ['cup/join', { name: 'Ann' }, 503],
        ['tea/send', { text: 'x' }, 401], ['tea/send', { text: ' \n' }, 400, cookie], ['tea/send', { text: 'x' }, 429, cookie]];
    for (const [action, form, status, as] of rows) // wire.mjs reads the sentence
        assert.equal((await post(server, `/r/${action}`, form, { cookie: as })).status, status, action);
});

test('a form sent twice says it once, and an old form sent with another text says that too', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const nonces = [];
    for (let i = 0; i < 3; i++)
        nonces.push((await look(server, 'tea', ann)).nonce);
    nonces.forEach((nonce) => assert.match(nonce, /^[0-9a-f]{16}$/));
    assert.equal(new Set(nonces).size, 3);
    const [a, b, c] = nonces;
    for (const [text, nonce] of [['hi', a], ['hi', a], ['two', a], ['two', a], ['hi', a], ['hi', b], ['hi\r\nthere', c],
        ['hi\r\nthere', c], ['two', ''], ['two', '']])
        assert.equal((await post(server, '/r/tea/send', { text, nonce }, ann)).status, 303);
    assert.deepEqual(textsOf(await messages(ann)), ['hi', 'two', 'hi', 'hi\nthere', 'two', 'two']);
    await say(ann, 'from the page', 'n1');
    await say(ann, 'whatever its text', 'n1');
    assert.equal((await messages(ann)).length, 7, 'to others a nonce is one whatever its text');
    await server.restart();
    assert.equal((await post(server, '/r/tea/send', { text: 'two', nonce: a }, ann)).status, 303);
    assert.equal((await messages(ann)).length, 7);
});

test('who reads without JavaScript is here', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const bob = await join(server, 'tea', 'Bob');
    const reader = await subscriber(bob);
    await reader.people('Bob');
    await look(server, 'tea', ann);
    await reader.people('Ann', 'Bob');
});

/* ---- browsers of the terminal ---- */

test('lynx gets a cookie that it sends to the page', async (t) => {
    const server = await start(t, { options: ['sync=always'] });
    const fields = { 'User-Agent': 'Lynx/2.9.0dev.12 libwww-FM/2.14' };
    const paths = (answer) => answer.all('set-cookie').map((cookie) => /Path=([^;]*)/.exec(cookie)[1]);
    const both = ['/r/tea', '/r/tea?plain'];
    const [joined] = await Promise.all([post(server, '/r/tea/join', { name: 'Ann' }, { fields }),
        ...Array.from({ length: 20 }, () => request(server, 'GET', '/healthz'))]); // others ask while he waits for the fsync
    assert.deepEqual(paths(joined), both);
    const [cookie, other] = joined.all('set-cookie').map((text) => text.split(';')[0]);
    assert.equal(cookie, other);
    assert.deepEqual(paths(await request(server, 'GET', '/r/tea?plain', { cookie, fields })), both);
    assert.deepEqual(paths(await request(server, 'GET', '/r/tea?plain', { cookie })), ['/r/tea']);
    const long = '漢'.repeat(21);
    assert.deepEqual(paths(await post(server, `${pathOf(long)}/join`, { name: 'Ann' }, { fields })),
        [pathOf(long), `${pathOf(long)}?plain`]);
    const left = await post(server, '/r/tea/leave', {}, { cookie, fields });
    assert.deepEqual(paths(left), both);
    left.all('set-cookie').forEach((text) => assert.match(text, /^snug\d+=; .*Max-Age=0/));
});

/* Runs COMMAND in a terminal that types KEYS, until it ends. */
async function inTerminal(folder, command, keys = '') {
    const child = spawn('script', ['-qec', command, '/dev/null'],
        { cwd: folder, env: { ...process.env, ...environment(folder) }, stdio: ['pipe', 'pipe', 'pipe'] });
    let screen = '';
    child.stdout.on('data', (data) => (screen += data));
    child.stdin.write(keys);
    try {
        await within(new Promise((resolve) => child.once('close', resolve)), `the end of ${command}`);
    } catch (error) {
        error.message += `, whose screen had ${JSON.stringify(screen.slice(-600))}`;
        throw error;
    } finally {
        child.kill('SIGKILL');
    }
}

const environment = (folder) => ({ HOME: folder, TERM: 'xterm', LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8' });

/* What COMMAND prints. */
function printed(folder, command) {
    const { stdout, status } = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8', timeout: PATIENCE_MS,
        env: { ...process.env, ...environment(folder) } });
    assert.equal(status, 0, command);
    return stdout.replace(/\s+/g, ' ');
}

const has = (program) => spawnSync('sh', ['-c', `command -v ${program} && command -v script`]).status === 0;

/* Bob comes by a browser to where Eve said something, says "hello there", reads, and leaves. */
async function visit(t, { write, show, leave }) {
    const server = await start(t);
    const eve = await join(server, 'tea time', 'Eve');
    await say(eve, 'come in <b>\nsit down');
    const url = `http://127.0.0.1:${server.port}/r/tea%20time?plain`;
    await write(`${url}&name=Bob`);
    assert.deepEqual(textsOf(await messages(eve)), ['come in <b>\nsit down', 'hello there']);
    await say(eve, 'what news?');
    const screen = show(url);
    assert.match(screen, /tea time Message \(you are Bob\)/);
    const talk = screen.replace(/ \d{4}-\d\d-\d\d \d\d:\d\d /g, ': ');
    assert.ok(talk.includes('Eve: what news? Bob: hello there Eve: come in <b> sit down'), talk);
    await leave(url);
    assert.equal((await look(server, 'tea time', { query: '?plain&name=Bob' })).said.length, 0);
    assert.match(show(url), /tea time Your name/);
    await join(server, 'tea time', 'Bob'); // his name is free
}

test('w3m joins, writes, reads and leaves', { skip: !has('w3m') }, async (t) => {
    const folder = temporaryFolder(t);
    const [next, enter, quit] = ['\t', '\r', 'Q'];
    const type = (url, ...keys) => inTerminal(folder, `w3m -cookie '${url}'`, keys.join(''));
    await visit(t, {
        write: (url) => type(url, next, enter, enter, next, enter, // the field, as it is filled in, the button
            next, enter, `hello there${enter}`, next, enter, quit),
        show: (url) => printed(folder, `w3m -cookie -dump '${url}'`),
        leave: (url) => type(url, next, next, next, next, enter, quit)
    });
});

test('lynx joins, writes, reads and leaves', { skip: !has('lynx') }, async (t) => {
    const folder = temporaryFolder(t);
    const [next, enter] = ['Down Arrow', '^J'];
    fs.writeFileSync(path.join(folder, 'lynx.cfg'),
        ['PERSISTENT_COOKIES', 'ACCEPT_ALL_COOKIES'].map((name) => `${name}:TRUE\n`).join('') +
        ['COOKIE_FILE', 'COOKIE_SAVE_FILE'].map((name) => `${name}:${folder}/cookies\n`).join(''));
    const type = (url, ...keys) => {
        fs.writeFileSync(path.join(folder, 'keys'), keys.map((key) => `key ${key === ' ' ? '<space>' : key}\n`).join(''));
        return inTerminal(folder, `lynx -cfg=lynx.cfg -nopause -cmd_script=keys '${url}'`);
    };
    await visit(t, {
        write: (url) => type(url, next, enter, ...'hello there', next, enter, next, next, 'Q'),
        show: (url) => printed(folder, `lynx -cfg=lynx.cfg -dump -nolist '${url}'`),
        leave: (url) => type(url, next, next, next, enter, next, next, 'Q')
    });
});
