/* faults.mjs: the system refuses. Each system call that the server makes fails in turn while people talk, while it
 * starts and while it stops. Nobody gets a broken answer or event; no message that was acknowledged is lost, doubled or
 * out of order; no descriptor leaks; nothing spins; and when the fault is over all goes on as before.
 *
 * SNUG must name .build/asan/snug_faults, in which test/faults.c stands in front of the system calls. FAULTS=long tries
 * every call with every error, which takes minutes; FAULTS_SEED=N repeats a storm. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FOREVER, LASTING_MS, Slots, childOf, converse, counts, descriptorsOf, goesOn, isCut, rewrite,
    watch } from './faults_talk.mjs';
import { BINARY, Connection, PATIENCE_MS, ask, assert, each, freePort, join, messages, request, requestOf, say, sleep,
    start, temporaryFolder, textsOf, until, within } from './wire.mjs';

const isLong = process.env.FAULTS === 'long';
const seed = Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 2 ** 31));
const LASTING_ROUNDS = 40; /* as many calls as in so many rounds of undisturbed talk may be made while a fault lasts */

function nameOf({ call, kind, error, length, left = 1, also = [] }) {
    const how = error ?? (length === 0 ? 'nothing is moved' : `${length} bytes at most`);
    const often = left === FOREVER ? 'for a while' : `${left} times`;
    return `${call}${kind ? ` of ${kind}` : ''}: ${how}, ${often}${also.map((one) => `; ${nameOf(one)}`).join('')}`;
}

/* People talk while ROW's faults strike. */
async function endure(scene, row) {
    const { slots, talk } = scene;
    talk.row = row;
    talk.isLasting = row.left === FOREVER;
    const faults = [row, ...row.also ?? []].map((fault) => slots.begin(fault));
    let struck;
    if (talk.isLasting) {
        const round = talk.round();
        round.catch(() => {});
        try {
            await watch(scene, LASTING_MS, LASTING_ROUNDS);
        } finally {
            struck = faults.map((fault) => fault.end());
        }
        await round;
    } else {
        try {
            for (const end = Date.now() + PATIENCE_MS; !faults[0].isSpent; await talk.pause()) {
                assert.ok(Date.now() < end, `struck ${faults[0].struck} times only`);
                await talk.round();
            }
        } finally {
            struck = faults.map((fault) => fault.end());
        }
    }
    assert.ok(struck.every((count) => count > 0), 'the fault never struck');
    counts.rows++;
    await goesOn(scene, row);
}

/* All ROWS, one after the other, on one server with OPTIONS. */
async function endureAll(t, rows, options) {
    const scene = await converse(t, options);
    const { server, talk } = scene;
    const failures = [];
    for (const row of rows) {
        await endure(scene, row).catch((error) => failures.push(`${nameOf(row)}: ${error.message}`));
        if (server.exit !== null || failures.length > 2)
            break;
    }
    assert.ok(failures.length === 0, `failed:\n- ${failures.join('\n- ')}\nThe server said: ${server.stderr}`);
    await talk.end();
    await until('the descriptors of before', () => descriptorsOf(server) <= scene.atRest);
    await server.kill(); /* a stop would write all anew, from memory */
    await server.start();
    await talk.isKept();
    await server.restart();
    await talk.isKept();
}

/* ---- while people talk ---- */

/* The rows of a table's line: each of its ERRORS, and of its lengths SHORT, each of TIMES; or LASTING. The short run
 * takes the last of TIMES. */
function spread({ errors = '', short = [], times = [1, 4], lasting, ...row }) {
    const ways = [...errors.split(' ').filter(Boolean).map((error) => ({ error })),
        ...short.map((length) => ({ length }))];
    const lefts = lasting ? [FOREVER] : isLong ? times : times.slice(-1);
    return ways.flatMap((way) => lefts.map((left) => ({ ...row, ...way, left })));
}

