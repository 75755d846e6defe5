/* wire_events.mjs: the event stream and the long poll (the contract, sections 1, 2 and 3): what a reader is told, in
 * which order, what becomes of one who is slow or comes back, and that nobody else notices. */
import { test } from 'node:test';
import { BrokenOff, Connection, PATIENCE_MS, QUIET_MS, ask, assert, busyShare, each, expectGap, expectNext, join,
    messages, request, requestOf, residentKiB, say, sleep, start, subscriber, textsOf } from './wire.mjs';

const kinds = (reader) => reader.log.map((event) => event.kind);

/* Says COUNT texts, "1" and on, each padded to SIZE: their receipts. */
async function sayMany(member, count, size = 1, from = 1) {
    const receipts = [];
    for (let i = from; i < from + count; i++)
        receipts.push(await say(member, `${i}`.padEnd(size, '.')));
    return receipts;
}

const numbersOf = (texts) => texts.map((text) => Number(/^\d+/.exec(text)[0]));
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/* ---- how a stream opens ---- */

test('a stream opens with the pause, who you are, who is here, who types, then all that was said', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const bob = await join(server, 'tea', 'Bob');
    const bobs = await subscriber(bob);
    await bobs.people('Bob');
    await sayMany(bob, 3);
    await ask(bob, 'POST', 'typing');
    await bobs.typing('Bob');
    const reader = await subscriber(ann);
    await expectNext(reader, '1');
    await expectNext(reader, '2');
    await expectNext(reader, '3');
    assert.deepEqual(kinds(reader).slice(0, 7), ['retry', 'you', 'people', 'typing', 'message', 'message', 'message']);
    assert.match(reader.log[0].retry, /^\d+$/);
    assert.deepEqual(reader.log[1].data, { by: ann.by, name: 'Ann' });
    assert.deepEqual(reader.log[3].data, ['Bob']);
    const { people } = await reader.people('Ann', 'Bob');
    assert.deepEqual(people, [{ by: ann.by, name: 'Ann' }, { by: bob.by, name: 'Bob' }], 'the lowest `by` first');
    const alone = await subscriber(await join(server, 'coffee', 'Carl'));
    await alone.people('Carl');
    assert.deepEqual(kinds(alone).slice(0, 3), ['retry', 'you', 'people'], 'nobody types, nothing was said');
});

test('the gap is told before what follows it', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    await sayMany(ann, 2);
    const reader = await subscriber(ann, { lastEventId: '1x' });
    await expectGap(reader);
    await expectNext(reader, '1');
    await expectNext(reader, '2');
    assert.deepEqual(kinds(reader).filter((kind) => kind !== 'typing').slice(0, 6),
        ['retry', 'you', 'people', 'gap', 'message', 'message']);
});

test('a stream says that it is one, ends with its connection, and renews the cookie', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (const version of ['1.1', '1.0']) {
        const { answer } = await subscriber(ann, { version });
        assert.match(answer.field('content-type'), /^text\/event-stream\b/);
        assert.equal(answer.field('cache-control'), 'no-store');
        assert.equal(answer.field('x-accel-buffering'), 'no');
        assert.equal(answer.field('content-length'), undefined);
        assert.equal(answer.field('transfer-encoding'), undefined);
        assert.match(answer.field('connection'), /^close$/i);
        const [cookie, ...attributes] = answer.field('set-cookie').split('; ');
        assert.equal(cookie, ann.cookie);
        assert.deepEqual(attributes.map((text) => text.toLowerCase()).sort(),
            ['httponly', 'max-age=2592000', 'path=/r/tea', 'samesite=lax']);
    }
});

test('HEAD of a stream or of waiting messages is answered at once', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (const target of ['/r/tea/events', '/r/tea/messages?wait=60', '/r/tea/messages']) {
        const connection = await Connection.open(server);
        const answer = await connection.ask('HEAD', target, { cookie: ann.cookie });
        assert.equal(answer.status, 200, target);
        if (/close/i.test(answer.field('connection') ?? ''))
            await connection.endedByPeer();
        else
            await connection.settle();
    }
});

