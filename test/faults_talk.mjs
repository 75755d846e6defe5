/* faults_talk.mjs: what faults.mjs is made of: faults that strike a running server, and a conversation that checks by
 * itself that nobody gets a broken, doubled or missing message. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BrokenOff, PATIENCE_MS, ask, assert, cookieOf, join, messages, pathOf, request, sleep, start, subscriber,
    temporaryFolder, until, within } from './wire.mjs';

export const FOREVER = -1;
export const LASTING_MS = 500; /* how long a lasting fault is watched */
export const IDLE_MS = 100;    /* how long an idle server is watched: one round's calls may be made */
export const counts = { injected: 0, rows: 0 };

/* ---- faults ---- */

const SLOT = 64, SLOTS = 64;
const AT = { who: 28, left: 32, error: 36, length: 40, skip: 44, every: 48, calls: 52, struck: 56 };

/* The file of slots that a server maps (faults.c); `env` names it. */
export class Slots {
    constructor(t) {
        const file = path.join(temporaryFolder(t), 'faults');
        fs.writeFileSync(file, Buffer.alloc(SLOT * SLOTS));
        this.fd = fs.openSync(file, 'r+');
        this.free = Array.from({ length: SLOTS }, (_, i) => i);
        this.env = { SNUG_FAULTS: file };
        t.after(() => fs.closeSync(this.fd));
    }
    /* Begins a fault: CALL fails with ERROR (a name) or, without one, moves LENGTH bytes at most. KIND: what it is on
     * (file, new, lock, folder, device, pipe, socket, listener); WHO: 1 the server, 2 its child; LEFT: how often; SKIP:
     * how many calls pass first; EVERY: one in so many. */
    begin({ call, kind = '', who = 0, left = 1, error, length = 0, skip = 0, every = 0 }) {
        const at = this.free.shift() * SLOT;
        const bytes = Buffer.alloc(SLOT);
        const number = os.constants.errno[error] ?? 0;
        assert.ok(error === undefined || number > 0, error);
        bytes.write(call, 0, 'latin1');
        bytes.write(kind, 16, 'latin1');
        for (const [name, value] of Object.entries({ who, error: number, length, skip, every }))
            bytes.writeInt32LE(value, AT[name]);
        fs.writeSync(this.fd, bytes, 0, SLOT, at);
        const left4 = Buffer.alloc(4); /* last: it makes the fault begin */
        left4.writeInt32LE(left);
        fs.writeSync(this.fd, left4, 0, 4, at + AT.left);
        return new Fault(this, at);
    }
    /* Counts CALL ('': every call). */
    count(call, kind) {
        return this.begin({ call, kind, left: 0 });
    }
}

class Fault {
    constructor(slots, at) {
        Object.assign(this, { slots, at });
    }
    read(name) {
        const bytes = Buffer.alloc(4);
        fs.readSync(this.slots.fd, bytes, 0, 4, this.at + AT[name]);
        return bytes.readInt32LE();
    }
    get calls() {
        return this.read('calls');
    }
    get struck() {
        return this.read('struck');
    }
    get isSpent() {
        return this.read('left') === 0;
    }
    /* The fault is over. Returns how often it struck. */
    end() {
        const { struck } = this;
        fs.writeSync(this.slots.fd, Buffer.alloc(SLOT), 0, SLOT, this.at);
        this.slots.free.push(this.at / SLOT);
        counts.injected += struck;
        return struck;
    }
}

/* ---- a conversation ---- */

/* Whether ERROR is what a client sees of a connection that the server gave up. */
export function isCut(error) {
    return error instanceof BrokenOff || ['ECONNRESET', 'EPIPE'].includes(error.code) ||
        /^the connection ended (without an answer|before a stream began)/.test(error.message);
}

/* The talk of a room: Ann and Bob read streams and speak, Carl asks for what is new and waits for it, newcomers come
 * and go, visitors look at pages. `row` says what they must put up with: CUTS: connections that end ('all', or only
 * those without a stream: 'idle'), STATUSES. */
