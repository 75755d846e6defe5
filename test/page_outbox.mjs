/* The outbox: what was written waits, is refused or goes out, through a proxy that has moods, in order and never twice.
 * And what an input method must not set off. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { LOST, box, inState, live, log, meet, messages, openBrowser, sayAtOnce, saying, showAll, status, texts, until } from './page.mjs';

let browser;

before(async () => {
  browser = await openBrowser();
});

after(() => browser.close());

/* `asked`: what Ann's page asked for and when, by its clock. */
function meeting(t, how = {}) {
  const prepare = page => page.context().addInitScript(() => {
    const { fetch } = window;
    window.asked = [];
    window.fetch = (path, how) => {
      window.asked.push({ path, at: Date.now() });
      return fetch(path, how);
    };
  });
  return meet(t, browser, { options: ['-o', 'rate=off'], prepare, ...how });
}

const onSend = answer => path => path.endsWith('/send') ? answer : null;

const state = (page, text) => saying(page, text).getAttribute('data-state');

function none(page, how) {
  return until('none ' + how, async () => (await inState(page, how)).length === 0, 30000);
}

const plain = { 'Content-Type': 'text/plain; charset=utf-8' };
const html = { 'Content-Type': 'text/html' };

describe('the outbox', { concurrency: 3 }, () => {
  test('a message is there at once, waits until the server has it, and then is sent', async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    let release;
    const held = new Promise(done => { release = done; });
    proxy.meddle = async path => { if (path.endsWith('/send')) await held; };
    await ann.say('hold on');
    assert.equal(await box(page).inputValue(), '');
    assert.equal(await state(page, 'hold on'), 'waiting');
    await saying(page, 'hold on').locator('.state').getByText('waiting').waitFor();
    await until('the server to be asked', () => proxy.sends.length === 1);
    assert.equal(await state(page, 'hold on'), 'waiting');
    release();
    await saying(page, 'hold on').locator('.state').getByText('sent').waitFor();
    await showAll(bob.page, ['hold on']);
    assert.equal(proxy.sends.length, 1);
  });

  test('400, 403, 413 and 421 refuse: the sentence and Edit again stay over a reload, what follows goes out', async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    const moods = {
      403: { status: 403, fields: plain, body: 'Ask from the page itself.\n' },
      421: { status: 421, fields: plain, body: 'This is another server: ask for http://10.0.0.5.\n' },
    };
    proxy.meddle = (path, { text }) => path.endsWith('/send') ? moods[text] : null;
    const rows = [['403', /^Not sent: Ask from the page itself\. /], ['421', /^Not sent: This is another server: ask for http:\/\/10\.0\.0\.5\. /],
      ['x'.repeat(4001), /^Not sent: \w.*4,?000.*\./], ['y'.repeat(20000), /^Not sent: \w.*\./]];
    await ann.say('before');
    for (const [text] of rows) await ann.say(text);
    await ann.say('behind');
    await saying(bob.page, 'behind').waitFor();
    // Chromium asks once more by itself after a 421.
    assert.deepEqual([...new Set(proxy.sends.map(sent => sent.status))], [200, 403, 421, 400, 413]);
    const many = proxy.sends.length;
    for (const isAgain of [false, true]) {
      if (isAgain) {
        await page.reload();
        await live(page);
      }
      await showAll(page, ['before', ...rows.map(row => row[0]), 'behind']);
      const reasons = await page.locator('article[data-state=refused] .reason').allTextContents();
      assert.equal(reasons.length, rows.length);
      rows.forEach(([, words], i) => assert.match(reasons[i], words));
    }
    assert.equal(proxy.sends.length, many, 'a refused message is not tried again');
    await box(page).fill('what stands there');
    for (const text of ['403', '421']) {
      await saying(page, text).getByRole('button', { name: 'Edit again' }).click();
    }
    assert.equal(await box(page).inputValue(), '421\n403\nwhat stands there');
    await page.reload();
    await live(page);
    assert.equal(await box(page).inputValue(), '421\n403\nwhat stands there');
    await showAll(page, ['before', rows[2][0], rows[3][0], 'behind']);
    await showAll(bob.page, ['before', 'behind']);
  });

  test('every other failure waits, and nothing is tried before its Retry-After; else the pauses grow', async t => {
    const { proxy, page, ann, bob } = await meeting(t, { isClockFaked: true });
    const moods = [
      { status: 502, fields: html, body: '<h1>Bad Gateway' }, { status: 504, fields: html, body: '<h1>Gateway Timeout' },
      { status: 500, fields: plain, body: 'Try again.' }, { status: 404, fields: html, body: '<h1>Not Found' }, { status: 408, body: '' },
      { status: 507, fields: plain, body: 'The disk is full.' }, { status: 200, fields: html, body: 'Welcome to the hotel.' },
      { status: 200, fields: { 'Content-Type': 'application/json' }, body: 'null' },
      { status: 429, fields: { ...plain, 'Retry-After': '7' }, body: 'Slower.' }, { status: 503, fields: { ...html, 'Retry-After': '40' }, body: '<h1>Busy' },
    ];
    const many = moods.length;
    proxy.meddle = path => path.endsWith('/send') && moods.length ? moods.shift() : null;
    await ann.say('patience');
    let seconds = 0;
    await until('all moods to pass', async () => {
      if (++seconds % 20 === 0) await bob.say('a beat');    // the server's clock is not faked
      await page.clock.runFor(1000);
      assert.notEqual(await state(page, 'patience'), 'refused');
      return proxy.sends.length > many;
    }, 60000);
    const at = await page.evaluate(() => window.asked.filter(({ path }) => path.endsWith('/send')).map(each => each.at));
    const pauses = at.slice(1).map((each, i) => each - at[i]);
    const told = pauses.splice(-2);
    assert.ok(told[0] >= 7000 && told[1] >= 40000, `waited ${told} ms of 7000 and 40000`);
    assert.ok(pauses[0] >= 500, `waited ${pauses} ms`);
    assert.ok(Math.min(...pauses.slice(4)) > 2 * pauses[0], `the pauses do not grow: ${pauses} ms`);
    assert.ok(Math.max(...pauses) <= 30000, `waited ${pauses} ms`);
    await none(page, 'waiting');
    for (const each of [page, bob.page]) assert.equal((await texts(each)).filter(text => text === 'patience').length, 1);
    assert.equal(new Set(proxy.sends.map(sent => sent.nonce)).size, 1);
  });

  test('a stream that comes back does not shorten the wait that the server asked for', async t => {
    const { proxy, page, ann } = await meeting(t, { isClockFaked: true });
    proxy.meddle = path => path.endsWith('/send') && proxy.sends.length === 1 ? { status: 503, fields: { 'Retry-After': '30' }, body: 'Busy.' } : null;
    await ann.say('patience');
    await until('the answer', () => proxy.sends[0]?.status);
    proxy.drop();
    await until('another try', async () => {
      await page.clock.runFor(1000);
      return proxy.sends.length > 1;
    });
    const [first, second] = await page.evaluate(() => window.asked.filter(({ path }) => path.endsWith('/send')).map(each => each.at));
    assert.ok(second - first >= 30000, `waited ${second - first} ms of 30000`);
    assert.ok(proxy.streams > 1);
  });

  test('a proxy without its server, or with one that is too slow, is waited for', async t => {
    const { proxy, server, page, ann, bob } = await meeting(t);
    for (const failure of [502, 504]) {
      proxy.meddle = path => path.endsWith('/send') ? { status: failure, fields: html, body: `<h1>${failure}</h1>` } : null;
      if (failure === 502) await ann.say('one');
      await until('a ' + failure, () => proxy.sends.some(sent => sent.status === failure));
    }
    assert.equal(await state(page, 'one'), 'waiting');
    await server.kill();    // 502 for all
    proxy.meddle = () => null;
    await status(page).getByText('Reconnecting').waitFor();
    assert.equal(await state(page, 'one'), 'waiting');
    await server.start();
    await live(page);
    await none(page, 'waiting');
    for (const each of [page, bob.page]) await showAll(each, ['one']);
  });

  test('fifty messages written in an outage go out in order, once each, under their nonces', { timeout: 120000 }, async t => {
    const { proxy, server, page, ann, bob } = await meeting(t);
    const written = Array.from({ length: 50 }, (_, i) => 'message ' + i);
    await server.kill();
    await status(page).getByText('Reconnecting').waitFor();
    for (const text of written) await ann.say(text);
    assert.deepEqual(await inState(page, 'waiting'), written);
    const nonces = await page.evaluate(() => Object.keys(localStorage).filter(key => key.startsWith('outbox/')).flatMap(key => JSON.parse(localStorage[key]).map(item => item.nonce)));
    assert.equal(new Set(nonces).size, 50);
    await page.reload();    // the proxy's 502
    await page.getByText('502 Bad Gateway').waitFor();
    proxy.sends = [];
    // Two answers get lost, one at the moment the server is killed again.
    const lost = ['message 9', 'message 20'];
    proxy.meddle = (path, { text }) => {
      if (!lost.includes(text)) return null;
      lost.splice(lost.indexOf(text), 1);
      if (text === 'message 20') setTimeout(() => server.kill(), 100);
      return LOST;
    };
    await server.start();
    await page.goto(proxy.origin + '/r/tea');
    await once(server.child, 'close');
    await server.start();
    await none(page, 'waiting');
    await showAll(bob.page, written);
    await showAll(page, written);
    await page.reload();
    await live(page);
    await showAll(page, written);
    const given = proxy.sends.filter(sent => sent.status === 200);
    assert.deepEqual([...new Set(given.map(sent => sent.text))], written);
    assert.deepEqual([...new Set(proxy.sends.map(sent => sent.nonce))], nonces);
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter(key => key.startsWith('outbox/'))), []);
  });

  test('what is written in the very moment that the room comes back does not displace what waits', async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    proxy.meddle = path => /(events|send)$/.test(path) ? { status: 503, fields: plain, body: 'Busy.' } : null;
    for (const text of ['one', 'two']) await ann.say(text);
    await sayAtOnce(page, 'three');
    await page.reload();
    await saying(page, 'three').waitFor();
    proxy.meddle = () => null;
    await none(page, 'waiting');
    await showAll(bob.page, ['one', 'two', 'three']);
    await showAll(page, ['one', 'two', 'three']);
  });

  test('who is no longer a member keeps what waits and what stands in the box, over a reload and the joining', async t => {
    const { proxy, page, ann, bob } = await meeting(t);
    proxy.meddle = onSend({ status: 503, fields: plain, body: 'Busy.' });
    for (const text of ['one', 'two']) await ann.say(text);
    await box(page).fill('half a sent');
    proxy.meddle = () => null;
    await ann.context.clearCookies();
    const name = page.getByRole('textbox', { name: 'Your name' });
    await name.waitFor();
    await page.reload();
    await name.fill('Ann again');
    await page.getByRole('button', { name: 'Join', exact: true }).click();
    await live(page);
    assert.equal(await box(page).inputValue(), 'half a sent');
    await none(page, 'waiting');
    for (const each of [page, bob.page]) await showAll(each, ['one', 'two']);
  });

  test('a server that lost its file says so in the log, and what waited goes out once', async t => {
    const { proxy, server, page, ann, bob } = await meeting(t);
    await bob.say('old');
    await saying(page, 'old').waitFor();
    await server.kill();
    await status(page).getByText('Reconnecting').waitFor();
    for (const text of ['one', 'two', 'one']) await ann.say(text);
    await rm(join(server.folder, 'snug.data'));
    await server.start();
    await page.getByRole('textbox', { name: 'Your name' }).waitFor();
    // The stream, which tells of the gap, is slower than what is sent.
    proxy.meddle = path => path.endsWith('/events') ? pause(2000) : null;
    for (const [person, name] of [[bob, 'Bob'], [ann, 'Ann']]) {
      await person.page.getByRole('textbox', { name: 'Your name' }).fill(name);
      await person.page.getByRole('button', { name: 'Join', exact: true }).click();
      await live(person.page);
    }
    for (const each of [page, bob.page]) {
      await showAll(each, ['old', 'one', 'two', 'one']);
      await log(each).locator('.aside').waitFor();
      const order = await log(each).locator('article, .aside').evaluateAll(all => all.map(node => node.matches('.aside')));
      assert.deepEqual(order, [false, true, false, false, false]);
    }
    await page.reload();
    await showAll(page, ['one', 'two', 'one']);
  });

  test('no key of an input method sends: neither Chromium\'s nor Safari\'s Enter', async t => {
    const { page, proxy } = await meeting(t);
    await page.evaluate(() => {
      window.keys = [];
      addEventListener('keydown', ({ isComposing, keyCode }) => window.keys.push([isComposing, keyCode]), true);
    });
    const session = await page.context().newCDPSession(page);
    const enter = code => session.send('Input.dispatchKeyEvent', { type: 'rawKeyDown', key: 'Enter', code: 'Enter', windowsVirtualKeyCode: code });
    const compose = text => session.send('Input.imeSetComposition', { text, selectionStart: text.length, selectionEnd: text.length });
    await box(page).focus();
    await compose('にほん');
    await enter(229);                                                // Chromium: still composing, then the commit
    await session.send('Input.insertText', { text: '日本' });
    await compose('ご');
    await enter(13);                                                 // an input method that lets the key through
    await session.send('Input.insertText', { text: '語' });
    await compose('を');
    await session.send('Input.insertText', { text: 'を' });         // Safari: the commit, and then its Enter
    await enter(229);
    assert.deepEqual(await page.evaluate(() => window.keys), [[true, 229], [true, 13], [false, 229]]);
    assert.equal((await box(page).inputValue()).trim(), '日本語を');
    assert.equal(await messages(page).count(), 0);
    assert.equal(proxy.sends.length, 0);
    await page.keyboard.press('Enter');
    await showAll(page, ['日本語を']);
  });
});
