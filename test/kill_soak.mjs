/* kill_soak.mjs: kill -9 at any moment, again and again (the contract, section 4). Senders say numbered texts, each
 * with a nonce, and repeat what was not acknowledged; readers come back with Last-Event-ID. What was acknowledged must
 * be there for ever, once, and in its place; names stay with their holders, and no number is given twice. KILLS=N: so
 * many kills. With `always` an fsync takes so long that senders are held when the kill comes. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BrokenOff, Connection, ask, assert, join, messages, pathOf, request, requestOf, say, sleep, start, subscriber,
    temporaryFolder, until } from './wire.mjs';

const KILLS = Number(process.env.KILLS ?? 12);
const LIBRARY = fileURLToPath(new URL('../.build/slow_fsync.so', import.meta.url));
const FSYNC_MS = 15;
const HISTORY = 64 * 1024;
const ROOMS = ['tea', 'coffee', 'milk'];
const SENDERS = 4; /* in each room */
const TEXT_MAX = 1500;

const below = (end) => Math.floor(Math.random() * end);

function isOfTheKill(error) {
    return error instanceof BrokenOff || /^(ECONN|EPIPE)/.test(error.code ?? '');
}

class Soak {
    constructor(server) {
        Object.assign(this, { server, ids: new Map(), acknowledged: new Map(), isOver: false, kills: 0, retries: 0,
            inRewrites: 0, startedMs: 0 });
        this.rooms = ROOMS.map((name) => ({ name, senders: [], seen: [], last: 0, reader: null, numbers: new Set() }));
        this.closeGate();
    }
    closeGate() {
        this.gate = new Promise((resolve) => (this.openGate = resolve));
    }
    /* TEXT has this id, wherever it is met. */
    note(text, id) {
        assert.equal(this.ids.get(text) ?? id, id, `${text} has two ids: it was said twice`);
        this.ids.set(text, id);
    }
    /* Says TEXT until it is acknowledged. */
    async say(sender, text) {
        for (let tries = 0; ; tries++) {
            await this.gate;
            try {
                if (!sender.connection || sender.connection.ended || !this.server.connections.has(sender.connection))
                    sender.connection = await Connection.open(this.server);
                sender.connection.write(requestOf('POST', `${pathOf(sender.room)}/send`, { cookie: sender.cookie,
                    form: { text, nonce: text.split(' ', 1)[0] } }));
                const answer = await sender.connection.answerOrEnd('POST');
                if (answer) {
                    assert.equal(answer.status, 200, answer.text);
                    this.retries += tries > 0;
                    return answer.json.id;
                }
            } catch (error) {
                if (!isOfTheKill(error))
                    throw error;
            }
            sender.connection?.close();
            sender.connection = null;
        }
    }
    async speak(sender) {
        for (let number = 0; !this.isOver; number++) {
            const text = `${sender.name}-${number} `.padEnd(20 + below(TEXT_MAX), 'x');
            const id = await this.say(sender, text);
            assert.ok(id > sender.last, 'ids rise');
            sender.last = id;
            sender.lastText = text;
            this.note(text, id);
            this.acknowledged.set(text, { room: sender.room, id });
            if (below(4) === 0)
                await sleep(below(60));
        }
    }
    /* Takes what comes to the reader of ROOM until its stream ends. */
    async read(room) {
        for (;;) {
            const event = await room.reader.nextOrEnd(600000);
            if (!event)
                return;
            assert.equal(event.kind, 'message', `a gap behind ${room.last}: ${event.raw}`);
            const { id, text } = event.data;
            assert.ok(id > room.last, `${id} comes behind ${room.last}`);
            room.last = id;
            room.seen.push(text);
            this.note(text, id);
        }
    }
    async follow(room) {
        room.reader = await subscriber(room.senders[0], room.last > 0 ? { lastEventId: room.last } : {});
        room.reading = this.read(room);
        room.reading.catch((error) => (this.failure ??= error));
    }
    /* All that is held of ROOM is right, and nothing is missing but what history had no place for. */
    async check(room) {
        const list = await messages({ ...room.senders[0], connection: null });
        const held = new Set(list.map((one) => one.text));
        const bytes = list.reduce((sum, one) => sum + JSON.stringify(one).length, 0);
        assert.equal(held.size, list.length, 'nothing is there twice');
        list.forEach((one, i) => {
            assert.ok(i === 0 || one.id > list[i - 1].id, 'ids rise');
            assert.ok(i === 0 || one.t >= list[i - 1].t, 'time does not go back');
            this.note(one.text, one.id);
        });
        for (const [text, { room: name, id }] of this.acknowledged) {
            if (name !== room.name || held.has(text))
                continue;
            assert.ok(bytes > HISTORY - 2 * TEXT_MAX && id < list[0].id,
                `${text.slice(0, 20)} is lost: ${list.length} messages of ${bytes} bytes are held`);
        }
    }
    /* A retry of what was acknowledged before the kill is answered as then, a name is its holder's, and a newcomer's
     * number is one that nobody had. */
    async checkSender(room, sender) {
        const member = { ...sender, connection: null };
        if (sender.lastText)
            assert.equal((await say(member, 'again', sender.lastText.split(' ', 1)[0])).id, sender.last);
        const stranger = await request(this.server, 'POST', `${member.path}/join`, { form: { name: sender.name } });
        assert.equal(stranger.status, 409, `${sender.name} is taken: ${stranger.text}`);
        assert.equal((await join(this.server, room.name, sender.name, { cookie: sender.cookie })).by, sender.by);
        const guest = await join(this.server, room.name, 'guest'); /* who left before the kill has left */
        assert.ok(!room.numbers.has(guest.by), `${guest.by} is given twice`);
        room.numbers.add(guest.by);
        await ask(guest, 'POST', 'leave');
    }
    /* Kills the server at some moment of a rewrite or behind it, starts it, and looks at what is left. */
    async kill() {
        await sleep(20 + below(120));
        this.server.child.kill('SIGUSR1');
        await sleep(below(2) === 0 ? below(2 * FSYNC_MS) : 3 * FSYNC_MS + below(120));
        const killed = this.server.kill();
        this.closeGate();
        await killed;
        this.kills++;
        this.inRewrites += fs.statSync(`${this.server.file}.new`, { throwIfNoEntry: false })?.mtimeMs > this.startedMs;
        await Promise.all(this.rooms.map((room) => room.reading));
        if (this.failure)
            throw this.failure;
        this.startedMs = Date.now(); /* an older rewrite's file stays until the next */
        await this.server.start();
        assert.ok(!/damaged/.test(this.server.stderr), this.server.stderr);
        await this.resume();
    }
    async resume() {
        await Promise.all(this.rooms.map(async (room) => {
            await this.check(room);
            await this.checkSender(room, room.senders[below(SENDERS)]);
            await this.follow(room);
        }));
        this.openGate();
    }
}