class Talk {
    constructor(server, room) {
        Object.assign(this, { server, room, row: {}, said: [], texts: 0, newcomers: 0 });
        this.isOver = this.isLasting = false;
    }
    async begin() {
        [this.ann, this.bob, this.carl] = await Promise.all(['Ann', 'Bob', 'Carl'].map((name) => (
            join(this.server, this.room, name))));
        this.readers = [this.follow(this.ann), this.follow(this.bob), this.poll(this.carl)];
        await this.round();
        await this.sees();
    }
    pause() {
        return sleep(this.isLasting ? 100 : 10);
    }
    /* The answer to ATTEMPT, made over and over as far as the row lets it fail. */
    async patiently(what, attempt) {
        const end = Date.now() + PATIENCE_MS;
        for (let last; ; await this.pause()) {
            assert.ok(Date.now() < end, `in vain: ${what}; at last: ${last}`);
            try {
                const answer = await attempt();
                if (answer.status < 300)
                    return answer;
                last = `${answer.status} ${answer.text}`;
                assert.ok((this.row.statuses ?? []).includes(answer.status), `${what} was answered ${last}`);
            } catch (error) {
                if (!isCut(error) || !this.row.cuts)
                    throw error;
                last = error.message;
                this.dropEnded();
            }
        }
    }
    /* The server waits for us to close what it has ended. */
    dropEnded() {
        [...this.server.connections].filter((one) => one.ended).forEach((one) => one.close());
    }
    /* One who reads what MEMBER is sent by LISTEN(seen, take) over and over: {seen, failure, running}. */
    reader(member, listen) {
        const seen = [];
        const reader = { name: member.name, seen, failure: null };
        const take = (message) => {
            assert.ok(message.id > (seen.at(-1)?.id ?? 0), `twice or out of order: ${JSON.stringify(message)}`);
            seen.push({ id: message.id, text: message.text });
        };
        const loop = async () => {
            while (!this.isOver)
                await listen(seen.at(-1)?.id, take, reader);
        };
        reader.running = loop().catch((error) => (reader.failure = this.isOver ? null : error));
        return reader;
    }
    /* From one stream to the next, as a browser does. */
    follow(member) {
        return this.reader(member, async (lastEventId, take, reader) => {
            try {
                reader.stream = await subscriber(member, { lastEventId });
                for (let event; (event = await reader.stream.nextOrEnd(120000)) !== null;) {
                    assert.equal(event.kind, 'message', `a gap for one who reads on: ${event.raw}`);
                    take(event.data);
                }
                assert.ok(this.isOver || this.row.cuts === 'all', `${member.name}'s stream was cut`);
            } catch (error) {
                if (!isCut(error) || this.row.cuts !== 'all')
                    throw error;
            }
            reader.stream?.close();
            await this.pause();
        });
    }
    /* From one held request to the next. */
    poll(member) {
        const waiting = { ...member, connection: null };
        return this.reader(member, async (after = 0, take) => {
            const answer = await this.patiently('a held request', () => (
                ask(waiting, 'GET', `messages?after=${after}&wait=1`)));
            answer.json.forEach(take);
        });
    }
    /* The nonce makes a retry safe. */
    async speak(member) {
        const text = `${this.room} ${++this.texts} ${'.'.repeat(this.texts % 5 * 50)}`;
        const answer = await this.patiently(`sending ${text}`,
            () => ask(member, 'POST', 'send', { form: { text, nonce: text.slice(0, 60) } }));
        this.said.push({ id: answer.json.id, text });
    }
    inOrder() {
        return [...this.said].sort((a, b) => a.id - b.id);
    }
    /* Joins, reads what was said, types and leaves. */
    async newcomer() {
        const { server, room } = this;
        const member = { server, room, path: pathOf(room), connection: null };
        await this.patiently('joining', async () => {
            const form = { name: `New ${++this.newcomers}` };
            const answer = await request(server, 'POST', `${member.path}/join`, { form });
            if (answer.status === 200)
                member.cookie = cookieOf(answer).pair;
            return answer;
        });
        const known = this.said.length;
        const list = (await this.patiently('reading', () => ask(member, 'GET', 'messages'))).json;
        assert.ok(list.length >= known, `a newcomer reads ${list.length} messages of ${known}`);
        await this.patiently('typing', () => ask(member, 'POST', 'typing'));
        await this.patiently('leaving', () => ask(member, 'POST', 'leave').then((answer) => (
            answer.status === 401 && this.row.cuts ? { status: 204 } : answer))); /* it had left, unanswered */
        member.connection?.close();
    }
    async visitor() {
        const fields = { Connection: 'close' };
        await this.patiently('the page', () => request(this.server, 'GET', pathOf(this.room)));
        await this.patiently('the rooms', () => request(this.server, 'GET', '/rooms', { fields }));
    }
    async round() {
        if (this.row.rewrite)
            this.server.child.kill('SIGUSR1');
        await Promise.all([this.speak(this.ann), this.speak(this.bob), this.newcomer(), this.visitor()]);
    }
    /* Until all have seen what was said. */
    async sees() {
        for (const reader of this.readers) {
            const last = JSON.stringify(reader.seen.slice(-3));
            const wanted = this.said.length;
            await until(`${reader.name} to see ${wanted} messages, having ${reader.seen.length}: ${last}`,
                () => reader.failure || reader.seen.length >= wanted);
            if (reader.failure)
                throw reader.failure;
            assert.deepEqual(reader.seen, this.inOrder());
        }
    }
    /* What was said is there, and nothing else: asked of a server that was started again. */
    async isKept() {
        const list = await messages(this.carl);
        assert.deepEqual(list.map(({ id, text }) => ({ id, text })), this.inOrder());
    }
    async end() {
        this.isOver = true;
        this.server.dropConnections();
        await within(Promise.all(this.readers.map((reader) => reader.running)), 'the readers to end');
    }
}

