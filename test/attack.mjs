/* attack.mjs: those inside notice nothing (the contract, sections 3 and 5). All of it runs in a network namespace of
 * its own, where 10.78.0.0/16 is this machine, for loopback is exempt from most limits: there this file is run again,
 * with SNUG_ATTACK set. The attackers are this file once more (SNUG_ATTACKER) and Debian's slowhttptest, niced.
 *
 * Measured is the time from a member's POST until another has the message in his stream: on the server that is attacked
 * and in turns with it on its twin, which is not. So the load of the machine, the attackers' and everybody's, is in
 * both times, and their ratio is what the attack did to the server. A fault is there each time: the calmest of some
 * rounds counts. What the times are in peace is told beside. ATTACK=long: longer rounds, and more of them. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Connection, ask, assert, each, join, messages, pathOf, request, requestOf, residentKiB, say, sleep, start,
    subscriber, textsOf, until } from './wire.mjs';

const SELF = fileURLToPath(import.meta.url);
const LONG = process.env.ATTACK === 'long';

const HOME = '10.78.0.1';                                                        /* where the server is asked */
const member = (number) => `10.78.1.${number}`;                                  /* addresses of those inside */
const stranger = (number) => `10.78.${9 + (number >> 7)}.${1 + (number & 127)}`; /* and of attackers */
const strangers = (count) => Array.from({ length: count }, (_, i) => stranger(i));

/* A round is a time of peace and one of attack, ms. */
const PEACE_MS = LONG ? 1000 : 250;
const ATTACK_MS = LONG ? 5000 : 650;
const ROUNDS = LONG ? 4 : 2;
const ROUNDS_MAX = ROUNDS + 3; /* if none was calm */

/* The members who speak, in turns, for each may say only so much; and how long they wait in between. */
const SPEAKERS = 32;
const PAUSE_MS = LONG ? 12 : 4;

/* How many times as long as its twin's the attacked server's times may be in the calmest round. The mean counts beside
 * the median for those that are seldom and long; the highest percentiles of so few are told alone. */
const MEDIAN_TIMES = 25;
const MEAN_TIMES = 15;

/* ---- attackers ---- */

/* {n} in what is sent is a number of five digits. */
const numbered = (text, n) => text.replaceAll('{n}', 10000 + n % 90000);

/* A request as text, for attackers. */
function plain(method, target, { cookie, form } = {}) {
    const length = form?.replaceAll('{n}', '10000').length;
    return requestOf(method, target, { cookie, form, length, host: HOME }).toString('latin1');
}

const attackers = {
    /* Keeps COUNT connections open that say FIRST and then MORE every 300 ms; ISDEAF: they never read. */
    hold(open, tell, { count, first, more, isDeaf }) {
        let opened = 0;
        const ready = () => ++opened === count && tell();
        const go = (i) => {
            let drip;
            const socket = open(i, () => {
                ready();
                if (first)
                    socket.write(numbered(first, i));
                if (more)
                    drip = setInterval(() => socket.write(more), 300);
            });
            if (isDeaf)
                socket.pause();
            socket.on('close', () => {
                clearInterval(drip);
                ready();
                setTimeout(go, 50, i);
            });
        };
        for (let i = 0; i < count; i++)
            setTimeout(go, i / 8, i);
    },
    /* Sends REQUESTS, numbered up to MOST, over COUNT connections, each when the last one is answered; over a new one
     * where the server has closed it. */
    ask(open, tell, { count, requests, most = Infinity }, sum) {
        let next = 0, answered = 0;
        const go = (i) => {
            const more = () => next < most && socket.write(numbered(requests[next % requests.length], next++));
            const socket = open(i, more);
            socket.on('data', (data) => {
                const status = /^HTTP\/1.1 (\d+)/.exec(data.toString('latin1', 0, 12))?.[1];
                if (status === undefined)
                    return;
                sum[status] = (sum[status] ?? 0) + 1;
                if (++answered === Math.min(most, 20))
                    tell();
                if (answered === most)
                    tell('done');
                more();
            });
            socket.on('close', () => setTimeout(go, 5, i));
        };
        for (let i = 0; i < count; i++)
            go(i);
    },
    /* Sends FIRST as often as it can over COUNT connections, and reads what comes. */
    pipeline(open, tell, { count, first }) {
        const bytes = Buffer.from(first.repeat(Math.ceil(60000 / first.length)));
        const go = (i) => {
            const more = () => {
                while (socket.writable && socket.write(bytes));
            };
            const socket = open(i, more);
            socket.on('drain', more);
            socket.once('data', () => tell());
            socket.on('close', () => setTimeout(go, 50, i));
        };
        for (let i = 0; i < count; i++)
            go(i);
    }
};

