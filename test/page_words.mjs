/* Words: light markup, links, names and what the text box does with them. */

import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { box, log, messages, oneHouse, saying, texts, until } from './page.mjs';

const comes = oneHouse();

/* Says TEXT and gives what of it stands in elements SELECTOR, as it is seen. */
async function marked(person, text, selector) {
  await person.say(text);
  await until('the message', async () => (await texts(person.page)).includes(text));
  const said = messages(person.page).last().locator('.text');
  assert.equal(await said.textContent(), text);
  return said.locator(selector).evaluateAll(all => all.map(node => node.innerText.trimEnd()));
}

describe('words', { concurrency: 3 }, () => {
  test('code, bold, italic and quotes are shown as such, and copied texts are what was said', async t => {
    const ann = await comes(t, 'markup', 'Ann');
    assert.deepEqual(await marked(ann, 'say *two words*, _three_ and `x = *y*`.', 'strong, em, code'), ['two words', 'three', 'x = *y*']);
    assert.deepEqual(await marked(ann, 'see\n```sh\n$ ls *a* _b_\n\tc\n```\nthere', '.block'), ['$ ls *a* _b_\n\tc']);
    assert.deepEqual(await marked(ann, 'he said\n> first *line*\n> second\nyes', '.quote'), ['first line\nsecond']);
    assert.deepEqual(await marked(ann, '*bold with _italic_ in it*', 'strong > em'), ['italic']);
  });

  test('ordinary text is not taken for markup', async t => {
    const ann = await comes(t, 'plain', 'Ann');
    const texts = ['2 * 3 * 4 = 24, 2*3*4 too', 'snake_case_name and __init__ and _', '* one\n* two', 'cost* and size*', '*_* >_< *-* ^_^', '/usr/_lib_/x *.c *.h', '`', '``` x',
      'a > b > c', '>:(', '>quoted?', '* not bold *', '_ nor this _', '5 > 3\n4 < 6', 'it\'s `so', 'f(x)*g(x)*h', 'http:// https://', 'x*y*z', '*foo*bar and _private_name'];
    for (const text of texts) assert.deepEqual(await marked(ann, text, '*'), [], text);
  });

  test('links end where the address ends, and lead away safely', async t => {
    const ann = await comes(t, 'links', 'Ann');
    const rows = [
      ['see http://10.0.0.5:8080.', 'http://10.0.0.5:8080'], ['(http://a.lan/x)', 'http://a.lan/x'], ['http://a.lan/b_(c), yes', 'http://a.lan/b_(c)'],
      ['"https://a.lan/?q=1&r=2#s"!', 'https://a.lan/?q=1&r=2#s'], ['<http://a.lan>', 'http://a.lan'], ['http://[fe80::1]:8080/x?', 'http://[fe80::1]:8080/x'],
      ['http://bücher.example/straße;', 'http://bücher.example/straße'], ['看http://a.lan/路。好', 'http://a.lan/路'], ['*http://a.lan/x*', 'http://a.lan/x'], ['HTTP://A.lan/', 'HTTP://A.lan/'],
      ['http://a.lan/x_y_z*', 'http://a.lan/x_y_z'], ['http://a.lan/\u202egpj.exe', 'http://a.lan/'],
    ];
    for (const [text, address] of rows) assert.deepEqual(await marked(ann, text, 'a'), [address], text);
    for (const text of ['javascript:alert(1)', 'ftp://a.lan', 'www.a.lan', 'http://me@a.lan/', 'http://%/', 'file:///etc'])
      assert.deepEqual(await marked(ann, text, 'a'), [], text);
    for (const link of await log(ann.page).getByRole('link').all()) {
      assert.match(await link.getAttribute('rel'), /noreferrer/);
      assert.equal(await link.getAttribute('target'), '_blank');
    }
  });

  test('a message of emoji alone is larger', async t => {
    const ann = await comes(t, 'emoji', 'Ann');
    const size = async text => {
      await ann.say(text);
      return saying(ann.page, text).locator('.text').evaluate(node => parseFloat(getComputedStyle(node).fontSize));
    };
    for (const text of ['🎉🍪', '👩‍👩‍👧', '🇩🇪', '❤️ 👍🏽']) assert.equal(await size(text), 36, text);
    for (const text of ['🎉 yes', '123', '#', ':)']) assert.equal(await size(text), 16, text);
  });

  test('a mention of one\'s own name stands out, and only that', async t => {
    const ann = await comes(t, 'mention', 'Ann');
    const bob = await comes(t, 'mention', 'Bob');
    const rows = [['Ann knows', true], ['ask @ann', true], ['well, (Ann)!', true], ['Annabel', false], ['annual ann', false], ['x@ann.lan', false], ['Bob', false]];
    for (const [text, isMention] of rows) {
      await bob.say(text);
      await saying(ann.page, text).waitFor();
      assert.equal(await saying(ann.page, text).and(ann.page.locator('.mentioned')).count(), isMention ? 1 : 0, text);
    }
    assert.equal(await bob.page.locator('.mentioned').count(), 0);
  });

  test('@ offers names, Tab completes them, and elsewhere Tab moves on', async t => {
    const ann = await comes(t, 'names', 'Ann');
    await comes(t, 'names', 'Bartholomew');
    await comes(t, 'names', 'Barbara of Much Wenlock');
    await ann.page.getByText('3 here').waitFor();
    await box(ann.page).pressSequentially('hi @bar');
    await ann.page.getByRole('button', { name: 'Barbara of Much Wenlock' }).last().waitFor();
    await box(ann.page).press('Tab');
    assert.equal(await box(ann.page).inputValue(), 'hi @Bartholomew ');
    await box(ann.page).pressSequentially('and bARb');
    await box(ann.page).press('Tab');
    assert.equal(await box(ann.page).inputValue(), 'hi @Bartholomew and Barbara of Much Wenlock ');
    await box(ann.page).pressSequentially('@b');
    await ann.page.locator('#notice').getByRole('button', { name: 'Bartholomew' }).click();
    assert.match(await box(ann.page).inputValue(), /@Bartholomew $/);
    assert.ok(await box(ann.page).evaluate(node => node === document.activeElement));
    await box(ann.page).press('Tab');
    assert.ok(await box(ann.page).evaluate(node => node !== document.activeElement));
  });

  test('the upward arrow brings back the last one sent, but not over what is being written', async t => {
    const ann = await comes(t, 'again', 'Ann');
    const bob = await comes(t, 'again', 'Bob');
    await ann.say('first');
    await ann.say('once more\nwith feeling');
    await bob.say('not mine');
    await saying(ann.page, 'not mine').waitFor();
    await box(ann.page).press('ArrowUp');
    assert.equal(await box(ann.page).inputValue(), 'once more\nwith feeling');
    await box(ann.page).fill('new');
    await box(ann.page).press('ArrowUp');
    assert.equal(await box(ann.page).inputValue(), 'new');
  });

  test('the limit is counted in bytes as the server counts them, and shown before it is reached', async t => {
    const { page } = await comes(t, 'limit', 'Ann');
    const hint = () => page.locator('#count').textContent();
    for (const [text, words] of [
      ['x'.repeat(3799), ''], ['x'.repeat(3800), '200 bytes left'], ['ü'.repeat(2000), '0 bytes left'], ['🎉'.repeat(1000) + 'x', '1 bytes over the limit of 4,000'],
      ['a\r\nb'.repeat(1000), ''], ['x'.repeat(10000), '6000 bytes over the limit of 4,000'],
    ]) {
      await box(page).fill(text);
      assert.equal(await hint(), words);
    }
    assert.equal((await box(page).inputValue()).length, 10000);
    await box(page).fill('ü'.repeat(2000));
    await box(page).press('Enter');
    await until('it to be sent', async () => await page.locator('[data-state=sent]').count() === 1);
  });

  test('each room has a draft of its own, also in a new tab', async t => {
    const ann = await comes(t, 'draft one', 'Ann');
    await box(ann.page).fill('for one');
    await ann.join('draft two', 'Ann');
    assert.equal(await box(ann.page).inputValue(), '');
    await box(ann.page).fill('for two');
    const tab = await ann.tab();
    for (const [room, draft] of [['one', 'for one'], ['two', 'for two']]) {
      await tab.goto(ann.server.origin + '/r/draft%20' + room);
      await until('the draft', async () => await box(tab).inputValue() === draft);
    }
  });
});
