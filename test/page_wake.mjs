/* Tabs, sleep and networks: the page is right again within seconds, whatever was silent, hidden, frozen or doubled. Hours
 * pass by a faked clock; networks are cut by a proxy that falls silent, as cables do. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { CHROMIUM, SWITCHES, box, live, meet, noneWaits, openBrowser, sayAtOnce, saying, showAll, status, texts, until } from './page.mjs';

let browser;

before(async () => {
  browser = await openBrowser();
});

after(() => browser.close());

const meeting = (t, how) => meet(t, browser, { options: ['-o', 'rate=off'], ...how });
const showSoon = (page, expected, limit = 8000) => showAll(page, expected, limit);

describe('tabs, sleep and networks', { concurrency: 3 }, () => {
  test('after an hour asleep or hidden, with a dead connection, it is right again within seconds', async t => {
    const { proxy, page, ann, bob } = await meeting(t, { isClockFaked: true });
    await bob.say('before');
    await showSoon(page, ['before']);
    for (const [i, wake] of [() => {}, () => document.dispatchEvent(new Event('visibilitychange')), () => dispatchEvent(new Event('focus'))].entries()) {
      proxy.cut();
      await bob.say('meanwhile ' + i);
      await saying(bob.page, 'meanwhile ' + i).locator('.state').getByText('sent').waitFor();
      proxy.mend();
      await page.clock.fastForward('01:00:00');
      await page.evaluate(wake);
      await saying(page, 'meanwhile ' + i).waitFor({ timeout: 8000 });
      await live(page);
    }
    await ann.say('awake');
    for (const each of [page, bob.page]) await showSoon(each, ['before', 'meanwhile 0', 'meanwhile 1', 'meanwhile 2', 'awake']);
    await bob.page.getByText('2 here').waitFor();
  });

  test('a stream without a beat for 50 seconds is renewed, one with beats is kept', async t => {
    const { proxy, page, bob } = await meeting(t, { isClockFaked: true });
    assert.equal(proxy.streams, 1);
    await page.clock.fastForward(45000);
    await bob.say('a beat');
    await showSoon(page, ['a beat']);
    await page.clock.fastForward(45000);
    await page.clock.runFor(2000);
    await bob.say('another');
    await showSoon(page, ['a beat', 'another']);
    assert.equal(proxy.streams, 1);
    proxy.cut();
    await bob.say('unheard');
    proxy.mend();
    await page.clock.fastForward(51000);
    await page.clock.runFor(3000);
    await showSoon(page, ['a beat', 'another', 'unheard']);
    assert.equal(proxy.streams, 2);
    await live(page);
  });

  test('another network: the old stream is silent, the browser says so, and nothing is lost or doubled', async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    await ann.say('before');
    await showSoon(bob.page, ['before']);
    await noneWaits(page);
    proxy.cut();
    await bob.say('unheard');
    await saying(bob.page, 'unheard').locator('.state').getByText('sent').waitFor();
    proxy.mend();
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await saying(page, 'unheard').waitFor({ timeout: 5000 });
    await ann.say('after');
    for (const each of [page, bob.page]) await showSoon(each, ['before', 'unheard', 'after']);
    assert.equal(proxy.streams, 2);
  });

  test('a page from the back/forward cache is live again, with what was said meanwhile and with its draft', async t => {
    const cacher = await chromium.launch({ executablePath: CHROMIUM, args: SWITCHES, ignoreDefaultArgs: ['--disable-back-forward-cache'] });
    t.after(() => cacher.close());
    const { page, ann, bob, proxy } = await meeting(t, { by: cacher });
    await ann.say('before');
    await showSoon(bob.page, ['before']);
    await noneWaits(page);
    await box(page).fill('half a sent');
    await page.evaluate(() => {
      window.isSame = true;
      addEventListener('pageshow', event => { window.isFromCache = event.persisted; });
    });
    await page.evaluate(() => location.assign('/'));
    await page.getByRole('heading', { name: 'Pull up a chair.' }).waitFor();
    await bob.say('meanwhile');
    await page.evaluate(() => history.back()).catch(() => {});
    await page.waitForURL('**/r/tea', { waitUntil: 'commit' });
    await box(page).waitFor();
    await showSoon(page, ['before', 'meanwhile']);
    assert.ok(await page.evaluate(() => window.isSame && window.isFromCache), 'the page came from the cache');
    await live(page);
    assert.equal(await box(page).inputValue(), 'half a sent');
    await box(page).press('Enter');
    for (const each of [page, bob.page]) await showSoon(each, ['before', 'meanwhile', 'half a sent']);
    assert.equal(proxy.sends.length, 2);
  });

  test('five tabs of one room all show the same, once, and one without a stream gets that of one that is closed', async t => {
    const { proxy, ann, bob, page } = await meeting(t, { isClockFaked: true });
    const tabs = [page];
    while (tabs.length < 5) {
      const tab = await ann.tab();
      await tab.goto(proxy.origin + '/r/tea');
      await live(tab);
      tabs.push(tab);
    }
    for (const [i, tab] of tabs.entries()) await ann.say('by tab ' + i, tab);
    await bob.say('by Bob');
    const all = ['by Bob', ...tabs.map((_, i) => 'by tab ' + i)];
    for (const tab of tabs) {
      await until('six messages', async () => {
        await page.clock.runFor(2000);
        return (await texts(tab)).length >= 6 && await tab.locator('[data-state=waiting]').count() === 0;
      });
      assert.deepEqual((await texts(tab)).sort(), all);
    }
    await bob.page.getByText('2 here').waitFor();
    for (const tab of tabs.slice(1)) await tab.close();
    const before = proxy.streams;
    for (let seconds = 0; proxy.streams === before; seconds += 2) {
      assert.ok(seconds < 40, 'the tab that is left has no stream');
      await page.clock.runFor(2000);
      await pause(50);
    }
    await bob.say('one is left');
    await saying(page, 'one is left').waitFor({ timeout: 5000 });
  });

  test('a duplicate of a tab, which has the same session, loses and doubles nothing of what waits', async t => {
    const { proxy, ann, bob, page } = await meeting(t);
    const written = Array.from({ length: 30 }, (_, i) => 'message ' + i);
    proxy.meddle = path => path.endsWith('/send') ? { status: 503, body: 'Busy.' } : null;
    for (const text of written) await ann.say(text);
    await page.evaluate(() => { sessionStorage.mark = 'copied'; });
    const [twin] = await Promise.all([ann.context.waitForEvent('page'), page.evaluate(() => { open(location.href); })]);
    await live(twin);
    assert.equal(await twin.evaluate(() => sessionStorage.mark), 'copied');
    await ann.say('and one', page);
    await ann.say('and two', twin);
    proxy.meddle = () => null;
    for (const each of [page, twin]) await noneWaits(each);
    const all = [...written, 'and one', 'and two'];
    for (const each of [bob.page, twin, page]) {
      await until(all.length + ' messages', async () => (await texts(each)).length >= all.length);
      assert.deepEqual((await texts(each)).sort(), [...all].sort());
    }
    assert.deepEqual((await texts(bob.page)).filter(text => written.includes(text)), written);
  });

  test('a duplicate that writes at once displaces nothing of what waits', async t => {
    const { proxy, ann, bob, page } = await meeting(t);
    proxy.meddle = path => /(events|send)$/.test(path) ? { status: 503, body: 'Busy.' } : null;
    await page.evaluate(() => dispatchEvent(new Event('online')));    // the stream ends
    await status(page).getByText('Reconnecting').waitFor();
    for (const text of ['one', 'two']) await ann.say(text);
    await sayAtOnce(ann.context, 'three');
    const [twin] = await Promise.all([ann.context.waitForEvent('page'), page.evaluate(() => { open(location.href); })]);
    await saying(twin, 'three').waitFor();
    proxy.meddle = () => null;
    for (const each of [page, twin]) await noneWaits(each);
    await until('three messages', async () => (await texts(bob.page)).length >= 3);
    assert.deepEqual((await texts(bob.page)).sort(), ['one', 'three', 'two']);
  });
});
