/* exchange.mjs: a data file is the same on every machine. OWN is this machine's server, SNUG another one's. */
import fs from 'node:fs';
import { test } from 'node:test';
import { assert, ask, join, messages, say, start } from '../wire.mjs';

const OWN = process.env.OWN;
const TEXTS = ['hi', 'h\u00e9llo \u4e16\u754c \u{1F642}', 'a "quoted" \\ line\nand another', 'x'.repeat(3990)];

/* Shell words that put this machine's server in SNUG's place. */
const BY_OWN = `shift; set -- '${OWN}' "$@"`;

/* What FILE says, but for what each start draws anew and for absences, which go on. */
function lasting(file) {
    return fs.readFileSync(file, 'latin1').split('\n').filter((line) => /^(data|id): /.test(line));
}

async function talk(server, name) {
    const member = await join(server, 't\u00e9a', name);
    for (const text of TEXTS)
        await say(member, `${text}${name}`, `nonce ${text.slice(0, 9)}`);
    return member;
}

for (const [from, to] of [['another machine', 'this one'], ['this machine', 'another one']]) {
    test(`what ${from} wrote ${to} reads, goes on with and gives back`, async (t) => {
        const first = from === 'this machine' ? BY_OWN : undefined, second = first ? undefined : BY_OWN;
        const server = await start(t, { before: first });
        const ann = await talk(server, 'Ann');
        const said = await messages(ann);
        assert.equal(said.length, TEXTS.length);
        const receipt = await say(ann, 'once', 'the nonce');
        await server.stop();
        const written = lasting(server.file);

        await server.start({ before: second });
        assert.doesNotMatch(server.stderr, /damaged|dropped|torn/);
        assert.deepEqual((await messages(ann)).slice(0, said.length), said);
        const again = (await ask(ann, 'POST', 'send', { form: { text: 'once', nonce: 'the nonce' } })).json;
        assert.deepEqual(again, { id: receipt.id, t: receipt.t });
        await server.stop();
        assert.deepEqual(lasting(server.file), written, 'the same frames, byte for byte');

        await server.start();
        await talk(server, 'Bob');
        const all = await messages(ann);
        await server.stop();
        await server.start({ before: first });
        assert.doesNotMatch(server.stderr, /damaged|dropped|torn/);
        assert.deepEqual(await messages(ann), all);
        assert.deepEqual(fs.readdirSync(server.folder).filter((name) => name.includes('damaged')), []);
    });
}
