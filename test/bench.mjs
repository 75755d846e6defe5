/* bench.mjs: measures snug beside a bare send() loop, nchan and nginx, and prints a table (make bench).
 *
 *     node test/bench.mjs [quick | full | readme] [WORD]...
 *
 * Each experiment is run several times, its servers in turn, each started afresh: the server on one core, the load
 * (bench.c, wrk) on another. `full` takes longer, and takes in what needs much time or memory. `readme` measures
 * nothing: it writes the last table into README. With WORDs only experiments whose title has one are done anew. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const inBuild = (name) => path.join(here, '../.build', name);
const folder = inBuild('bench.data');
const [mode = 'quick', ...words] = process.argv.slice(2);
const isFull = mode === 'full';
const ROUNDS = Number(process.env.ROUNDS ?? 3);
const times = isFull ? 2 : 1; /* as much work */
const [SERVER_CORE, LOAD_CORE] = [0, 1];
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:${here}nginx/usr/sbin` };
const nchan = [`${here}nginx`, ''].map((prefix) => `${prefix}/usr/lib/nginx/modules/ngx_nchan_module.so`)
    .find((file) => fs.existsSync(file));
const has = (command, word) => spawnSync(command, [word], { env }).error === undefined;
const hasNginx = has('nginx', '-v');
const available = { limit: true, snug: true, nginx: hasNginx && has('wrk', '-v'), nchan: hasNginx && nchan };

/* ---- servers ---- */

const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill()));
for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => process.exit(1));

/* Starts COMMAND on CORE: {child, gone: a promise of all that it wrote}; ON_TEXT(all of it so far). */
function start(core, [command, ...args], onText = () => {}) {
    const child = spawn('taskset', ['-c', core, command, ...args],
        { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    children.add(child);
    for (const output of [child.stdout, child.stderr])
        output.on('data', (data) => onText(text += data));
    const gone = new Promise((resolve) => child.once('close', () => resolve(text)));
    return { child, gone: gone.finally(() => children.delete(child)) };
}

/* Starts a server; it is there when it has written SIGN. */
async function serve(command, port, sign) {
    let isThere;
    const there = new Promise((resolve) => (isThere = resolve));
    const { child, gone } = start(SERVER_CORE, command, (text) => sign.test(text) && isThere());
    await Promise.race([there, gone.then((text) => Promise.reject(new Error(`${command[0]} ended: ${text}`)))]);
    return { pid: child.pid, port, stop: () => (child.kill(), gone) };
}

async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    await once(server.close(), 'close');
    return port;
}

/* snug with OPTIONS and the data file DATA; without that with an empty one. BEFORE: what it runs in. */
async function startSnug(options, data, before = []) {
    const port = await freePort();
    if (data === undefined)
        fs.rmSync(path.join(folder, 'snug.data'), { force: true });
    return serve([...before, path.join(here, '../snug'), '-a', '127.0.0.1', '-p', port, '-f', data ?? 'snug.data', '-o',
        `rate=off,${options}`], port, /is open/);
}

async function startLimit({ subscribers, publishers = 1, rooms = 1 }) {
    const port = await freePort();
    return serve([inBuild('bench'), 'limit', `port=${port}`, `subscribers=${subscribers}`, `publishers=${publishers}`,
        `rooms=${rooms}`], port, /listening/);
}

/* nginx with one worker, whose process is the server's; with nchan where that is. */
async function startNginx() {
    const port = await freePort();
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);
    fs.writeFileSync(path.join(folder, 'nginx.conf'), `${nchan ? `load_module ${nchan};` : ''}
daemon off; user root; worker_processes 1; worker_rlimit_nofile 20000; pid nginx.pid; error_log stderr notice;
events { worker_connections 12000; }
http { access_log off; ${temporary.join(' ')} default_type text/html; keepalive_requests 1000000000;
    sendfile on; tcp_nopush on; open_file_cache max=16; keepalive_timeout 1h; client_header_timeout 1h;
    server { listen 127.0.0.1:${port} backlog=4096;
        location = / { root ${path.join(here, '..')}; try_files /index.html =404; }
        location = /healthz { default_type text/plain; return 200 "ok\\n"; }
        ${nchan ? `location ~ ^/pub/(\\w+)$ { nchan_publisher; nchan_channel_id $1; }
        location ~ ^/sub/(\\w+)$ { nchan_subscriber eventsource; nchan_channel_id $1; }` : ''} } }