/* The process of an attacker: what it does is the first line of its standard input, with whose end it ends. The sum is
 * how often each status was answered, where that is counted. */
function runAttacker() {
    const sum = {};
    const begin = ({ host, port, addresses, rows }) => {
        const open = (i, opened) => {
            const socket = net.connect({ port, host, localAddress: addresses?.[i % addresses.length] }, opened);
            return socket.on('error', () => {}).on('data', () => {});
        };
        const waiting = new Set(rows);
        for (const row of rows)
            attackers[row.kind](open, (word) => {
                if (word !== undefined || (waiting.delete(row) && waiting.size === 0))
                    console.log(word ?? 'ready');
            }, row, sum);
    };
    createInterface({ input: process.stdin }).once('line', (line) => begin(JSON.parse(line))).on('line', (line) => {
        if (line === 'sum') {
            console.log(`sum ${JSON.stringify(sum)}`);
            process.exit(0);
        }
    }).on('close', () => process.exit(0));
}

const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/* Runs a command whose lines are waited for by their beginning. */
function runChild(name, args, env = {}) {
    const child = spawn(name, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
    const lines = [];
    children.add(child);
    child.stdin.on('error', () => {});
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
    const gone = new Promise((resolve) => child.once('error', resolve).once('close', resolve))
        .then(() => children.delete(child));
    const line = (beginning, ms) => until(`${name} to say ${beginning}`,
        () => lines.find((one) => one.startsWith(beginning)), ms);
    return { child, gone, line };
}

/* Attackers on SERVER from ADDRESSES, each doing what a row of ROWS says, all at work when this returns: a function
 * that ends them, once they say WHEN if given, and yields their sum. */
async function attackBy(server, addresses, ...rows) {
    const { child, gone, line } = runChild('nice', ['-n', '5', process.execPath, SELF], { SNUG_ATTACKER: '1' });
    child.stdin.write(`${JSON.stringify({ host: HOME, port: server.port, addresses, rows })}\n`);
    await line('ready', 30000);
    return async (when) => {
        if (when)
            await line(when, 60000);
        child.stdin.write('sum\n');
        const sum = JSON.parse((await line('sum ')).slice(4));
        await gone;
        return sum;
    };
}

/* slowhttptest with ARGS on SERVER's TARGET, from each of ADDRESSES: a local address is spoken to from itself. */
async function slowBy(server, addresses, target, ...args) {
    const tools = addresses.map((address) => runChild('nice', ['-n', '5', 'slowhttptest', ...args, '-c', '120', '-r',
        '1000', '-l', '300', '-u', `http://${address}:${server.port}${target}`]));
    await sleep(400);
    for (const { child } of tools)
        assert.ok(child.pid !== undefined && child.exitCode === null, 'slowhttptest runs (test/setup brings it)');
    return async () => {
        tools.forEach(({ child }) => child.kill('SIGKILL'));
        await Promise.all(tools.map(({ gone }) => gone));
    };
}

/* ---- those inside ---- */

/* A server as it is by default, asked at HOME; long runs must not forget what was said for its age alone. */
function startHere(t, options = []) {
    return start(t, { options: ['rate=20/10', ...(LONG ? ['history=4m'] : []), ...options], host: HOME,
        address: '0.0.0.0' });
}

/* SERVER as loopback sees it: exempt from the limits of an address. */
function nearBy(server) {
    return { port: server.port, host: '127.0.0.1', connections: server.connections };
}

/* Anns speak in turns in the room tea, and Bob listens. */
async function people(server) {
    const speakers = [];
    for (let i = 0; i < SPEAKERS; i++)
        speakers.push(await join(server, 'tea', `Ann${i}`, { from: member(1 + i) }));
    const bob = await join(server, 'tea', 'Bob', { from: member(80) });
    for (const speaker of speakers)
        await ask(speaker, 'POST', 'typing'); /* a connection that is kept */
    return { server, speakers, bob, reader: await subscriber(bob), count: 0 };
}

/* The people of the server that will be attacked, and of its twin. */
async function inside(t, options, server = undefined) {
    const own = await people(server ?? await startHere(t, options));
    return { t, ...own, own, twin: await people(await startHere(t)) };
}

/* Says TEXT as the page does: once more, with the same nonce, where the connection it kept has just made room. */
async function sayAgain(speaker, text) {
    const isKept = speaker.connection !== null && !speaker.connection.ended;
    await say(speaker, text, text).catch((error) => {
        if (!isKept)
            throw error;
        speaker.connection.close();
        return say(speaker, text, text);
    });
}

/* How long a message takes from a speaker to Bob. */
async function timeOf(side) {
    const text = `measured ${side.count}`;
    const begun = performance.now();
    const [event] = await Promise.all([side.reader.nextOf(['message'], (one) => one.data.text === text),
        sayAgain(side.speakers[side.count++ % SPEAKERS], text)]);
    assert.ok(event, 'the stream of one inside ended');
    return performance.now() - begun;
}

/* What some messages took in MS, on the server and on its twin in turns. */
async function measure({ own, twin }, ms) {
    const times = { own: [], twin: [] };
    for (const end = Date.now() + ms; Date.now() < end; await sleep(PAUSE_MS)) {
        times.twin.push(await timeOf(twin));
        times.own.push(await timeOf(own));
    }
    return times;
}

function quantile(times, share) {
    return [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))];
}

