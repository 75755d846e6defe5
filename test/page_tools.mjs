/* Tools: search, invite, the menu, the transcript; and other ways to see the page. */

import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { box, live, log, messages, oneHouse, people, saying, status, texts, until } from './page.mjs';

const comes = oneHouse();

const CODE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><title>http://192.168.1.20:8080/r/tea</title><path d="M4 4h1v1h-1z"/></svg>';

const LINES = Array.from({ length: 60 }, (_, line) => 'line ' + line).join('\n');

function withCode(person) {
  return person.page.route('**/qr', route => route.fulfill({ contentType: 'image/svg+xml', body: CODE }));
}

function button(page, name) {
  return page.getByRole('button', { name, exact: true });
}

describe('tools', { concurrency: 3 }, () => {
  test('search finds what was said, marks it, goes up and down, and leaves no trace', async t => {
    const ann = await comes(t, 'search', 'Ann');
    for (const text of ['the Door', 'a *door* again', LINES, 'no hit', '> door (third)']) await ann.say(text);
    await saying(ann.page, '> door (third)').waitFor();
    const before = await log(ann.page).evaluate(node => node.querySelector('#messages').innerText);
    await button(ann.page, 'Search').click();
    const field = ann.page.getByRole('textbox', { name: 'Search messages' });
    await field.fill('door');
    await ann.page.getByText('3 of 3').waitFor();
    assert.equal(await log(ann.page).locator('mark').count(), 3);
    assert.equal(await log(ann.page).locator('mark.current').innerText(), 'door');
    await field.press('Enter');
    await button(ann.page, 'Older').click();
    await ann.page.getByText('1 of 3').waitFor();
    assert.equal(await log(ann.page).locator('mark.current').innerText(), 'Door');
    const inView = await log(ann.page).evaluate(node => {
      const [hit, view] = [node.querySelector('.current').getBoundingClientRect(), node.getBoundingClientRect()];
      return hit.top >= view.top && hit.bottom <= view.bottom;
    });
    assert.ok(inView);
    await button(ann.page, 'Older').click();
    await ann.page.getByText('3 of 3').waitFor();
    await field.fill('(third)');
    await ann.page.getByText('1 of 1').waitFor();
    await field.fill('.*');
    await ann.page.getByText('None').waitFor();
    await field.press('Escape');
    await field.waitFor({ state: 'hidden' });
    assert.equal(await log(ann.page).locator('mark').count(), 0);
    assert.equal(await log(ann.page).evaluate(node => node.querySelector('#messages').innerText), before);
  });

  test('Invite shows the address for others in a selected field, its code, and copies it without a clipboard', async t => {
    const ann = await comes(t);
    await withCode(ann);
    await ann.join('tea', 'Ann');
    await ann.page.locator('#quiet').getByRole('img').waitFor();
    await button(ann.page, 'Invite').first().click();
    const dialog = ann.page.getByRole('dialog', { name: 'Invite to tea' });
    await dialog.getByRole('img').waitFor();
    const field = dialog.getByRole('textbox', { name: 'Address' });
    assert.equal(await field.inputValue(), 'http://192.168.1.20:8080/r/tea');
    const selected = () => field.evaluate(node => document.activeElement === node && node.selectionEnd - node.selectionStart === node.value.length);
    await until('the address to be selected', selected);
    assert.equal(await ann.page.evaluate(() => typeof navigator.clipboard), 'undefined');
    await button(dialog, 'Copy').click();
    await button(dialog, 'Copied').waitFor();
    for (let i = 0; i < 5; i++) {
      await ann.page.keyboard.press('Tab');
      assert.ok(await dialog.evaluate(node => node.contains(document.activeElement) || document.activeElement === document.body), 'the focus stays');
    }
    await ann.page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await box(ann.page).press('Control+v');
    assert.equal(await box(ann.page).inputValue(), 'http://192.168.1.20:8080/r/tea');
  });

  test('without a code Invite shows the address one came by', async t => {
    const { page, server } = await comes(t);
    await page.route('**/qr', route => route.fulfill({ status: 404, body: 'No.' }));
    await page.goto(server.origin + '/r/no%20code');
    await page.getByRole('textbox', { name: 'Your name' }).fill('Ann');
    await button(page, 'Join').click();
    await live(page);
    await button(page, 'Invite').first().click();
    const field = page.getByRole('textbox', { name: 'Address' });
    await until('the address', async () => await field.inputValue() === server.origin + '/r/no%20code');
    assert.equal(await page.getByRole('img').count(), 0);
  });

  test('the transcript is saved as text, with what waits left out', async t => {
    const ann = await comes(t, 'transcript', 'Ann');
    await ann.say('one\ntwo *three*');
    await ann.page.locator('[data-state=sent]').waitFor();
    await ann.page.route('**/send', route => route.abort());
    await ann.say('waits');
    await button(ann.page, 'More').click();
    const [download] = await Promise.all([ann.page.waitForEvent('download'), button(ann.page, 'Save transcript').click()]);
    assert.equal(download.suggestedFilename(), 'transcript.txt');
    assert.match(await readFile(await download.path(), 'utf8'), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Ann: one\n\ttwo \*three\*\n$/);
    assert.equal(await button(ann.page, 'Save transcript').isVisible(), false);
  });

  test('the menu closes by Escape, by a click elsewhere and when the focus leaves', async t => {
    const { page } = await comes(t, 'menu', 'Ann');
    for (const close of [() => page.keyboard.press('Escape'), () => log(page).click(), () => box(page).focus()]) {
      await button(page, 'More').click();
      await button(page, 'Save transcript').waitFor();
      assert.equal(await button(page, 'More').getAttribute('aria-expanded'), 'true');
      await close();
      await button(page, 'Save transcript').waitFor({ state: 'hidden' });
    }
  });

  test('search finds across the borders of markup, and what comes meanwhile, without moving what is read', async t => {
    const ann = await comes(t, 'across', 'Ann');
    const bob = await comes(t, 'across', 'Bob');
    for (const text of ['say *hello* world', LINES, 'nothing']) await ann.say(text);
    await button(ann.page, 'Search').click();
    const field = ann.page.getByRole('textbox', { name: 'Search messages' });
    const before = await texts(ann.page);
    for (const query of ['hello', 'hello world', 'say hello', 'say *hello*']) {
      await field.fill(query);
      await ann.page.getByText('1 of 1').waitFor();
      assert.match(await log(ann.page).locator('mark').innerText(), /hello/, query);
      assert.deepEqual(await texts(ann.page), before);
    }
    const top = () => log(ann.page).evaluate(node => node.scrollTop);
    const read = await top();
    await bob.say('hello world');
    await field.fill('hello world');
    await ann.page.getByText('2 of 2').waitFor();
    await button(ann.page, 'Older').click();
    await ann.page.getByText('1 of 2').waitFor();
    await bob.say('hello world again');
    await ann.page.getByText('1 of 3').waitFor();
    assert.equal(await top(), read);
    await field.press('Escape');
    await field.waitFor({ state: 'hidden' });
    assert.equal(await top(), read);
    assert.equal(await log(ann.page).locator('mark').count(), 0);
  });

  test('the reading position is kept when the window changes its shape', async t => {
    const ann = await comes(t, 'turn', 'Ann');
    for (let i = 0; i < 15; i++) await ann.say(`message ${i}: ` + 'words and more words '.repeat(20));
    const mark = saying(ann.page, `message 7: ${'words and more words '.repeat(20)}`.trim());
    await mark.waitFor();
    const top = () => log(ann.page).evaluate(node => {
      const article = node.querySelectorAll('article')[7];
      return Math.round(article.getBoundingClientRect().top - node.getBoundingClientRect().top);
    });
    await log(ann.page).evaluate(node => { node.scrollTop += node.querySelectorAll('article')[7].getBoundingClientRect().top - node.getBoundingClientRect().top; });
    await until('the scroll to be noted', async () => Math.abs(await top()) <= 1);
    await ann.page.waitForTimeout(100);
    for (const [width, height] of [[390, 844], [844, 390], [1280, 800]]) {
      await ann.page.setViewportSize({ width, height });
      await until(`message 7 at the top at ${width} pixels`, async () => Math.abs(await top()) <= 2, 3000);
    }
    // A new shape scrolls before the page hears of it, if something asks for the layout between.
    await ann.page.evaluate(() => {
      document.getElementById('log').style.overflowAnchor = 'none';    // not every browser helps
      document.getElementById('talk').style.width = '500px';
      document.getElementById('log').scrollTop -= 1;
    });
    await ann.page.waitForTimeout(200);
    await until('message 7 at the top still', async () => Math.abs(await top()) <= 2, 3000);
    await log(ann.page).evaluate(node => { node.scrollTop = node.scrollHeight; });
    await ann.page.waitForTimeout(100);
    await ann.page.setViewportSize({ width: 390, height: 500 });
    await until('the end', () => log(ann.page).evaluate(node => node.scrollHeight - node.scrollTop - node.clientHeight < 2), 3000);
  });

  test('print gives the talk alone, with all times', async t => {
    const ann = await comes(t, 'print', 'Ann');
    for (const text of ['one', 'two']) await ann.say(text);
    await saying(ann.page, 'two').waitFor();
    await ann.page.emulateMedia({ media: 'print' });
    for (const part of [people(ann.page).first(), status(ann.page), box(ann.page), ann.page.locator('#tools')]) assert.equal(await part.isVisible(), false);
    assert.ok(await saying(ann.page, 'two').locator('.text').isVisible());
    assert.equal(await saying(ann.page, 'two').locator('time').evaluate(node => getComputedStyle(node).opacity), '1');
  });

  test('with reduced motion nothing moves, in forced colours buttons have borders', async t => {
    const { page } = await comes(t, 'calm', 'Ann', { reducedMotion: 'reduce', forcedColors: 'active' });
    await button(page, 'Invite').first().click();
    assert.equal(await page.locator('#shade').evaluate(node => getComputedStyle(node).animationName), 'none');
    assert.equal(await button(page, 'Copy').evaluate(node => getComputedStyle(node).borderTopStyle), 'solid');
  });

  test('times have their date for those who hover and those who listen', async t => {
    const ann = await comes(t, 'dates', 'Ann');
    await ann.say('now');
    const time = messages(ann.page).locator('time');
    const day = String(new Date().getFullYear());
    assert.ok((await time.getAttribute('title')).includes(day));
    assert.ok((await time.locator('+ .words').textContent()).includes(day));
  });
});
