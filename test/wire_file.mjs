/* wire_file.mjs: nothing is lost (the contract, section 4): the data file under restarts, kills,
    damage and full disks. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ask, assert, each, expectNext, freePort, join, messages, request, run, say, start, subscriber, temporaryFolder,
    textsOf, until } from './wire.mjs';

const read = (server) => fs.readFileSync(server.file);
const damagedOf = (server) => (
    fs.readdirSync(server.folder).filter((name) => /^snug\.data\.damaged-\d+$/.test(name)).sort());

/* Says COUNT texts, "1" and on, each padded to SIZE: their receipts. */
async function sayMany(member, count, size = 1, from = 1) {
    const receipts = [];
    for (let i = from; i < from + count; i++)
        receipts.push(await say(member, `${i}`.padEnd(size, '.')));
    return receipts;
}

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const numbersOf = (list) => list.map((one) => Number(/^\d+/.exec(one.text)[0]));

/* ---- from one run to the next ---- */

for (const [how, end] of [['a clean stop', (server) => server.stop()], ['a kill', (server) => server.kill()]]) {
    test(`after ${how} all is as it was: messages, members, names, nonces`, async (t) => {
        const server = await start(t);
        const [ann, bob, carl] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob'),
            await join(server, 'tea', 'Carl')];
        const coffee = await join(server, 'coffee', 'Ann');
        await say(ann, 'one', 'n1');
        const receipt = await say(ann, 'two\nlines "quoted" \\ ✓', 'n2');
        await say(coffee, 'black');
        await ask(carl, 'POST', 'leave');
        await join(server, 'tea', 'Bobby', { cookie: bob.cookie });
        const before = [await messages(ann), await messages(coffee)];
        await end(server);
        await server.start();
        assert.deepEqual([await messages(ann), await messages(coffee)], before);
        assert.deepEqual(await say(ann, 'two', 'n2'), receipt, 'a retry is known');
        assert.equal((await messages(ann)).length, 2);
        assert.equal((await ask(carl, 'POST', 'typing')).status, 401, 'who left has left');
        for (const [name, status] of [['ann', 409], ['bobby', 409], ['Bob', 200], ['Carl', 200]])
            assert.equal((await request(server, 'POST', '/r/tea/join', { form: { name } })).status, status, name);
        assert.deepEqual(await join(server, 'tea', 'Bobby', { cookie: bob.cookie }).then((one) => one.by), bob.by);
        const reader = await subscriber(ann, { lastEventId: before[0][0].id });
        await expectNext(reader, before[0][1].text);
        await say(ann, 'three');
        await expectNext(reader, 'three');
    });

    test(`after ${how} no id and no number of a member comes again`, async (t) => {
        const server = await start(t);
        let ann = await join(server, 'tea', 'Ann');
        let last = { by: ann.by, id: (await sayMany(ann, 3)).at(-1).id };
        const jumps = [];
        for (let i = 0; i < 3; i++) {
            await end(server);
            await server.start();
            const next = { by: (await join(server, 'tea', `B${i}`)).by, id: (await say(ann, 'x')).id };
            for (const key of ['by', 'id']) {
                const jump = next[key] - last[key] - 1;
                assert.ok(jump >= 2 ** 20 && jump <= 2 ** 32, `${key} moved on by ${jump}`);
                jumps.push(jump);
            }
            last = next;
            ann = { ...ann, connection: null };
        }
        assert.equal(new Set(jumps).size, 6, 'the jumps are drawn');
        const list = await messages(ann);
        assert.deepEqual(list.map((one) => one.id), list.map((one) => one.id).sort((a, b) => a - b));
        assert.deepEqual(list.map((one) => one.t), list.map((one) => one.t).sort((a, b) => a - b));
    });
}

test('a room that nothing was said in keeps its numbers too', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const gapOf = async () => {
        const reader = await subscriber(ann, { lastEventId: 'x' });
        const event = await reader.next();
        reader.close();
        return Number(event.id);
    };
    const before = await gapOf();
    await server.restart();
    const jump = await gapOf() - before;
    assert.ok(jump >= 2 ** 20 && jump <= 2 ** 32, `moved on by ${jump}`);
});