const meanOf = (times) => times.reduce((sum, time) => sum + time, 0) / times.length;

/* How many times as long OWN's are. */
function ratiosOf({ own, twin }) {
    return { median: quantile(own, 0.5) / quantile(twin, 0.5), mean: meanOf(own) / meanOf(twin) };
}

const isCalm = (ratios) => ratios.median <= MEDIAN_TIMES && ratios.mean <= MEAN_TIMES;

/* The descriptors SERVER has beside those of the tests' own connections. */
function descriptors(server) {
    return fs.readdirSync(`/proc/${server.pid}/fd`).length -
        [...server.connections].filter((connection) => !connection.ended).length;
}

/* What the server said it can need at most, KiB. */
const promisedKiB = (server) => Number(/^memory (\d+) KiB at most$/m.exec(server.stderr)[1]);

/* Tells what the rounds were, ROUNDS of {peace, attack}. */
function tell(t, rounds) {
    const all = (kind, side) => rounds.flatMap((round) => round[kind][side]);
    const count = all('attack', 'own').length;
    t.diagnostic(`${count} messages under attack, in ${rounds.length} rounds`);
    const measures = { median: (times) => quantile(times, 0.5), mean: meanOf, p99: (times) => quantile(times, 0.99) };
    for (const [name, of] of Object.entries(measures)) {
        const [peace, attack, twin] = [all('peace', 'own'), all('attack', 'own'), all('attack', 'twin')].map(of);
        t.diagnostic(`${name} ${peace.toFixed(2)} ms in peace, ${attack.toFixed(2)} under attack, ${twin.toFixed(2)} ` +
            `on the twin: ratio ${(attack / peace).toFixed(2)} to peace, ${(attack / twin).toFixed(2)} to the twin`);
    }
}

/* Measures HERE in rounds without and with the attack that ATTACK begins; it yields what ends it. Asserts that those
 * inside notice nothing, and that descriptors and memory are afterwards what they were. DURING: called in each attack,
 * beside the measuring. OPENS: so many connections it must have at the end of one. Returns the attackers' sums. */
