/* page_plain.mjs: a browser without JavaScript comes by the landing form, talks and leaves. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Person, Server, openBrowser } from './page.mjs';

let browser, server;
before(async () => {
  server = await Server.open();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

test('without JavaScript one joins by the landing form, writes, reads and leaves', async () => {
  const ann = await Person.open(browser, server, { javaScriptEnabled: false, viewport: { width: 320, height: 600 } });
  const { page } = ann;
  const box = name => page.getByRole('textbox', { name, exact: true });
  const button = name => page.getByRole('button', { name, exact: true });
  await page.goto(server.origin + '/');
  await box('Room').fill('Tea Time');
  await box('Your name').fill('Ann "A" <b>');
  await button('Join').click();
  await page.waitForURL('**/r/tea%20time?plain&name=*');
  assert.equal(await box('Your name').inputValue(), 'Ann "A" <b>');
  await button('Join').click();
  await page.waitForURL('**/r/tea%20time?plain');
  await box('Message').fill('Hello <i>there</i> ' + 'x'.repeat(300));
  await box('Message').press('Enter');
  await page.getByText('Hello <i>there</i>').waitFor();
  await box('Message').fill('two');
  await button('Send').click();
  await page.getByText('two').waitFor();
  assert.deepEqual(await page.locator('p b').allTextContents(), ['Ann "A" <b>', 'Ann "A" <b>']);
  await page.goBack();                          // the old form, with another text
  await box('Message').fill('three');
  await button('Send').click();
  await page.getByText('three').waitFor();
  await page.getByRole('link', { name: 'New messages' }).click();
  assert.equal(await page.locator('p b').count(), 3);
  const width = await page.locator('h1').evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 320, `${width} pixels wide`);
  await page.getByRole('link', { name: 'Invite' }).click();
  assert.equal(await page.locator('svg > title').textContent(), server.origin + '/r/tea%20time');
  await page.goBack();
  await button('Leave').click();
  await page.waitForURL(server.origin + '/');
  assert.deepEqual(ann.complaints, []);
});
