/* Reading: how what was said is shown and kept in place; what is remembered; who reads by ear, by keyboard, or large. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Person, Proxy, Server, box, live, log, messages, openBrowser, people, saying, status, texts, until } from './page.mjs';

let browser, server;

before(async () => {
  server = await Server.open('-o', 'joins=off', '-o', 'rate=off');
  browser = await openBrowser();
});

after(async () => {
  await browser.close();
  await server.close();
});

async function comes(t, room, name, options, by = server) {
  const person = await Person.open(browser, by, options);
  t.after(() => person.close());
  if (room) await person.join(room, name);
  return person;
}

/* Opens ROOM for Ann, whose stream gives what was SAID, rows of [time, by, name, text], and then ends, and again. */
async function reads(t, room, said, options) {
  const proxy = await Proxy.open(server);
  t.after(() => proxy.close());
  const rows = said.map(([time, by, name, text], i) => `id: ${i + 1}\ndata: ${JSON.stringify({ id: i + 1, t: Date.parse(time), by, name, text })}\n\n`);
  const events = 'event: you\ndata: {"by":1,"name":"Ann"}\n\nevent: people\ndata: {"here":1,"people":[{"by":1,"name":"Ann"}]}\n\n' + rows.join('');
  proxy.meddle = path => path.endsWith('/events') ? { status: 200, fields: { 'Content-Type': 'text/event-stream' }, body: events } : null;
  const ann = await comes(t, null, null, options, proxy);
  await ann.page.goto(proxy.origin + '/r/' + room);
  await until('what was said', async () => await messages(ann.page).count() === said.length);
  return ann.page;
}

/* What is wider than its place, or reaches out of the window. */
function sideways(page) {
  return page.evaluate(() => {
    const wide = Array.from(document.querySelectorAll('html, #log, #shade, #landing')).filter(node => node.scrollWidth > node.clientWidth + 1);
    const parts = Array.from(document.querySelectorAll('button, input, textarea, .text, .text a')).filter(node => node.offsetParent && !node.closest('#people'));
    const outside = parts.filter(node => {
      const { left, right } = node.getBoundingClientRect();
      return left < -1 || right > innerWidth + 1;
    });
    return [...wide, ...outside].map(node => node.id || node.outerHTML.slice(0, 60));
  });
}

