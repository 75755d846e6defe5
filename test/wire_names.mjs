/* wire_names.mjs: who is who, and what may be said (the contract, section 3). */
import { test } from 'node:test';
import { ask, assert, each, escape, expectNext, join, messages, request, say, start, subscriber,
    until } from './wire.mjs';

const tryName = (server, name, options = {}) => request(server, 'POST', '/r/tea/join', { form: { name }, ...options });

/* ---- names ---- */

/* Rows: the first's name, then those that are the same to a reader and those that are not. */
const sameness = [
    ['Ann', ['ann', 'ANN', 'aNn', ' Ann ', 'Ann\u3000'], ['Anna', 'An', 'A nn', 'Ann.']],
    ['Ärger', ['ärger', 'ÄRGER', 'äRGER'], ['Arger', 'Aerger', 'A\u0308rger']],
    ['Ÿves', ['ÿVES'], ['Yves']],
    ['Łódź', ['łódź', 'ŁÓDŹ'], ['Lodz']],
    ['Ọlá', ['ọlá', 'ỌLÁ'], ['Olá']],
    ['Ǆ', ['ǆ', 'ǅ'], ['DZ']],
    ['straße', ['STRAẞE'], ['STRASSE']],
    ['Σοφια', ['σοφια', 'ΣΟΦΙΑ'], ['Σοφιά', 'ςοφια']],
    ['Άννα', ['ΆΝΝΑ', 'άννα'], ['Αννα']],
    ['Ὀδυσσ', ['ὀδυσσ', 'ὈΔΥΣΣ'], ['Οδυσσ']],
    ['Жанна', ['жанна', 'ЖАННА'], ['Жана']],
    ['Ёж', ['ёж', 'ЁЖ'], ['Еж']],
    ['Ђорђе', ['ђорђе', 'ЂОРЂЕ'], []],
    ['Ӏ', ['ӏ'], ['I']],
    ['Ԥ', ['ԥ'], []],
    ['Ann Lee', ['ann  lee', 'ANN\u00a0LEE', '\u2003ann\u3000 lee\u1680'], ['AnnLee', 'Ann-Lee']],
    ['Anna', ['anna'], ['Аnna', 'Anпa']],
    ['日本', ['日本 '], ['日 本']],
    ['🦊', ['🦊'], ['🐺']],
    ['kim', ['\u212Aim', 'Kim'], []],
    ['Ångström', ['\u212Bngström', 'ångström'], []],
    ['Ａnn', ['ａnn'], ['Ann']]
].map(([name, same, other]) => ({ name, same, other }));

test('a name is unique in its room, however it is written', async (t) => {
    const server = await start(t);
    const rows = sameness.map((row, i) => ({ ...row, path: `/r/room${i}/join` }));
    await each(rows, async ({ name, same, other, path }) => {
        const asked = async (name) => (await request(server, 'POST', path, { form: { name } })).status;
        assert.equal(await asked(name), 200);
        for (const one of same)
            assert.equal(await asked(one), 409, `${escape(one)} is taken`);
        for (const one of other)
            assert.equal(await asked(one), 200, `${escape(one)} is not`);
    });
});

test('a name is kept trimmed, its blanks made one', async (t) => {
    const server = await start(t);
    const spaces = ['\u00a0', '\u1680', ...Array.from({ length: 11 }, (_, i) => String.fromCharCode(0x2000 + i)),
        '\u202f', '\u205f', '\u3000'];
    const rows = [
        ['  Ann', 'Ann'], ['Ann1   ', 'Ann1'], [' A   n  n ', 'A n n'],
        [`${spaces.join('')}Bob${spaces.join('')}Lee${spaces.join('')}`, 'Bob Lee'],
        ...spaces.map((space, i) => [`${space}x${space} ${space}${i}${space}`, `x ${i}`]), ['CARL', 'CARL'],
        ["<b>&'\"\\", "<b>&'\"\\"], ['\u2010\u00ac\u00ae', '\u2010\u00ac\u00ae']
    ].map(([given, kept]) => ({ name: escape(given), given, kept }));
    await each(rows, async ({ given, kept }) => {
        const answer = await tryName(server, given);
        assert.equal(answer.status, 200);
        assert.equal(answer.json.name, kept);
    });
});