test('ids begin anywhere, go up by one, and times never go back', async (t) => {
    const server = await start(t);
    const firsts = [];
    for (const room of ['tea', 'coffee', 'juice']) {
        const receipts = await sayMany(await join(server, room, 'Ann'), 20);
        assert.ok(receipts[0].id >= 1 && receipts[0].id < 2 ** 31);
        assert.deepEqual(receipts.map((one) => one.id), range(receipts[0].id, receipts[19].id));
        assert.deepEqual(receipts.map((one) => one.t), receipts.map((one) => one.t).sort((a, b) => a - b));
        firsts.push(receipts[0].id);
    }
    assert.equal(new Set(firsts).size, 3, 'each room has its own');
});

test('who speaks sees the very message that he was told of', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    const receipt = await say(ann, 'hi');
    const { data } = await expectNext(reader, 'hi');
    assert.deepEqual(data, { id: receipt.id, t: receipt.t, by: ann.by, name: 'Ann', text: 'hi' });
});

/* ---- coming back ---- */

test('who comes back gets what was said since, however he says what he has', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const ids = (await sayMany(ann, 5)).map((one) => one.id);
    const all = range(1, 5);
    const rows = [
        ['nothing', {}, all], ['an empty field', { lastEventId: '' }, all],
        ['an empty field and a query', { lastEventId: '', after: ids[3] }, [5]], ['an empty query', { after: '' }, all],
        ['the field', { lastEventId: ids[1] }, [3, 4, 5]], ['the query', { after: ids[1] }, [3, 4, 5]],
        ['the field over the query', { lastEventId: ids[3], after: ids[0] }, [5]],
        ['the newest', { lastEventId: ids[4] }, []], ['the one before the oldest', { lastEventId: ids[0] - 1 }, all]
    ].map(([name, options, wanted]) => ({ name, options, wanted }));
    const readers = await Promise.all(rows.map(({ options }) => subscriber(ann, options)));
    await say(ann, '6');
    await each(rows.map((row, i) => ({ ...row, reader: readers[i] })), async ({ wanted, reader }) => {
        assert.deepEqual(numbersOf(await reader.textsTo('6')), [...wanted, 6]);
    });
});

/* Where a reader stands, and what a gap tells him: OLDEST, the id of the gap, and what follows it. */
test('who asks for what is not held is told the gap, once', async (t) => {
    const server = await start(t);
    let ann = await join(server, 'tea', 'Ann');
    const before = (await sayMany(ann, 2)).map((one) => one.id);
    await server.restart();
    ann = { ...ann, connection: null };
    const later = (await sayMany(ann, 2, 1, 3)).map((one) => one.id);
    const [oldest, newest] = [before[0], later[1]];
    const rows = [
        ['two before the oldest', oldest - 2, oldest - 1, [1, 2, 3, 4]], ['zero', 0, oldest - 1, [1, 2, 3, 4]],
        ['one more than the newest', newest + 1, oldest - 1, [1, 2, 3, 4]],
        ['much more than the newest', 9007199254740991, oldest - 1, [1, 2, 3, 4]],
        ['more than a number', '99999999999999999999999', oldest - 1, [1, 2, 3, 4]],
        ['2^64 and the newest', (2n ** 64n + BigInt(newest)).toString(), oldest - 1, [1, 2, 3, 4]],
        ['no number', 'x', oldest - 1, [1, 2, 3, 4]], ['a sign', `-${newest}`, oldest - 1, [1, 2, 3, 4]],
        ['a plus', `+${newest}`, oldest - 1, [1, 2, 3, 4]],
        ['a fraction', `${newest}.0`, oldest - 1, [1, 2, 3, 4]],
        ['two numbers', `${newest} ${newest}`, oldest - 1, [1, 2, 3, 4]],
        ['one never given, in the midst', before[1] + 1, before[1], [3, 4]],
        ['the one before the first of the new run', later[0] - 1, before[1], [3, 4]]
    ].flatMap(([name, id, told, wanted]) => [
        { name, options: { lastEventId: id }, told, wanted },
        { name: `${name}, in the query`, options: { after: encodeURIComponent(id) }, told, wanted }]);
    await each(rows, async ({ options, told, wanted }) => {
        const reader = await subscriber(ann, options);
        const gap = await expectGap(reader);
        assert.deepEqual([gap.data.oldest, gap.id], [oldest, String(told)]);
        assert.deepEqual(numbersOf(await reader.textsTo(String(wanted.at(-1)))), wanted);
        reader.close();
        const again = await subscriber(ann, { lastEventId: gap.id });
        assert.deepEqual(numbersOf(await again.textsTo(String(wanted.at(-1)))), wanted,
            'with the gap\'s id there is none');
        again.close();
    });
    assert.deepEqual(textsOf(await messages(ann, `?after=${before[1] + 1}&wait=20`)), ['3', '4'],
        'the poll answers what is held, at once');
    assert.deepEqual(textsOf(await messages(ann, `?after=${newest + 1}&wait=20`)), ['1', '2', '3', '4']);
    assert.deepEqual(textsOf(await messages(ann, '?after=x&wait=20')), ['1', '2', '3', '4']);
    assert.deepEqual(textsOf(await messages(ann, `?after=${oldest - 1}&wait=20`)), ['1', '2', '3', '4']);
});

