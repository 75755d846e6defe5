/* People talk: what they see of each other, and that what they write stays what it is. */

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { box, log, messages, oneHouse, people, saying, texts, until } from './page.mjs';

const comes = oneHouse();

async function complainsOfNothing(person) {
  assert.deepEqual(person.complaints, []);
  assert.deepEqual(await person.page.evaluate(() => window.violations), []);
}

function nameOf(article) {
  return article.locator('.name').textContent();
}

test('two people in a room see each other\'s messages, with name and time', async t => {
  const ann = await comes(t, 'tea', 'Ann');
  const bob = await comes(t, ' Tea ', 'Bob');
  await ann.say('Morning, Bob');
  await saying(bob.page, 'Morning, Bob').waitFor();
  await bob.say('Morning, Ann');
  const seen = saying(ann.page, 'Morning, Ann');
  await seen.waitFor();
  assert.equal(await nameOf(seen), 'Bob');
  assert.match(await seen.locator('time').textContent(), /^\d\d:\d\d$/);
  assert.deepEqual(await texts(ann.page), ['Morning, Bob', 'Morning, Ann']);
  await until('one date line', async () => await log(ann.page).getByText(/^Today, \d/).count() === 1);
  await complainsOfNothing(ann);
  await complainsOfNothing(bob);
});

test('line and paragraph separators in a text are text, and nobody loses the room by them', async t => {
  const ann = await comes(t, 'lines', 'Ann');
  const bob = await comes(t, 'lines', 'Bob');
  for (const text of ['a\u2028b', 'c\u2029event: gap', 'd\u2028id: 7\u2028retry: 9', 'the end'])
    await ann.say(text);
  await saying(bob.page, 'the end').waitFor();
  assert.deepEqual(await log(bob.page).locator('article').count(), 4);
  await complainsOfNothing(bob);
});

test('messages of one person in a row stand under one name', async t => {
  const ann = await comes(t, 'rows', 'Ann');
  const bob = await comes(t, 'rows', 'Bob');
  for (const text of ['one', 'two']) {
    await ann.say(text);
    await saying(bob.page, text).waitFor();
  }
  await bob.say('three');
  await saying(ann.page, 'three').waitFor();
  const shows = async text => await saying(ann.page, text).locator('.tile').isVisible();
  assert.deepEqual([await shows('one'), await shows('two'), await shows('three')], [true, false, true]);
});

test('a name that is taken is not given twice, and another is offered', async t => {
  await comes(t, 'names', 'Ann');
  const other = await comes(t);
  await other.page.goto(other.server.origin + '/r/names');
  await other.page.getByRole('textbox', { name: 'Your name' }).fill('ann');
  await other.page.getByRole('button', { name: 'Join', exact: true }).click();
  await other.page.getByRole('alert').getByText('ann is taken in this room.').waitFor();
  await other.page.getByRole('button', { name: 'ann 2' }).click();
  await box(other.page).waitFor();
  await people(other.page).getByText('ann 2').waitFor();
});

test('the name offered for a long one that is taken is no longer than a name may be', async t => {
  const long = 'ä'.repeat(32);
  await comes(t, 'long names', long);
  const other = await comes(t);
  await other.page.goto(other.server.origin + '/r/long%20names');
  await other.page.getByRole('textbox', { name: 'Your name' }).fill(long);
  await other.page.getByRole('button', { name: 'Join', exact: true }).click();
  await other.page.getByRole('button', { name: 'ä'.repeat(31) + ' 2' }).click();
  await people(other.page).getByText('ä'.repeat(31) + ' 2').waitFor();
});

test('a link to a room asks only the name, and back leads to where one came from', async t => {
  const ann = await comes(t);
  await ann.page.goto(ann.server.origin + '/r/a%20quiet%20place');
  await ann.page.getByRole('heading', { name: 'a quiet place' }).waitFor();
  assert.equal(await ann.page.getByRole('textbox', { name: 'Room', exact: true }).count(), 0);
  await ann.join('A quiet  place', 'Ann');
  assert.equal(new URL(ann.page.url()).pathname, '/r/a%20quiet%20place');
  await ann.page.goBack();
  await ann.page.getByRole('heading', { name: 'Pull up a chair.' }).waitFor();
  await ann.page.goForward();
  await box(ann.page).waitFor();
});

test('a room with any name works, also one of signs that URLs mean something by', async t => {
  const room = "what's (new)? 100% *fun* & #1 é";
  const ann = await comes(t, room, 'Ann');
  await ann.say('found');
  await saying(ann.page, 'found').waitFor();
  assert.equal(decodeURIComponent(new URL(ann.page.url()).pathname), '/r/' + room);
  await ann.page.goto(ann.server.origin + '/');
  await ann.page.getByRole('link', { name: room }).click();
  await saying(ann.page, 'found').waitFor();
});