test('a kill loses nothing that was acknowledged, and doubles nothing', async (t) => {
    const server = await start(t);
    let members = [];
    for (let i = 0; i < 4; i++)
        members.push(await join(server, i % 2 ? 'tea' : 'coffee', `M${i}`));
    const acknowledged = [];
    for (let round = 0; round < 3; round++) {
        const speaking = members.map(async (member) => {
            for (let i = 0; ; i++) {
                const text = `${member.name} ${round} ${i}`;
                acknowledged.push({ room: member.room, text, ...await say(member, text, text) });
            }
        });
        speaking.forEach((one) => one.catch(() => {}));
        const target = (round + 1) * 200;
        await until('messages', () => acknowledged.length >= target);
        await server.kill();
        await Promise.allSettled(speaking);
        await server.start();
        members = members.map((member) => ({ ...member, connection: null }));
    }
    for (const reader of [members[0], members[1]]) {
        const list = await messages(reader);
        const wanted = acknowledged.filter((one) => one.room === reader.room);
        const held = new Map(list.map((one) => [one.text, one.id]));
        assert.equal(held.size, list.length, 'nothing is there twice');
        for (const { text, id } of wanted)
            assert.equal(held.get(text), id, text);
        assert.ok(list.length <= wanted.length + 6, 'and what was not acknowledged is at most what was under way');
    }
});

test('names and rooms of every spelling come back', async (t) => {
    const server = await start(t);
    const spellings = ['a/b', ':room', 'id: 5', '-', '- x', '"', '\\', '0', '%41', 'data: {"id":1}', 'é ✓',
        '🦊'.repeat(16), "it's", '#', 'null', 'Ⱥ'.repeat(32)];
    const members = [];
    for (const name of spellings)
        members.push(await join(server, 'tea', name));
    const rooms = spellings.filter((name) => !/[/\\Ⱥ]/.test(name));
    for (const room of rooms)
        members.push(await join(server, room, '- /:"\\'));
    for (const member of members)
        await say(member, `${member.name} :message\n\n:room`, '- "x" /');
    await server.kill();
    await server.start();
    await server.restart();
    for (const member of members) {
        const again = await join(server, member.room, member.name, { cookie: member.cookie });
        assert.equal(again.by, member.by);
        assert.equal((await messages({ ...member, connection: null })).find((one) => one.by === member.by).text,
            `${member.name} :message\n\n:room`);
    }
    assert.deepEqual(damagedOf(server), []);
});

test('a smaller history keeps the newest, a bigger one all', async (t) => {
    const server = await start(t, { options: ['history=64k'] });
    const ann = await join(server, 'tea', 'Ann');
    await sayMany(ann, 400, 100);
    await server.restart({ options: ['rate=off', 'history=8k'] });
    const few = numbersOf(await messages(ann));
    assert.deepEqual(few, range(few[0], 400));
    assert.ok(few.length > 30 && few.length < 150, `${few.length} are held`);
    await server.restart({ options: ['rate=off', 'history=1m'] });
    assert.deepEqual(numbersOf(await messages({ ...ann, connection: null })), few);
    await say({ ...ann, connection: null }, '401');
});

test('a house that became too small for its file loses nothing in silence', async (t) => {
    const server = await start(t);
    for (let room = 0; room < 3; room++) {
        for (const name of ['Ann', 'Bob', 'Carl'])
            await say(await join(server, `room${room}`, name), `${room} ${name}`);
    }
    await server.stop();
    const before = read(server);
    for (const option of ['rooms=2', 'members=2']) {
        fs.writeFileSync(server.file, before);
        const port = await freePort();
        server.port = port;
        try {
            await server.start({ options: [option], isPortGiven: true });
        } catch {
            server.isToEnd = true;
            assert.ok([1, 2].includes(server.exit?.code), `${option}: ${JSON.stringify(server.exit)}`);
            assert.deepEqual(read(server), before, 'a file that is refused is left as it was');
            assert.ok(server.stderr.length > 20);
            continue;
        }
        const said = server.stderr.split('\n').length;
        await server.stop();
        assert.ok(said > 4, `${option}: what is dropped is told: ${server.stderr}`);
    }
});

