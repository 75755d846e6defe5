/* The main paths in Firefox, over WebDriver BiDi: joining, talking, a reload, a server that was away, two tabs, a refused
 * message, Invite. The rest is tested in Chromium. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import puppeteer from 'puppeteer-core';
import { Server, expectNothing, until } from './page.mjs';

/* The name is no secure context, as on a real network. Firefox asks nobody else: its other calls go to a dead proxy. */
const PREFERENCES = {
  'network.dns.localDomains': 'snug.lan',
  'network.proxy.type': 1,
  'network.proxy.http': '127.0.0.1',
  'network.proxy.http_port': 9,
  'network.proxy.share_proxy_settings': true,
  'network.proxy.no_proxies_on': 'snug.lan',
};

let server, browser;

before(async () => {
  server = await Server.open();
  const executablePath = process.env.FIREFOX || '/usr/bin/firefox-esr';
  browser = await puppeteer.launch({ browser: 'firefox', executablePath, extraPrefsFirefox: PREFERENCES });
});

after(async () => {
  await browser.close();
  await server.close();
});

/* ---- a person, who has cookies and storage of her own ---- */

/* Brings a person into ROOM on HOUSE through the landing form. `complaints` are what the console and the page's policy
 * objected to. */
async function comes(t, room, name, house = server) {
  const context = await browser.createBrowserContext();
  t.after(() => context.close());
  const complaints = [];
  const page = await openTab({ context, complaints });
  await page.goto(house.origin + '/');
  await type(page, 'Room', room);
  await type(page, 'Your name', name);
  await Promise.all([page.waitForNavigation(), press(page, 'Join')]);
  await live(page);
  return { context, page, complaints };
}