/* The code points no name may hold. */
function forbidden() {
    const ranges = [[0x00, 0x1f], [0x7f, 0x9f], [0xad, 0xad], [0x61c, 0x61c], [0x180e, 0x180e], [0x200b, 0x200f],
        [0x202a, 0x202e], [0x2060, 0x2069],
        [0xfeff, 0xfeff]];
    return ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
}

test('a name and a room hold no character that cannot be seen', async (t) => {
    const server = await start(t);
    const rows = forbidden().map((code) => ({ name: `U+${code.toString(16)}`,
        text: `a${String.fromCodePoint(code)}b` }));
    await each(rows, async ({ text }) => {
        assert.equal((await tryName(server, text)).status, 400);
        assert.equal((await request(server, 'POST', '/join', { form: { room: text, name: 'Ann' } })).status, 400);
        assert.equal((await request(server, 'GET', `/r/${escape(text)}`)).status, 404);
    });
    for (const text of ['\u200bAnn', 'Ann\u202e', '\u200d', ' \u200b ', 'A\tB', 'A\nB', '\ufeffAnn'])
        assert.equal((await tryName(server, text)).status, 400, escape(text));
    for (const text of ['a\u2010b', 'a\u206ab', 'a\u061bb', 'a\u180db', 'a\u00aeb', 'a\ufefeb', 'a\u2027b'])
        assert.equal((await tryName(server, text)).status, 200, escape(text));
});

const brokenUtf8 = ['80', 'BF', 'C0 80', 'C0 AF', 'C1 BF', 'C2', 'C3 28', 'C3 C3 A4', 'E0 80 80', 'E0 9F BF', 'E2 82',
    'E2 28 A1', 'E2 82 28', 'ED A0 80', 'ED BF BF',
    'ED A0 BD ED B8 80', 'EF BF', 'F0 80 80 80', 'F0 8F BF BF', 'F0 9F 98', 'F0 9F 28 80', 'F0 28 8C BC', 'F4 90 80 80',
    'F5 80 80 80', 'F8 88 80 80 80', 'FC 84 80 80 80 80', 'FE', 'FF',
    'C3 A4 FF'];

test('what is not UTF-8 is refused everywhere', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const rows = brokenUtf8.flatMap((hex) => {
        const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
        return [bytes, Buffer.concat([Buffer.from('a'), bytes]),
            Buffer.concat([bytes, Buffer.from('b')])].map((bytes) => ({ name: hex, bytes }));
    });
    await each(rows, async ({ bytes }) => {
        assert.equal((await tryName(server, bytes)).status, 400, 'a name');
        assert.equal((await request(server, 'POST', '/join', { form: { room: bytes, name: 'Ann' } })).status, 400,
            'a room');
        assert.equal((await request(server, 'GET', `/r/${escape(bytes)}`)).status, 404, 'a path');
        assert.equal((await request(server, 'POST', '/r/tea/send',
            { form: { text: bytes }, cookie: ann.cookie })).status, 400, 'a text');
    });
    assert.deepEqual(await messages(ann), []);
});

