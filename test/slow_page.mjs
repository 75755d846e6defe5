/* What takes its time, in real time: a minute without network, a server that hangs, fifty messages at the usual rate,
 * ten tabs whose server was away. The same with faked clocks: page_wake.mjs, page_outbox.mjs. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { Person, Server, inState, live, log, meet, noneWaits, openBrowser, saying, showAll, status, texts, until } from './page.mjs';

const MINUTE_MS = 60000;
const SECONDS_MS = 15000;    // "within seconds", on a machine that others use too

let browser;

before(async () => {
  browser = await openBrowser();
});

after(() => browser.close());

const meeting = (t, ...options) => meet(t, browser, { options });
const showSoon = (page, expected, limit = SECONDS_MS) => showAll(page, expected, limit);

describe('in their time', { concurrency: 6 }, () => {
  test('cut for a minute, and nobody was told: right again within seconds, what one reads is not moved', { timeout: 200000 }, async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    const long = Array.from({ length: 80 }, (_, line) => 'line ' + line).join('\n');
    await bob.say(long);
    await saying(page, long).waitFor();
    await log(page).evaluate(node => { node.scrollTop = 100; });
    await pause(300);    // the scroll is noted
    proxy.cut();
    for (const text of ['bob 1', 'bob 2']) await bob.say(text);
    await pause(MINUTE_MS);
    proxy.mend();
    await showSoon(page, [long, 'bob 1', 'bob 2']);
    assert.equal(await log(page).evaluate(node => node.scrollTop), 100);
    await page.getByRole('button', { name: '2 new' }).waitFor();
    await live(page);
    await ann.say('ann 1');
    await showSoon(bob.page, [long, 'bob 1', 'bob 2', 'ann 1']);
  });

  test('cut for a minute while one writes: it goes out within seconds, once', { timeout: 200000 }, async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    proxy.meddle = path => path.endsWith('/send') ? pause(1000) : null;
    await ann.say('one');    // it reaches the server, but its answer gets lost
    await until('it to be on its way', () => proxy.sends.length === 1);
    proxy.cut();
    for (const text of ['two', 'one']) await ann.say(text);
    await saying(bob.page, 'one').waitFor();
    await bob.say('meanwhile');
    await pause(MINUTE_MS);
    proxy.mend();
    await noneWaits(page, SECONDS_MS);
    for (const each of [page, bob.page]) await showSoon(each, ['one', 'meanwhile', 'two', 'one']);
  });

  test('offline for a minute, and told so: right again within seconds', { timeout: 200000 }, async t => {
    const { page, ann, bob } = await meeting(t);
    await ann.context.setOffline(true);
    await status(page).getByText('Offline').waitFor();
    for (const text of ['one', 'two']) await ann.say(text);
    await bob.say('meanwhile');
    await pause(MINUTE_MS);
    await status(page).getByText('Offline').waitFor();
    await ann.context.setOffline(false);
    await live(page);
    for (const each of [page, bob.page]) await showSoon(each, ['meanwhile', 'one', 'two']);
    await noneWaits(page, SECONDS_MS);
  });

  test('a server that hangs is noticed by its missing beat, and what waited goes out once', { timeout: 200000 }, async t => {
    const { server, page, ann, bob } = await meeting(t);
    await bob.say('before');
    await showSoon(page, ['before']);
    server.child.kill('SIGSTOP');
    await ann.say('hold on');
    await status(page).getByText(/Reconnecting|Server gone/).waitFor({ timeout: 75000 });
    server.child.kill('SIGCONT');
    await live(page);
    await noneWaits(page, 2 * SECONDS_MS);
    for (const each of [page, bob.page]) await showSoon(each, ['before', 'hold on'], 2 * SECONDS_MS);
  });

  test('fifty messages of an outage go out at the usual rate, in order, once each', { timeout: 200000 }, async t => {
    const { server, proxy, page, ann, bob } = await meeting(t);
    const written = Array.from({ length: 50 }, (_, i) => 'message ' + i);
    await server.kill();
    await status(page).getByText('Reconnecting').waitFor();
    for (const text of written) await ann.say(text);
    await server.start();
    await noneWaits(page, 90000);
    assert.ok(proxy.sends.some(sent => sent.status === 429), 'the rate was met');
    for (const each of [page, bob.page]) await showSoon(each, written);
    await page.reload();
    await showSoon(page, written);
    const given = proxy.sends.filter(sent => sent.status === 200);
    assert.deepEqual(given.map(sent => sent.text), written);
    assert.equal(new Set(given.map(sent => sent.nonce)).size, 50);
  });

  test('ten tabs in ten rooms whose server was away are all right again', { timeout: 200000 }, async t => {
    const { server, proxy, ann } = await meeting(t, '-o', 'joins=off');
    const tabs = [];
    for (let i = 0; i < 10; i++) {
      const tab = await ann.tab();
      await ann.join('room ' + i, 'Ann', tab);
      tabs.push(tab);
    }
    await server.kill();
    for (const [i, tab] of tabs.entries()) await ann.say('from ' + i, tab);
    await pause(5000);
    await server.start();
    const carol = await Person.open(browser, server);
    t.after(() => carol.close());
    for (let i = 0; i < 10; i++) {
      await carol.join('room ' + i, 'Carol');
      await carol.say('to ' + i);
      await noneWaits(carol.page, SECONDS_MS);
    }
    for (const [i, tab] of tabs.entries()) {
      await until('both', async () => (await texts(tab)).length === 2, 45000);
      assert.deepEqual((await texts(tab)).sort(), ['from ' + i, 'to ' + i]);
      await noneWaits(tab, SECONDS_MS);
    }
    assert.ok(proxy.openStreams <= 4, `${proxy.openStreams} streams`);
  });

  test('of several tabs one alone takes what a tab leaves: its own next document after a reload, another when it is closed', { timeout: 200000 }, async t => {
    const { proxy, page, ann, bob } = await meeting(t, '-o', 'rate=off');
    const others = [await ann.tab(), await ann.tab()];
    for (const other of others) {
      await other.goto(proxy.origin + '/r/tea');
      await live(other);
    }
    await pause(6000);    // nobody adopts in his first five seconds
    const written = Array.from({ length: 12 }, (_, i) => 'message ' + i);    // more than the nonces that the server keeps
    proxy.meddle = path => path.startsWith('/r/tea/') ? { status: 502, body: 'Bad gateway.' } : null;
    proxy.drop();
    await until('the outage', () => page.evaluate(() => my.live === false));
    for (const text of written) await ann.say(text);
    await page.reload();
    await until('what waits in the reloaded tab', async () => (await inState(page, 'waiting')).length === 12);
    await page.close();
    await until('what waits in another', async () => (await Promise.all(others.map(other => inState(other, 'waiting')))).flat().length >= 12);
    await pause(2500);
    assert.deepEqual((await Promise.all(others.map(other => inState(other, 'waiting')))).flat(), written);
    proxy.meddle = () => null;
    for (const other of others) await noneWaits(other);
    await showSoon(bob.page, written);
    assert.equal(proxy.sends.filter(({ status: code, text }) => code === 200 && written.includes(text)).length, 12);
  });
});