/* ---- the file itself ---- */

test('the file reads as text, and holds the very frames that are sent', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    const texts = ['hi', 'two\nlines', '"quoted" \\ ✓ 🦊', 'x'.repeat(4000)];
    for (const text of texts) {
        await say(ann, text);
        await expectNext(reader, text);
    }
    const check = () => {
        const text = new TextDecoder('utf-8', { fatal: true }).decode(read(server));
        assert.ok(!/[\0-\x09\x0b-\x1f\x7f]/.test(text), 'no control characters but newlines');
        let at = 0;
        for (const frame of reader.frames) {
            const found = text.indexOf(`\n${frame}`, at);
            assert.ok(found > 0, `${frame} stands in the file, in its order`);
            assert.match(text.slice(0, found).split('\n').at(-1), /^:.*tea/,
                'behind a comment line that names its room');
            at = found;
        }
        assert.ok(!text.includes(ann.cookie.split('=')[1]), 'a token is not kept');
    };
    check();
    await server.stop();
    check();
    assert.ok(fs.readdirSync(server.folder).every((name) => /^snug\.data(\.lock)?$/.test(name)),
        `${fs.readdirSync(server.folder)}`);
});

test('nobody else may read the file', async (t) => {
    const server = await start(t, { before: 'umask 000' });
    const mode = () => fs.statSync(server.file).mode & 0o777;
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    assert.equal(mode(), 0o600);
    await server.stop();
    assert.equal(mode(), 0o600, 'after it was written anew');
});

test('a file behind a link is written where it lies', async (t) => {
    const folder = temporaryFolder(t);
    const place = temporaryFolder(t);
    fs.symlinkSync(path.join(place, 'real.data'), path.join(folder, 'snug.data'));
    fs.writeFileSync(path.join(place, 'real.data'), '');
    const server = await start(t, { folder });
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    await server.restart();
    assert.ok(fs.lstatSync(server.file).isSymbolicLink());
    assert.match(fs.readFileSync(path.join(place, 'real.data'), 'utf8'), /"text":"hi"/);
    const other = await run(['-a', '127.0.0.1', '-p', String(await freePort()), '-f', path.join(place, 'real.data')]);
    assert.ok([1, 2].includes(other.code), 'and is locked under every name');
    assert.deepEqual(textsOf(await messages(ann)), ['hi']);
});

test('a second server on one file does not start, and the first notices nothing', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    const before = read(server);
    const { code, stderr } = await run(['-a', '127.0.0.1', '-p', String(await freePort()), '-f', 'snug.data'],
        { cwd: server.folder });
    assert.ok([1, 2].includes(code), `${code}`);
    assert.match(stderr, /^[^\n]{20,}\.\n$/, 'one sentence');
    assert.deepEqual(read(server), before);
    await say(ann, 'still here');
    await server.restart();
    assert.deepEqual(textsOf(await messages(ann)), ['hi', 'still here']);
});

test('a relative file is found again, wherever the server is', async (t) => {
    const server = await start(t, { file: 'sub.data' });
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    await server.restart();
    assert.deepEqual(textsOf(await messages(ann)), ['hi']);
    assert.ok(fs.existsSync(path.join(server.folder, 'sub.data')));
});

test('SIGUSR1 writes the file anew, with what is held', async (t) => {
    const server = await start(t, { options: ['history=8k'] });
    const ann = await join(server, 'tea', 'Ann');
    await sayMany(ann, 50, 4000);
    assert.ok(read(server).length > 200000);
    server.child.kill('SIGUSR1');
    await until('a smaller file', () => read(server).length < 40000);
    const held = await messages(ann);
    await say(ann, '51');
    await until('the temporary file to be gone',
        () => fs.readdirSync(server.folder).every((name) => /^snug\.data(\.lock)?$/.test(name)));
    await server.kill();
    await server.start();
    assert.deepEqual((await messages({ ...ann,
        connection: null })).slice(-held.length - 1).map((one) => one.id).slice(0, -1), held.map((one) => one.id));
});