async function compare(here, attack, { during = async () => {}, opens = 0 } = {}) {
    const { t, server, reader } = here;
    const rounds = [], sums = [];
    await measure(here, 60);
    const before = { descriptors: descriptors(server), memory: residentKiB(server) };
    let warm, peak = 0;
    const ratios = () => rounds.map((round) => ratiosOf(round.attack));
    while (rounds.length < ROUNDS || (rounds.length < ROUNDS_MAX && !ratios().some(isCalm))) {
        const round = { peace: await measure(here, PEACE_MS) };
        const end = await attack();
        try {
            [round.attack] = await Promise.all([measure(here, ATTACK_MS), during(rounds.length)]);
            peak = Math.max(peak, descriptors(server));
        } finally {
            sums.push(await end());
        }
        rounds.push(round);
        warm ??= residentKiB(server);
    }
    await until(`${before.descriptors} descriptors again`, () => descriptors(server) <= before.descriptors);
    const last = residentKiB(server), promised = promisedKiB(server);
    tell(t, rounds);
    t.diagnostic(`memory ${before.memory} KiB before, ${warm} after the first attack, ${last} after the last; ` +
        `${peak - before.descriptors} connections more at the end of an attack`);
    assert.ok(ratios().some(isCalm), `too slow in each round: ${JSON.stringify(ratios())}`);
    assert.ok(peak >= before.descriptors + opens, `the attack had ${peak - before.descriptors} connections`);
    assert.ok(last <= warm + promised / 50, `attacks like the first made ${last - warm} KiB more resident`);
    assert.ok(last <= before.memory + promised, 'more memory than was promised');
    const heard = reader.log.filter((event) => ['message', 'gap'].includes(event.kind));
    heard.forEach((event, i) => i > 0 && assert.equal(event.data.id, heard[i - 1].data.id + 1, 'Bob missed nothing'));
    return sums;
}

/* Newcomers come in during the attack. */
async function newcomers(server, round) {
    for (let i = 0; i < 3; i++) {
        await sleep(ATTACK_MS / 4);
        await join(server, 'tea', `New${round}${i}`, { from: member(100 + 5 * round + i) });
    }
}

/* MEMBER says TEXT in two pieces, as a long one comes over the network. */
async function sayInPieces(member, text) {
    const connection = await Connection.open(member.server, { from: member.from });
    const bytes = requestOf('POST', `${member.path}/send`, { form: { text }, cookie: member.cookie });
    connection.write(bytes.subarray(0, 1400));
    await sleep(150);
    connection.write(bytes.subarray(1400));
    assert.equal((await connection.answer()).status, 200, 'what comes in two pieces is said');
    connection.close();
}

/* A room in which two people spoke and nobody is. The function asserts that it is as they left it. */
async function deserted(server, room) {
    const near = nearBy(server);
    const [zoe, yan] = [await join(near, room, 'Zoe'), await join(near, room, 'Yan')];
    const receipt = await say(zoe, 'does anyone hear me?', 'a nonce');
    await say(yan, 'I do');
    return async () => {
        assert.equal((await request(near, 'POST', `${pathOf(room)}/join`, { form: { name: 'zoe' } })).status, 409);
        assert.deepEqual(textsOf(await messages(zoe)).slice(0, 2), ['does anyone hear me?', 'I do']);
        assert.deepEqual(await say(zoe, 'does anyone hear me?', 'a nonce'), receipt, 'said once, though asked twice');
        await ask(yan, 'POST', 'typing');
    };
}

/* ---- the attacks ---- */

const half = () => plain('GET', '/healthz').slice(0, -2);

