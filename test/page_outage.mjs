/* Things go wrong: the server is killed, the network is gone, a message is refused. Nothing is lost, doubled or moved. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { Person, Server, box, live, log, openBrowser, saying, status, texts, until } from './page.mjs';

let browser;

before(async () => {
  browser = await openBrowser();
});

after(() => browser.close());

/* A server of the test's own, because it is going to be killed, and two people in a room. */
async function meeting(t) {
  const server = await Server.open();
  const [ann, bob] = [await Person.open(browser, server), await Person.open(browser, server)];
  t.after(async () => {
    await ann.close();
    await bob.close();
    await server.close();
  });
  await ann.join('tea', 'Ann');
  await bob.join('tea', 'Bob');
  return { server, ann, bob };
}

async function showAll(page, expected) {
  await until(expected.length + ' messages', async () => (await texts(page)).length >= expected.length, 30000);
  assert.deepEqual(await texts(page), expected);
}

function allSent(page) {
  return until('all to be sent', async () => await page.locator('[data-state=waiting]').count() === 0, 30000);
}

/* Most of what these do is wait, so some run side by side. */
describe('an outage', { concurrency: 3 }, () => {
  test('a server that stays away is called gone', { timeout: 120000 }, async t => {
    const { server, ann } = await meeting(t);
    await server.kill();
    await status(ann.page).getByText('Server gone').waitFor({ timeout: 45000 });
    await server.start();
    await status(ann.page).getByText('Live').waitFor({ timeout: 20000 });
  });

  test('a server killed and started again in mid-conversation loses and doubles nothing', async t => {
    const { server, ann, bob } = await meeting(t);
    await ann.say('one');
    await saying(bob.page, 'one').waitFor();
    await bob.say('two');
    await saying(ann.page, 'two').waitFor();
    await server.kill();
    await status(ann.page).getByText('Reconnecting').waitFor();
    for (const text of ['three', 'four', 'three']) await ann.say(text);
    assert.equal(await ann.page.locator('[data-state=waiting]').count(), 3);
    await ann.page.getByText('3 messages wait, and go out by themselves.').waitFor();
    await server.start();
    await live(ann.page);
    await live(bob.page);
    await allSent(ann.page);
    for (const { page } of [ann, bob]) await showAll(page, ['one', 'two', 'three', 'four', 'three']);
    await bob.say('five');
    for (const { page } of [ann, bob]) await showAll(page, ['one', 'two', 'three', 'four', 'three', 'five']);
    await ann.page.reload();
    await showAll(ann.page, ['one', 'two', 'three', 'four', 'three', 'five']);
    assert.deepEqual(ann.complaints.concat(bob.complaints), []);
  });

  /* Sends REQUEST as the browser would: node does not know the browser's names for hosts. */
  async function deliver(server, request) {
    const sent = httpRequest({ host: '127.0.0.1', port: server.port, path: new URL(request.url()).pathname, method: 'POST', headers: { ...await request.allHeaders(), host: new URL(request.url()).host } });
    sent.end(request.postData());
    const [answer] = await once(sent, 'response');
    answer.resume();
    assert.equal(answer.statusCode, 200);
  }

  test('an answer that is lost on its way sends nothing twice', async t => {
    const { server, ann, bob } = await meeting(t);
    let lost = 0;
    await ann.page.route('**/send', async route => {
      await deliver(server, route.request());
      if (lost++ % 2) await route.continue();    // a second time
      else await route.abort();
    });
    await ann.say('once');
    await ann.say('once');
    await until('four tries', () => lost === 4, 30000);
    await allSent(ann.page);
    for (const { page } of [ann, bob]) await showAll(page, ['once', 'once']);
  });

  test('what waits survives a reload, and goes out in its order', async t => {
    const { ann, bob } = await meeting(t);
    await ann.page.route('**/send', route => route.abort());
    for (const text of ['first', 'second', 'third']) await ann.say(text);
    await ann.page.reload();
    await until('the three that wait', async () => await ann.page.locator('[data-state=waiting]').count() === 3);
    await ann.page.unroute('**/send');
    await allSent(ann.page);
    for (const { page } of [ann, bob]) await showAll(page, ['first', 'second', 'third']);
  });

  test('what waits in a tab that is closed is sent by another tab of the room', async t => {
    const { server, ann, bob } = await meeting(t);
    const second = await ann.tab();
    await second.goto(server.origin + '/r/tea');
    await live(second);
    await ann.page.route('**/send', route => route.abort());
    await ann.say('left behind');
    await ann.page.locator('[data-state=waiting]').waitFor();
    await ann.page.close();
    await saying(bob.page, 'left behind').waitFor();
    await showAll(second, ['left behind']);
  });

  test('a refused message says why, and can be edited again', async t => {
    const { ann, bob } = await meeting(t);
    await ann.say('x'.repeat(4001));
    await ann.page.getByText(/^Not sent: \w+.*\./).waitFor();
    await ann.say('still here');
    await saying(bob.page, 'still here').waitFor();
    await box(ann.page).fill('and this');
    await ann.page.getByRole('button', { name: 'Edit again' }).click();
    assert.equal(await box(ann.page).inputValue(), 'x'.repeat(4001) + '\nand this');
    assert.deepEqual(await texts(ann.page), ['still here']);
  });

  test('a message that must wait goes out by itself', async t => {
    const { ann, bob } = await meeting(t);
    let answers = [{ status: 503, headers: { 'Retry-After': '1' }, body: 'Busy.' }, { status: 502, contentType: 'text/html', body: '<h1>Bad gateway' }, { status: 200, contentType: 'text/html', body: 'Please log in.' }];
    await ann.page.route('**/send', route => answers.length ? route.fulfill(answers.shift()) : route.continue());
    await ann.say('patience');
    await ann.page.getByText('1 message waits, and goes out by itself.').waitFor();
    await saying(bob.page, 'patience').waitFor({ timeout: 30000 });
    await allSent(ann.page);
    await showAll(ann.page, ['patience']);
  });

  test('who is no longer a member joins again, and what was written is kept and sent', async t => {
    const { ann, bob } = await meeting(t);
    await ann.context.clearCookies();
    await ann.say('do not lose me');
    await ann.page.getByText('You are no longer in this room.').waitFor();
    await ann.page.getByRole('textbox', { name: 'Your name' }).fill('Ann again');
    await ann.page.getByRole('button', { name: 'Join', exact: true }).click();
    await saying(bob.page, 'do not lose me').waitFor();
    await showAll(ann.page, ['do not lose me']);
  });

  test('a server that comes back without its history is told apart, and what follows is shown', async t => {
    const { server, ann, bob } = await meeting(t);
    await bob.say('old');
    await saying(ann.page, 'old').waitFor();
    await server.kill();
    await rm(join(server.folder, 'snug.data'));
    await server.start();
    for (const [person, name] of [[ann, 'Ann'], [bob, 'Bob']]) {
      await person.page.getByRole('textbox', { name: 'Your name' }).fill(name);
      await person.page.getByRole('button', { name: 'Join', exact: true }).click();
      await live(person.page);
    }
    await bob.say('new');
    await showAll(ann.page, ['old', 'new']);
    assert.equal(await log(ann.page).locator('.aside').count(), 1);
  });

  test('the network away and back: the status says so, and nothing is lost', async t => {
    const { ann, bob } = await meeting(t);
    await ann.context.setOffline(true);
    await status(ann.page).getByText('Offline').waitFor();
    await ann.say('written offline');
    await bob.say('said meanwhile');
    await ann.page.getByText('1 message waits, and goes out by itself.').waitFor();
    await ann.context.setOffline(false);
    await live(ann.page);
    for (const { page } of [ann, bob]) await showAll(page, ['said meanwhile', 'written offline']);
  });
});
