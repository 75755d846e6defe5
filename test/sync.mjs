/* sync.mjs: when the data file is fsynced, and who waits for that (the contract, section 4). Disk and clock are as a
 * test wants them: .build/slow_fsync.so stands before the system's. What is answered while an fsync goes on that ends
 * only when the test says so has not waited for it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BINARY, Connection, QUIET_MS, ask, assert, cookieOf, expectNext, freePort, join, messages, request,
    requestOf, say, sleep, start, subscriber, temporaryFolder, textsOf, until } from './wire.mjs';

const LIBRARY = fileURLToPath(new URL('../.build/slow_fsync.so', import.meta.url));
const MODES = ['second', 'always', 'exit'];

/* Longer than any test: an fsync that goes on until the disk is quick again. */
const FOR_EVER_MS = 600000;

class Disk {
    constructor(t) {
        assert.ok(fs.existsSync(LIBRARY), 'make .build/slow_fsync.so makes what this needs');
        t.after(() => this.quick()); /* before the server is stopped */
        this.file = path.join(temporaryFolder(t), 'fsync');
        this.log = `${this.file}.log`;
        this.aheadMs = 0;
        fs.writeFileSync(this.log, '');
        this.quick();
        this.env = { SLOW_FSYNC: this.file, LD_PRELOAD: LIBRARY };
    }
    put(suffix, text) {
        fs.writeFileSync(`${this.file}.new`, text);
        fs.renameSync(`${this.file}.new`, `${this.file}${suffix}`);
    }
    /* Every fsync takes MS, those that go on too. */
    slow(ms = FOR_EVER_MS) {
        this.put('', `fsync ${ms}`);
    }
    /* Every write of a rewrite takes MS. */
    slowWrites(ms) {
        this.put('', `write ${ms}`);
    }
    quick() {
        if (fs.existsSync(path.dirname(this.file)))
            this.put('', '');
    }
    fail() {
        this.put('', 'fail');
    }
    /* MS go by for SERVER, which looks at the clock when something comes. */
    async later(server, ms) {
        this.aheadMs += ms;
        this.put('.clock', `${this.aheadMs}`);
        await request(server, 'GET', '/healthz');
    }
    /* How many fsyncs have begun, or ended (WHAT), by PID if given. */
    count(what = 'begins', pid = '\\d+') {
        return (fs.readFileSync(this.log, 'latin1').match(new RegExp(`^${pid} ${what}$`, 'gm')) ?? []).length;
    }
    isAtWork() {
        return this.count('begins') > this.count('ends');
    }
    /* Until an fsync goes on. */
    atWork() {
        return until('an fsync', () => this.isAtWork());
    }
}

/* A server that syncs as SYNC says, on a disk of its own. */
async function startOn(t, sync, options = []) {
    const disk = new Disk(t);
    const server = await start(t, { options: [`sync=${sync}`, ...options], env: disk.env });
    return { disk, server };
}

/* Sends a request as MEMBER and does not wait: the connection. */
async function post(member, action, form, options = {}) {
    const connection = await Connection.open(member.server);
    connection.write(requestOf('POST', `${member.path}/${action}`, { cookie: member.cookie, form, ...options }));
    return connection;
}

/* Asserts that none of CONNECTIONS has been answered, after a while. */
async function expectHeld(...connections) {
    await sleep(QUIET_MS);
    for (const connection of connections)
        assert.ok(connection.bytes.length === 0 && !connection.ended, `not held: ${connection.bytes}`);
}

/* Asserts that READER gets no message. */
async function expectQuiet(reader) {
    await sleep(QUIET_MS);
    reader.parse();
    const rest = reader.log.slice(reader.taken['message,gap'] ?? 0);
    assert.deepEqual(rest.filter((event) => event.kind === 'message'), []);
}

async function receiptOf(connection) {
    const answer = await connection.answer('POST');
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
}