`);
    const server = await serve(['nginx', '-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], port, /worker process \d/);
    await sleep(200);
    return { ...server, pid: parseInt(fs.readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8')) };
}

/* ---- loads ---- */

const load = async (...command) => start(LOAD_CORE, command).gone;

/* What bench.c says of WHAT (load, ask) with these settings. */
async function bench(what, { port, pid }, settings) {
    const all = Object.entries({ port, pid, ...settings }).map(([name, value]) => `${name}=${value}`);
    const text = await load(inBuild('bench'), what, ...all);
    if (!text.endsWith('}\n') || text.includes('bench:'))
        throw new Error(text);
    return JSON.parse(text);
}

async function using(starting, work) {
    const server = await starting;
    try {
        return await work(server);
    } finally {
        await server.stop();
    }
}

/* The servers under the same load of event streams, snug with OPTIONS. */
const streams = (settings, options) => ({
    limit: () => using(startLimit(settings), (server) => bench('load', server, { server: 'limit', ...settings })),
    nchan: () => using(startNginx(), (server) => bench('load', server, { server: 'nchan', ...settings })),
    snug: () => using(startSnug(options), (server) => bench('load', server, settings)) });

const asks = (settings) => ({
    nchan: () => using(startNginx(), (server) => bench('ask', server, { server: 'nchan', ...settings })),
    snug: () => using(startSnug('rooms=4'), (server) => bench('ask', server, settings)) });

const gets = (target) => async ({ port, pid }) => {
    const cpuNs = () => parseInt(fs.readFileSync(`/proc/${pid}/schedstat`, 'utf8'));
    const begun = cpuNs();
    const text = await load('wrk', '-t1', '-c50', `-d${2 * times}s`, `http://127.0.0.1:${port}${target}`);
    const [, requests, perS] = /(\d+) requests in [^]*Requests\/sec: *([\d.]+)/.exec(text) ?? [];
    if (!requests || /Non-2xx/.test(text))
        throw new Error(text);
    return { per_s: Number(perS), cpu_us_per_request: (cpuNs() - begun) / 1000 / requests };
};

/* WORK(server, data) with a snug that has loaded MIB of messages with TEXT bytes each from the file DATA. */
async function withHeld(mib, text, work) {
    const data = `held-${mib}-${text}`;
    const options = `rooms=2,history=${mib}m`;
    if (!fs.existsSync(path.join(folder, data))) {
        await using(startSnug(`sync=exit,${options}`, data), (server) => bench('ask', server,
            { text, publishers: 4, pipeline: 8, requests: Math.ceil(mib * 1048576 / (text + 110)) }));
    }
    const begun = performance.now();
    return using(startSnug(options, data), (server) =>
        work(server, path.join(folder, data), performance.now() - begun));
}

const loading = (mib) => withHeld(mib, 200, (server, file, ms) => ({ mb_per_s: fs.statSync(file).size / 1000 / ms }));

/* The longest that one waits who asks for /healthz over and over, while the data file is written anew or not. */
const stall = (mib, isRewritten) => withHeld(mib, 4000, async (server, file) => {
    const { ino } = fs.statSync(file);
    const asking = bench('ask', server, { path: '/healthz', seconds: mib > 100 ? 10 : 3 });
    await sleep(500);
    if (isRewritten)
        process.kill(server.pid, 'SIGUSR1');
    await asking;
    if ((fs.statSync(file).ino !== ino) !== isRewritten)
        throw new Error(`The data file of ${mib} MiB was ${isRewritten ? 'not ' : ''}written anew in that time.`);
    return asking;
});

/* ---- instructions ---- */

/* What callgrind counts in the life of a snug that does WORK(server). */
async function count(work) {
    const before = ['valgrind', '--tool=callgrind', '--callgrind-out-file=callgrind.%p'];
    const { pid } = await using(startSnug('rooms=4,history=8k', undefined, before), async (server) => {
        await work({ port: server.port, pid: 0 });
        return server;
    });
    const counted = fs.readFileSync(path.join(folder, `callgrind.${pid}`), 'utf8');
    return Number(/^(?:summary|totals): (\d+)/m.exec(counted)[1]);
}

/* The instructions that one more of what WORK(server, count) does takes. */
const each = async (work) =>
    (await count((server) => work(server, 600)) - await count((server) => work(server, 100))) / 500;

const sends = (subscribers) => each((server, messages) =>
    bench('load', server, { subscribers, messages, warmup: 10 }));

async function getNotModified(server, requests) {
    const etag = (await fetch(`http://127.0.0.1:${server.port}/`)).headers.get('etag');
    return bench('ask', server, { path: '/', etag, requests });
}