test('a file that has grown to twice what is held is written anew by itself', async (t) => {
    const server = await start(t, { options: ['history=8k'] });
    const ann = await join(server, 'tea', 'Ann');
    let most = 0;
    for (let i = 0; i < 400; i++) { // it goes on growing while the disk is slow with the new one
        await say(ann, `${i}`.padEnd(4000, '.'));
        most = Math.max(most, fs.statSync(server.file).size);
    }
    assert.ok(most > 200 * 1024, `it grew to ${most} bytes`);
    await until('the file to be small again', () => fs.statSync(server.file).size <= 256 * 1024 + 4200);
    const held = await messages(ann);
    await server.kill();
    await server.start();
    assert.deepEqual(await messages({ ...ann, connection: null }), held);
});

test('what is said while the file is written anew is in it', async (t) => {
    const server = await start(t, { options: ['history=8m', 'rooms=8'] });
    const members = [];
    for (let i = 0; i < 4; i++)
        members.push(await join(server, `room${i}`, 'Ann'));
    for (let round = 0; round < 2; round++) {
        const from = round * 400 + 1;
        const speaking = members.map((member) => sayMany(member, 400, 2000, from));
        for (let i = 0; i < 20; i++) {
            server.child.kill('SIGUSR1');
            await request(server, 'GET', '/healthz');
        }
        await Promise.all(speaking);
        server.child.kill('SIGUSR1');
        await request(server, 'GET', '/healthz');
        await server.kill();
        await server.start();
    }
    for (const member of members)
        assert.deepEqual(numbersOf(await messages({ ...member, connection: null })), range(1, 800));
    assert.deepEqual(damagedOf(server), []);
});

/* ---- damage ---- */

/* A file with messages 1, 2, 3 of a server that was killed, so that the last record is the message 3. */
async function threeMessages(t) {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    await sayMany(ann, 2, 20);
    const ends = [read(server).length];
    await sayMany(ann, 1, 20, 3);
    await reader.textsTo('3'.padEnd(20, '.'));
    ends.push(read(server).length);
    await server.kill();
    return { server, ann: { ...ann, connection: null }, bytes: read(server), frames: reader.frames, last: ends };
}

test('a torn last record is cut and told, and loses itself alone', async (t) => {
    const { server, ann, bytes, last: [from, to] } = await threeMessages(t);
    const cuts = range(1, to - from - 1).filter((cut) => cut < 4 || cut > to - from - 4 || cut % 9 === 0);
    for (const cut of cuts) {
        fs.writeFileSync(server.file, bytes.subarray(0, bytes.length - cut));
        await server.start();
        assert.deepEqual(numbersOf(await messages(ann)), [1, 2], `${cut} bytes cut off`);
        assert.ok(server.stderr.split('\n').length > 5, `it is told: ${server.stderr}`);
        await sayMany(ann, 1, 20, 4);
        await server.kill();
        await server.start();
        assert.deepEqual(numbersOf(await messages(ann)), [1, 2, 4], `${cut} bytes cut off, then 4 said`);
        await server.kill();
    }
    assert.deepEqual(damagedOf(server), [], 'it is a crash\'s ordinary trace');
});