test('in an empty room a gap has no oldest, and is told once', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (const lastEventId of ['5', 'x', '0']) {
        const reader = await subscriber(ann, { lastEventId });
        const gap = await expectGap(reader);
        assert.equal(gap.data.oldest, null);
        const again = await subscriber(ann, { lastEventId: gap.id });
        const { id } = await say(ann, lastEventId);
        assert.equal(id, Number(gap.id) + 1, 'its id is the next one less one');
        await expectNext(again, lastEventId);
        await expectNext(reader, lastEventId);
        await ask(ann, 'POST', 'leave');
        await server.stop();
        await server.start({ file: `${server.file}x` });
        Object.assign(ann, await join(server, 'tea', 'Ann'));
    }
    assert.deepEqual(await messages(ann, '?after=5'), []);
    assert.deepEqual(await messages(ann, '?after=x&wait=0'), []);
});

test('a room holds what history says at least, and gives up its oldest first', async (t) => {
    const server = await start(t, { options: ['history=8k'] });
    const ann = await join(server, 'tea', 'Ann');
    const early = await subscriber(ann);
    const receipts = await sayMany(ann, 200, 100);
    assert.deepEqual(numbersOf(await early.textsTo('200'.padEnd(100, '.'))), range(1, 200));
    const reader = await subscriber(ann);
    const held = numbersOf(await reader.textsTo('200'.padEnd(100, '.')));
    assert.deepEqual(held, range(held[0], 200), 'the newest, in their order, and no gap for one who had nothing');
    const bytes = reader.frames.join('').length;
    assert.ok(bytes >= 8192 - 300 && bytes <= 8192 + 8448, `${bytes} bytes of frames`);
    const oldest = receipts[held[0] - 1].id;
    const behind = await subscriber(ann, { lastEventId: oldest - 2 });
    assert.deepEqual((await expectGap(behind)).data, { oldest });
    assert.deepEqual(numbersOf(await behind.textsTo('200'.padEnd(100, '.'))), held);
    const just = await subscriber(ann, { lastEventId: oldest - 1 });
    assert.deepEqual(numbersOf(await just.textsTo('200'.padEnd(100, '.'))), held);
    assert.deepEqual(numbersOf(textsOf(await messages(ann))), held);
});

test('who reconnects over and over loses nothing and sees nothing twice', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const saying = sayMany(ann, 300, 500);
    const seen = [];
    let lastEventId;
    while (seen.length < 300) {
        const reader = await subscriber(bob, { lastEventId });
        for (let left = 1 + Math.floor(Math.random() * 20); left > 0 && seen.length < 300; left--) {
            const event = await reader.next();
            assert.equal(event.kind, 'message');
            seen.push(event.data.text);
            lastEventId = event.id;
        }
        reader.close();
    }
    await saying;
    assert.deepEqual(numbersOf(seen), range(1, 300));
});

