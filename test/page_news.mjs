/* News: what is unread, who came and went, who is not to be heard; by the line, the title, the icon, by sound. */

import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { live, log, oneHouse, people, saying, texts, until } from './page.mjs';

const comes = oneHouse();

function looks(page, isLooking) {
  return page.evaluate(does => {
    document.hasFocus = () => does;
    if (does) window.dispatchEvent(new Event('focus'));
  }, isLooking);
}

async function icon(page) {
  return decodeURIComponent(await page.locator('link[rel=icon]').getAttribute('href'));
}

async function hears(page, text) {
  await saying(page, text).waitFor({ state: 'attached' });
}

function atEnd(page) {
  return log(page).evaluate(node => node.scrollHeight - node.scrollTop - node.clientHeight < 25);
}

const LONG = Array.from({ length: 60 }, (_, line) => 'line ' + line).join('\n');

describe('news', { concurrency: 3 }, () => {
  test('unread messages are counted in the title and marked on the icon, until somebody looks', async t => {
    const ann = await comes(t, 'title', 'Ann');
    const bob = await comes(t, 'title', 'Bob');
    assert.equal(await ann.page.title(), 'title · snug');
    await looks(ann.page, false);
    for (const text of ['one', 'two']) await bob.say(text);
    await until('two unread', async () => await ann.page.title() === '(2) title · snug');
    assert.match(await icon(ann.page), /f2a33c/);
    await looks(ann.page, true);
    await until('none unread', async () => await ann.page.title() === 'title · snug');
    assert.doesNotMatch(await icon(ann.page), /f2a33c/);
    await saying(ann.page, 'one').getByText('New', { exact: true }).waitFor();
  });

  test('who comes back, by a reload too, is at the first unread message', async t => {
    const ann = await comes(t, 'back', 'Ann');
    const bob = await comes(t, 'back', 'Bob');
    await bob.say('read');
    await hears(ann.page, 'read');
    await until('it to be read', () => ann.page.evaluate(() => localStorage['read/back'] > 0));
    await looks(ann.page, false);
    for (const text of ['first unread', LONG, 'the last']) await bob.say(text);
    await hears(ann.page, 'the last');
    for (const again of [false, true]) {
      if (again) await ann.page.reload();
      await live(ann.page);
      await ann.page.getByRole('button', { name: '3 new' }).waitFor();
      assert.ok(await saying(ann.page, 'first unread').getByText('New', { exact: true }).isVisible());
      assert.equal(await atEnd(ann.page), false);
    }
    await ann.page.getByRole('button', { name: '3 new' }).click();
    await log(ann.page).evaluate(node => { node.scrollTop = node.scrollHeight; });
    await until('all to be read', async () => await ann.page.title() === 'back · snug');
    await ann.page.reload();
    await live(ann.page);
    await hears(ann.page, 'the last');
    await until('the end', () => atEnd(ann.page));
    assert.equal(await ann.page.getByText('New', { exact: true }).count(), 0);
  });

  test('what is read in one tab of a room is read in the others', async t => {
    const ann = await comes(t, 'twice', 'Ann');
    const bob = await comes(t, 'twice', 'Bob');
    const second = await ann.tab();
    await second.goto(ann.server.origin + '/r/twice');
    await live(second);
    for (const page of [ann.page, second]) await looks(page, false);
    await bob.say('news');
    for (const page of [ann.page, second]) await until('one unread', async () => await page.title() === '(1) twice · snug');
    await looks(second, true);
    for (const page of [ann.page, second]) await until('none unread', async () => await page.title() === 'twice · snug');
    assert.doesNotMatch(await icon(ann.page), /f2a33c/);
  });

  test('who came and who went stands in one quiet line', async t => {
    const ann = await comes(t, 'door', 'Ann');
    const lines = () => ann.page.locator('.moved').allTextContents();
    const bob = await comes(t, 'door', 'Bob');
    await until('Bob', async () => (await lines()).join() === 'Bob came in. ');
    await comes(t, 'door', 'مريم');
    await until('two', async () => (await lines()).join() === 'Bob and مريم came in. ');
    await bob.page.getByRole('button', { name: 'Leave' }).click();
    await until('one', async () => (await lines()).join() === 'مريم came in. ');
    await ann.say('welcome');
    await comes(t, 'door', 'Cem');
    await until('a line below', async () => (await lines()).join() === 'مريم came in. ,Cem came in. ');
    assert.deepEqual(await texts(ann.page), ['welcome']);
  });

  test('somebody ignored is not heard, seen or counted, also after a reload, until taken back', async t => {
    const ann = await comes(t, 'ignore', 'Ann');
    const [eve, bob] = [await comes(t, 'ignore', 'Eve'), await comes(t, 'ignore', 'Bob')];
    await eve.say('noise');
    await hears(ann.page, 'noise');
    await people(ann.page).getByRole('button', { name: 'Eve' }).click();
    await people(ann.page).getByRole('button', { name: 'Ignore' }).click();
    await saying(ann.page, 'noise').locator('.text').waitFor({ state: 'hidden' });
    await looks(ann.page, false);
    await eve.say('more noise');
    await bob.say('hello');
    await hears(ann.page, 'hello');
    assert.equal(await ann.page.title(), '(1) ignore · snug');
    await ann.page.reload();
    await saying(ann.page, 'hello').locator('.text').waitFor();
    assert.equal(await saying(ann.page, 'more noise').locator('.text').isVisible(), false);
    await people(ann.page).getByRole('button', { name: 'Ignored' }).click();
    await saying(ann.page, 'more noise').locator('.text').waitFor();
  });

  test('sound is off, for all messages or for mentions only, as one likes', async t => {
    const ann = await comes(t);
    await ann.context.addInitScript(() => {
      window.tones = 0;
      const { start } = OscillatorNode.prototype;
      OscillatorNode.prototype.start = function count(...when) {
        window.tones++;
        return start.apply(this, when);
      };
    });
    await ann.join('sound', 'Ann');
    const bob = await comes(t, 'sound', 'Bob');
    const pass = () => ann.page.waitForTimeout(1200);    // no two tones at once
    const tones = async text => {
      await pass();
      const before = await ann.page.evaluate(() => window.tones);
      await bob.say(text);
      await hears(ann.page, text);
      return await ann.page.evaluate(() => window.tones) - before;
    };
    const press = async word => {
      await pass();
      await ann.page.getByRole('button', { name: 'Sound' }).click();
      await ann.page.getByRole('button', { name: 'Sound ' + word }).waitFor();
    };
    await ann.page.getByRole('button', { name: 'More' }).click();
    assert.equal(await tones('quiet'), 0);
    await press('All');
    assert.equal(await tones('loud'), 1);
    await press('Mentions');
    assert.equal(await tones('not you'), 0);
    assert.equal(await tones('@Ann you'), 1);
    await ann.page.reload();
    await live(ann.page);
    assert.equal(await tones('Ann again'), 1);
    await ann.page.getByRole('button', { name: 'More' }).click();
    await press('Off');
    assert.equal(await tones('Ann at last'), 0);
  });

  test('on plain http the menu says that the browser allows no notifications', async t => {
    const { page } = await comes(t, 'notify', 'Ann');
    await page.getByRole('button', { name: 'More' }).click();
    await page.getByRole('button', { name: 'Notifications Not here' }).waitFor();
    await page.getByText('Browsers allow them only on https pages.').waitFor();
  });

  test('at midnight Today becomes Yesterday with the page open', async t => {
    const ann = await comes(t);
    await ann.page.clock.install({ time: new Date().setHours(23, 59, 50) });
    await ann.join('midnight', 'Ann');
    await ann.say('good night');
    await log(ann.page).getByText(/^Today, /).waitFor();
    await ann.page.clock.runFor(15000);
    await log(ann.page).getByText(/^Yesterday, /).waitFor();
  });
});
