/* Hands and eyes: a keyboard alone, an input method, a thumb, a narrow screen, several tabs. */

import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { box, live, oneHouse, saying, texts, until } from './page.mjs';

const comes = oneHouse();

const PHONE = { viewport: { width: 320, height: 600 }, hasTouch: true, isMobile: true };

/* Most of what these do is wait, so some run side by side. */
describe('hands and eyes', { concurrency: 3 }, () => {
  test('ten tabs in ten rooms all work, and no more than four hold a stream', { timeout: 120000 }, async t => {
    const ann = await comes(t);
    const bob = await comes(t);
    const streams = new Set();
    const pages = [];
    for (let number = 0; number < 10; number++) {
      const page = await ann.tab();
      page.on('request', request => { if (request.url().endsWith('/events')) streams.add(request); });
      for (const end of ['requestfailed', 'requestfinished']) page.on(end, request => streams.delete(request));
      await ann.join('room ' + number, 'Ann', page);
      pages.push(page);
    }
    await until('four streams', () => streams.size === 4);
    for (let number = 0; number < 10; number++) {
      await bob.join('room ' + number, 'Bob');
      await bob.say('hello ' + number);
      await saying(bob.page, 'hello ' + number).waitFor();
    }
    for (let number = 6; number < 10; number++) await saying(pages[number], 'hello ' + number).waitFor({ timeout: 3000 });
    assert.equal(await saying(pages[0], 'hello 0').count(), 0);
    await pages[0].bringToFront();
    await pages[0].evaluate(() => window.dispatchEvent(new Event('focus')));    // what a window manager would say
    await saying(pages[0], 'hello 0').waitFor({ timeout: 3000 });
    await until('four streams', () => streams.size === 4);
    for (let number = 1; number < 6; number++) await saying(pages[number], 'hello ' + number).waitFor({ timeout: 30000 });
    for (let number = 0; number < 10; number++) {
      await ann.say('and ' + number, pages[number]);
      await until('it to be sent', async () => await saying(pages[number], 'and ' + number).and(pages[number].locator(':not([data-state=waiting])')).count() === 1);
      assert.deepEqual(await texts(pages[number]), ['hello ' + number, 'and ' + number]);
    }
    assert.ok(streams.size <= 4);
  });

  test('a keyboard alone joins, writes, breaks a line and leaves', async t => {
    const { page, server } = await comes(t);
    const { keyboard } = page;
    await page.goto(server.origin + '/');
    await keyboard.type('keys');
    await keyboard.press('Tab');
    await keyboard.type('Ann');
    await keyboard.press('Enter');
    await live(page);
    await keyboard.type('one');
    await keyboard.press('Shift+Enter');
    await keyboard.type('two');
    await keyboard.press('Enter');
    await until('a message of two lines', async () => (await texts(page))[0] === 'one\ntwo');
    assert.equal(await box(page).inputValue(), '');
    const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label'));
    for (let i = 0; i < 10 && await focused() !== 'Leave'; i++) await keyboard.press('Shift+Tab');
    assert.equal(await focused(), 'Leave');
    await keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Pull up a chair.' }).waitFor();
  });

  test('an Enter that ends a composition does not send', async t => {
    const { page } = await comes(t, 'compose', 'Ann');
    const session = await page.context().newCDPSession(page);
    await session.send('Input.imeSetComposition', { text: 'にほん', selectionStart: 3, selectionEnd: 3 });
    await session.send('Input.dispatchKeyEvent', { type: 'keyDown', key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 229 });
    await session.send('Input.dispatchKeyEvent', { type: 'keyUp', key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 13 });
    await session.send('Input.insertText', { text: '日本' });
    assert.equal(await box(page).inputValue(), '日本');
    assert.deepEqual(await texts(page), []);
    await page.keyboard.press('Enter');
    await saying(page, '日本').waitFor();
  });

  test('by touch Enter breaks the line, and the button sends', async t => {
    const { page } = await comes(t, 'thumb', 'Ann', PHONE);
    await box(page).pressSequentially('one');
    await box(page).press('Enter');
    await box(page).pressSequentially('two');
    assert.equal(await box(page).inputValue(), 'one\ntwo');
    await page.getByRole('button', { name: 'Send' }).tap();
    await until('the message', async () => (await texts(page))[0] === 'one\ntwo');
  });

  test('nothing scrolls sideways at 320 pixels, and fingers find their targets', async t => {
    const ann = await comes(t, 'a room with a long name, and ' + 'w'.repeat(30), 'Bartholomew Featherstonehaugh-Cholmondeley', PHONE);
    await ann.say('http://example.lan/' + 'long'.repeat(80));
    await until('the message', async () => (await texts(ann.page)).length === 1);
    const width = () => ann.page.evaluate(() => Math.max(document.documentElement.scrollWidth, document.getElementById('log').scrollWidth));
    assert.equal(await width(), 320);
    for (const name of ['Send', 'Leave']) {
      const target = await ann.page.getByRole('button', { name, exact: true }).boundingBox();
      assert.ok(target.width >= 44 && target.height >= 44, `${name} is ${target.width} by ${target.height}`);
    }
    assert.equal(await ann.page.getByRole('button', { name: 'Search' }).count(), 0);
    await ann.page.getByRole('button', { name: 'More' }).tap();
    await ann.page.getByRole('button', { name: 'Search' }).tap();
    await ann.page.getByRole('textbox', { name: 'Search messages' }).waitFor();
    assert.equal(await width(), 320);
    await ann.page.goto(ann.server.origin + '/');
    await ann.page.getByRole('link').first().waitFor();
    assert.equal(await ann.page.evaluate(() => document.documentElement.scrollWidth), 320);
  });

  test('the text box grows with its lines, and shrinks when they are sent', async t => {
    const { page } = await comes(t, 'lines', 'Ann');
    const height = async () => (await box(page).boundingBox()).height;
    const before = await height();
    await box(page).fill('one\ntwo\nthree\nfour');
    assert.ok(await height() > before + 60);
    await box(page).press('Enter');
    await until('the box to shrink', async () => await height() === before);
  });

  test('two tabs in one room show the same, once', async t => {
    const ann = await comes(t, 'twins', 'Ann');
    const second = await ann.tab();
    await second.goto(ann.server.origin + '/r/twins');
    await live(second);
    for (const [text, page] of [['one', ann.page], ['two', second], ['two', ann.page], ['two', second]]) await ann.say(text, page);
    for (const page of [ann.page, second]) {
      await until('four messages', async () => (await texts(page)).length === 4 && await page.locator('[data-state=waiting]').count() === 0);
      assert.deepEqual((await texts(page)).sort(), ['one', 'two', 'two', 'two']);
    }
  });
});