const CUT = { cuts: 'all' };
const IDLE = { cuts: 'idle' };
const FULL = { statuses: [507] };
const RENEW = { rewrite: true };
const file = { call: 'write', kind: 'file', who: 1 };

/* Without CUTS or STATUSES a fault is one that nobody may notice. */
const conversations = {
    'poll() fails': [
        { call: 'poll', errors: 'EINTR EAGAIN ENOMEM' },
        { call: 'poll', errors: 'EAGAIN ENOMEM', lasting: true }],
    'accept() fails': [
        { call: 'accept', errors: 'EINTR EAGAIN ENOBUFS ENOMEM ENETDOWN', times: [1, 3] },
        { call: 'accept', errors: 'ECONNABORTED EPROTO', times: [1, 4, 20], ...IDLE },
        { call: 'accept', errors: 'EMFILE ENFILE EPERM', times: [1, 3], ...IDLE },
        { call: 'accept', errors: 'EMFILE ENFILE ENOMEM ENOBUFS', lasting: true, ...IDLE }],
    'a connection can\'t be set up or closed': [
        { call: 'fcntl', kind: 'socket', errors: 'EINVAL ENOMEM', ...IDLE },
        { call: 'fcntl', kind: 'socket', errors: 'EINVAL', times: [1], skip: 1, ...IDLE },
        { call: 'fcntl', kind: 'socket', errors: 'EINVAL', times: [1], skip: 2, ...IDLE },
        { call: 'fcntl', kind: 'socket', errors: 'ENOMEM', lasting: true, ...IDLE },
        { call: 'setsockopt', errors: 'EINVAL ENOBUFS ENOPROTOOPT', times: [1, 12] },
        { call: 'shutdown', errors: 'ENOTCONN ENOBUFS', times: [1, 3] },
        { call: 'close', kind: 'socket', errors: 'EIO EINTR' }],
    'recv() fails or takes little': [
        { call: 'recv', errors: 'EINTR EAGAIN', times: [1, 8] },
        { call: 'recv', short: [1], times: [1, 400] },
        { call: 'recv', short: [7, 100], times: [40] },
        { call: 'recv', errors: 'ECONNRESET ETIMEDOUT ENOMEM ENOBUFS', ...CUT },
        { call: 'recv', short: [0], ...CUT },
        { call: 'recv', errors: 'ENOMEM', lasting: true, ...CUT }],
    'send() and sendmsg() fail or take little': [
        { call: 'send', errors: 'EINTR EAGAIN', times: [1, 8] },
        { call: 'send', short: [1], times: [1, 600] },
        { call: 'send', short: [9, 200], times: [30] },
        { call: 'send', errors: 'EPIPE ECONNRESET ETIMEDOUT EHOSTUNREACH ENOBUFS ENOMEM', ...CUT },
        { call: 'send', errors: 'ENOBUFS ENOMEM', lasting: true, ...CUT },
        { call: 'sendmsg', errors: 'EINTR EAGAIN', times: [1, 3] },
        { call: 'sendmsg', short: [1, 3, 200], times: [1, 30] },
        { call: 'sendmsg', errors: 'EPIPE ECONNRESET ENOBUFS', times: [1, 3], ...CUT }],
    'the data file can\'t be written': [
        { ...file, errors: 'EINTR' },
        { ...file, errors: 'ENOSPC EDQUOT EFBIG EIO', ...FULL },
        { ...file, short: [0, 1, 100], times: [1, 3], ...FULL },
        { ...file, errors: 'ENOSPC EIO', lasting: true, ...FULL },
        { ...file, short: [20], lasting: true, ...FULL },
        { ...file, short: [30], times: [3], also: [{ call: 'ftruncate', error: 'EIO' }], ...FULL },
        { ...file, short: [30], times: [2], also: [{ call: 'ftruncate', error: 'EIO', left: 6 }], ...FULL },
        { ...file, errors: 'ENOSPC', times: [2], also: [{ call: 'ftruncate', error: 'EINTR', left: 3 }], ...FULL }],
    'the data file can\'t be synced': [
        { call: 'fsync', kind: 'file', errors: 'EINTR EIO ENOSPC', times: [1] },
        { call: 'open', kind: 'file', errors: 'EMFILE', times: [1] },
        { call: 'fsync', errors: 'EIO', lasting: true, ...RENEW },
        { call: 'fsync', kind: 'folder', errors: 'EIO', lasting: true, ...RENEW }],
    'the data file can\'t be written anew': [
        { call: 'open', kind: 'new', errors: 'EMFILE ENFILE ENOSPC EACCES EINTR', times: [1, 2], ...RENEW },
        { call: 'open', kind: 'new', errors: 'ENFILE', lasting: true, ...RENEW },
        { call: 'open', kind: 'folder', errors: 'EMFILE', times: [1], ...RENEW },
        { call: 'unlink', kind: 'new', errors: 'EIO EACCES', times: [1, 2], ...RENEW },
        { call: 'write', kind: 'new', errors: 'EINTR ENOSPC EIO', times: [1, 2], ...RENEW },
        { call: 'write', kind: 'new', short: [0, 50], times: [1, 2], ...RENEW },
        { call: 'write', kind: 'new', errors: 'ENOSPC', times: [1], skip: 1, ...RENEW },
        { call: 'write', kind: 'new', errors: 'ENOSPC', times: [1], also: [{ call: 'unlink', error: 'EIO' }],
            ...RENEW },
        { call: 'fsync', kind: 'new', errors: 'EINTR EIO ENOSPC', times: [1, 2], ...RENEW },
        { call: 'fsync', kind: 'folder', errors: 'EIO EINVAL', times: [1], ...RENEW },
        { call: 'rename', errors: 'EIO ENOSPC EACCES', times: [1, 2], ...RENEW },
        { call: 'rename', errors: 'EIO', lasting: true, ...RENEW },
        { call: 'close', kind: 'file', errors: 'EIO', times: [1], ...RENEW }],
    'pipes and the random source fail': [
        { call: 'read', kind: 'pipe', errors: 'EINTR EAGAIN', times: [1, 2], ...RENEW },
        { call: 'write', kind: 'pipe', errors: 'EINTR', times: [1, 2] },
        { call: 'read', kind: 'device', errors: 'EINTR', times: [1, 3] },
        { call: 'read', kind: 'device', short: [1], times: [1, 40] },
        { call: 'read', kind: 'device', errors: 'EIO', times: [1, 3], statuses: [500] },
        { call: 'read', kind: 'device', short: [0], times: [1], statuses: [500] }]
};