test('a name has 1 to 64 bytes, counted as it is kept', async (t) => {
    const server = await start(t);
    const rows = [
        ['', 400], ['   ', 400], ['\u3000', 400], ['a'.repeat(64), 200], ['b'.repeat(65), 400],
        [`   ${'c'.repeat(64)}   `, 200], [`${'d'.repeat(31)}   ${'d'.repeat(32)}`, 200],
        ['é'.repeat(32), 200], [`${'é'.repeat(32)}e`, 400], ['日'.repeat(21), 200], [`${'日'.repeat(21)}a`, 200],
        ['日'.repeat(22), 400], ['🦊'.repeat(16), 200], ['🦊'.repeat(17), 400],
        [`${'e'.repeat(62)}\u3000\u3000e`, 200], ['Ⱥ'.repeat(32), 200], [`${'Ⱥ'.repeat(32)}a`, 400],
        ['f'.repeat(10000), 400], ['"'.repeat(64), 200], ['\\'.repeat(64), 200]
    ].map(([text, status]) => ({ name: `${text.length} of ${text.slice(0, 3)}`, text, status }));
    await each(rows, async ({ text, status }) => assert.equal((await tryName(server, text)).status, status));
    assert.equal((await tryName(server, 'ⱥ'.repeat(21))).status, 200);
});

test('a room has 1 to 64 bytes, counted in its one spelling', async (t) => {
    const server = await start(t);
    const rows = [
        ['a'.repeat(64), 200], ['a'.repeat(65), 404], ['é'.repeat(32), 200], [`${'é'.repeat(32)}a`, 404],
        [`  ${'a'.repeat(64)} `, 308], ['A'.repeat(64), 308],
        ['Ⱥ'.repeat(32), 404], ['Ⱥ'.repeat(21), 308], ['ⱥ'.repeat(21), 200], ['...', 200], ['.', 404], ['..', 404],
        [' . ', 404], ['.. ', 404], ['a/b', 404], ['\\', 404]
    ].map(([text, status]) => ({ name: `${text.length} of ${text.slice(0, 3)}`, text, status }));
    await each(rows, async ({ text, status }) => {
        assert.equal((await request(server, 'GET', `/r/${escape(text)}`)).status, status);
        const formed = (await request(server, 'POST', '/join', { form: { room: text, name: 'Ann' } })).status;
        assert.equal(formed, status === 404 ? 400 : 303);
    });
});

/* ---- renaming, leaving, cookies ---- */

test('a new name keeps the member and frees the old name', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const bob = await join(server, 'tea', 'Bob');
    const [one, two, bobs] = [await subscriber(ann), await subscriber(ann), await subscriber(bob)];
    await bobs.people('Ann', 'Bob');
    await say(ann, 'before');
    for (const reader of [one, two])
        assert.deepEqual(await reader.state('you'), { by: ann.by, name: 'Ann' });
    const renamed = await join(server, 'tea', 'Anna', { cookie: ann.cookie });
    assert.equal(renamed.by, ann.by);
    for (const reader of [one, two])
        assert.deepEqual(await reader.state('you'), { by: ann.by, name: 'Anna' }, 'each of her streams is told');
    const { people } = await bobs.people('Anna', 'Bob');
    assert.deepEqual(people[0], { by: ann.by, name: 'Anna' });
    await say(renamed, 'after');
    const events = [await expectNext(bobs, 'before'), await expectNext(bobs, 'after')];
    assert.deepEqual(events.map((event) => [event.data.by, event.data.name]), [[ann.by, 'Ann'], [ann.by, 'Anna']]);
    assert.ok(!bobs.log.some((event) => event.kind === 'you' && event.data.by !== bob.by), 'and nobody else');
    const other = await join(server, 'tea', 'Ann');
    assert.notEqual(other.by, ann.by);
    assert.equal((await ask(ann, 'POST', 'typing')).status, 204, 'the old cookie is hers still');
});

test('a name can be written another way by its holder, and by nobody else', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'ann');
    const bob = await join(server, 'tea', 'Bob');
    assert.equal((await join(server, 'tea', 'ANN', { cookie: ann.cookie })).name, 'ANN');
    assert.equal((await tryName(server, 'Ann', { cookie: bob.cookie })).status, 409);
    assert.equal((await join(server, 'tea', 'Bob', { cookie: bob.cookie })).by, bob.by, 'he is Bob as before');
    assert.equal((await tryName(server, '\u200b', { cookie: bob.cookie })).status, 400);
    assert.equal((await join(server, 'tea', 'Bob', { cookie: bob.cookie })).name, 'Bob');
});