function measuredTests() {
    test('slow heads, bodies and reads (slowhttptest -H, -B, -X), from two addresses each', async (t) => {
        const here = await inside(t);
        const ways = ['/ -H -i 1 -x 24', '/join -B -i 1 -s 8192 -x 10 -t POST', '/ -X -w 8 -y 16 -n 1 -z 5 -k 3'];
        await compare(here, async () => {
            const ends = await Promise.all(ways.map((way, i) => slowBy(here.server,
                [stranger(2 * i), stranger(2 * i + 1)], ...way.split(' '))));
            return () => Promise.all(ends.map((end) => end()));
        }, { opens: 40 });
    });

    test('slow heads and bodies, readers and streams that never read, from twenty addresses', async (t) => {
        const here = await inside(t);
        const eve = await join(here.server, 'tea', 'Eve', { from: stranger(0) });
        const ways = [
            { first: half(), more: 'X: y\r\n', count: 250 },
            { first: plain('POST', '/r/tea/send', { cookie: eve.cookie, form: 'x'.repeat(900) }).slice(0, -880),
                more: 'x', count: 250 },
            { first: plain('GET', '/r/tea/events', { cookie: eve.cookie }), isDeaf: true, count: 200 },
            { first: plain('GET', '/r/tea/messages', { cookie: eve.cookie }), isDeaf: true, count: 100 },
            { first: plain('GET', '/').repeat(5), isDeaf: true, count: 100 }
        ];
        await compare(here, () => attackBy(here.server, strangers(20),
            ...ways.map((way) => ({ kind: 'hold', ...way }))), { opens: 300 });
    });

    test('connections beyond the limit from sixteen addresses: silent, half requests, idle', async (t) => {
        const here = await inside(t);
        const ways = [undefined, half(), plain('GET', '/healthz')];
        await compare(here, () => attackBy(here.server, strangers(16),
            ...ways.map((first) => ({ kind: 'hold', count: 500, first }))),
            { opens: 700, during: (round) => newcomers(here.server, round) });
    });

    test('connections opened and closed as fast as can be', async (t) => {
        const here = await inside(t);
        const requests = [plain('GET', '/healthz').replace('Host', 'Connection: close\r\nHost'), 'no request\r\n\r\n'];
        await compare(here, () => attackBy(here.server, strangers(16), { kind: 'ask', count: 300, requests }),
            { during: (round) => newcomers(here.server, round) });
    });

    test('one address that takes all it gets has its share and no more', async (t) => {
        const here = await inside(t);
        const { server } = here;
        const requests = [plain('GET', '/healthz'), plain('GET', '/'), plain('GET', '/rooms'),
            plain('GET', '/r/tea/messages', { cookie: here.bob.cookie })];
        await compare(here, () => attackBy(server, strangers(1), { kind: 'ask', count: 10, requests },
            { kind: 'hold', count: 300, first: half() }), {
            opens: 20,
            during: async (round) => {
                await newcomers(server, round);
                await sayInPieces(here.bob, 'x'.repeat(1800));
                await until('the limit of one address', async () => (await request(server, 'GET', '/healthz',
                    { from: stranger(0) }).catch(() => null))?.status === 503);
            }
        });
    });

    test('one address that asks again and again without waiting for the answers', async (t) => {
        const server = await startHere(t);
        for (let i = 0; i < 60; i++)
            await say(await join(nearBy(server), `room ${i}`.padEnd(60, 'x'), 'Zoe'), 'x');
        const here = await inside(t, [], server);
        await compare(here, () => attackBy(server, strangers(1), { kind: 'pipeline', count: 100,
            first: plain('GET', '/rooms') }), { opens: 30 });
    });

    test('join floods', async (t) => {
        const server = await startHere(t, ['joins=off', `members=${SPEAKERS + 20}`]);
        const stands = await deserted(server, 'tea');
        const here = await inside(t, [], server);
        const requests = ['{n}', 'Zoe', 'zOE', 'Ann0', 'Bob'].flatMap((name) => ['tea', 'den'].map(
            (room) => plain('POST', `/r/${room}/join`, { form: `name=${name}` })));
        const attack = () => attackBy(server, strangers(8), { kind: 'ask', count: 64, requests });
        const sums = await compare(here, attack, {
            during: async () => {
                for (let i = 0; i < 4; i++)
                    await sleep(ATTACK_MS / 5).then(stands);
            }
        });
        assert.ok(sums.every((sum) => sum['409'] > 0 && sum['503'] > 0), `answers ${JSON.stringify(sums)}`);
        await stands();
    });

    test('nonce floods', async (t) => {
        const server = await startHere(t);
        const stands = await deserted(server, 'tea');
        const here = await inside(t, [], server);
        const requests = [];
        for (let i = 0; i < 4; i++) {
            const { cookie } = await join(server, 'tea', `Eve${i}`, { from: stranger(i) });
            for (const nonce of ['same', 'a+nonce'])
                requests.push(plain('POST', '/r/tea/send', { cookie, form: `text=x&nonce=${nonce}` }));
        }
        const sums = await compare(here, () => attackBy(server, strangers(4), { kind: 'ask', count: 32, requests }));
        assert.ok(sums.every((sum) => sum['200'] > 100), `answers ${JSON.stringify(sums)}`);
        const said = textsOf(await messages(here.bob)).filter((text) => text === 'x');
        assert.equal(said.length, 8, 'a nonce says a thing once');
        await stands();
    });

    test('ten thousand rooms wished for', async (t) => {
        const server = await startHere(t, ['joins=off']);
        const here = await inside(t, [], server);
        const stand = [await deserted(server, 'den'), await deserted(server, '.hidden')];
        const wishes = (prefix, most) => attackBy(server, strangers(16), { kind: 'ask', count: 64, most,
            requests: [plain('POST', `/r/${prefix}{n}/join`, { form: 'name=Eve' })] });
        let round = 0;
        await compare(here, () => wishes(`${round++}-`));
        const sum = await (await wishes('', 10000))('done');
        t.diagnostic(`ten thousand wishes: ${JSON.stringify(sum)}`);
        assert.deepEqual(sum, { 503: 10000 });
        for (const stands of stand)
            await stands();
    });

    for (const [name, count] of [['one member', 1], ['many members from one address', 12]]) {
        test(`${name} can't flush a ring with the largest messages`, async (t) => {
            const server = await startHere(t);
            const stands = await deserted(server, 'tea');
            const here = await inside(t, [], server);
            const requests = [];
            for (let i = 0; i < count; i++) {
                const { cookie } = await join(server, 'tea', `Eve${i}`, { from: stranger(0) });
                requests.push(plain('POST', '/r/tea/send', { cookie, form: `text=${'%22'.repeat(4000)}` }));
            }
            const begun = Date.now();
            const sums = await compare(here, () => attackBy(server, strangers(1), { kind: 'ask', requests, count }));
            const seconds = (Date.now() - begun) / 1000;
            const said = sums.reduce((all, sum) => all + (sum['200'] ?? 0), 0);
            /* KiB, a token each */
            const most = (Math.min(20 * count, 80) + Math.min(2 * count, 8) * (seconds + 1)) / 8;
            t.diagnostic(`${said} largest messages in ${seconds.toFixed(1)} s, ${JSON.stringify(sums.at(-1))}`);
            assert.ok(said > 0 && said <= most, `${said} times 8 KiB in ${seconds} s`);
            assert.ok(sums.some((sum) => sum['429'] > 0), `answers ${JSON.stringify(sums)}`);
            await stands();
        });
    }

    test('readers that stand still inside a state', async (t) => {
        const server = await startHere(t);
        const shown = []; /* here for 90 s, each */
        for (let i = 0; i < 200; i++) {
            shown.push(await join(nearBy(server), 'tea', String(i).padEnd(62, '"')));
            await ask(shown[i], 'GET', 'messages?after=1');
            shown[i].connection.close();
        }
        const here = await inside(t, [], server);
        const eve = await join(server, 'tea', 'Eve', { from: stranger(0) });
        let count = 0;
        await compare(here, () => attackBy(server, strangers(2), { kind: 'hold', count: 40, isDeaf: true,
            first: plain('GET', '/r/tea/events', { cookie: eve.cookie }) }), {
            opens: 30,
            during: async () => {
                for (let i = 0; i < 5; i++) {
                    const name = `First${count++}`;
                    await join(nearBy(server), 'tea', name, { cookie: shown[0].cookie });
                    await here.reader.state('people', (data) => data.people[0].name === name);
                }
            }
        });
    });
}