/* Rows: what is done to the file's BYTES, given the FRAMES of the messages and what is left of them. */
const damages = [
    ['a byte changed in the first', (bytes, at) => change(bytes, at(0) + 60), [2, 3]],
    ['a byte changed in the second', (bytes, at) => change(bytes, at(1) + 60), [1, 3]],
    ['a byte changed in the id of the second', (bytes, at) => change(bytes, at(1) + 5), [1, 3]],
    ['the comment of the second gone', (bytes, at) => cutOut(bytes, bytes.lastIndexOf('\n', at(1) - 2) + 1, at(1)),
        [1, 3]],
    ['half of the second gone', (bytes, at) => cutOut(bytes, at(1) + 20, at(1) + 50), [1, 3]],
    ['the newline behind the second gone', (bytes, at, frames) => cutOut(bytes, at(1) + frames[1].length - 1,
        at(1) + frames[1].length), [1, 3]],
    ['both newlines behind the second gone', (bytes, at, frames) => cutOut(bytes, at(1) + frames[1].length - 2,
        at(1) + frames[1].length), [1, 3], [1], 'may be cut'],
    ['zeros in the second', (bytes, at) => Buffer.concat([bytes.subarray(0, at(1) + 10), Buffer.alloc(40),
        bytes.subarray(at(1) + 50)]), [1, 3]],
    ['a thousand zeros between', (bytes, at) => insert(bytes, bytes.lastIndexOf('\n', at(1) - 2) + 1,
        Buffer.alloc(1000)), [1, 2, 3], [1, 3]],
    ['a foreign line between', (bytes, at) => insert(bytes, bytes.lastIndexOf('\n', at(1) - 2) + 1,
        Buffer.from('hello\n\n')), [1, 2, 3]],
    ['a foreign line between, unfinished', (bytes, at) => insert(bytes, bytes.lastIndexOf('\n', at(1) - 2) + 1,
        Buffer.from('hello ')), [1, 2, 3], [1, 3]],
    ['noise between', (bytes, at) => insert(bytes, bytes.lastIndexOf('\n', at(1) - 2) + 1,
        Buffer.from('\xff\0\n\n:message\n:\n\n: room x\n\n', 'latin1')), [1, 2, 3]],
    ['zeros behind the last', (bytes) => Buffer.concat([bytes, Buffer.alloc(4096)]), [1, 2, 3], null, 'may be cut'],
    ['noise behind the last', (bytes) => Buffer.concat([bytes, Buffer.from('\xff\xfehello', 'latin1')]), [1, 2, 3],
        null, 'may be cut']
].map(([name, spoil, left, orLeft, isEnd]) => ({ name, spoil, left, orLeft, isEnd }));

function change(bytes, at) {
    const copy = Buffer.from(bytes);
    copy[at] ^= 1;
    return copy;
}
const cutOut = (bytes, from, to) => Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
const insert = (bytes, at, what) => Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)]);

test('damage in the midst loses itself alone, is told, and the file is kept beside', async (t) => {
    const { server, ann, bytes, frames } = await threeMessages(t);
    const at = (i) => bytes.indexOf(frames[i]);
    const failures = [];
    for (const { name, spoil, left, orLeft, isEnd } of damages) {
        for (const file of damagedOf(server))
            fs.rmSync(path.join(server.folder, file));
        const spoilt = spoil(bytes, at, frames.map((frame) => Buffer.from(frame)));
        fs.writeFileSync(server.file, spoilt);
        try {
            await server.start();
            const held = numbersOf(await messages({ ...ann }));
            assert.ok([`${left}`, `${orLeft}`].includes(`${held}`), `${held} are left`);
            assert.ok(server.stderr.split('\n').length > 5, `it is told: ${server.stderr}`);
            const kept = damagedOf(server);
            if (!isEnd)
                assert.equal(kept.length, 1, 'the file is kept beside');
            for (const file of kept)
                assert.deepEqual(fs.readFileSync(path.join(server.folder, file)), spoilt, 'as it was');
            await sayMany(ann, 1, 20, 4);
            await server.kill();
            await server.start();
            assert.deepEqual(numbersOf(await messages({ ...ann })), [...held, 4], 'and what is said then is kept');
        } catch (error) {
            failures.push(`${name}: ${error.message}`);
        }
        if (server.exit === null)
            await server.kill();
    }
    assert.deepEqual(failures, []);
});

test('a file that is damaged again is kept beside again', async (t) => {
    const { server, bytes, frames } = await threeMessages(t);
    const spoilt = change(bytes, bytes.indexOf(frames[1]) + 60);
    for (let i = 1; i <= 3; i++) {
        fs.writeFileSync(server.file, spoilt);
        await server.start();
        await server.stop();
        const kept = damagedOf(server);
        assert.equal(kept.length, i);
        for (const file of kept) {
            assert.deepEqual(fs.readFileSync(path.join(server.folder, file)), spoilt);
            assert.equal(fs.statSync(path.join(server.folder, file)).mode & 0o77, 0, 'it is nobody else\'s either');
        }
    }
});

