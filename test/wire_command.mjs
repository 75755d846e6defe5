/* wire_command.mjs: the command, its options and limits (the contract, sections 5 and 6). */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Connection, QUIET_MS, asNobody, ask, assert, each, expectNext, freePort, join, messages, request, requestOf,
    run, say, sleep, start, subscriber,
    temporaryFolder, textsOf, until } from './wire.mjs';

const OPTIONS = ['rooms', 'history', 'members', 'connections', 'peer', 'rate', 'joins', 'proxy', 'sync', 'hold',
    'host'];

/* ---- what it says ---- */

test('-h tells every option, and -V the version', async () => {
    const help = await run(['-h']);
    assert.equal(help.code, 0);
    for (const word of ['-a', '-p', '-f', '-o', '-V', 'snug.data', '8080', ...OPTIONS.map((name) => `${name}=`)])
        assert.ok(help.stdout.includes(word), `${word} in: ${help.stdout}`);
    assert.equal(help.stderr, '');
    const version = await run(['-V']);
    assert.deepEqual([version.code, version.stderr], [0, '']);
    assert.match(version.stdout, /^snug \d\S*\n$/);
});

/* Starts that must be refused, with what the sentence names. */
const refused = [
    ['-x'], ['-p'], ['-o'], ['-f'], ['-a'], ['tea'], ['-p', '1', 'tea'], ['--help'],
    ...['', 'x', '-1', '+80', '65536', '99999999999999999999', '80x', '0x50', ' 80', '8 0',
        '80.0'].map((port) => ['-p', port]),
    ...['localhost', '', 'x', '1.2.3', '1.2.3.4.5', '256.1.1.1', '::g', '127.0.0.1:80', '[::1]', 'example.com',
        '192.0.2.55'].map((address) => ['-a', address]),
    ...['', 'x', '=', '=1', 'rooms', 'tea=1', 'Rooms=1', 'rooms=1,tea=1', 'rooms=1,,members=2', ',',
        'rooms=1,'].map((option) => ['-o', option]),
    ...['rooms', 'members', 'connections'].flatMap((name) => ['', '0', 'x', '-1', '+5', '1x', '1.5', '5k',
        '99999999999999999999999', ' 5', 'off'].map((value) => ['-o', `${name}=${value}`])),
    ...['1', '65536'].map((value) => ['-o', `members=${value}`]),
    ...['', '8191', '7k', '0', '-8k', '8q', '8kk', '2g', '1048577k', '1073741825', '99999999999999999999g',
        '18014398509481985k', '8K8', 'k'].map((value) => ['-o', `history=${value}`]),
    ...['', '-1', 'x', 'OFF', 'no'].map((value) => ['-o', `peer=${value}`]),
    ...['rate', 'joins'].flatMap((name) => ['', '20', '20/', '/10', '/', '0/10', '20/0', '-1/10', 'x/10', '20/x',
        '20/10/5', '20/10s', '20 /10', '99999999999999999999/1', '1/99999999999999999999', 'no']
        .map((value) => ['-o', `${name}=${value}`])),
    ...['', 'x', '-1d', '1w', 'd', '1dd', '1.5d', '99999999999999999999d',
        '1d1h'].map((value) => ['-o', `hold=${value}`]),
    ...['', 'never', 'Second', 'alway', '1'].map((value) => ['-o', `sync=${value}`]),
    ...['', '127.0.0', 'localhost', 'x'].map((value) => ['-o', `proxy=${value}`]),
    ['-o', 'host='], ['-o', 'connections=100000000'], ['-o', 'rooms=1000000000,history=1g'],
    ['-f', ''], ['-f', '/nowhere/at/all/snug.data'], ['-f', '/dev/null/snug.data'], ['-f', '/'], ['-f', '.'],
    ['-f', 'a'.repeat(5000)]
];

