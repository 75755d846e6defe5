/* wire_time.mjs: what takes its time. These tests wait for the server's own deadlines, so they run all at once. */
import { describe, test } from 'node:test';
import { Connection, ask, assert, join, messages, requestOf, say, sleep, start, subscriber } from './wire.mjs';

/* How much later than its deadline a thing may come, ms: for a slow build on a busy machine. */
const SLACK_MS = 12000;

/* Asserts that from BEGUN to now LEAST ms at least have gone by, and not many more. */
function took(begun, least, what) {
    const waited = Date.now() - begun;
    assert.ok(waited >= least - 500 && waited < least + SLACK_MS, `${what} took ${waited} ms`);
}

describe('in its time', { concurrency: true }, () => {
    test('a stream that nothing comes for is kept open by a comment after 20 s', async (t) => {
        const server = await start(t);
        const reader = await subscriber(await join(server, 'tea', 'Ann'));
        await reader.people('Ann');
        const begun = Date.now();
        assert.ok(await reader.nextOf(['comment'], undefined, 20000 + SLACK_MS));
        took(begun, 15000, 'the comment');
    });

    test('comments go out over time, not to all at once', async (t) => {
        const server = await start(t);
        const ann = await join(server, 'tea', 'Ann');
        const readers = await Promise.all(Array.from({ length: 200 }, () => subscriber(ann)));
        await readers[0].people('Ann');
        const times = await Promise.all(readers.map(async (reader) => (await reader.nextOf(['comment'], undefined,
            20000 + SLACK_MS)).at));
        times.sort((a, b) => a - b);
        assert.ok(times.at(-1) - times[0] >= 200, `all within ${times.at(-1) - times[0]} ms`);
    });

    test('who goes away is here for five more seconds', async (t) => {
        const server = await start(t);
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        const reader = await subscriber(ann);
        const stream = await subscriber(bob);
        await reader.people('Ann', 'Bob');
        const begun = Date.now();
        stream.close();
        await reader.people('Ann');
        took(begun, 5000, 'going away');
    });

    test('who only polls is here while he does', async (t) => {
        const server = await start(t);
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        const reader = await subscriber(ann);
        for (let i = 0; i < 7; i++)
            assert.deepEqual(await messages(bob, '?wait=1'), []);
        await reader.people('Ann', 'Bob');
        await say(ann, 'x');
        await reader.textsTo('x');
        assert.ok(!reader.log.some((event, i) => event.kind === 'people' && event.data.here === 1 &&
            reader.log.slice(0, i).some((one) => one.data?.here === 2)), 'he never went');
    });

    test('typing is shown for six seconds, from the last time', async (t) => {
        const server = await start(t);
        const ann = await join(server, 'tea', 'Ann');
        const reader = await subscriber(ann);
        await ask(ann, 'POST', 'typing');
        await reader.typing('Ann');
        await messages(ann, '?wait=2');
        const begun = Date.now();
        await ask(ann, 'POST', 'typing');
        await reader.typing();
        took(begun, 6000, 'typing');
        assert.equal(reader.log.filter((event) => event.kind === 'typing').length, 2, 'once on, once off');
    });

    /* Each: what is sent at first, and then again and again, a byte a second, so that it never looks idle. */
    const slow = {
        'half a head': ['GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ', 'a'],
        'a head that drips': ['GET /', 'a'],
        'half a content': [requestOf('POST', '/join', { form: 'room=', length: 17 }), ''],
        'a content that drips': [requestOf('POST', '/join', { form: 'room=', length: 1000 }), 'a'],
        'chunks that drip': [requestOf('POST', '/join', { fields: {
            'Content-Type': 'application/x-www-form-urlencoded', 'Transfer-Encoding': 'chunked' } }), '1\r\na\r\n']
    };
    for (const [name, [first, more]] of Object.entries(slow)) {
        test(`${name} is waited for ten seconds, then answered with 408`, async (t) => {
            const server = await start(t);
            const connection = await Connection.open(server);
            const begun = Date.now();
            connection.write(first);
            const drip = setInterval(() => connection.write(more), 1000);
            t.after(() => clearInterval(drip));
            const answer = await connection.answer('GET', 10000 + SLACK_MS);
            clearInterval(drip);
            took(begun, 10000, name);
            assert.equal(answer.status, 408);
            await connection.endedByPeer();
        });
    }

    test('a client that asks now and then keeps its connection', async (t) => {
        const server = await start(t);
        const [often, seldom] = [await Connection.open(server), await Connection.open(server)];
        for (let i = 0; i < 13; i++) {
            await often.settle();
            await sleep(1000);
        }
        await seldom.settle();
    });

    test('who does not close after the last answer is closed', async (t) => {
        const server = await start(t);
        for (const bytes of ['GET / HTTP/1.1\r\n\r\n', 'GET /healthz HTTP/1.0\r\n\r\n']) {
            const connection = await Connection.open(server);
            connection.write(bytes);
            await connection.answer();
            const drip = setInterval(() => connection.write('a'), 500);
            t.after(() => clearInterval(drip));
            await new Promise((resolve) => {
                connection.socket.once('error', resolve);
                connection.socket.once('close', resolve);
                setTimeout(() => resolve('late'), 20000).unref();
            }).then((how) => assert.notEqual(how, 'late', 'it lingers for ever'));
        }
    });
});