test('a member can be renamed in a full room', async (t) => {
    const server = await start(t, { options: ['members=2'] });
    const ann = await join(server, 'tea', 'Ann');
    await join(server, 'tea', 'Bob');
    assert.equal((await join(server, 'tea', 'Anna', { cookie: ann.cookie })).by, ann.by);
    assert.equal((await tryName(server, 'Ann')).status, 503);
});

test('leaving frees the name and ends the cookie', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const bob = await join(server, 'tea', 'Bob');
    await say(ann, 'hi');
    assert.equal((await ask(ann, 'POST', 'leave')).status, 204);
    for (const [method, action] of [['POST', 'send'], ['POST', 'typing'], ['POST', 'leave'], ['GET', 'messages'],
        ['GET', 'events']])
        assert.equal((await ask(ann, method, action)).status, 401, action);
    const again = await join(server, 'tea', 'Ann', { cookie: ann.cookie });
    assert.ok(again.by > bob.by, 'a number is never given twice');
    assert.notEqual(again.cookie, ann.cookie);
    assert.deepEqual((await messages(again)).map((one) => one.by), [ann.by], 'what was said stays');
});

test('numbers of members go up by one, and never come again', async (t) => {
    const server = await start(t, { options: ['members=2'] });
    let last = await join(server, 'tea', 'Ann');
    assert.ok(last.by >= 1 && last.by < 2 ** 31, 'a new room\'s first is drawn');
    for (let i = 0; i < 50; i++) {
        const next = await join(server, 'tea', `Bob${i}`);
        assert.equal(next.by, last.by + 1);
        await ask(next, 'POST', 'leave');
        last = next;
    }
    assert.notEqual((await join(server, 'coffee', 'Ann')).by, last.by - 50, 'and it differs from room to room');
});

test('each of several cookies is tried', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const coffee = await join(server, 'coffee', 'Ann');
    const cookie = `${coffee.cookie}; theme=dark; ${ann.cookie}`;
    assert.equal((await request(server, 'POST', '/r/tea/typing', { cookie })).status, 204);
    assert.equal((await request(server, 'POST', '/r/coffee/typing', { cookie })).status, 204);
    assert.equal((await join(server, 'tea', 'Anna', { cookie })).by, ann.by);
    assert.equal((await join(server, 'coffee', 'Anna', { cookie })).by, coffee.by);
});

/* ---- how long a name is held ---- */

test('a name is its holder\'s until his time is over and somebody asks for it', async (t) => {
    const server = await start(t, { options: ['hold=1s'] });
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    assert.equal((await tryName(server, 'Ann')).status, 409, 'not yet');
    const other = await until('the name to be given on', async () => {
        const answer = await tryName(server, 'ANN');
        return answer.status === 200 ? answer : assert.equal(answer.status, 409);
    });
    assert.equal(other.json.by, ann.by + 1);
    assert.equal((await ask(ann, 'POST', 'send', { form: { text: 'still me' } })).status, 401);
});

test('a holder whose time is over is still its holder while nobody asks', async (t) => {
    const server = await start(t, { options: ['hold=1s'] });
    const ann = await join(server, 'tea', 'Ann');
    const probe = await join(server, 'tea', 'Probe');
    await until('a name as old to be given on', async () => (await tryName(server, 'Probe')).status === 200);
    assert.equal((await ask(probe, 'POST', 'typing')).status, 401);
    await say(ann, 'still me');
    assert.equal((await ask(ann, 'POST', 'typing')).status, 204);
});