describe('a server that is killed again and again', { concurrency: 2 }, () => {
    for (const sync of ['second', 'always']) {
        test(`loses and doubles nothing with sync=${sync}`, async (t) => {
            const wish = path.join(temporaryFolder(t), 'fsync');
            fs.writeFileSync(wish, `fsync ${FSYNC_MS}`);
            assert.ok(fs.existsSync(LIBRARY), 'make .build/slow_fsync.so makes what this needs');
            const server = await start(t, { options: [`sync=${sync}`, `history=${HISTORY}`, 'joins=off'],
                env: { LD_PRELOAD: LIBRARY, SLOW_FSYNC: wish } });
            const soak = new Soak(server);
            for (const room of soak.rooms) {
                for (let i = 0; i < SENDERS; i++)
                    room.senders.push({ ...await join(server, room.name, `${room.name}${i}`), last: 0 });
                room.senders.forEach((sender) => room.numbers.add(sender.by));
            }
            await soak.resume();
            const speaking = soak.rooms.flatMap((room) => room.senders.map((sender) => soak.speak(sender)));
            speaking.forEach((one) => one.catch((error) => (soak.failure ??= error)));
            while (soak.kills < KILLS / 2)
                await soak.kill();
            soak.isOver = true;
            await Promise.all(speaking);
            for (const room of soak.rooms) {
                await until(`the last messages of ${room.name}`, () => soak.failure ?? room.last >=
                    Math.max(...room.senders.map((sender) => sender.last)));
            }
            if (soak.failure)
                throw soak.failure;
            const seen = new Set(soak.rooms.flatMap((room) => room.seen));
            for (const text of soak.acknowledged.keys())
                assert.ok(seen.has(text), `nobody was shown ${text.slice(0, 20)}`);
            assert.equal(seen.size, soak.rooms.reduce((sum, room) => sum + room.seen.length, 0));
            assert.equal(seen.size, soak.acknowledged.size, 'what was shown was acknowledged in the end');
            await server.restart();
            for (const room of soak.rooms)
                await soak.check(room);
            assert.ok(fs.readdirSync(path.dirname(server.file)).every((name) => /^snug\.data(\.lock)?$/.test(name)));
            assert.ok(soak.acknowledged.size > 10 * soak.kills);
            if (sync === 'always')
                assert.ok(soak.retries > soak.kills, 'kills that held senders');
            t.diagnostic(`sync=${sync}: ${soak.kills} kills, ${soak.inRewrites} of them in a rewrite; ` +
                `${soak.acknowledged.size} messages, ${soak.retries} of them acknowledged to a retry`);
        });
    }
});