test('who polls over and over loses nothing and sees nothing twice', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const saying = sayMany(ann, 200);
    const seen = [];
    while (seen.length < 200)
        seen.push(...await messages(bob, `?wait=10${seen.length > 0 ? `&after=${seen.at(-1).id}` : ''}`));
    await saying;
    assert.deepEqual(numbersOf(textsOf(seen)), range(1, 200));
});

test('all who read see the same, in the same order', async (t) => {
    const server = await start(t);
    const members = [];
    for (let i = 0; i < 10; i++)
        members.push(await join(server, 'tea', `M${i}`));
    const readers = await Promise.all(range(0, 99).map((i) => subscriber(members[i % 10])));
    await Promise.all(members.map((member) => sayMany(member, 10, 300)));
    await Promise.all(readers.map(async (reader) => {
        while (reader.frames.length < 100)
            await reader.next();
    }));
    assert.equal(new Set(readers.map((reader) => reader.frames.join(''))).size, 1);
});

/* ---- who is here, who is typing ---- */

test('joining and speaking are no presence, reading is', async (t) => {
    const server = await start(t);
    const [ann, bob, carl] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob'),
        await join(server, 'tea', 'Carl')];
    const reader = await subscriber(ann);
    await reader.people('Ann');
    await say(bob, 'hi');
    await expectNext(reader, 'hi');
    await subscriber(bob);
    const two = await reader.people('Ann', 'Bob');
    assert.deepEqual(two, { here: 2, people: [{ by: ann.by, name: 'Ann' }, { by: bob.by, name: 'Bob' }] });
    await messages(carl);
    await reader.people('Ann', 'Bob', 'Carl');
    assert.ok(!reader.log.some((event) => event.kind === 'people' && event.data.here !== event.data.people.length));
});

test('who leaves is gone at once, and his streams end', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const reader = await subscriber(ann);
    const streams = [await subscriber(bob), await subscriber(bob)];
    await reader.people('Ann', 'Bob');
    const held = await Connection.open(server);
    held.write(requestOf('GET', '/r/tea/messages?wait=60', { cookie: bob.cookie }));
    await request(server, 'GET', '/healthz');
    const begun = Date.now();
    await ask(bob, 'POST', 'leave');
    assert.equal((await held.answer()).status, 401, 'a held request is told');
    for (const stream of streams)
        await stream.end();
    await reader.people('Ann');
    assert.ok(Date.now() - begun < 4500, 'sooner than one who only went away');
    await say(ann, 'still here');
    await expectNext(reader, 'still here');
});

test('a leaver\'s last words reach everybody, himself too', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const [anns, bobs] = [await subscriber(ann), await subscriber(bob)];
    await bobs.people('Ann', 'Bob');
    const connection = await Connection.open(server);
    connection.write(Buffer.concat([requestOf('POST', '/r/tea/send', { form: { text: 'bye' }, cookie: bob.cookie }),
        requestOf('POST', '/r/tea/leave', { cookie: bob.cookie })]));
    assert.deepEqual([(await connection.answer()).status, (await connection.answer()).status], [200, 204]);
    await expectNext(anns, 'bye');
    await bobs.end();
});

test('a page that is loaded anew is no coming and going', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const reader = await subscriber(ann);
    for (let i = 0; i < 3; i++) {
        const stream = await subscriber(bob);
        await stream.people('Ann', 'Bob');
        stream.close();
    }
    await subscriber(bob);
    await reader.people('Ann', 'Bob');
    await say(ann, 'done');
    await expectNext(reader, 'done');
    await sleep(QUIET_MS * 4);
    reader.parse();
    const states = reader.log.filter((event) => event.kind === 'people').map((event) => event.data.here);
    assert.deepEqual(states.filter((here, i) => here !== states[i - 1]).slice(-2), [1, 2], `here: ${states}`);
});

test('typing is shown until something is said or the typist leaves', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const reader = await subscriber(ann);
    await ask(bob, 'POST', 'typing');
    await reader.typing('Bob');
    await ask(ann, 'POST', 'typing');
    await reader.typing('Ann', 'Bob');
    await say(bob, 'done');
    await reader.typing('Ann');
    await ask(bob, 'POST', 'typing');
    await reader.typing('Ann', 'Bob');
    await ask(bob, 'POST', 'leave');
    await reader.typing('Ann');
    const late = await subscriber(ann);
    await late.typing('Ann');
    await say(ann, 'done too');
    await reader.typing();
});