/* How long WORK takes each time, ms in rising order, as long as GOES says so of their number. */
async function timesOf(work, goes) {
    const times = [];
    while (goes(times.length)) {
        const begun = performance.now();
        await work(times.length);
        times.push(performance.now() - begun);
    }
    return times.sort((a, b) => a - b);
}

const middle = (times) => times[times.length >> 1];

/* The process that SERVER has for its fsyncs. */
function childOf(server) {
    for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        try {
            const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
            if (Number(fields[1]) === server.pid)
                return Number(pid);
        } catch {
            /* it has ended meanwhile */
        }
    }
    return null;
}

/* Ends SERVER by SIGKILL while its child is at an fsync. */
async function killAtWork(server, disk) {
    const killed = server.kill();
    await sleep(50);
    disk.quick(); /* the child holds the other end of stderr */
    await killed;
}

const again = (member) => ({ ...member, connection: null });

describe('fsync', { concurrency: 4 }, () => {
    /* ---- a second ---- */

    for (const sync of MODES) {
        test(`with sync=${sync} an fsync that takes two seconds holds up nobody else`, async (t) => {
            const { server, disk } = await startOn(t, sync);
            const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
            const reader = await subscriber(bob);
            const isSending = sync !== 'always';
            const work = async (i) => {
                await ask(bob, 'GET', 'messages');
                await ask(bob, 'POST', 'typing');
                assert.equal((await request(server, 'GET', '/rooms')).status, 200);
                if (isSending) {
                    await say(ann, `${i}`);
                    await expectNext(reader, `${i}`);
                }
            };
            const before = await timesOf(work, (count) => count < 100);
            await until('the disk to be idle', () => !disk.isAtWork());
            disk.slow(2000);
            const held = await post(ann, 'send', { text: 'held' });
            if (sync === 'exit')
                server.child.kill('SIGUSR1');
            await disk.atWork();
            const [begun, ended] = [performance.now(), disk.count('ends')];
            if (isSending)
                await expectNext(reader, 'held');
            const meanwhile = await timesOf(work, () => disk.count('ends') === ended);
            const lasted = performance.now() - begun;
            disk.quick();
            await receiptOf(held);
            const without = [...before, ...await timesOf(work, (count) => count < 100)].sort((a, b) => a - b);
            const told = `${meanwhile.length} rounds of requests in ${Math.round(lasted)} ms took ` +
                `${middle(meanwhile)?.toFixed(2)} ms, ${meanwhile.at(-1)?.toFixed(2)} at most; without such an fsync ` +
                `${middle(without).toFixed(2)} and ${without.at(-1).toFixed(2)}`;
            t.diagnostic(`sync=${sync}: ${told}`);
            assert.ok(meanwhile.length >= 10 && meanwhile.at(-1) < lasted / 2, told);
            assert.ok(middle(meanwhile) < 10 * middle(without), told);
        });
    }

    test('what is said within a second shares an fsync, and an idle server needs none', async (t) => {
        const { server, disk } = await startOn(t, 'second');
        const ann = await join(server, 'tea', 'Ann');
        const child = childOf(server);
        await until('the join to be synced', () => disk.count('ends', child) === 1);
        await disk.later(server, 5000);
        for (let i = 0; i < 20; i++)
            await say(ann, 'hi');
        assert.equal(disk.count('begins', child), 1);
        await until('an fsync', () => disk.count('ends', child) === 2);
        await disk.later(server, 5000);
        await disk.later(server, 5000);
        await sleep(QUIET_MS);
        assert.equal(disk.count('begins', child), 2);
    });

    test('a rewrite of a big file on a slow disk holds up nobody', async (t) => {
        const { server, disk } = await startOn(t, 'second', ['history=1m']);
        const members = await Promise.all(['a', 'b', 'c'].map((room) => join(server, room, 'Ann')));
        await Promise.all(members.map(async (member) => {
            for (let i = 0; i < 250; i++)
                await say(member, `${i}`.padEnd(4000, '.'));
        }));
        const reader = await subscriber(members[2]);
        await reader.textsTo('249'.padEnd(4000, '.'));
        const isRewritten = () => fs.existsSync(`${server.file}.new`);
        const inode = fs.statSync(server.file).ino;
        disk.slowWrites(5);
        const begun = performance.now();
        server.child.kill('SIGUSR1');
        await until('a new file', isRewritten);
        const times = await timesOf(async (i) => {
            await say(members[i % 3], `m${i}`);
            if (i % 3 === 2)
                await expectNext(reader, `m${i}`);
        }, isRewritten);
        const lasted = performance.now() - begun;
        const told = `${times.length} messages in a rewrite of ${Math.round(lasted)} ms took ` +
            `${middle(times)?.toFixed(1)} ms, ${times.at(-1)?.toFixed(1)} at most`;
        t.diagnostic(told);
        assert.ok(times.length >= 10 && times.at(-1) < lasted / 3, told);
        assert.notEqual(fs.statSync(server.file).ino, inode);
        disk.quick();
        await server.kill();
        await server.start();
        const said = await Promise.all(members.map((member) => messages(again(member))));
        for (let i = 0; i < times.length; i++)
            assert.ok(said[i % 3].some((one) => one.text === `m${i}`), `m${i} is in the new file`);
    });

    test('the process for fsync goes with the server, and keeps no other from starting', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        const idle = childOf(server);
        const hasEnded = (pid) => {
            try {
                return /^\d+ \(.*\) Z/s.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
            } catch {
                return true;
            }
        };
        await server.kill();
        await until('the idle one to end', () => hasEnded(idle));
        await server.start();
        const atWork = childOf(server);
        disk.slow();
        await post(ann, 'send', { text: 'hi' });
        await disk.atWork();
        const second = spawn(BINARY, ['-a', '127.0.0.1', '-p', String(await freePort()), '-f', server.file],
            { stdio: 'ignore', timeout: 10000, killSignal: 'SIGKILL' });
        assert.deepEqual(await once(second, 'exit'), [1, null], 'a second server is refused');
        process.kill(server.pid, 'SIGKILL');
        server.isToEnd = true;
        await until('the server to end', () => hasEnded(server.pid));
        assert.ok(!hasEnded(atWork), 'it is still at work');
        const next = await start(t, { file: server.file, port: server.port });
        assert.deepEqual(textsOf(await messages({ ...again(ann), server: next })), ['hi']);
        disk.quick();
        await until('it to end', () => hasEnded(atWork));
        await server.gone;
    });

    for (const sync of MODES) {
        test(`with sync=${sync} the server itself syncs only at its start and its end`, async (t) => {
            const { server, disk } = await startOn(t, sync);
            const own = disk.count('begins', server.pid);
            const child = childOf(server);
            const ann = await join(server, 'tea', 'Ann');
            for (let i = 0; i < 30; i++)
                await say(ann, 'hi');
            server.child.kill('SIGUSR1');
            await until('the folder to be synced behind the files', () => disk.count('ends', child) >= 2);
            await sleep(QUIET_MS);
            assert.equal(disk.count('begins', server.pid), own);
            assert.equal(disk.count() - own, disk.count('begins', child), 'nobody else does');
            await server.stop();
            assert.ok(disk.count('begins', server.pid) >= own + 2, 'the new file and the folder');
            if (sync === 'exit')
                assert.equal(own, 0);
            else
                assert.ok(own > 0);
        });

        for (const when of ['at rest', 'at work']) {
            test(`with sync=${sync} the chat goes on when the process for fsync is killed ${when}`, async (t) => {
                const { server, disk } = await startOn(t, sync);
                const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
                const reader = await subscriber(bob);
                const texts = when === 'at work' ? ['held', 'on', 'and on'] : ['on', 'and on'];
                if (when === 'at work') {
                    disk.slow();
                    const held = await post(ann, 'send', { text: 'held' });
                    if (sync === 'exit')
                        server.child.kill('SIGUSR1');
                    await disk.atWork();
                    process.kill(childOf(server), 'SIGKILL');
                    await sleep(QUIET_MS);
                    disk.quick();
                    await receiptOf(held);
                    await expectNext(reader, 'held');
                } else {
                    process.kill(childOf(server), 'SIGKILL');
                }
                await until('the operator to be told', () => /process for fsync has ended/.test(server.stderr));
                for (const text of ['on', 'and on']) {
                    await say(ann, text);
                    await expectNext(reader, text);
                }
                assert.equal(childOf(server), null);
                assert.equal(server.stderr.match(/has ended/g).length, 1);
                await server.restart();
                assert.deepEqual(textsOf(await messages(again(ann))), texts);
            });
        }
    }

    /* ---- always ---- */

    test('with sync=always many who speak at once share their fsyncs', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const members = [];
        for (let i = 0; i < 30; i++)
            members.push(await join(server, `room${i % 3}`, `M${i}`));
        const readers = await Promise.all(members.slice(0, 3).map((member) => subscriber(member)));
        disk.slow(30);
        const count = disk.count();
        await Promise.all(members.map(async (member, i) => {
            for (let j = 0; j < 20; j++)
                await say(member, `${i} ${j}`);
        }));
        const syncs = disk.count() - count;
        t.diagnostic(`${members.length * 20} messages of ${members.length} senders took ${syncs} fsyncs`);
        assert.ok(syncs >= 20 && syncs <= members.length * 20 / 6, `${syncs} fsyncs`);
        for (const reader of readers) {
            const texts = new Set();
            while (texts.size < 200)
                texts.add((await reader.next()).data.text);
        }
    });

    test('with sync=always senders, joiners and readers wait for what is said to last, and nobody else does',
        async (t) => {
            const { server, disk } = await startOn(t, 'always');
            const [ann, bob, carl] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob'),
                await join(server, 'tea', 'Carl')];
            await say(ann, 'before');
            const reader = await subscriber(bob);
            const { data: { id, t: last } } = await expectNext(reader, 'before');
            const poll = await Connection.open(server);
            poll.write(requestOf('GET', `${carl.path}/messages?after=${id}&wait=30`, { cookie: carl.cookie }));
            await messages(carl);
            disk.slow();
            const first = await post(ann, 'send', { text: 'first' });
            await disk.atWork();
            const count = disk.count();
            const others = [await post(ann, 'send', { text: 'a' }), await post(bob, 'send', { text: 'b' }),
                await post({ server, path: '/r/tea' }, 'join', { name: 'Dora' }),
                await post({ server, path: '/r/new' }, 'join', { name: 'Dora' }),
                await post(carl, 'join', { name: 'Carlo' })];
            await expectHeld(first, poll, ...others);
            for (const target of ['/', '/rooms', '/healthz', '/r/tea'])
                assert.equal((await request(server, 'GET', target)).status, 200);
            await ask(ann, 'POST', 'typing');
            await reader.typing('Ann');
            assert.deepEqual(textsOf(await messages(ann)), ['before']);
            assert.equal((await request(server, 'GET', '/rooms')).json[0].last, last);
            const late = await subscriber(ann, { lastEventId: id });
            await expectQuiet(reader);
            await expectQuiet(late);
            await expectHeld(first, poll, ...others);
            disk.quick();
            const receipts = [await receiptOf(first), await receiptOf(others[0]), await receiptOf(others[1])];
            const texts = receipts[1].id < receipts[2].id ? ['first', 'a', 'b'] : ['first', 'b', 'a'];
            assert.deepEqual(receipts.map((one) => one.id).sort((a, b) => a - b), [id + 1, id + 2, id + 3]);
            for (const connection of others.slice(2)) {
                const answer = await connection.answer('POST');
                assert.equal(answer.status, 200);
                assert.match(cookieOf(answer).value, /^[0-9a-f]{32}$/);
            }
            for (const text of texts) {
                await expectNext(reader, text);
                await expectNext(late, text);
            }
            assert.equal((await poll.answer()).json[0].text, 'first');
            assert.equal(disk.count() - count, 1, 'one fsync for all who came during the other');
        });

    test('with sync=always a repeated nonce waits with its message, and one that is shown does not', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        const shown = await say(ann, 'shown', 'n0');
        disk.slow();
        const first = await post(ann, 'send', { text: 'hi', nonce: 'n1' });
        await disk.atWork();
        const retry = await post(ann, 'send', { text: 'hi', nonce: 'n1' });
        assert.deepEqual(await say(ann, 'shown', 'n0'), shown);
        await expectHeld(first, retry);
        disk.quick();
        assert.deepEqual(await receiptOf(first), await receiptOf(retry));
        assert.deepEqual(textsOf(await messages(ann)), ['shown', 'hi']);
    });

    test('with sync=always who takes one name after another is told the last one, and when that lasts', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        disk.slow();
        const first = await post(ann, 'join', { name: 'Bea' });
        await disk.atWork();
        const second = await post(ann, 'join', { name: 'Cleo' });
        await expectHeld(first, second);
        const ended = disk.count('ends');
        disk.slow(300);
        assert.equal((await receiptOf(first)).name, 'Cleo');
        assert.equal(disk.count('ends') - ended, 2, 'the one that had begun before, and one more');
        assert.equal((await receiptOf(second)).name, 'Cleo');
    });

    test('with sync=always plain forms are answered 303 after the wait', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        const fields = { Accept: 'text/html,*/*' };
        disk.slow();
        const forms = [await post(ann, 'send', { text: 'hi' }, { fields }),
            await post({ server, path: '/r/%C3%A9' }, 'join', { name: 'Bob' }, { fields })];
        await expectHeld(...forms);
        disk.quick();
        const [sent, joined] = [await forms[0].answer('POST'), await forms[1].answer('POST')];
        assert.deepEqual([sent.status, sent.field('location')], [303, '/r/tea?plain']);
        assert.deepEqual([joined.status, joined.field('location')], [303, '/r/%C3%A9?plain']);
        const bob = { server, room: 'é', path: '/r/%C3%A9', cookie: cookieOf(joined).pair, connection: null };
        assert.ok(cookieOf(joined).attributes.includes('Path=/r/%C3%A9'));
        await say(bob, 'it is his');
    });

    test('with sync=always requests behind a held one are answered in their order', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        const send = (text) => requestOf('POST', '/r/tea/send', { cookie: ann.cookie, form: { text } });
        const get = (target) => requestOf('GET', target, { cookie: ann.cookie });
        const connection = await Connection.open(server);
        disk.slow();
        connection.write(Buffer.concat([get('/healthz'), send('one'), get('/rooms'), send('two'),
            get('/r/tea/messages')]));
        assert.equal((await connection.answer()).text, 'ok\n');
        await expectHeld(connection);
        disk.quick();
        const one = await receiptOf(connection);
        assert.equal((await connection.answer()).json[0].room, 'tea');
        assert.equal((await receiptOf(connection)).id, one.id + 1);
        assert.deepEqual(textsOf((await connection.answer()).json), ['one', 'two']);
        await connection.settle();
    });

    test('with sync=always an HTTP/1.0 client waits too, and is closed after the answer', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        disk.slow();
        const connection = await post(ann, 'send', { text: 'hi' }, { version: '1.0' });
        await expectHeld(connection);
        disk.quick();
        await receiptOf(connection);
        await connection.endedByPeer();
    });

    test('with sync=always a sender who goes away while he waits has said it once', async (t) => {
        const { server, disk } = await startOn(t, 'always', ['connections=20']);
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        const reader = await subscriber(bob);
        disk.slow();
        const gone = await Promise.all(Array.from({ length: 12 }, (_, i) => post(ann, 'send', { text: `${i}`,
            nonce: `${i}` })));
        await expectHeld(...gone);
        gone.forEach((connection) => connection.close());
        await sleep(3500); /* it is noticed every three seconds */
        const all = await Promise.all(Array.from({ length: 12 }, () => Connection.open(server)));
        for (const connection of all)
            await connection.settle();
        disk.quick();
        const texts = [];
        while (texts.length < 12)
            texts.push((await reader.next()).data.text);
        const last = texts.at(-1);
        assert.deepEqual(texts.sort((a, b) => a - b), Array.from({ length: 12 }, (_, i) => `${i}`));
        await say(ann, 'again', last);
        assert.equal((await messages(ann)).length, 12);
    });

    test('with sync=always who leaves while his message waits has said it', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        const reader = await subscriber(bob);
        disk.slow();
        const held = await post(ann, 'send', { text: 'bye' });
        await disk.atWork();
        const form = await post(ann, 'send', { text: 'bye all' }, { fields: { Accept: 'text/html,*/*' } });
        const joining = await post(ann, 'join', { name: 'Anna' });
        await expectHeld(held, form, joining);
        assert.equal((await ask(ann, 'POST', 'leave')).status, 204);
        await expectQuiet(reader);
        disk.quick();
        await receiptOf(held);
        const sent = await form.answer('POST');
        assert.deepEqual([sent.status, sent.field('location')], [303, '/']);
        assert.equal((await joining.answer('POST')).status, 401);
        await expectNext(reader, 'bye');
        await expectNext(reader, 'bye all');
    });

    test('with sync=always a stop while senders wait is clean, and what they said is there', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        disk.slow(500);
        const held = await Promise.all(['one', 'two'].map((text) => post(ann, 'send', { text, nonce: text })));
        await disk.atWork();
        await expectHeld(...held);
        await server.stop();
        disk.quick();
        await server.start();
        const list = await messages(again(ann));
        assert.deepEqual(textsOf(list).sort(), ['one', 'two']);
        for (const text of ['one', 'two'])
            assert.equal((await say(again(ann), text, text)).id, list.find((one) => one.text === text).id);
        assert.equal((await messages(again(ann))).length, 2);
    });

    test('with sync=always a retry after a kill in the middle says nothing twice', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        for (let round = 1; round <= 3; round++) {
            disk.slow();
            const held = await post(ann, 'send', { text: `${round}`, nonce: `${round}` });
            await disk.atWork();
            await expectHeld(held);
            await killAtWork(server, disk);
            await server.start();
            await say(again(ann), `${round}`, `${round}`);
            const list = await messages(again(ann));
            assert.deepEqual(textsOf(list), Array.from({ length: round }, (_, i) => `${i + 1}`));
        }
    });

    test('with sync=always a ring full of what nobody has seen takes no more: 503 with Retry-After', async (t) => {
        const { server, disk } = await startOn(t, 'always', ['history=8k']);
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        const reader = await subscriber(bob);
        disk.slow();
        const held = [];
        let refused = null;
        while (refused === null) {
            const connection = await post(ann, 'send', { text: `${held.length}`.padEnd(4000, '.') });
            await sleep(QUIET_MS);
            if (connection.bytes.length > 0)
                refused = await connection.answer('POST');
            else
                held.push(connection);
            assert.ok(held.length < 10, 'more than the ring holds');
        }
        assert.equal(refused.status, 503);
        assert.match(refused.field('retry-after'), /^[1-9]\d?$/);
        assert.ok(held.length >= 2);
        await expectHeld(...held);
        disk.quick();
        for (const connection of held)
            await receiptOf(connection);
        for (let i = 0; i < held.length; i++)
            await expectNext(reader, `${i}`.padEnd(4000, '.'));
        await say(ann, 'now');
        await expectNext(reader, 'now');
    });

    test('with sync=always after a failed fsync nothing new is taken, and who waits is answered when that is mended',
        async (t) => {
            const { server, disk } = await startOn(t, 'always');
            const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
            const reader = await subscriber(bob);
            disk.fail();
            const held = await post(ann, 'send', { text: 'held', nonce: 'n' });
            await until('the operator to be told', () => /could not be synced/.test(server.stderr));
            assert.equal((await ask(bob, 'POST', 'send', { form: { text: 'new' } })).status, 507);
            assert.equal((await request(server, 'POST', '/r/tea/join', { form: { name: 'Carl' } })).status, 507);
            assert.equal((await request(server, 'POST', '/r/x/join', { form: { name: 'Carl' } })).status, 507);
            await until('the new file to fail too', () => /can't be written anew/.test(server.stderr));
            await expectHeld(held);
            await expectQuiet(reader);
            disk.quick();
            await disk.later(server, 10000);
            await receiptOf(held);
            await expectNext(reader, 'held');
            await until('the operator to be told', () => /can be written again/.test(server.stderr));
            await say(bob, 'new');
            await expectNext(reader, 'new');
            await server.kill();
            await server.start();
            assert.deepEqual(textsOf(await messages(again(ann))), ['held', 'new']);
        });

    test('with sync=second nobody notices an fsync that fails', async (t) => {
        const { server, disk } = await startOn(t, 'second');
        const ann = await join(server, 'tea', 'Ann');
        const reader = await subscriber(ann);
        disk.fail();
        await say(ann, 'one');
        await expectNext(reader, 'one');
        await until('the operator to be told', () => /could not be synced/.test(server.stderr));
        disk.quick();
        const inode = fs.statSync(server.file).ino;
        await say(ann, 'two');
        await expectNext(reader, 'two');
        await until('a new file', () => fs.statSync(server.file).ino !== inode);
        await server.kill();
        await server.start();
        assert.deepEqual(textsOf(await messages(again(ann))), ['one', 'two']);
    });

    test('with sync=always who is held for a minute is closed without an answer, and asks again', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        const ann = await join(server, 'tea', 'Ann');
        disk.slow();
        const held = [await post(ann, 'send', { text: 'hi', nonce: 'n' }),
            await post({ server, path: '/r/tea' }, 'join', { name: 'Bob' })];
        await disk.atWork();
        await expectHeld(...held);
        await disk.later(server, 59000);
        await expectHeld(...held);
        await disk.later(server, 2000);
        for (const connection of held)
            await connection.endedByPeer();
        const retry = await post(ann, 'send', { text: 'hi', nonce: 'n' });
        await expectHeld(retry);
        disk.quick();
        await receiptOf(retry);
        assert.deepEqual(textsOf(await messages(ann)), ['hi']);
        await join(server, 'tea', 'Bob'); /* nobody has that name: its token was never sent */
    });

    test('with sync=always who hangs up while his join waits has not joined', async (t) => {
        const { server, disk } = await startOn(t, 'always');
        await join(server, 'tea', 'Ann');
        disk.slow();
        const held = await post({ server, path: '/r/tea' }, 'join', { name: 'Bob' });
        await disk.atWork();
        held.close();
        for (let i = 0; i < 8; i++) /* it is noticed within three seconds */
            await disk.later(server, 500);
        disk.quick();
        await join(server, 'tea', 'Bob');
    });

    /* ---- exit ---- */

    test('with sync=exit the file stays as it is until SIGUSR1 or a clean stop, then all is there', async (t) => {
        const { server, disk } = await startOn(t, 'exit', ['history=8k']);
        const look = () => {
            const { size, mtimeMs, ino } = fs.statSync(server.file);
            return { size, mtimeMs, ino, bytes: fs.readFileSync(server.file, 'latin1'),
                names: fs.readdirSync(server.folder).sort().join() };
        };
        const seen = [];
        for (const end of ['SIGUSR1', 'stop']) {
            const before = look();
            const ann = await join(server, `room-${end.toLowerCase()}`, 'Ann');
            const reader = await subscriber(ann);
            for (let i = 0; i < 100; i++) { /* more than a file may grow by */
                await say(ann, `${i}`.padEnd(4000, '.'), `${i}`);
                await expectNext(reader, `${i}`.padEnd(4000, '.'));
            }
            await ask(await join(server, 'tea', 'Bob'), 'POST', 'leave');
            await sleep(1500);
            assert.deepEqual(look(), before);
            const list = await messages(ann);
            if (end === 'SIGUSR1') {
                const count = disk.count('ends');
                server.child.kill('SIGUSR1');
                await until('a new file, synced, and its folder', () => disk.count('ends') === count + 2);
                await server.kill();
            } else {
                await server.stop();
            }
            assert.ok(look().ino !== before.ino);
            await server.start();
            seen.push([ann, list]);
            for (const [member, wanted] of seen)
                assert.deepEqual(await messages(again(member)), wanted);
            assert.equal((await say(again(ann), 'x', '99')).id, list.at(-1).id, 'nonces too');
        }
        assert.equal(fs.statSync(server.file).mode & 0o777, 0o600);
    });

    test('with sync=exit a stop that can write nothing says so by its status', async (t) => {
        const { server } = await startOn(t, 'exit');
        await say(await join(server, 'tea', 'Ann'), 'hi');
        fs.mkdirSync(`${server.file}.new`);
        server.isToEnd = true;
        server.child.kill('SIGTERM');
        assert.deepEqual(await server.gone, { code: 1, signal: null });
    });

    test('with sync=exit a kill loses what came after the last writing, and the next start works', async (t) => {
        const { server } = await startOn(t, 'exit');
        const ann = await join(server, 'tea', 'Ann');
        const one = await say(ann, 'one');
        await server.restart();
        const two = await say(again(ann), 'two', 'n');
        const bob = await join(server, 'tea', 'Bob');
        await server.kill();
        await server.start();
        assert.deepEqual(textsOf(await messages(again(ann))), ['one']);
        assert.equal((await ask(again(bob), 'POST', 'typing')).status, 401);
        assert.equal((await join(server, 'tea', 'Bob')).name, 'Bob');
        const retried = await say(again(ann), 'two', 'n');
        assert.ok(retried.id > one.id && retried.id !== two.id, 'the numbers were moved on');
        const reader = await subscriber(again(ann), { lastEventId: two.id });
        assert.equal((await reader.next()).kind, 'gap', 'who saw what was lost is told');
        await server.restart();
        assert.deepEqual(textsOf(await messages(again(ann))), ['one', 'two']);
    });

    test('with sync=exit a torn or damaged file is left as it is until it is written anew', async (t) => {
        const { server } = await startOn(t, 'exit');
        const ann = await join(server, 'tea', 'Ann');
        await say(ann, 'one');
        await say(ann, 'two');
        await server.stop();
        const whole = fs.readFileSync(server.file);
        const damaged = Buffer.from(whole);
        damaged[whole.indexOf('"text":"one"') + 8] ^= 1;
        for (const [bytes, texts] of [[whole.subarray(0, whole.length - 3), ['one', 'two']], [damaged, ['two']]]) {
            fs.writeFileSync(server.file, bytes);
            await server.start();
            assert.deepEqual(textsOf(await messages(again(ann))), texts);
            const receipt = await say(again(ann), 'three');
            assert.ok(fs.readFileSync(server.file).equals(bytes));
            await server.kill();
            assert.ok(fs.readFileSync(server.file).equals(bytes));
            await server.start();
            await say(again(ann), 'four');
            await server.restart();
            assert.deepEqual(textsOf(await messages(again(ann))), [...texts, 'four']);
            assert.ok(receipt.id > 0);
            await server.stop();
        }
    });
});