function otherTests() {
    test('when streams of outsiders fill it up, the streams inside go on, and their end makes room', async (t) => {
        const server = await startHere(t);
        const { bob, reader } = await people(server);
        const eve = await join(server, 'den', 'Eve', { from: stranger(0) });
        const end = await attackBy(server, strangers(16), { kind: 'hold', count: 1200,
            first: plain('GET', '/r/den/events', { cookie: eve.cookie }) });
        assert.equal((await request(server, 'GET', '/healthz', { from: member(1) })).status, 503, 'it is full');
        await end();
        await until('room', async () => (await request(server, 'GET', '/healthz', { from: member(1) })).status === 200);
        await say(bob, 'still here');
        assert.equal((await reader.next()).data.text, 'still here');
    });

    test('addresses that have spent their joins do not spend those of newcomers', async (t) => {
        const server = await startHere(t, ['connections=64']);
        await each(strangers(40).map((name) => ({ name })), async ({ name: from }) => {
            for (let i = 0; i < 20; i++)
                await request(server, 'POST', '/r/den/join', { form: { name: `${from} ${i}` }, from });
        });
        for (let i = 40; i < 104; i++)
            await request(server, 'GET', '/healthz', { from: stranger(i) });
        for (let i = 0; i < 30; i++)
            await join(server, 'tea', `New${i}`, { from: member(1 + i) });
    });

    test('a peer that vanished is gone from people within about a minute', async (t) => {
        const server = await startHere(t);
        const reader = await subscriber(await join(server, 'tea', 'Ann', { from: member(1) }));
        const { cookie } = await join(server, 'tea', 'Bob', { from: member(2) });
        const far = runChild('unshare', ['-n', process.execPath, SELF], { SNUG_ATTACKER: '1' });
        const run = (words) => assert.equal(spawnSync(words.split(' ')[0], words.split(' ').slice(1),
            { stdio: 'inherit' }).status, 0, words);
        const runFar = (words) => run(`nsenter -t ${far.child.pid} -n ${words}`);
        const here = fs.readlinkSync('/proc/self/ns/net');
        await until('another namespace', () => fs.readlinkSync(`/proc/${far.child.pid}/ns/net`) !== here);
        run(`ip link add near type veth peer name far netns ${far.child.pid}`);
        run('ip addr add 10.79.0.1/24 dev near');
        run('ip link set near up');
        runFar('ip addr add 10.79.0.2/24 dev far');
        runFar('ip link set far up');
        far.child.stdin.write(`${JSON.stringify({ host: '10.79.0.1', port: server.port, rows: [{ kind: 'hold', count: 1,
            first: plain('GET', '/r/tea/events', { cookie }) }] })}\n`);
        await reader.people('Ann', 'Bob');
        await sleep(500); /* all is acknowledged */
        runFar('ip route add blackhole 10.79.0.1/32');
        const begun = Date.now();
        await sleep(3500);
        assert.equal(reader.log.filter((event) => event.kind === 'people').at(-1).data.here, 2, 'he went unnoticed');
        await reader.state('people', (data) => data.here === 1, 75000);
        t.diagnostic(`he was gone after ${((Date.now() - begun) / 1000).toFixed(1)} s`);
        far.child.kill('SIGKILL');
    });
}