test('who takes another name may take one whose time is over', async (t) => {
    const server = await start(t, { options: ['hold=1s'] });
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const reader = await subscriber(bob);
    await reader.people('Bob');
    const renamed = await until('the name to be given on', async () => {
        const answer = await tryName(server, 'ann', { cookie: bob.cookie });
        return answer.status === 200 ? answer : assert.equal(answer.status, 409);
    });
    assert.deepEqual(renamed.json, { room: 'tea', name: 'ann', by: bob.by });
    assert.equal((await ask(ann, 'POST', 'typing')).status, 401);
    await reader.people('ann');
});

test('who is here keeps his name and his place, however long', async (t) => {
    const server = await start(t, { options: ['hold=1s', 'members=2'] });
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    await join(server, 'tea', 'Bob');
    const carl = await until('Bob to give way', async () => {
        const answer = await tryName(server, 'Carl');
        return answer.status === 200 ? answer : assert.equal(answer.status, 503);
    });
    assert.equal(carl.json.name, 'Carl');
    assert.equal((await tryName(server, 'Ann')).status, 409);
    await say(ann, 'here');
    await expectNext(reader, 'here');
});

/* ---- texts ---- */

test('a text is kept as it is, but for CRLF', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    const rows = [
        ['hi', 'hi'], ['  both ends  ', '  both ends  '], ['two\r\nlines\r\n', 'two\nlines\n'], ['\n\n', null],
        ['a\tb\nc', 'a\tb\nc'], ['"quoted" \\back\\', '"quoted" \\back\\'],
        ['</script><b>&amp;', '</script><b>&amp;'], ['\u2028x\u2029', '\u2028x\u2029'],
        ['👩\u200d👩\u200d👧', '👩\u200d👩\u200d👧'], ['\u202eabc', '\u202eabc'], ['e\u0301', 'e\u0301'],
        ['data: x\n\nid: 5\nevent: gap', 'data: x\n\nid: 5\nevent: gap'], ['\u00a0', null],
        ['\u00a0x\u00a0', '\u00a0x\u00a0'], [' .', ' .'], ['\\u0041\\n', '\\u0041\\n'],
        ['\u{10ffff}\ufffd', '\u{10ffff}\ufffd'],
        ['\\'.repeat(4000), '\\'.repeat(4000)], ['"\n'.repeat(2000), '"\n'.repeat(2000)],
        ['\r\n'.repeat(1999) + 'x', '\n'.repeat(1999) + 'x']
    ];
    for (const [text, kept] of rows) {
        const answer = await ask(ann, 'POST', 'send', { form: { text } });
        assert.equal(answer.status, kept === null ? 400 : 200, escape(text).slice(0, 60));
        if (kept !== null)
            await expectNext(reader, kept);
    }
    assert.deepEqual((await messages(ann)).map((one) => one.text),
        rows.map(([, kept]) => kept).filter((kept) => kept !== null));
});

test('a text that is empty, too long or holds controls is refused', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const controls = forbidden().filter((code) => code < 0xa0 && code !== 9 && code !== 10);
    const rows = [
        ['', 400], [' ', 400], ['\t', 400], ['\n', 400], [' \t\r\n ', 400], ['   '.repeat(1000), 400],
        ['a'.repeat(4000), 200], ['a'.repeat(4001), 400], ['é'.repeat(2000), 200], [`${'é'.repeat(2000)}a`, 400],
        ['日'.repeat(1333), 200], ['日'.repeat(1334), 400], [`${'a'.repeat(3998)}\r\nb`, 200],
        [`${'a'.repeat(3999)}\r\nb`, 400], ['a'.repeat(16000), 400], ['a\rb', 400], ['a\r', 400], ['a\r\r\nb', 400],
        ['\r\na\n\r', 400],
        ...controls.map((code) => [`a${String.fromCharCode(code)}b`, 400])
    ].map(([text, status]) => ({ name: `${text.length} bytes, ${escape(text.slice(0, 4))}`, text, status }));
    await each(rows, async ({ text, status }) => {
        assert.equal((await request(server, 'POST', '/r/tea/send', { form: { text }, cookie: ann.cookie })).status,
            status);
    });
});