describe('reading', { concurrency: 3 }, () => {
  test('five minutes of silence, another person or name, or another day end a group', async t => {
    const said = [
      ['2024-02-28T21:00:00Z', 2, 'Bob', 'starts'], ['2024-02-28T21:04:59Z', 2, 'Bob', 'follows'], ['2024-02-28T21:09:58Z', 2, 'Bob', 'follows too'],
      ['2024-02-28T21:15:00Z', 2, 'Bob', 'after silence'], ['2024-02-28T21:16:00Z', 3, 'Bob', 'another Bob'], ['2024-02-28T21:17:00Z', 3, 'Rob', 'another name'],
      ['2024-02-28T21:59:00Z', 3, 'Rob', 'before midnight'], ['2024-02-28T22:01:00Z', 3, 'Rob', 'after midnight'],
    ];
    const page = await reads(t, 'groups', said, { timezoneId: 'Africa/Johannesburg' });    // two hours before UTC
    const heads = [];
    for (const [, , , text] of said) if (await saying(page, text).locator('.tile').isVisible()) heads.push(text);
    assert.deepEqual(heads, ['starts', 'after silence', 'another Bob', 'another name', 'before midnight', 'after midnight']);
    assert.deepEqual(await log(page).locator('.rule').allTextContents(), ['Wednesday, 28 February 2024', 'Thursday, 29 February 2024']);
    const time = saying(page, 'before midnight').locator('time');
    assert.equal(await time.textContent(), '23:59');
    for (const words of [await time.getAttribute('title'), await time.locator('+ .words').textContent()]) assert.match(words, /Wednesday.* 28 February 2024.* 23:59/);
  });

  test('links end at any language\'s punctuation, and lead to no user at a host', async t => {
    const { page } = await comes(t, 'edges', 'Ann');
    const links = async text => {
      await box(page).fill(text);
      await box(page).press('Enter');
      const said = messages(page).last().locator('.text');
      await until('the message', async () => await said.textContent() === text);
      return said.locator('a').allTextContents();
    };
    const faults = [];
    for (const [text, ...addresses] of [
      ['(see http://a.lan/b_(c))', 'http://a.lan/b_(c)'], ['[http://a.lan/x]', 'http://a.lan/x'], ['“http://a.lan/x”', 'http://a.lan/x'], ['http://a.lan/x…', 'http://a.lan/x'],
      ['http://a.lan/?a[]=1&b=(2)', 'http://a.lan/?a[]=1&b=(2)'], ['https://a_b_c/', 'https://a_b_c/'], ['http://a.lan/~u/;v=1,2', 'http://a.lan/~u/;v=1,2'],
      ['**http://a.lan/x**', 'http://a.lan/x'], ['http://例え.jp/。', 'http://例え.jp/'], ['ask http://10.0.0.5:8080/a?', 'http://10.0.0.5:8080/a'],
      ['«http://a.lan/x»', 'http://a.lan/x'], ['»http://a.lan/x«', 'http://a.lan/x'], ['http://a.lan/x؟', 'http://a.lan/x'], ['http://a.lan/x،', 'http://a.lan/x'],
      ['http://bank.lan:80@a.lan/'], ['http://:bank.lan@a.lan/'], ['javascript://a.lan/%0aalert(1)'], ['http:/a.lan'], ['http:a.lan'],
    ]) {
      const made = await links(text);
      if (String(made) !== String(addresses)) faults.push(`${text}: ${made}`);
    }
    assert.deepEqual(faults, []);
  });

  test('a link opens another tab, which learns nothing of us', async t => {
    const { page, context } = await comes(t, 'away', 'Ann');
    await box(page).fill(`see ${server.origin}/r/elsewhere?plain.`);
    await box(page).press('Enter');
    const [tab] = await Promise.all([context.waitForEvent('page'), log(page).getByRole('link').click()]);
    await tab.waitForLoadState();
    assert.equal(new URL(tab.url()).pathname, '/r/elsewhere');
    assert.deepEqual(await tab.evaluate(() => [window.opener, document.referrer]), [null, '']);
  });

  test('ordinary text is not taken for markup, though it has the same sign twice', async t => {
    const { page } = await comes(t, 'ordinary', 'Ann');
    const faults = [];
    for (const text of [
      'snake_case_names and other_snake_names', '2*3*4', '`', '``', '*', '**', '***', '_ _', '* * *', '¯\\_(ツ)_/¯', '*args, **kwargs', 'int *a, *b;', '_GNU_SOURCE and _POSIX_SOURCE',
      'Name: ____ Date: ____', ':* and :*', '/* a comment */', 'rm *.c *.h', '5 o`clock and 6 o`clock', 'foo_bar@baz_qux.lan', 'f(*args) or g(*args)', '**bold?** no',
      '(*) is required, and so is (*)', 'the sign "*" or "*"', 'a \'_\' or a \'_\'', '>>> 1', '>', '->x', 'x_1, x_2', 'a_{1}_b', 'http://a.lan/*x*/_y_',
    ]) {
      await box(page).fill(text);
      await box(page).press('Enter');
      const said = messages(page).last().locator('.text');
      await until('the message', async () => await said.textContent() === text);
      const made = await said.locator('*:not(a)').evaluateAll(all => all.map(node => node.outerHTML));
      if (made.length) faults.push(`${text}: ${made}`);
    }
    assert.deepEqual(faults, []);
  });

  test('name and room are remembered, in a new tab too', async t => {
    const ann = await comes(t, 'memory', 'Ann of Green Gables');
    const tab = await ann.tab();
    const value = name => tab.getByRole('textbox', { name, exact: true }).inputValue();
    await tab.goto(server.origin + '/');
    assert.deepEqual([await value('Room'), await value('Your name')], ['memory', 'Ann of Green Gables']);
    await tab.goto(server.origin + '/r/another');
    assert.equal(await value('Your name'), 'Ann of Green Gables');
    await tab.goto(server.origin + '/');
    await tab.getByRole('button', { name: 'Join', exact: true }).click();
    await live(tab);
    await people(tab).getByText('Ann of Green Gables').waitFor();
    assert.equal(await people(tab).count(), 1);
  });

  test('what stands in the log is written once: no reconnection, tick or status writes it again', async t => {
    const proxy = await Proxy.open(server);
    t.after(() => proxy.close());
    const { page } = await comes(t, 'once', 'Ann', {}, proxy);
    const bob = await comes(t, 'once', 'Bob');
    for (const text of ['one', 'two', 'three']) await bob.say(text);
    await saying(page, 'three').waitFor();
    await page.waitForTimeout(1500);    // a tick, and all has settled
    await page.evaluate(() => {
      window.written = [];
      const note = changes => changes.forEach(({ target, addedNodes, type }) => {
        for (const { textContent } of addedNodes) if (textContent) window.written.push(textContent);
        if (type === 'characterData') window.written.push(target.data);
      });
      for (const id of ['log', 'status']) new MutationObserver(note).observe(document.getElementById(id), { subtree: true, childList: true, characterData: true });
    });
    await page.waitForTimeout(2500);    // two ticks
    assert.deepEqual(await page.evaluate(() => window.written), []);
    proxy.drop();
    await until('another stream', () => proxy.streams === 2);
    await live(page);
    assert.deepEqual((await page.evaluate(() => window.written)).filter(words => !/^(Reconnecting|Live)$/.test(words)), []);
    await page.evaluate(() => { window.written = []; });
    await bob.say('four');
    await saying(page, 'four').waitFor();
    const written = await page.evaluate(() => window.written);
    assert.equal(written.length, 1, String(written));
    assert.match(written[0], /four$/);
    assert.equal(await log(page).getAttribute('aria-live') ?? 'polite', 'polite');
    assert.equal(await page.locator('[role=log]').count(), 1);
  });

  test('at 200 % and at 320 pixels nothing scrolls sideways and no control is cut off', async t => {
    const rows = [
      ['200 % of 1280 pixels', { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 }, 16],
      ['320 pixels', { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true }, 16], ['letters twice as large', {}, 32],
    ];
    for (const [i, [how, options, size]] of rows.entries()) {
      const { page } = await comes(t, null, null, options);
      const large = () => page.evaluate(px => { document.documentElement.style.fontSize = px + 'px'; }, size);
      await page.goto(server.origin + '/');
      await large();
      assert.deepEqual(await sideways(page), [], 'landing, ' + how);
      await page.getByRole('textbox', { name: 'Room', exact: true }).fill('large ' + i + ' and a name that is rather long for a room');
      await page.getByRole('textbox', { name: 'Your name' }).fill('Bartholomew Featherstonehaugh-Cholmondeley');
      await page.getByRole('button', { name: 'Join', exact: true }).click();
      await live(page);
      await large();
      for (const text of ['https://example.lan/' + 'long'.repeat(50), '```\n' + 'wide '.repeat(50) + '\n```', 'x'.repeat(4001)]) {
        await box(page).fill(text);
        await page.getByRole('button', { name: 'Send', exact: true }).click();
      }
      await page.getByRole('button', { name: 'Edit again' }).waitFor();
      assert.deepEqual(await sideways(page), [], 'room, ' + how);
      for (const name of ['Search', 'More', 'Invite']) {
        const button = page.getByRole('button', { name, exact: true }).first();
        if (!await button.isVisible()) await page.getByRole('button', { name: 'More', exact: true }).click();    // Search on a narrow phone
        await button.click();
        assert.deepEqual(await sideways(page), [], `${name}, ${how}`);
        await page.keyboard.press('Escape');
      }
      assert.ok(await page.getByRole('button', { name: 'Send', exact: true }).evaluate(node => node.getBoundingClientRect().bottom <= innerHeight + 1), 'Send is in view, ' + how);
      assert.ok(await log(page).evaluate(node => node.clientHeight > 60), 'the log has room, ' + how);
    }
  });

  test('the keyboard reaches all there is in the room, and one sees where one is', async t => {
    const { page } = await comes(t, 'keys', 'Ann');
    const bob = await comes(t, 'keys', 'Bob');
    await bob.say('see http://a.lan/x');
    await saying(page, 'see http://a.lan/x').waitFor();
    await people(page).getByText('Bob').waitFor();
    await box(page).focus();
    const seen = new Set();
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab');
      const [name, isVisible] = await page.evaluate(() => {
        const { activeElement: node } = document;
        const isRinged = each => getComputedStyle(each).outlineStyle !== 'none' && parseFloat(getComputedStyle(each).outlineWidth) > 1;
        return [node.getAttribute('aria-label') || node.textContent, node === document.body || isRinged(node) || isRinged(node.parentElement)];
      });
      assert.ok(isVisible, `the focus on ${name} is not seen`);
      seen.add(name);
    }
    for (const name of ['Search', 'Invite', 'More', 'Leave', 'People', 'BBob', 'Messages', 'http://a.lan/x', 'Message', 'Send']) assert.ok(seen.has(name), `${name} is not reached: ${[...seen]}`);
  });

  test('where the browser allows notifications, one comes for what nobody looked at', async t => {
    const proxy = { origin: `http://127.0.0.1:${server.port}` };    // a secure context
    const ann = await comes(t, null, null, {}, proxy);
    await ann.context.addInitScript(() => {
      window.told = [];
      window.Notification = class {
        static permission = 'default';
        static async requestPermission() { return this.permission = 'granted'; }
        constructor(title, { body }) { window.told.push([title, body]); }
      };
    });
    await ann.join('notices', 'Ann');
    const bob = await comes(t, 'notices', 'Bob');
    const told = async text => {
      await bob.say(text);
      await saying(ann.page, text).waitFor({ state: 'attached' });
      return ann.page.evaluate(() => window.told.splice(0));
    };
    await ann.page.waitForTimeout(1200);    // then it is news
    const look = does => ann.page.evaluate(is => { document.hasFocus = () => is; }, does);
    await look(false);
    assert.deepEqual(await told('off'), []);
    await look(true);
    await ann.page.getByRole('button', { name: 'More' }).click();
    await ann.page.getByRole('button', { name: 'Notifications Off' }).click();
    await ann.page.getByRole('button', { name: 'Notifications On' }).waitFor();
    assert.equal(await ann.page.getByText('only on https pages').isVisible(), false);
    assert.deepEqual(await told('seen'), []);
    await look(false);
    assert.deepEqual(await told('unseen'), [['Bob in notices', 'unseen']]);
  });

  test('Invite shows the code that the server makes, and its address', async t => {
    const { page } = await comes(t, 'code', 'Ann');
    await page.getByRole('button', { name: 'Invite', exact: true }).first().click();
    const dialog = page.getByRole('dialog', { name: 'Invite to code' });
    await until('the code', () => dialog.getByRole('img').evaluate(node => node.complete && node.naturalWidth > 0));
    const title = await page.evaluate(async () => /<title>([^<]+)/.exec(await (await fetch('/r/code/qr')).text())[1]);
    assert.equal(await page.getByRole('textbox', { name: 'Address' }).inputValue(), title);
    assert.match(title, /\/r\/code$/);
  });

  test('a long talk is printed on as many pages as it takes', async t => {
    const { page } = await comes(t, 'paper', 'Ann');
    for (let i = 0; i < 6; i++) {
      await box(page).fill(Array.from({ length: 40 }, (_, line) => `line ${line} of ${i}`).join('\n'));
      await box(page).press('Enter');
    }
    await until('all', async () => (await texts(page)).length === 6);
    const pdf = (await page.pdf({ format: 'A4' })).toString('latin1');
    const pages = pdf.match(/\/Type\s*\/Page\b(?!s)/g).length;
    assert.ok(pages >= 4 && pages < 12, `${pages} pages`);
    assert.equal(await status(page).textContent(), 'Live');
  });
});