test('of many who type sixteen are shown, of many who are here 256', async (t) => {
    const server = await start(t, { options: ['members=300'] });
    const members = [];
    for (let i = 0; i < 300; i++)
        members.push(await join(server, 'tea', `member ${i}`));
    const reader = await subscriber(members[0]);
    for (const member of members.slice(0, 20))
        assert.equal((await request(server, 'POST', '/r/tea/typing', { cookie: member.cookie })).status, 204);
    await reader.state('typing', (data) => data.length === 16);
    for (const member of members.slice(1))
        await subscriber(member);
    const state = await reader.state('people', (data) => data.here === 300);
    assert.equal(state.people.length, 256);
    assert.deepEqual(state.people.map((one) => one.by), range(members[0].by, members[255].by),
        'the lowest numbers first');
    assert.ok(reader.log.every((event) => event.raw.length <= 32768));
    assert.ok(reader.log.every((event) => event.kind !== 'typing' || event.data.length <= 16));
});

test('a list of people is never longer than 32 KiB', async (t) => {
    const server = await start(t);
    const members = [];
    for (let i = 0; i < 256; i++)
        members.push(await join(server, 'tea', `${i}`.padEnd(64, '"')));
    const reader = await subscriber(members[0]);
    for (const member of members.slice(1))
        await subscriber(member);
    const state = await reader.state('people', (data) => data.here === 256);
    assert.ok(reader.log.every((event) => event.raw.length <= 32768));
    assert.ok(state.people.length > 150, `${state.people.length} are listed`);
    assert.deepEqual(state.people.map((one) => one.by), range(members[0].by, members[0].by + state.people.length - 1));
});

test('four changes a second at most go out, and the last is always told', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const reader = await subscriber(ann);
    await subscriber(bob);
    await reader.people('Ann', 'Bob');
    const end = Date.now() + 2000;
    let last;
    for (let i = 0; Date.now() < end; i++) {
        last = `Bob${i}`;
        await join(server, 'tea', last, { cookie: bob.cookie });
        await ask(ann, 'POST', 'typing');
        await say(ann, 'x');
    }
    await reader.people('Ann', last);
    const times = reader.log.filter((event) => ['people', 'typing'].includes(event.kind)).map((event) => event.at);
    assert.ok(times.length >= 4, `${times.length} states in 2 s`);
    const seconds = (times.at(-1) - times[0]) / 1000;
    assert.ok(times.length <= 4 * seconds + 5, `${times.length} states in ${seconds} s`);
});

/* ---- the long poll ---- */

test('a waiting poll is answered by the next message', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const { id } = await say(ann, 'one');
    const begun = Date.now();
    const polls = [messages(bob, `?after=${id}&wait=60`), messages(await join(server, 'tea', 'Carl'),
        `?after=${id}&wait=1000`)];
    const reader = await subscriber(ann);
    await reader.people('Ann', 'Bob', 'Carl');
    const two = await say(ann, 'two');
    for (const poll of polls)
        assert.deepEqual(await poll, [{ id: two.id, t: two.t, by: ann.by, name: 'Ann', text: 'two' }]);
    assert.ok(Date.now() - begun < PATIENCE_MS);
});

test('a poll that nothing comes for is answered with nothing, when its time is over', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const begun = Date.now();
    assert.deepEqual(await messages(ann, '?wait=1'), []);
    const waited = Date.now() - begun;
    assert.ok(waited >= 950, `it waited ${waited} ms`);
    const other = await join(server, 'coffee', 'Bob');
    const quick = Date.now();
    assert.deepEqual(await messages(other, '?wait=0'), []);
    assert.ok(Date.now() - quick < 900, 'a wait of nothing is none');
});