/* ---- what is measured ---- */

const ten = 'connections=10200';
const [one, sixteen, crowd, dealt, few] = [
    { subscribers: 1000, messages: 300 * times, warmup: 30 },
    { subscribers: 1000, messages: 800 * times, warmup: 160, publishers: 16 },
    { subscribers: 10000, messages: 40 * times, warmup: 5 },
    { subscribers: 10000, rooms: 1000, messages: 10000 * times, warmup: 1000, publishers: 4 },
    { subscribers: 10, messages: 5000 * times, warmup: 500 }];
const deliveries = (name, wanted) => [[name, 'cpu_us_per_delivery', 'us CPU a delivery', wanted],
    ...[50, 99, 99.9].map((share) => ['', `p${share * (share > 99 ? 10 : 1)}_us`, `us latency, p${share}`])];
const perRequest = (name, wanted) => [[name, 'per_s', 'requests a second', wanted],
    ['', 'cpu_us_per_request', 'us CPU a request']];

/* Title, runs, and lines of the table: name, field of the results, unit, and what snug must reach: so much; or so many
 * times (x), or so much more (+), than a server of the same experiment or than snug in the one of that title. */
const experiments = [
    ['1,000', streams(one, 'connections=1100'), [
        ...deliveries('1,000 subscribers in one room, one message at a time', '<= 1.1 x limit')]],
    ['1,000 by 16', streams(sixteen, 'connections=1100'), [
        ...deliveries('the same, 16 messages in flight', '<= 0.25 x limit')]],
    ['10,000', streams(crowd, ten), [
        ...deliveries('10,000 subscribers in one room, one message at a time', '<= 1.1 x limit'),
        ['memory of a subscriber (Pss; the room has 256 members)', 'pss_per_connection', 'bytes', '<= 256']]],
    ['1,000 rooms', streams(dealt, `${ten},rooms=1001`), [
        ...deliveries('10,000 subscribers in 1,000 rooms, 4 messages in flight', '<= 0.45 x nchan')]],
    ...(isFull ? [['rest', { ...streams({ ...crowd, messages: 0, warmup: 0, rest: 60 }, ten), limit: undefined }, [
        ['10,000 idle subscribers, beats included', 'rest_percent', '% CPU', '<= 0.5']], 1]] : []),
    ...[['others', 'other streams'], ['idle', 'idle keep-alive connections']].flatMap(([kind, what]) =>
        (isFull ? [100, 1000, 10000] : [100, 1000]).map((count) => [
            `${kind} ${count}`, { snug: streams({ ...few, [kind]: count, rest: 3 }, ten).snug }, [
                [`10 readers in a room, ${count} ${what} open`, 'cpu_us_per_message', 'us CPU a message',
                    count > 100 ? `<= 1.1 x ${kind} 100` : '']]])),
    ...(isFull ? [['members', { ...streams({ ...crowd, members: 10000 }, `${ten},members=10000`), nchan: undefined }, [
        ...deliveries('10,000 members in one room, each with a name and a stream', '<= 1.1 x limit'),
        ['their coming in: all join, then all open their stream', 'entry_s', 's', '<= 60'],
        ['what each is told meanwhile of who is here', 'entry_bytes', 'bytes'],
        ['all of that', 'entry_us', 'us CPU a member']]]] : []),
    ...['/', '/healthz'].map((target) => [`GET ${target}`, { nginx: () => using(startNginx(), gets(target)),
        snug: () => using(startSnug('rooms=4'), gets(target)) },
    perRequest(`GET ${target}, 50 keep-alive connections`, '>= 1 x nginx')]),
    ...[1, 50].flatMap((publishers) => [
        [`send ${publishers}`, asks({ publishers, seconds: 2 * times }), perRequest(
            `POST send to a room without readers, ${publishers} keep-alive`, '>= 1 x nchan')],
        [`pipelined ${publishers}`, { snug: asks({ publishers, pipeline: 16, seconds: 2 * times }).snug }, perRequest(
            'the same, pipelined by 16', `>= 3 x send ${publishers}`)]]),
    ['loading', { snug: () => loading(isFull ? 350 : 64) }, [
        [`loading a data file of ${isFull ? 350 : 64} MiB`, 'mb_per_s', 'MB/s', '>= 100']]],
    ...(isFull ? [16, 1000] : [16]).flatMap((mib) => [
        [`quiet ${mib}`, { snug: () => stall(mib, false) }, [
            [`longest answer to GET /healthz, ${mib} MiB held`, 'most_us', 'us']]],
        [`stall ${mib}`, { snug: () => stall(mib, true) }, [
            ['the same while they are written anew', 'most_us', 'us', `<= 2000 + quiet ${mib}`]]]]),
    ...(has('valgrind', '--version') ? [['POST send with one reader', () => sends(1)],
        ['GET / answered 304', () => each(getNotModified)],
        ['one more delivery of a message', async () => (await sends(101) - await sends(1)) / 100]] : []).map(
        ([name, work]) => [`callgrind ${name}`, { snug: async () => ({ count: await work() }) }, [
            [name, 'count', 'instructions']], 1])];