const always = (row) => ({ ...row, statuses: [...row.statuses ?? [], 503, 507] });

describe('while people talk', { concurrency: true }, () => {
    for (const [name, lines] of Object.entries(conversations)) {
        test(`${name}, and the talk goes on`, (t) => endureAll(t, lines.flatMap(spread)));
        if (name.startsWith('the data file'))
            test(`${name}, with sync=always, and the talk goes on`, (t) => (
                endureAll(t, lines.flatMap(spread).map(always), ['sync=always'])));
    }
});

/* Random rows of the table strike together, now and then, for MS; then the server is killed. */
async function storm(t, ms, options) {
    let state = seed;
    const below = (end) => (state = (state * 48271 + 11) % 0x7fffffff) % end;
    const rows = Object.values(conversations).flat().filter((row) => !row.lasting).flatMap(spread);
    const scene = await converse(t, options);
    const { slots, server, talk } = scene;
    t.diagnostic(`FAULTS_SEED=${seed}`);
    talk.row = { ...CUT, statuses: [500, 503, 507] };
    for (const end = Date.now() + ms; Date.now() < end;) {
        const faults = Array.from({ length: 1 + below(6) }, () => {
            const row = rows[below(rows.length)];
            return slots.begin({ ...row, left: FOREVER, skip: below(5), every: 2 + below(30) });
        });
        if (below(2) > 0)
            server.child.kill('SIGUSR1');
        const round = talk.round();
        await Promise.race([round, sleep(50 + below(500))]); /* some together let nobody through */
        faults.forEach((fault) => fault.end());
        await round;
        counts.rows += faults.length;
    }
    await goesOn(scene, { ...talk.row, ...RENEW });
    await server.kill();
    await talk.end();
    await server.start();
    await talk.isKept();
}