test('what cannot be served is refused at the start, in one sentence', async (t) => {
    const folder = temporaryFolder(t);
    const port = await freePort();
    const rows = refused.map((args) => ({ name: args.join(' ').slice(0, 60), args }));
    await each(rows, async ({ args }) => {
        const before = args[0] === '-a' ? ['-p', String(port)] : ['-a', '127.0.0.1',
            ...(args[0] === '-p' ? [] : ['-p', String(port)])];
        const file = args[0] === '-f' ? [] : ['-f', path.join(folder, `${Math.random()}`)];
        const { code, stderr } = await run([...before, ...file, ...args], { cwd: folder, ms: 5000 });
        assert.ok([1, 2].includes(code), `it ended with ${code}: ${stderr}`);
        assert.match(stderr, /^[^\n]{15,}[.]\n$/, `one sentence: ${JSON.stringify(stderr)}`);
        const name = args[0] === '-o' && /^(\w+)=[^,]*$/.exec(args[1])?.[1];
        assert.ok(!name || stderr.includes(name) , `it names what is wrong: ${stderr}`);
    }, 4);
});

test('what can be served is', async (t) => {
    const good = ['rooms=1', 'rooms=100000,history=8k', 'history=8k', 'history=8192', 'history=16m', 'members=2',
        'members=65535,rooms=2', 'connections=10', 'peer=1', 'peer=off', 'rate=1/1,joins=1/1',
        'rate=off,joins=off', 'joins=1000000/3600', 'hold=5', 'hold=5s', 'hold=5m', 'hold=5h', 'hold=365d',
        'sync=second', 'host=a.example,host=b.example', 'rooms=2,members=3,rooms=4'];
    await each(good.map((option) => ({ name: option, option })), async ({ option }) => {
        const server = await start(t, { options: [option] });
        const ann = await join(server, 'tea', 'Ann');
        assert.equal((await ask(ann, 'POST', 'send', { form: { text: 'hi' } })).status, 200);
        await server.stop();
    }, 4);
});

test('it tells the address to open, the file, and the memory it can need', async (t) => {
    const server = await start(t);
    assert.ok(server.stderr.includes(`http://127.0.0.1:${server.port}/`), server.stderr);
    assert.ok(server.stderr.includes(fs.realpathSync(server.file)), server.stderr);
    assert.match(server.stderr, /memory.*\d/i);
});

test('it says that it can need more memory where it can', async (t) => {
    const figure = async (option) => {
        const server = await start(t, { options: [option] });
        const [, number, unit] = /memory\D*(\d+) *([KMG])iB/.exec(server.stderr);
        await server.stop();
        return Number(number) * { K: 1, M: 1024, G: 1024 * 1024 }[unit];
    };
    const [small, rooms, history] = [await figure('rooms=8,history=8k'), await figure('rooms=80,history=8k'),
        await figure('rooms=8,history=8m')];
    assert.ok(small < rooms && history >= small + 8 * 8000, `${[small, rooms, history]}`);
});

test('without an address it listens on every one, and names those that others can open', async (t) => {
    const server = await start(t, { address: null });
    const others = Object.values(os.networkInterfaces()).flat().filter((one) => !one.internal && one.family === 'IPv4');
    for (const { address } of others)
        assert.ok(server.stderr.includes(`http://${address}:${server.port}/`), `${address} in ${server.stderr}`);
    assert.equal((await request(server, 'GET', '/healthz')).status, 200);
    const hasSix = Object.values(os.networkInterfaces()).flat().some((one) => one.address === '::1');
    if (hasSix) {
        const connection = await Connection.open(server, { host: '::1' });
        assert.equal((await connection.ask('GET', '/healthz', { host: `[::1]:${server.port}` })).status, 200);
        connection.close();
    }
});

test('it listens on IPv6 alone if told so', async (t) => {
    if (!Object.values(os.networkInterfaces()).flat().some((one) => one.address === '::1'))
        return t.skip('there is no IPv6');
    const server = await start(t, { host: '::1' });
    assert.ok(server.stderr.includes(`http://[::1]:${server.port}/`), server.stderr);
    await assert.rejects(Connection.open(server, { host: '127.0.0.1' }));
});

test('without options it takes snug.data in the current folder', async (t) => {
    const folder = temporaryFolder(t);
    const server = await start(t, { folder, file: 'snug.data' });
    await say(await join(server, 'tea', 'Ann'), 'hi');
    assert.ok(fs.existsSync(path.join(folder, 'snug.data')));
});