test('a poll waits for clients that want no other answer after it, too', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const polls = [];
    for (const options of [{ version: '1.0' }, { fields: { Connection: 'close' } }, {}]) {
        for (const pieces of [1, 2]) {
            const connection = await Connection.open(server);
            const bytes = requestOf('GET', '/r/tea/messages?wait=60', { cookie: ann.cookie, ...options });
            connection.write(bytes.subarray(0, Math.ceil(bytes.length / pieces)));
            await request(server, 'GET', '/healthz');
            connection.write(bytes.subarray(Math.ceil(bytes.length / pieces)));
            polls.push({ connection, isLast: 'version' in options || 'fields' in options });
        }
    }
    await request(server, 'GET', '/healthz');
    await say(ann, 'hi');
    for (const { connection, isLast } of polls) {
        const answer = await connection.answer();
        assert.deepEqual(textsOf(JSON.parse(answer.text)), ['hi']);
        if (isLast)
            await connection.endedByPeer();
        else
            await connection.settle();
    }
});

test('a poll is not answered by what others do in silence', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const poll = messages(ann, '?wait=60');
    let isAnswered = false;
    poll.then(() => (isAnswered = true));
    const reader = await subscriber(bob);
    await reader.people('Ann', 'Bob');
    await ask(bob, 'POST', 'typing');
    await reader.typing('Bob');
    await join(server, 'tea', 'Bobby', { cookie: bob.cookie });
    await reader.people('Ann', 'Bobby');
    assert.ok(!isAnswered);
    await say(bob, 'now');
    assert.deepEqual(textsOf(await poll), ['now']);
});

test('clients that go while they wait or read are let go', async (t) => {
    const server = await start(t);
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const gone = [];
    for (let i = 0; i < 20; i++) {
        const held = await Connection.open(server);
        held.write(requestOf('GET', '/r/tea/messages?wait=60', { cookie: bob.cookie }));
        gone.push(held, (await subscriber(bob)).connection);
    }
    const reader = await subscriber(ann);
    await reader.people('Ann', 'Bob');
    gone.forEach((connection,
        i) => (i % 3 === 0 ? connection.socket.resetAndDestroy?.() ?? connection.close() : connection.close()));
    await sayMany(ann, 50);
    assert.deepEqual(numbersOf(await reader.textsTo('50')), range(1, 50));
});

/* ---- the slow ---- */

test('who never reads holds up nobody, costs no memory, and never sees half an event', async (t) => {
    const server = await start(t, { options: ['history=64k'] });
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const quick = await subscriber(ann);
    await sayMany(ann, 40, 4000);
    const slow = [];
    for (let i = 0; i < 5; i++) {
        const reader = await subscriber(bob);
        reader.connection.pause();
        slow.push(reader);
    }
    const before = residentKiB(server);
    await sayMany(ann, 400, 4000, 41);
    const texts = await quick.textsTo('440'.padEnd(4000, '.'));
    assert.deepEqual(numbersOf(texts), range(1, 440), 'the quick one has all');
    if (before !== null)
        assert.ok(residentKiB(server) - before < 2048, `it grew by ${residentKiB(server) - before} KiB`);
    for (const reader of slow)
        reader.connection.resume();
    await Promise.all(slow.map((reader) => followToEnd(reader, bob, '440')));
});

/* Reads on as a browser does: after an end it drops the half event and comes back with the last id. What it sees must
 * go up, and whatever is missing must have been told as a gap. */
async function followToEnd(reader, member, last) {
    let lastNumber = 0;
    let isGapTold = true;
    let lastEventId;
    for (let connections = 0; connections < 20;) {
        const event = await reader.nextOrEnd();
        if (event === null) {
            connections++;
            reader.close();
            reader = await subscriber(member, { lastEventId });
            continue;
        }
        lastEventId = event.id;
        if (event.kind === 'gap') {
            isGapTold = true;
            continue;
        }
        const [number] = numbersOf([event.data.text]);
        assert.ok(number > lastNumber, `${number} after ${lastNumber}`);
        assert.ok(number === lastNumber + 1 || isGapTold, `${number} after ${lastNumber} without a gap`);
        assert.equal(event.data.text, String(number).padEnd(4000, '.'));
        [lastNumber, isGapTold] = [number, false];
        if (String(number) === last)
            return;
    }
    assert.fail('it never came to the end');
}