async function openTab({ context, complaints }) {
  const page = await context.newPage();
  await page.exposeFunction('complain', sentence => complaints.push(sentence));
  await page.evaluateOnNewDocument(() => {
    document.addEventListener('securitypolicyviolation', event => window.complain('policy: ' + event.violatedDirective));
  });
  page.setDefaultTimeout(15000);
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('console', message => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  return page;
}

/* Asked outright: puppeteer's locators look at an element for half a second before they touch it. */
function find(page, role, name) {
  return until(`the ${role} ${name}`, () => page.$(`::-p-aria([name="${name}"][role="${role}"])`));
}

async function type(page, name, text) {
  await (await find(page, 'textbox', name)).type(text);
}

async function press(page, name) {
  await (await find(page, 'button', name)).click();
}

async function say({ page }, ...texts) {
  const box = await find(page, 'textbox', 'Message');
  const send = await find(page, 'button', 'Send');
  for (const text of texts) {
    await box.type(text);
    await send.click();
  }
}

/* Asked by the page in one go: a handle to an element could be gone by the next question. */
function textsOf(page, selector) {
  return page.evaluate(what => Array.from(document.querySelectorAll(what), node => node.textContent), selector);
}

/* The texts in the log; waits until there are as many as EXPECTED, and compares. */
async function showAll(page, expected) {
  const texts = () => textsOf(page, '[role=log] article .text');
  await until(expected.length + ' messages', async () => (await texts()).length >= expected.length);
  assert.deepEqual(await texts(), expected);
}

function showPeople(page, expected) {
  const names = () => textsOf(page, '[aria-label=People] bdi');
  return until(`${expected} to be here`, async () => String(await names()) === String(expected));
}

function waiting(page) {
  return page.evaluate(() => document.querySelectorAll('article[data-state=waiting]').length);
}

function says(page, word) {
  return until(`the status ${word}`, async () => String(await textsOf(page, '[role=status]')) === word);
}

function live(page) {
  return says(page, 'Live');
}

/* ---- what people do ---- */

describe('in Firefox', { concurrency: 4 }, () => {
  test('two people talk on a plain http name, and neither page nor policy complain', async t => {
    const ann = await comes(t, 'tea', 'Ann');
    const bob = await comes(t, 'tea', 'Bob');
    assert.equal(await ann.page.evaluate(() => isSecureContext), false);
    await say(ann, 'Morning, Bob');
    await showAll(bob.page, ['Morning, Bob']);
    await type(bob.page, 'Message', 'Morning,');
    await bob.page.keyboard.down('Shift');
    await bob.page.keyboard.press('Enter');
    await bob.page.keyboard.up('Shift');
    await bob.page.keyboard.type('Ann');
    await bob.page.keyboard.press('Enter');
    for (const { page } of [ann, bob]) await showAll(page, ['Morning, Bob', 'Morning,\nAnn']);
    await showPeople(ann.page, ['Ann', 'Bob']);
    expectNothing([...ann.complaints, ...bob.complaints]);
  });

  test('a reload keeps the name, the history and the draft', async t => {
    const ann = await comes(t, 'history', 'Ann');
    await say(ann, 'before the reload');
    await until('it to be sent', async () => (await textsOf(ann.page, 'article[data-state=sent]')).length === 1);
    await type(ann.page, 'Message', 'half a sent');
    await ann.page.reload();
    await live(ann.page);
    await showAll(ann.page, ['before the reload']);
    const draft = () => ann.page.evaluate(() => document.querySelector('textarea').value);
    assert.equal(await draft(), 'half a sent');
    await ann.page.goto(server.origin + '/');    // Firefox itself keeps fields over a reload, but not over this
    await ann.page.goto(server.origin + '/r/history');
    await live(ann.page);
    assert.equal(await draft(), 'half a sent');
    await showPeople(ann.page, ['Ann']);
    expectNothing(ann.complaints);
  });

  test('a server killed and started again in mid-conversation loses and doubles nothing', async t => {
    const house = await Server.open();
    t.after(() => house.close());
    const ann = await comes(t, 'tea', 'Ann', house);
    const bob = await comes(t, 'tea', 'Bob', house);
    await say(ann, 'one');
    await showAll(bob.page, ['one']);
    await house.kill();
    await says(ann.page, 'Reconnecting');
    await say(ann, 'two', 'three', 'two');
    assert.equal(await waiting(ann.page), 3);
    await ann.page.reload().catch(() => {});    // an error page: the server is away
    await house.start();
    await ann.page.goto(house.origin + '/r/tea');
    for (const { page } of [ann, bob]) await showAll(page, ['one', 'two', 'three', 'two']);
    await until('all to be sent', async () => await waiting(ann.page) === 0);
    await say(bob, 'four');
    for (const { page } of [ann, bob]) await showAll(page, ['one', 'two', 'three', 'two', 'four']);
  });

  test('two tabs in one room show the same, once', async t => {
    const ann = await comes(t, 'twins', 'Ann');
    const second = { page: await openTab(ann) };
    await second.page.goto(server.origin + '/r/twins');
    await live(second.page);
    await say(ann, 'one');
    await showAll(second.page, ['one']);
    await say(second, 'two');
    for (const { page } of [ann, second]) await showAll(page, ['one', 'two']);
    await showPeople(ann.page, ['Ann']);
    expectNothing(ann.complaints);
  });

  test('Invite has the link selected, and copies it without a clipboard of its own', async t => {
    const ann = await comes(t, 'invite', 'Ann');
    const { page } = ann;
    await press(page, 'Invite');
    const address = await page.evaluate(async () => /<title>([^<]+)/.exec(await (await fetch('/r/invite/qr')).text())[1]);
    const selected = () => page.evaluate(() => {
      const { value, selectionStart, selectionEnd } = document.activeElement;
      return String(value).slice(selectionStart, selectionEnd);
    });
    await until('the link to be selected', async () => await selected() === address);
    await until('the code', () => page.evaluate(() => document.querySelector('[role=dialog] img').naturalWidth > 0));
    await press(page, 'Copy');
    await find(page, 'button', 'Copied');
    await page.keyboard.press('Escape');
    await until('the box to have the focus', () => page.evaluate(() => document.activeElement.tagName === 'TEXTAREA'));
    await page.keyboard.down('Control');
    await page.keyboard.press('v');
    await page.keyboard.up('Control');
    await until('the link in the box', async () => await page.evaluate(() => document.activeElement.value) === address);
    expectNothing(ann.complaints);
  });

  test('a refused message has its sentence, over a reload too, and can be edited again', async t => {
    const ann = await comes(t, 'refused', 'Ann');
    const { page } = ann;
    await page.evaluate(() => { document.querySelector('textarea').value = 'x'.repeat(4001); });
    await press(page, 'Send');
    const reason = () => textsOf(page, 'article[data-state=refused] .reason');
    await until('the sentence', async () => /^Not sent: \w+ .*\./.test(await reason()));
    await page.reload();
    await live(page);
    assert.match(String(await reason()), /^Not sent: \w+ .*\./);
    await say(ann, 'goes out');
    await until('it to be sent', async () => (await textsOf(page, 'article[data-state=sent] .text')).includes('goes out'));
    await type(page, 'Message', 'and this');
    await press(page, 'Edit again');
    assert.equal(await page.evaluate(() => document.querySelector('textarea').value), 'x'.repeat(4001) + '\nand this');
    await showAll(page, ['goes out']);
  });
});