test('a file that is not snug\'s is left untouched', async (t) => {
    const folder = temporaryFolder(t);
    const foreign = {
        'a letter': Buffer.from('Dear Ann,\n\nhi\n'), 'one byte': Buffer.from('x'), 'a newline': Buffer.from('\n'),
        'a program': Buffer.from('\x7fELF\x02\x01\x01\0\0\0', 'latin1'),
        'a comment': Buffer.from('# :room\nx :message\n'), 'zeros and something': Buffer.concat([Buffer.alloc(5000),
            Buffer.from('x'), Buffer.alloc(5000)]),
        'much': Buffer.alloc(3000000, 'lorem ipsum\n'), 'an event stream': Buffer.from('id: 1\ndata: {"id":1}\n\n'),
        'a long line': Buffer.alloc(3000000, 'a')
    };
    for (const [name, bytes] of Object.entries(foreign)) {
        const file = path.join(folder, 'snug.data');
        fs.writeFileSync(file, bytes);
        const { code, stderr } = await run(['-a', '127.0.0.1', '-p', String(await freePort()), '-f', file]);
        assert.ok([1, 2].includes(code), `${name}: ${code} ${stderr}`);
        assert.match(stderr, /^[^\n]{20,}\.\n$/, 'one sentence');
        assert.deepEqual(fs.readFileSync(file), bytes, name);
        assert.deepEqual(fs.readdirSync(folder).filter((each) => !/^snug\.data(\.lock)?$/.test(each)), []);
    }
});

test('an empty file and one of zeros alone are a new one\'s', async (t) => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(1), Buffer.alloc(8192)]) {
        const folder = temporaryFolder(t);
        fs.writeFileSync(path.join(folder, 'snug.data'), bytes);
        const server = await start(t, { folder });
        const ann = await join(server, 'tea', 'Ann');
        await say(ann, 'hi');
        await server.kill();
        await server.start();
        assert.deepEqual(textsOf(await messages({ ...ann, connection: null })), ['hi'], `${bytes.length} zeros`);
        await server.stop();
    }
});

test('what a rewrite left behind when it was killed does no harm', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    server.child.kill('SIGUSR1');
    await server.kill();
    for (const name of ['snug.data.new', 'snug.data.tmp', 'snug.data~'])
        fs.writeFileSync(path.join(server.folder, name), 'half a rec');
    await server.start();
    await server.restart();
    assert.deepEqual(textsOf(await messages({ ...ann, connection: null })), ['hi']);
});

/* ---- the full disk: a limit on the size of files stands for it ---- */

const FULL = 'ulimit -f 128'; /* 64 KiB in a POSIX shell */

test('a full disk refuses what is said with 507, shows nothing of it, and reading goes on', async (t) => {
    const server = await start(t, { before: FULL });
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const reader = await subscriber(bob);
    const acknowledged = [];
    let answer;
    for (let i = 1; i < 40; i++) {
        answer = await ask(ann, 'POST', 'send', { form: { text: `${i}`.padEnd(4000, '.'), nonce: `n${i}` } });
        if (answer.status !== 200)
            break;
        acknowledged.push(i);
    }
    assert.equal(answer.status, 507);
    assert.ok(acknowledged.length >= 10, `${acknowledged.length} were said`);
    assert.ok(read(server).length <= 65536);
    await until('the disk to be full to the brim', async () => (await ask(ann, 'POST', 'send',
        { form: { text: 'x' } })).status === 507 || (acknowledged.push('x'), false));
    for (const name of ['Carl', 'Dora']) {
        const joining = await request(server, 'POST', '/r/tea/join', { form: { name } });
        if (joining.status !== 507)
            assert.equal(joining.status, 200, 'a small record may still fit');
    }
    const list = await messages(bob);
    const seen = [];
    while (seen.length < acknowledged.length)
        seen.push((await reader.next()).data);
    assert.deepEqual(seen, list, 'nothing else was shown');
    assert.equal((await request(server, 'GET', '/')).status, 200);
    assert.equal((await ask(ann, 'POST', 'leave')).status, 204, 'leaving takes effect');
    assert.equal((await ask(ann, 'POST', 'typing')).status, 401);
    assert.ok(reader.connection.bytes.length === 0 && !reader.connection.ended);
    await server.kill();
    await server.start({ before: undefined });
    assert.deepEqual(await messages({ ...bob, connection: null }), list, 'after a restart all is there');
    await say({ ...bob, connection: null }, 'space again');
});

