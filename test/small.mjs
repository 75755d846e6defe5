/* small.mjs: what a router, a Pi or a laptop on battery wants of it: sleep, a clock that is wrong after a boot, a root
 * that nobody can write to. (Few descriptors: wire_command.mjs. A flash that must not wear: sync.mjs, sync=exit.) */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { assert, freePort, join, messages, request, run, say, sleep, start, subscriber, temporaryFolder, until, within }
    from './wire.mjs';

const LIBRARY = fileURLToPath(new URL('../.build/slow_fsync.so', import.meta.url));

/* How often SERVER wakes up in SECONDS, its child too; null where nobody may look. */
async function wakeUps(t, server, seconds) {
    const log = path.join(temporaryFolder(t), 'calls');
    const child = spawnSync('pgrep', ['-P', String(server.pid)], { encoding: 'utf8' }).stdout.trim().split('\n');
    const tracer = spawn('strace', ['-o', log, ...[server.pid, ...child].filter(Boolean).flatMap((pid) => ['-p', pid])],
        { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    tracer.stderr.on('data', (data) => (said += data));
    const gone = new Promise((resolve) => tracer.once('close', resolve).once('error', resolve));
    await until('strace', () => tracer.exitCode !== null || (said.match(/attached/g) ?? []).length > child.length - 1);
    if (tracer.exitCode !== null)
        return null;
    const before = fs.readFileSync(log, 'latin1').length;
    await sleep(seconds * 1000);
    const calls = fs.readFileSync(log, 'latin1').slice(before);
    tracer.kill('SIGINT');
    await within(gone, 'strace to end');
    /* What returned, but for a look at once (0 ms). */
    return (calls.match(/^(?!.*poll\(.*, 0\)).*\) += /gm) ?? []).length;
}

/* A clock for LD_PRELOAD: set(MS) since 1970, which then goes on. */
function wallClock(t) {
    const file = path.join(temporaryFolder(t), 'disk');
    const set = (ms) => {
        fs.writeFileSync(`${file}.new`, String(Math.round(ms - Date.now())));
        fs.renameSync(`${file}.new`, `${file}.wall`);
    };
    return { set, env: { SLOW_FSYNC: file, LD_PRELOAD: LIBRARY } };
}

/* Shell words that run "$@" in a mount namespace of its own, after WORDS; null where that can't be had. */
function inside(words) {
    const script = `${words} && exec "$@"`;
    const { status } = spawnSync('unshare', ['-m', 'sh', '-c', `mount --make-rprivate / && ${words}`, 'sh', 'true']);
    return status === 0 ? `set -- unshare -m sh -c 'mount --make-rprivate / && ${script}' sh "$@"` : null;
}

test('without readers it sleeps, and with readers it wakes up once a second at most', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann'), bob = await join(server, 'tea', 'Bob');
    await say(ann, 'hi');
    server.dropConnections();
    await sleep(2500); /* the fsync, and what a join leaves behind */
    const alone = await wakeUps(t, server, 4);
    if (alone === null)
        return t.skip('strace may not look');
    const readers = [];
    for (let i = 0; i < 20; i++) readers.push(await subscriber(i % 2 ? ann : bob));
    await sleep(7000); /* the people have been told, and the connections rest */
    const read = await wakeUps(t, server, 5);
    t.diagnostic(`alone ${alone} in 4 s, with 20 readers ${read} in 5 s`);
    assert.equal(alone, 0);
    assert.ok(read <= 6, `${read} times in 5 s`);
    assert.ok(readers.every((reader) => !reader.ended));
});

test('after a boot in 1970, and whenever the clock jumps, ids and times stay in order', async (t) => {
    const clock = wallClock(t);
    clock.set(5000);
    const server = await start(t, { env: clock.env });
    const ann = await join(server, 'tea', 'Ann');
    const date = async () => Date.parse((await request(server, 'GET', '/healthz')).field('date'));
    assert.ok(await date() < 60000);
    const said = [await say(ann, 'in 1970')];
    assert.ok(said[0].t < 60000, `${said[0].t}`);
    const now = Date.now();
    clock.set(now);
    said.push(await say(ann, 'now'));
    assert.ok(Math.abs(said[1].t - now) < 60000 && Math.abs(await date() - now) < 60000);
    clock.set(0);
    said.push(await say(ann, 'in 1970 again'));
    clock.set(-100000000);
    said.push(await say(ann, 'before 1970'));
    await server.restart();
    said.push(await say(ann, 'after a start'));
    clock.set(now + 100000);
    said.push(await say(ann, 'later'));
    for (let i = 1; i < said.length; i++)
        assert.ok(said[i].id > said[i - 1].id && said[i].t >= said[i - 1].t, JSON.stringify(said));
    assert.ok(said.at(-1).t >= now + 100000);
    assert.deepEqual((await messages(ann)).map(({ id, t: time }) => ({ id, t: time })),
        said.map(({ id, t: time }) => ({ id, t: time })));
});

test('with a root that nobody can write to it needs but a data file in memory', async (t) => {
    const folder = temporaryFolder(t);
    const before = inside(`mount -t tmpfs tmpfs ${folder} && mount -o remount,bind,ro / && ! touch /snug-probe 2>/dev/null`);
    if (before === null)
        return t.skip('no mount namespace is to be had');
    const server = await start(t, { folder, before: `${before}` });
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    await say(ann, 'hi');
    assert.deepEqual((await messages(ann)).map(({ text }) => text), ['hi']);
    assert.ok(!fs.existsSync(server.file), 'the file lies in memory');
    server.child.kill('SIGUSR1');
    await say(ann, 'again');
    assert.ok(!reader.ended);
});

test('without /dev/urandom, or with an empty one, it is refused in one sentence', async (t) => {
    const folder = temporaryFolder(t);
    const args = ['-a', '127.0.0.1', '-p', String(await freePort()), '-f', path.join(folder, 'snug.data')];
    for (const words of ['mount -t tmpfs tmpfs /dev', 'mount -t tmpfs tmpfs /dev && : >/dev/urandom']) {
        const before = inside(words);
        if (before === null)
            return t.skip('no mount namespace is to be had');
        const { code, stderr } = await run(args, { before });
        assert.equal(code, 1);
        assert.match(stderr, /^snug: \/dev\/urandom [^\n]+\.\n$/);
    }
    assert.deepEqual(fs.readdirSync(folder), []);
});