test('a port in use is told in one sentence, and its owner notices nothing', async (t) => {
    const server = await start(t);
    const folder = temporaryFolder(t);
    const { code, stderr } = await run(['-a', '127.0.0.1', '-p', String(server.port), '-f',
        path.join(folder, 'snug.data')]);
    assert.ok([1, 2].includes(code));
    assert.match(stderr, /^[^\n]{15,}\.\n$/);
    assert.ok(stderr.includes(String(server.port)), stderr);
    await say(await join(server, 'tea', 'Ann'), 'hi');
    const every = await run(['-p', String(server.port), '-f', path.join(folder, 'snug.data')]);
    assert.ok([1, 2].includes(every.code), 'nor can it be had with all the other addresses');
});

test('a file that cannot be written is told in one sentence', async (t) => {
    const nobody = asNobody();
    if (nobody === null)
        return t.skip('there is no other user to be');
    const folder = temporaryFolder(t);
    fs.chmodSync(folder, 0o555);
    const { code, stderr } = await run(['-a', '127.0.0.1', '-p', String(await freePort()), '-f',
        path.join(folder, 'snug.data')], { before: nobody });
    assert.ok([1, 2].includes(code));
    assert.match(stderr, /^[^\n]{15,}\.\n$/);
});

/* ---- signals ---- */

test('SIGINT, SIGTERM and SIGHUP stop it cleanly', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const said = [];
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
        await say(ann, signal);
        said.push(signal);
        const reader = await subscriber(ann);
        await reader.textsTo(signal);
        await server.stop(signal);
        await server.start();
        assert.deepEqual(textsOf(await messages(ann)), said);
    }
});

test('two signals at once stop it as one does', async (t) => {
    const server = await start(t);
    await say(await join(server, 'tea', 'Ann'), 'hi');
    server.child.kill('SIGINT');
    server.child.kill('SIGINT');
    server.child.kill('SIGUSR1');
    await server.stop();
});

test('under nohup a closed terminal does not stop it', async (t) => {
    const server = await start(t, { before: "trap '' HUP" });
    const ann = await join(server, 'tea', 'Ann');
    server.child.kill('SIGHUP');
    await sleep(QUIET_MS);
    await say(ann, 'still here');
    await server.stop();
});

test('what comes at the wrong time does not end it', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    server.child.kill('SIGPIPE');
    for (let i = 0; i < 10; i++)
        server.child.kill('SIGUSR1');
    server.child.kill('SIGSTOP');
    server.child.kill('SIGCONT');
    await say(ann, 'still here');
});

/* ---- limits ---- */

/* COUNT connections that have asked once and are idle. */
async function idle(server, count) {
    const connections = [];
    for (let i = 0; i < count; i++) {
        const connection = await Connection.open(server);
        assert.equal((await connection.ask('GET', '/healthz')).status, 200);
        connections.push(connection);
    }
    return connections;
}

const LIMIT = 20;