test('a disk that has space again is written again, and a retry is said', async (t) => {
    if (spawnSync('prlimit', ['--version']).error)
        return t.skip('there is no prlimit');
    const server = await start(t, { before: 'ulimit -S -f 128' });
    const ann = await join(server, 'tea', 'Ann');
    const form = (i) => ({ form: { text: `${i}`.padEnd(4000, '.'), nonce: `n${i}` } });
    let i = 1;
    while ((await ask(ann, 'POST', 'send', form(i))).status === 200)
        i++;
    const before = await messages(ann);
    assert.deepEqual(numbersOf(before), range(1, i - 1));
    assert.equal(spawnSync('prlimit', ['--pid', String(server.pid), '--fsize=unlimited']).status, 0);
    const answer = await until('the retry to be taken', async () => {
        const answer = await ask(ann, 'POST', 'send', form(i));
        return answer.status === 200 ? answer : assert.equal(answer.status, 507);
    });
    assert.equal(answer.json.id, before.at(-1).id + 1, 'no id is lost for it');
    assert.equal((await ask(ann, 'POST', 'send', form(i))).text, answer.text);
    await server.kill();
    await server.start();
    assert.deepEqual(numbersOf(await messages({ ...ann, connection: null })), range(1, i));
});

test('on a full disk the server starts all the same', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    await sayMany(ann, 3, 2000);
    await server.stop();
    const before = read(server);
    await server.start({ before: 'ulimit -f 4' });
    assert.deepEqual(numbersOf(await messages(ann)), [1, 2, 3]);
    assert.equal((await ask(ann, 'POST', 'send', { form: { text: 'no' } })).status, 507);
    assert.equal((await request(server, 'POST', '/r/tea/join', { form: { name: 'Bob' } })).status, 507);
    assert.equal((await request(server, 'POST', '/r/tea/join', { form: { name: 'Anna' }, cookie: ann.cookie })).status,
        507);
    await server.kill();
    assert.ok(read(server).equals(before), 'and the file is as it was');
    await server.start({ before: undefined });
    assert.deepEqual(numbersOf(await messages({ ...ann, connection: null })), [1, 2, 3]);
    assert.equal((await say({ ...ann, connection: null }, '4')).id > 0, true);
});

test('a full disk from the first day lets everybody in who reads', async (t) => {
    const server = await start(t, { before: 'ulimit -f 0' });
    assert.equal((await request(server, 'GET', '/')).status, 200);
    assert.equal((await request(server, 'POST', '/r/tea/join', { form: { name: 'Ann' } })).status, 507);
    assert.deepEqual((await request(server, 'GET', '/rooms')).json, []);
});

test('damage on a full disk does not lose what is intact', async (t) => {
    const { server, ann, bytes, frames } = await threeMessages(t);
    const spoilt = change(bytes, bytes.indexOf(frames[1]) + 60);
    fs.writeFileSync(server.file, spoilt);
    await server.start({ before: 'ulimit -f 0' });
    assert.deepEqual(numbersOf(await messages({ ...ann })), [1, 3]);
    await server.kill();
    const everything = [server.file, ...damagedOf(server).map((name) => path.join(server.folder,
        name))].map((file) => fs.readFileSync(file));
    assert.ok(everything.some((one) => one.equals(spoilt) || (one.includes(frames[0]) && one.includes(frames[2]))));
    await server.start({ before: undefined });
    assert.deepEqual(numbersOf(await messages({ ...ann })), [1, 3]);
});

test('a stop with members, streams and polls at hand is clean and quick', async (t) => {
    const server = await start(t);
    const members = [];
    for (let i = 0; i < 20; i++)
        members.push(await join(server, `room${i % 5}`, `M${i}`));
    const readers = await Promise.all(members.map((member) => subscriber(member)));
    const polls = members.map((member) => messages(member, '?wait=60').catch(() => 'ended'));
    await readers[0].people('M0', 'M5', 'M10', 'M15');
    await server.stop();
    await Promise.all(polls);
    await server.start();
    await each(members, async (member) => assert.equal((await ask({ ...member, connection: null }, 'POST',
        'typing')).status, 204));
});