/* ---- the namespace ---- */

/* Packets as Ethernet's, and little room at first for who receives: who does not read is soon full. */
const SETUP = 'ip link set lo mtu 1500 up && ip route add local 10.78.0.0/16 dev lo && ' +
    'echo 4096 16384 32768 >/proc/sys/net/ipv4/tcp_rmem';
const UNSHARE = process.getuid() === 0 ? ['-n'] : ['-r', '-n'];

if (process.env.SNUG_ATTACKER !== undefined) {
    runAttacker();
} else if (process.env.SNUG_ATTACK !== undefined) {
    describe('under attack', { concurrency: true }, () => {
        after(() => children.forEach((child) => child.kill('SIGKILL')));
        describe('those inside notice nothing', { concurrency: 1 }, measuredTests);
        describe('nothing is lost', { concurrency: 1 }, otherTests);
    });
} else if (spawnSync('unshare', [...UNSHARE, 'sh', '-c', SETUP]).status !== 0) {
    test('under attack', { skip: 'no network namespace can be made' }, () => {});
} else {
    /* What the tests say there is said for this process. */
    const child = spawn('unshare', [...UNSHARE, 'sh', '-c', `${SETUP} && exec "$0" "$@"`, process.execPath,
        ...process.execArgv, SELF],
        { env: { ...process.env, SNUG_ATTACK: '1' }, stdio: 'inherit' });
    process.on('exit', () => child.kill()); /* which ends what it started */
    child.once('close', (code) => process.exit(code ?? 1));
}