describe('at the limit of connections', () => {
    test('the one longest idle makes room', async (t) => {
        const server = await start(t, { options: [`connections=${LIMIT}`] });
        const connections = await idle(server, LIMIT + 5);
        for (const connection of connections.slice(0, 4))
            await connection.endedByPeer();
        const [last, one] = [connections.at(-1), connections[10]];
        for (const connection of [last, one])
            assert.equal((await connection.ask('GET', '/healthz')).status, 200, 'the others are as they were');
    });

    test('if none is idle the newcomer gets 503, and those inside notice nothing', async (t) => {
        const server = await start(t, { options: [`connections=${LIMIT}`] });
        const ann = await join(server, 'tea', 'Ann');
        const readers = [];
        let answer = null;
        while (answer === null) {
            const connection = await Connection.open(server);
            connection.write(requestOf('GET', '/r/tea/events', { cookie: ann.cookie }));
            await connection.more();
            if (/^HTTP\/1.1 503/.test(connection.bytes.toString('latin1')))
                answer = await connection.answer();
            else
                readers.push(connection);
            assert.ok(readers.length <= LIMIT, `${readers.length} are inside`);
        }
        assert.ok(readers.length >= LIMIT - 2, `${readers.length} are inside`);
        assert.match(answer.field('connection') ?? 'close', /^close$/i);
        for (let i = 0; i < 10; i++) {
            const late = await Connection.open(server);
            assert.equal((await late.answer()).status, 503, 'without being asked');
            late.close();
        }
        assert.ok(readers.every((connection) => !connection.ended));
        readers.pop().close();
        await until('a place to be free again', async () => {
            try {
                return (await request(server, 'GET', '/healthz')).status === 200;
            } catch {
                return false;
            }
        });
    });

    test('streams and held requests stay while idle connections come and go', async (t) => {
        const server = await start(t, { options: [`connections=${LIMIT}`] });
        const ann = await join(server, 'tea', 'Ann');
        const reader = await subscriber(ann);
        const poll = messages(ann, '?wait=60');
        await reader.people('Ann');
        await idle(server, LIMIT * 3);
        const answer = await request(server, 'POST', '/r/tea/send', { form: { text: 'hi' }, cookie: ann.cookie });
        assert.equal(answer.status, 200);
        await expectNext(reader, 'hi');
        assert.deepEqual(textsOf(await poll), ['hi']);
    });
});

test('with few open files it serves few, and well', async (t) => {
    const nobody = asNobody();
    if (nobody === null)
        return t.skip('there is no user with limits to be');
    const folder = temporaryFolder(t);
    fs.chmodSync(folder, 0o777);
    const server = await start(t, { folder, before: `ulimit -n 40; ${nobody}` });
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    await idle(server, 60);
    await say(ann, 'hi');
    await expectNext(reader, 'hi');
    const before = fs.statSync(server.file).ino;
    server.child.kill('SIGUSR1');
    await until('the file to be written anew', () => fs.statSync(server.file).ino !== before);
    await idle(server, 60);
    await say(ann, 'again');
    await expectNext(reader, 'again');
});

test('connections that are asked for are had, or the start is refused', async (t) => {
    const server = await start(t, { before: 'ulimit -S -n 30', options: ['connections=100'] });
    const ann = await join(server, 'tea', 'Ann');
    const readers = [];
    for (let i = 0; i < 90; i++)
        readers.push(await subscriber(ann));
    await say(ann, 'hi');
    await Promise.all(readers.map((reader) => expectNext(reader, 'hi')));
    const nobody = asNobody();
    if (nobody === null)
        return;
    const folder = temporaryFolder(t);
    fs.chmodSync(folder, 0o777);
    const args = ['-a', '127.0.0.1', '-p', String(await freePort()), '-f', path.join(folder, 'snug.data'), '-o',
        'connections=100'];
    const { code, stderr } = await run(args, { before: `ulimit -n 50; ${nobody}` });
    assert.ok([1, 2].includes(code));
    assert.match(stderr, /^[^\n]{15,}\.\n$/);
});