describe('a storm of faults', { concurrency: true }, () => {
    for (const how of ['second', 'always'])
        test(`loses, doubles and disorders nothing, with sync=${how}`, (t) => (
            storm(t, isLong ? 60000 : 4000, [`sync=${how}`])));
});

/* ---- at start and at stop ---- */

/* What each call is tried with, those of some on one kind of file; the short run takes the first error. */
const trials = Object.entries({
    open: 'EMFILE EACCES EIO', close: 'EIO', 'read file': 'EIO EINTR', 'read device': 'EIO EINTR', 'read pipe': 'EINTR',
    'write file': 'ENOSPC EIO EINTR', 'write new': 'ENOSPC EIO EINTR', ftruncate: 'EIO', fsync: 'EIO EINTR',
    fchmod: 'EPERM', rename: 'EIO EACCES', link: 'EPERM ENOSPC', unlink: 'EIO', stat: 'EACCES', realpath: 'EACCES',
    fcntl: 'ENOLCK EINVAL', pipe: 'EMFILE', fork: 'EAGAIN ENOMEM', waitpid: 'EINTR ECHILD', sigaction: 'EINVAL',
    gethostname: 'ENAMETOOLONG', getrlimit: 'EPERM', setrlimit: 'EPERM', malloc: 'ENOMEM', calloc: 'ENOMEM',
    strdup: 'ENOMEM', strndup: 'ENOMEM', socket: 'EMFILE EAFNOSUPPORT', setsockopt: 'ENOPROTOOPT',
    bind: 'EADDRINUSE EACCES EADDRNOTAVAIL', listen: 'EADDRINUSE', getsockname: 'ENOBUFS', getifaddrs: 'ENOMEM',
    poll: 'EFAULT EINTR', clock_gettime: 'EINVAL'
}).map(([name, errors]) => ({ call: name.split(' ')[0], kind: name.split(' ')[1], errors: errors.split(' ') }));
const filing = ['open', 'read', 'write', 'ftruncate', 'fsync', 'rename', 'link', 'unlink'];

/* A server's whole life on a copy of ORIGINAL, with FAULT: {folder, opened, code, signal, stderr, struck, calls: of
 * each of the trials}. It is told to stop when it is open. */
async function live(t, original, fault) {
    const slots = new Slots(t);
    const folder = temporaryFolder(t);
    fs.cpSync(original, folder, { recursive: true });
    const begun = fault ? [slots.begin(fault)] : trials.map((trial) => slots.begin({ ...trial, who: 1, left: 0 }));
    const child = spawn(BINARY, ['-p', String(await freePort()), '-f', path.join(folder, 'snug.data')], {
        env: { ...process.env, ...slots.env }, stdio: ['ignore', 'ignore', 'pipe'] });
    const life = { folder, stderr: '', opened: false };
    child.stderr.on('data', (data) => {
        life.stderr += data;
        if (/KiB at most\n/.test(life.stderr) && !life.opened)
            life.opened = child.kill('SIGTERM');
    });
    try {
        const gone = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
        Object.assign(life, await within(gone, `the end of snug, which said ${life.stderr}`));
    } finally {
        child.kill('SIGKILL');
    }
    life.calls = begun.map((one) => one.calls);
    life.struck = begun[0].end();
    return life;
}