/* The fsync child of SERVER; undefined: it has none. */
export function childOf(server) {
    return fs.readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'latin1').match(/\d+/g)?.map(Number)[0];
}

/* How many descriptors SERVER and its child have. */
export function descriptorsOf(server) {
    return [server.pid, childOf(server)].filter(Boolean)
        .reduce((sum, pid) => sum + fs.readdirSync(`/proc/${pid}/fd`).length, 0);
}

/* Until the file has been written anew. */
export async function rewrite(server) {
    const before = fs.statSync(server.file).ino;
    for (let tries = 0; fs.statSync(server.file).ino === before; tries++) {
        assert.ok(tries < 1000, 'the file is written anew');
        if (tries % 50 === 0)
            server.child.kill('SIGUSR1');
        await sleep(10);
    }
}

/* A server, its talk, and what it does undisturbed. */
export async function converse(t, options = []) {
    const slots = new Slots(t);
    const server = await start(t, { env: slots.env, options: ['rooms=2', 'history=4m', ...options] });
    server.dropConnections();
    await sleep(IDLE_MS);
    const atRest = descriptorsOf(server);
    const talk = new Talk(server, 'tea');
    await talk.begin();
    await talk.round();
    const calls = slots.count('');
    const before = calls.calls;
    await talk.round();
    await talk.sees();
    await sleep(LASTING_MS);
    return { slots, server, talk, calls, atRest, descriptors: descriptorsOf(server), roundCalls: calls.calls - before };
}

/* SERVER makes no more than so many calls in MS. */
export async function watch({ calls, roundCalls }, ms, rounds) {
    const before = calls.calls;
    await sleep(ms);
    const made = calls.calls - before;
    assert.ok(made <= rounds * roundCalls, `${made} system calls in ${ms} ms; a round of talk makes ${roundCalls}`);
}

/* All goes on as before, with nothing to put up with. */
export async function goesOn(scene, row = {}) {
    const { server, talk } = scene;
    if (row.rewrite)
        await rewrite(server);
    if (row.statuses || row.cuts)
        await talk.round(); /* it may take a second yet */
    talk.row = {};
    await talk.round();
    await talk.sees();
    await until(`${scene.descriptors} descriptors at most, having ${descriptorsOf(server)}`,
        () => descriptorsOf(server) <= scene.descriptors);
    await watch(scene, IDLE_MS, 1);
}