test('an array that its reader takes too slowly is broken off, never wrong', async (t) => {
    const server = await start(t, { options: ['history=512k'] });
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    await sayMany(ann, 125, 4000);
    for (const version of ['1.1', '1.0']) {
        const connections = [];
        for (let i = 0; i < 3; i++) {
            const connection = await Connection.open(server);
            connection.pause();
            connection.write(requestOf('GET', '/r/tea/messages', { cookie: bob.cookie, version }));
            connections.push(connection);
        }
        await request(server, 'GET', '/healthz');
        await sayMany(ann, 150, 4000, 1000);
        for (const connection of connections) {
            connection.resume();
            try {
                const answer = await connection.answer();
                const list = JSON.parse(answer.text);
                assert.deepEqual(list.map((one) => one.id), range(list[0].id, list[0].id + list.length - 1));
            } catch (error) {
                assert.ok(error instanceof BrokenOff || error.code === 'ECONNRESET', `${error}`);
                if (version === '1.0')
                    assert.ok(error.code === 'ECONNRESET',
                        'an answer without a length that is broken off must not look whole');
            }
            connection.close();
        }
    }
    assert.ok((await messages(bob)).length >= 120, 'who reads at once has it all');
});

test('states to those who never read cost nothing', async (t) => {
    const server = await start(t, { options: ['history=8k'] });
    const members = [];
    for (let i = 0; i < 60; i++)
        members.push(await join(server, 'tea', `${i}`.padEnd(64, 'x')));
    const slow = [];
    for (const member of members.slice(1)) {
        const reader = await subscriber(member);
        reader.connection.pause();
        slow.push(reader);
    }
    const quick = await subscriber(members[0]);
    await quick.state('people', (data) => data.here === 60);
    const before = residentKiB(server);
    for (let i = 0; i < 6; i++) {
        const name = `renamed ${i}`;
        await join(server, 'tea', name, { cookie: members[0].cookie });
        await quick.state('people', (data) => data.people[0].name === name);
    }
    await say(members[0], 'done');
    await expectNext(quick, 'done');
    if (before !== null)
        assert.ok(residentKiB(server) - before < 1024);
    await Promise.all(slow.map(async (reader) => {
        reader.connection.resume();
        await expectNext(reader, 'done');
    }));
});

test('a quiet server lets the processor sleep, whoever is connected', async (t) => {
    const server = await start(t, { options: ['history=1m'] });
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    await sayMany(ann, 200, 4000);
    const opened = {
        'an idle client': [],
        'a stream': [requestOf('GET', '/r/tea/events', { cookie: bob.cookie })],
        'a held poll': [requestOf('GET', '/r/tea/messages?wait=60&after=x', { cookie: bob.cookie })],
        'half a request': [Buffer.from('GET / HT')],
        'half a content': [requestOf('POST', '/join', { form: 'room=', length: 17 })],
        'a refused one that stays': [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(1000)],
        'a stream that more is sent to': [requestOf('GET', '/r/tea/events', { cookie: bob.cookie }),
            Buffer.alloc(200000)],
        'a poll that more is sent to': [requestOf('GET',
            `/r/tea/messages?wait=60&after=${(await messages(ann)).at(-1).id}`, { cookie: bob.cookie }),
                Buffer.alloc(200000)]
    };
    for (const pieces of Object.values(opened)) {
        for (const isHalf of [false, true]) {
            const connection = await Connection.open(server);
            for (const piece of pieces)
                connection.write(piece);
            if (isHalf)
                connection.end();
        }
    }
    for (const target of ['/r/tea/events', '/r/tea/messages', '/']) {
        const late = await Connection.open(server);
        late.pause();
        for (let i = 0; i < 20; i++)
            late.write(requestOf('GET', target, { cookie: bob.cookie }));
    }
    await request(server, 'GET', '/healthz');
    await sleep(300);
    const share = await busyShare(server);
    assert.ok(share === null || share < 0.3, `${Math.round(share * 100)} % of a processor`);
});
