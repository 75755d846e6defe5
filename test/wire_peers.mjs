/* wire_peers.mjs: what one address may do (the contract, section 5). */
import { Connection, assert, ask, request, requestOf, scenariosOf, start, until } from './wire.mjs';

const HOME = '10.77.0.1';
const [ONE, TWO] = ['10.77.1.1', '10.77.1.2'];
const scenario = scenariosOf(import.meta.url);

/* A server that listens on all of this machine, and is asked at HOME. */
function startHere(t, options) {
    return start(t, { options, host: HOME, address: '0.0.0.0' });
}

const HERE = { host: HOME };
const joinFrom = (server, from, name) => request(server, 'POST', '/r/tea/join', { form: { name }, from, ...HERE });
const healthFrom = (server, from) => request(server, 'GET', '/healthz', { from, ...HERE });

/* An idle connection from FROM, or the answer that turned it away. */
async function openFrom(server, from) {
    const connection = await Connection.open(server, { from });
    connection.write(requestOf('GET', '/healthz', HERE));
    const answer = await connection.answer();
    return { connection, status: answer.status };
}

scenario('one address has so many connections at once, and no more', async (t) => {
    const server = await startHere(t, ['peer=5']);
    const inside = [];
    for (let i = 0; i < 5; i++)
        inside.push(await openFrom(server, ONE));
    assert.deepEqual(inside.map((one) => one.status), Array(5).fill(200));
    assert.equal((await openFrom(server, ONE)).status, 503);
    assert.equal((await openFrom(server, TWO)).status, 200, 'another address may');
    for (let i = 0; i < 20; i++)
        assert.equal((await openFrom({ port: server.port, host: '127.0.0.1', connections: server.connections })).status,
            200, 'loopback may');
    assert.equal((await inside[0].connection.ask('GET', '/healthz', HERE)).status, 200, 'those inside notice nothing');
    inside[1].connection.close();
    await until('a place to be free', async () => (await healthFrom(server, ONE).catch(() => null))?.status === 200);
});

scenario('one address joins so often, and is told when it may again', async (t) => {
    const server = await startHere(t, ['joins=3/3']);
    for (let i = 0; i < 3; i++)
        assert.equal((await joinFrom(server, ONE, `Ann${i}`)).status, 200);
    const answer = await joinFrom(server, ONE, 'Ann3');
    assert.equal(answer.status, 429);
    assert.match(answer.field('retry-after'), /^[1-3]$/);
    assert.equal((await joinFrom(server, ONE, 'ann0')).status, 429, 'the rate comes before the taken name');
    assert.equal((await joinFrom(server, ONE, '')).status, 400, 'and after the wrong one');
    assert.equal((await joinFrom(server, TWO, 'Bob')).status, 200, 'another address may');
    await new Promise((resolve) => setTimeout(resolve, Number(answer.field('retry-after')) * 1000 + 20));
    assert.equal((await joinFrom(server, ONE, 'Ann3')).status, 200, 'as Retry-After said');
});

scenario('one address is drawn so many QR codes, and is told when it may have the next', async (t) => {
    const server = await startHere(t, ['joins=1/100']);
    const drawFrom = (from, method = 'GET') => request(server, method, '/r/tea/qr', { from, ...HERE });
    for (const method of ['GET', 'HEAD', 'GET', 'HEAD'])
        assert.equal((await drawFrom(ONE, method)).status, 200);
    const answer = await drawFrom(ONE, 'HEAD');
    assert.equal(answer.status, 429);
    assert.match(answer.field('retry-after'), /^2[0-5]$/);
    assert.match((await drawFrom(ONE)).text, /^Too many QR codes at once; wait \d+ seconds\.\n$/);
    const connection = await Connection.open(server, { from: ONE, ...HERE });
    connection.write(requestOf('GET', '/r/tea/qr', { host: `[fd00::1]:${'0'.repeat(7000)}80` }));
    assert.equal((await connection.answer()).status, 400, 'what can never be drawn is told before');
    assert.equal((await joinFrom(server, ONE, 'Ann')).status, 200, 'it may join all the same');
    assert.equal((await drawFrom(TWO)).status, 200, 'another address may');
    for (let i = 0; i < 8; i++)
        assert.equal((await request({ ...server, host: '127.0.0.1' }, 'GET', '/r/tea/qr')).status, 200, 'loopback may');
});

scenario('one address says four times what a member may', async (t) => {
    const server = await startHere(t, ['rate=2/1000', 'joins=off']);
    const members = [];
    for (let i = 0; i < 6; i++) {
        const answer = await joinFrom(server, ONE, `M${i}`);
        members.push({ server, room: 'tea', path: '/r/tea', from: ONE, connection: null,
            cookie: answer.field('set-cookie').split(';')[0] });
    }
    const send = (member) => ask(member, 'POST', 'send', { form: { text: 'x' },
        ...HERE }).then((answer) => answer.status);
    const statuses = [];
    for (const member of members)
        statuses.push(await send(member), await send(member));
    assert.deepEqual(statuses, [...Array(8).fill(200), ...Array(4).fill(429)]);
    assert.equal(await send({ ...members[5], from: TWO, connection: null }), 200, 'from another address he may');
});

scenario('the half requests of one address push out its own, not those of others', async (t) => {
    const server = await startHere(t, ['peer=off']);
    const half = async (from) => {
        const connection = await Connection.open(server, { from });
        connection.write(`GET /healthz HTTP/1.1\r\nHost: ${HOME}\r\nConnection: close\r\n`);
        return connection;
    };
    const other = await half(TWO);
    const many = [];
    for (let i = 0; i < 500; i++)
        many.push(await half(ONE));
    assert.equal((await healthFrom(server, ONE)).status, 200);
    assert.equal((await many[0].answer()).status, 408, 'its oldest is told');
    other.write('\r\n');
    assert.equal((await other.answer()).status, 200, 'the other address is answered');
    many.at(-1).write('\r\n');
    assert.equal((await many.at(-1).answer()).status, 200, 'as is its own newest');
});

scenario('thousands of addresses are served, and each keeps its own count', async (t) => {
    const server = await startHere(t, ['peer=1', 'joins=1/1000']);
    const held = await openFrom(server, ONE);
    assert.equal((await joinFrom(server, TWO, 'Ann')).status, 200);
    for (let i = 0; i < 3000; i++) {
        const from = `10.77.${10 + (i >> 8)}.${i & 255}`;
        assert.equal((await healthFrom(server, from)).status, 200, from);
    }
    assert.equal((await openFrom(server, ONE)).status, 503, 'one with a connection is not forgotten');
    assert.equal((await joinFrom(server, TWO, 'Anna')).status, 429, 'nor one that has joined');
    assert.equal((await held.connection.ask('GET', '/healthz', HERE)).status, 200);
});

scenario('members at another address are members', async (t) => {
    const server = await startHere(t, []);
    const answer = await joinFrom(server, ONE, 'Ann');
    const cookie = answer.field('set-cookie').split(';')[0];
    assert.equal((await request(server, 'POST', '/r/tea/typing', { cookie, from: TWO, ...HERE })).status, 204);
});