/* Every call of a life on what is in FOLDER fails once; CHECK(life, row) says what must hold besides. */
async function failEach(t, folder, isWanted, check) {
    const whole = await live(t, folder);
    assert.ok(whole.opened && whole.code === 0, whole.stderr);
    const rows = trials.flatMap(({ call, kind, errors }, i) => {
        const nth = isWanted(call) ? [...Array(whole.calls[i]).keys()] : [];
        return errors.slice(0, isLong ? undefined : 1).flatMap((error) => nth.map((skip) => ({
            call, kind, who: 1, error, skip, name: `${skip + 1} of ${nth.length}: ${call} ${kind ?? ''} ${error}` })));
    });
    let struck = 0;
    await each(rows, async (row) => {
        const life = await live(t, folder, row);
        struck += life.struck;
        assert.ok(!/Sanitizer|runtime error|Assertion/.test(life.stderr), life.stderr);
        assert.equal(life.signal, null, life.stderr);
        if (life.opened) {
            const isForGood = row.error === 'EFAULT' && life.struck > 0; /* of poll() */
            assert.equal(life.code, isForGood ? 1 : 0, life.stderr);
        } else {
            assert.equal(life.code, 1, life.stderr);
            assert.match(life.stderr, /^(snug: [^\n]{20,}\.\n)+$/, 'a sentence');
        }
        const others = fs.readdirSync(life.folder).filter((name) => !/^snug\.data(\.lock|\.damaged-1)?$/.test(name));
        assert.deepEqual(row.call === 'unlink' ? [] : others, [], 'what is left behind');
        check(life, row);
        counts.rows++;
        fs.rmSync(life.folder, { recursive: true });
    }, 4);
    /* No two lives are the same: how often the loop turns depends on time. */
    assert.ok(struck > 5 && struck >= rows.length * 0.9, `${struck} faults of ${rows.length} struck`);
}

/* The messages in the file of FOLDER. */
function messagesIn(folder) {
    return (fs.readFileSync(path.join(folder, 'snug.data'), 'latin1').match(/^data: \{.*\}$/mg) ?? []).sort();
}

/* A folder with a file in which something was said. DAMAGE changes its bytes. */
async function talkedIn(t, damage) {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    for (let i = 0; i < 10; i++)
        await say(ann, `${i} ${'-'.repeat(40)}`, `nonce ${i}`);
    await server.kill();
    if (damage)
        fs.writeFileSync(server.file, damage(fs.readFileSync(server.file)));
    return server.folder;
}

describe('at start and at stop a call that fails', { concurrency: true }, () => {
    test('is overcome or said in a sentence, with no file', (t) => (
        failEach(t, temporaryFolder(t), (call) => isLong || !filing.includes(call), () => {})));

    test('loses nothing of a file', async (t) => {
        const folder = await talkedIn(t);
        const list = messagesIn(folder);
        await failEach(t, folder, (call) => isLong || filing.includes(call),
            (life) => assert.deepEqual(messagesIn(life.folder), list));
    });

    test('loses nothing but what was torn of a torn file', async (t) => {
        const folder = await talkedIn(t, (bytes) => bytes.subarray(0, bytes.length - 9));
        const list = messagesIn(folder);
        await failEach(t, folder, (call) => filing.includes(call), (life) => {
            const held = messagesIn(life.folder);
            assert.deepEqual(list.filter((one) => !held.includes(one)).slice(1), []);
        });
    });

    test('never leaves a damaged file without its original', async (t) => {
        const folder = await talkedIn(t, (bytes) => {
            bytes.write('#', bytes.indexOf('"text":"7 '), 'latin1');
            return bytes;
        });
        const original = fs.readFileSync(path.join(folder, 'snug.data'));
        await failEach(t, folder, (call) => filing.includes(call), (life) => {
            const kept = ['snug.data', 'snug.data.damaged-1'].map((name) => path.join(life.folder, name))
                .filter((one) => fs.existsSync(one)).map((one) => fs.readFileSync(one).subarray(0, original.length));
            assert.ok(kept.some((bytes) => bytes.equals(original)) || /not be kept beside/.test(life.stderr),
                `the original is gone; it said: ${life.stderr}`);
        });
    });
});