test('a name or a room that cannot be is refused by a sentence', async t => {
  const ann = await comes(t);
  const { page } = ann;
  await page.goto(ann.server.origin + '/');
  for (const [room, name] of [['tea', '   '], ['a/b', 'Ann']]) {
    await page.getByRole('textbox', { name: 'Room', exact: true }).fill(room);
    await page.getByRole('textbox', { name: 'Your name' }).fill(name);
    await page.getByRole('button', { name: 'Join', exact: true }).click();
    await page.getByRole('alert').getByText(/\w+ .*\./).waitFor();
  }
  assert.equal(new URL(page.url()).pathname, '/');
});

test('a reload keeps the history, the name and the draft', async t => {
  const ann = await comes(t, 'history', 'Ann');
  await ann.say('before the reload');
  await saying(ann.page, 'before the reload').locator('.state').getByText('sent').waitFor();
  await box(ann.page).fill('half a sent');
  await ann.page.reload();
  await saying(ann.page, 'before the reload').waitFor();
  assert.equal(await box(ann.page).inputValue(), 'half a sent');
  await people(ann.page).getByText('Ann').waitFor();
  assert.deepEqual(await texts(ann.page), ['before the reload']);
});

test('who comes and goes is seen by all', async t => {
  const ann = await comes(t, 'door', 'Ann');
  const bob = await comes(t, 'door', 'Bob');
  await people(ann.page).getByText('Bob').waitFor();
  await ann.page.getByText('2 here').waitFor();
  await bob.page.getByRole('button', { name: 'Leave', exact: true }).click();
  await bob.page.getByRole('heading', { name: 'Pull up a chair.' }).waitFor();
  await people(ann.page).getByText('Bob').waitFor({ state: 'detached' });
  await bob.page.goto(bob.server.origin + '/r/door');
  await bob.page.getByRole('button', { name: 'Join', exact: true }).waitFor();
});

test('the landing page lists the rooms with people', async t => {
  const ann = await comes(t, 'lobby', 'Ann');
  await ann.say('hello');
  const bob = await comes(t);
  await bob.page.goto(bob.server.origin + '/');
  await bob.page.getByRole('link', { name: /lobby.*just now.*1 here/ }).click();
  await bob.page.getByRole('heading', { name: 'lobby' }).waitFor();
});

test('typing is shown to the others, not to oneself', async t => {
  const ann = await comes(t, 'typing', 'Ann');
  const bob = await comes(t, 'typing', 'Bob');
  await box(bob.page).pressSequentially('Well');
  await ann.page.getByText('Bob is typing').waitFor();
  assert.equal(await bob.page.getByText('is typing').count(), 0);
  await bob.say('Well then');
  await ann.page.getByText('Bob is typing').waitFor({ state: 'detached' });
});

test('markup in names and texts stays text', async t => {
  const evil = '<img src=x onerror=alert(1)><script>alert(2)</script>&amp;';
  const ann = await comes(t, 'markup', '<b>"Ann"</b>&lt;');
  const bob = await comes(t, 'markup', '<script>alert(3)</script>');
  for (const person of [ann, bob]) person.page.on('dialog', () => assert.fail('a script ran'));
  await ann.say(evil);
  const seen = saying(bob.page, evil);
  await seen.waitFor();
  assert.equal(await nameOf(seen), '<b>"Ann"</b>&lt;');
  await people(ann.page).getByText('<script>alert(3)</script>').waitFor();
  assert.equal(await bob.page.locator('article img, article script, article b').count(), 0);
  await complainsOfNothing(ann);
  await complainsOfNothing(bob);
});

test('the lines, blanks and tabs of a text are kept', async t => {
  const ann = await comes(t, 'poem', 'Ann');
  const text = 'one\n\n  two\tthree';
  await ann.say(text);
  await until('the text as it was', async () => (await texts(ann.page))[0] === text);
  assert.match(await messages(ann.page).locator('.text').evaluate(node => getComputedStyle(node).whiteSpace), /pre-wrap/);
});

test('who reads above is not moved, and is led down to what is new', async t => {
  const ann = await comes(t, 'scroll', 'Ann');
  const bob = await comes(t, 'scroll', 'Bob');
  await ann.say(Array.from({ length: 60 }, (_, line) => 'line ' + line).join('\n'));
  await ann.say('the end');
  await saying(bob.page, 'the end').waitFor();
  await until('Bob at the end', () => log(bob.page).evaluate(node => node.scrollHeight - node.scrollTop - node.clientHeight < 2));
  const frame = () => bob.page.evaluate(() => new Promise(done => requestAnimationFrame(() => setTimeout(done))));
  await frame();    // the log has a scroll bar now: a new shape
  await log(bob.page).evaluate(node => { node.scrollTop = 100; });
  await frame();    // the scroll is noted
  await ann.say('and one');
  await ann.say('and two');
  const pill = bob.page.getByRole('button', { name: '2 new' });
  await pill.waitFor();
  assert.equal(await log(bob.page).evaluate(node => node.scrollTop), 100);
  await pill.click();
  await saying(bob.page, 'and two').waitFor();
  await until('the end', () => log(bob.page).evaluate(node => node.scrollHeight - node.scrollTop - node.clientHeight < 25));
  await pill.waitFor({ state: 'hidden' });
});