test('many half requests do not keep whole ones out', async (t) => {
    const server = await start(t);
    const halves = [];
    for (let i = 0; i < 800; i++) {
        const connection = await Connection.open(server);
        connection.write(i % 2 ? 'GET /heal' : 'POST /join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n');
        halves.push(connection);
    }
    assert.equal((await request(server, 'GET', '/healthz')).status, 200);
    const ann = await join(server, 'tea', 'Ann');
    await say(ann, 'hi');
    const heads = halves.filter((_, i) => i % 2);
    for (const connection of heads)
        connection.write('thz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    let served = 0;
    await Promise.all(heads.map(async (connection) => {
        const answer = await connection.answer();
        assert.ok([200, 408].includes(answer.status), `${answer.status}`);
        served += answer.status === 200;
        await connection.endedByPeer();
    }));
    assert.ok(served > 0, 'the newest are served');
});

test('who says too much is told when to go on, and can', async (t) => {
    const server = await start(t, { options: ['rate=3/3'] });
    const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
    const send = (member) => ask(member, 'POST', 'send', { form: { text: 'x' } });
    for (let i = 0; i < 3; i++)
        assert.equal((await send(ann)).status, 200);
    const answer = await send(ann);
    assert.equal(answer.status, 429);
    const wait = answer.field('retry-after');
    assert.match(wait, /^[1-3]$/);
    assert.equal((await send(bob)).status, 200, 'the others may');
    assert.equal((await ask(ann, 'POST', 'typing')).status, 204);
    await sleep(Number(wait) * 1000 + 20);
    assert.equal((await send(ann)).status, 200, 'as Retry-After said');
});

test('a long message costs more than a short one, but never more than all', async (t) => {
    const server = await start(t, { options: ['rate=10/1000'] });
    const [ann, bob, carl] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob'),
        await join(server, 'tea', 'Carl')];
    const statuses = async (member, length, count) => {
        const list = [];
        for (let i = 0; i < count; i++)
            list.push((await ask(member, 'POST', 'send', { form: { text: 'a'.repeat(length) } })).status);
        return list;
    };
    assert.deepEqual(await statuses(ann, 1, 11), [...Array(10).fill(200), 429]);
    assert.deepEqual(await statuses(bob, 2900, 4), [200, 200, 200, 429], 'three tokens each');
    assert.deepEqual(await statuses(bob, 1, 2), [200, 429], 'one was left');
    assert.deepEqual(await statuses(carl, 1100, 6), [200, 200, 200, 200, 200, 429], 'two tokens each');
    await server.restart({ options: ['rate=2/1000'] });
    const dora = await join(server, 'tea', 'Dora');
    assert.deepEqual(await statuses(dora, 4000, 2), [200, 429]);
});

test('from this machine everybody may join, however many they are', async (t) => {
    const server = await start(t, { options: ['joins=1/1000', 'peer=1', 'rate=1/1000'] });
    for (let i = 0; i < 30; i++)
        await say(await join(server, 'tea', `M${i}`), 'hi');
    await idle(server, 20);
});

test('ten thousand rooms that were only looked into keep nobody out, and those in use stay', async (t) => {
    const server = await start(t, { options: ['rooms=4'] });
    const used = [];
    for (const room of ['one', 'two', 'three']) {
        for (const name of ['Ann', 'Bob']) {
            const member = await join(server, room, name);
            await say(member, 'hi');
            used.push(member);
        }
    }
    await each([0, 1, 2, 3], async (worker) => {
        const connection = await Connection.open(server);
        for (let i = 0; i < 2500; i++) {
            const joined = await connection.ask('POST', `/r/w${worker}x${i}/join`, { form: { name: 'Eve' } });
            assert.ok([200, 503].includes(joined.status), `${joined.status}`);
            if (joined.status === 200) {
                const cookie = joined.field('set-cookie').split(';')[0];
                assert.equal((await connection.ask('POST', `/r/w${worker}x${i}/leave`, { cookie })).status, 204);
            }
        }
        connection.close();
    });
    const last = await join(server, 'four', 'Carl');
    assert.equal((await request(server, 'POST', '/r/five/join', { form: { name: 'Eve' } })).status, 503);
    await say(last, 'hi');
    await ask(last, 'POST', 'leave');
    assert.equal((await request(server, 'POST', '/r/five/join', { form: { name: 'Eve' } })).status, 503,
        'a room with messages does not go at once');
    for (const member of used)
        assert.equal((await messages(member)).length, 2);
});

test('a new room in an old one\'s place knows nothing of it', async (t) => {
    const server = await start(t, { options: ['rooms=1'] });
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    await ask(ann, 'POST', 'leave');
    await reader.end();
    const bob = await join(server, 'coffee', 'Bob');
    assert.equal((await request(server, 'POST', '/r/tea/send', { form: { text: 'x' }, cookie: ann.cookie })).status,
        401);
    assert.equal((await request(server, 'POST', '/r/coffee/send', { form: { text: 'x' }, cookie: ann.cookie })).status,
        401);
    assert.deepEqual(await messages(bob), []);
    await server.kill();
    await server.start();
    assert.equal((await ask({ ...bob, connection: null }, 'POST', 'typing')).status, 204);
});