/* ---- by name ---- */

describe('by name', { concurrency: true }, () => {
    test('who leaves while the disk is full has left, also after a kill once there was space', async (t) => {
        const slots = new Slots(t);
        const server = await start(t, { env: slots.env });
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        const fault = slots.begin({ ...file, error: 'ENOSPC', left: FOREVER });
        assert.equal((await ask(bob, 'POST', 'leave')).status, 204);
        assert.equal((await ask(ann, 'POST', 'send', { form: { text: 'one' } })).status, 507);
        assert.ok(fault.end() > 1);
        await say(ann, 'two');
        await rewrite(server);
        await server.kill();
        await server.start();
        assert.equal((await ask(bob, 'POST', 'typing')).status, 401);
        await join(server, 'tea', 'Bob');
    });

    test('at the limit each newcomer who has asked is answered, if only with 503', async (t) => {
        const server = await start(t, { options: ['connections=16'] });
        server.dropConnections();
        process.kill(server.pid, 'SIGSTOP');
        const newcomers = [];
        for (let i = 0; i < 24; i++)
            newcomers.push(await Connection.open(server));
        newcomers.forEach((one) => one.write(requestOf('GET', '/healthz')));
        await sleep(100);
        process.kill(server.pid, 'SIGCONT');
        const answers = await Promise.all(newcomers.map((one) => one.answer()));
        const statuses = answers.map((answer) => answer.status).sort();
        assert.deepEqual(statuses, [...Array(16).fill(200), ...Array(8).fill(503)]);
    });

    test('a system without descriptors costs an idle connection now and then, not all', async (t) => {
        const slots = new Slots(t);
        const server = await start(t, { env: slots.env });
        const idle = [];
        for (let i = 0; i < 50; i++)
            idle.push(await Connection.open(server));
        for (const connection of idle)
            await connection.settle();
        const fault = slots.begin({ call: 'accept', error: 'ENFILE', left: FOREVER });
        const newcomer = request(server, 'GET', '/healthz');
        newcomer.catch(() => {});
        await sleep(LASTING_MS);
        assert.ok(fault.end() > 0);
        const left = idle.filter((connection) => !connection.ended).length;
        assert.ok(left > 40, `${left} of ${idle.length} are left`);
        assert.equal((await newcomer).status, 200);
    });

    test('those inside notice nothing of a storm of newcomers that the system refuses', async (t) => {
        const scene = await converse(t, ['connections=100']);
        const { slots, server, talk } = scene;
        const errors = Object.entries({ ECONNABORTED: 4, EINTR: 5, EMFILE: 29, ENOBUFS: 31 });
        const faults = errors.map(([error, every]) => slots.begin({ call: 'accept', left: FOREVER, error, every }));
        talk.row = { ...IDLE, statuses: [503] };
        const outcomes = {};
        await Promise.all([talk.round(), ...Array.from({ length: isLong ? 500 : 200 }, async (_, i) => {
            await sleep(i % 20 * 20);
            const how = await request(server, 'GET', '/healthz').then((answer) => answer.status,
                (error) => (isCut(error) ? 'cut' : Promise.reject(error)));
            outcomes[how] = (outcomes[how] ?? 0) + 1;
        })]);
        assert.ok(faults.map((fault) => fault.end()).every((struck) => struck > 0));
        assert.ok(outcomes[200] > 20 && outcomes.cut > 0, JSON.stringify(outcomes));
        await goesOn(scene, talk.row);
        await talk.end();
        await until('the descriptors of before', () => descriptorsOf(server) <= scene.atRest);
    });

    const ends = {
        'is killed': null,
        'can\'t read what it is asked': { call: 'read', kind: 'pipe', who: 2, error: 'EIO' },
        'can\'t answer': { call: 'write', kind: 'pipe', who: 2, error: 'EIO' },
        'can\'t be asked': { call: 'write', kind: 'pipe', who: 1, error: 'EPIPE' },
        'can\'t be heard': { call: 'read', kind: 'pipe', who: 1, error: 'EIO' } };
    for (const how of ['second', 'always'])
        for (const [name, row] of Object.entries(ends))
            test(`with sync=${how} the fsync child ${name}: all goes on without it`, async (t) => {
                const scene = await converse(t, [`sync=${how}`]);
                const { slots, server, talk } = scene;
                const child = childOf(server);
                const syncs = slots.begin({ call: 'fsync', who: 1, left: 0 });
                talk.row = { statuses: how === 'always' ? [503, 507] : [] };
                const fault = row && slots.begin(row);
                if (!row)
                    process.kill(child, 'SIGKILL');
                await until('a sync by the server itself', () => talk.round().then(() => syncs.calls > 0));
                counts.injected += fault ? 0 : 1;
                assert.equal(fault?.end() ?? 1, 1);
                if (name !== 'can\'t be asked') {
                    await until('a word about it', () => /^snug: .*process for fsync.*$/m.test(server.stderr));
                    await until('the child to be buried', () => childOf(server) === undefined);
                }
                await goesOn(scene, { ...talk.row, ...RENEW });
                await talk.end();
                await server.restart();
                await talk.isKept();
                assert.ok(childOf(server) !== undefined && !/^snug: /m.test(server.stderr), server.stderr);
            });

    test('while the fsync child is slow the loop does not wait', async (t) => {
        const server = await start(t, { options: ['sync=always'] });
        const [ann, bob] = [await join(server, 'tea', 'Ann'), await join(server, 'tea', 'Bob')];
        await say(ann, 'one');
        process.kill(childOf(server), 'SIGSTOP');
        const two = say(ann, 'two');
        await sleep(200);
        assert.deepEqual(textsOf(await messages(bob)), ['one'], 'not before it is synced');
        process.kill(childOf(server), 'SIGCONT');
        await two;
        assert.deepEqual(textsOf(await messages(bob)), ['one', 'two']);
    });

    test('a server without standard input, output and error serves', async (t) => {
        const server = await start(t, { before: 'exec 0<&- 1>&- 2>&-' });
        const ann = await join(server, 'tea', 'Ann');
        await say(ann, 'one');
        await rewrite(server);
        await server.restart();
        assert.deepEqual(textsOf(await messages(ann)), ['one']);
    });

    test('no system call of the server is forgotten here', (t) => {
        const objects = ['main', 'http', 'store'].map((name) => new URL(`../.build/${name}.o`, import.meta.url))
            .map(fileURLToPath);
        if (!objects.every(fs.existsSync))
            return t.skip('no objects: make snug');
        const named = (option) => (
            spawnSync('nm', [option, ...objects], { encoding: 'utf8' }).stdout?.match(/\S+$/mg) ?? []);
        const harmless = new RegExp('^(mem|str[^dn]|strn?cmp|inet_|opt|getopt$|v?s?n?f?printf$|f?puts$|fwrite$|' +
            'f?putc|fflush$|ferror$|free|sigemptyset$|std|_?exit$|abort$|get.?pid$|getenv$|isatty$|_)');
        const own = new Set(named('--defined-only'));
        const source = fs.readFileSync(new URL('faults.c', import.meta.url), 'utf8');
        const wrapped = new Set([...source.matchAll(/^WRAP\([^,]*, (\w+),/mg)].map(([, name]) => name));
        const calls = new Set(named('-u').filter((name) => !name.endsWith(':') && !own.has(name)));
        if (calls.size === 0)
            return t.skip('no nm');
        assert.deepEqual([...calls].filter((name) => !wrapped.has(name) && !harmless.test(name)), []);
    });
});

test('faults struck', (t) => {
    t.diagnostic(`${counts.injected} faults were injected in ${counts.rows} rows`);
    assert.ok(counts.injected > 500);
});