/* ---- the table ---- */

const show = (value) => (value === undefined ? '' : value >= 100 ? Math.round(value).toLocaleString('en') :
    value.toPrecision(value >= 10 ? 3 : 2));
const row = (...cells) => `| ${cells.join(' | ')} |`;

/* The median of FIELD in the runs of SERVER in the experiment TITLE; of the longest waits the shortest, for what else
 * the machine does can only add to them. */
function figure(results, title, server, field) {
    const values = (results[title]?.[server] ?? []).filter((result) => result[field] !== undefined)
        .map((result) => result[field]).sort((a, b) => a - b);
    return values[field === 'most_us' ? 0 : values.length >> 1];
}

function lineOf(results, title, [name, field, unit, wanted = '']) {
    const of = (server) => figure(results, title, server, field);
    const [, sign, bound, by, than] = /^(..) ([\d.]+)(?: ([x+]) (.*))?$/.exec(wanted) ?? [];
    const base = than && (of(than) ?? figure(results, than, 'snug', field));
    const reached = by === 'x' ? of('snug') / base : by === '+' ? of('snug') - base : of('snug');
    const isReached = sign === '<=' ? reached <= bound : reached >= bound;
    return row(name, unit, show(of('limit')), show(of('nchan') ?? of('nginx')), show(of('snug')),
        by === 'x' && reached >= 0 ? reached.toFixed(2) : '', wanted,
        !wanted || Number.isNaN(reached) ? '' : isReached ? 'yes' : '**no**');
}

function tableOf(results) {
    const lines = [
        `Linux ${os.release()}, ${os.cpus()[0].model}; the server on one core, the load on another; servers started`,
        `afresh for each run and measured in turn; medians of ${ROUNDS} runs.`, '',
        row('work', 'unit', 'limit: send() loop', 'nchan, nginx', 'snug', 'ratio', 'wanted', 'reached'),
        row(...Array(8).fill('---')),
        ...experiments.filter(([title]) => results[title]).flatMap(([title, , rows]) =>
            rows.map((line) => lineOf(results, title, line)))];
    return `${lines.join('\n')}\n`;
}

/* README's section "Performance" is its first paragraph and the table. */
function writeReadme() {
    const file = path.join(here, '../README.md');
    const section = /^(## Performance\n\n[^]*?\n\n)[^]*?(?=^## )/m;
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(section, (_, head) =>
        `${head}${fs.readFileSync(inBuild('bench.md'), 'utf8')}\n`));
}

/* ---- the runs ---- */

async function run(title, runs, rounds = ROUNDS) {
    const results = {};
    for (let round = 0; round < rounds; round++) {
        for (const [server, work] of Object.entries(runs).filter(([name, is]) => is && available[name])) {
            const result = await work().catch((error) => ({ error: error.message.trim() }));
            if (result.error)
                process.exitCode = 1;
            (results[server] ??= []).push(result);
            console.error(`${title}, ${server}: ${JSON.stringify(result)}`);
        }
    }
    return results;
}

async function measure() {
    const figures = inBuild('bench.json');
    const results = words.length > 0 && fs.existsSync(figures) ? JSON.parse(fs.readFileSync(figures, 'utf8')) : {};
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(folder, { recursive: true });
    for (const [title, runs, , rounds] of experiments) {
        if (words.length === 0 || words.some((word) => title.includes(word)))
            results[title] = await run(title, runs, rounds);
    }
    fs.rmSync(folder, { recursive: true, force: true });
    fs.writeFileSync(figures, JSON.stringify(results, null, 1));
    fs.writeFileSync(inBuild('bench.md'), tableOf(results));
    process.stdout.write(tableOf(results));
}

if (mode === 'readme') writeReadme();
else if (os.cpus().length < 2) throw new Error('There must be two cores: one for the server, one for the load.');
else if (mode === 'quick' || isFull) await measure();
else throw new Error(`${mode} is not quick, full or readme.`);
