/* The strangers who judge the page: Lighthouse on 127.0.0.1, and the Nu checker on what the server sends and on what
 * the script makes of it. Each finding is a sentence of its own. */

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import lighthouse, { desktopConfig } from 'lighthouse';
import puppeteer from 'puppeteer-core';
import { CHROMIUM, SWITCHES, expectNothing, openBrowser } from '../page.mjs';
import { DESKTOP, SCENES, openScene } from '../scenes.mjs';

const VNU = fileURLToPath(new URL('node_modules/vnu-jar/build/dist/vnu.jar', import.meta.url));

let scene, browser, visitors = 0;

before(async () => {
  browser = await openBrowser();
  scene = await openScene('room', browser, DESKTOP);
});

after(async () => {
  await scene.close();
  await browser.close();
});

/* ---- Lighthouse ---- */

/* What keeps a category of REPORT from 100. */
function findings({ categories, audits }) {
  const short = Object.values(categories).filter(({ score }) => score !== 1);
  return short.flatMap(({ title, score, auditRefs }) => {
    const failed = auditRefs.filter(({ id, weight }) => weight && audits[id].score !== null && audits[id].score < 1);
    return failed.map(({ id }) => {
      const { title: what, displayValue = '', details } = audits[id];
      const items = details && details.items || [];
      const where = items.map(({ node, description, url }) => node ? node.selector : description || url || '');
      return `${title} ${Math.round(score * 100)}: ${what} ${displayValue} (${id}) ${where.join(', ')}`.trim();
    }).concat(failed.length ? [] : `${title} has no score of 100: ${score}`);
  });
}

/* Audits PATH of the scene's server by CONFIG, as a new browser sees it; a room, after joining through its form. */
async function audit(t, path, config) {
  const origin = `http://127.0.0.1:${scene.server.port}`;
  const stranger = await puppeteer.launch({ executablePath: CHROMIUM, args: SWITCHES, defaultViewport: null });
  t.after(() => stranger.close());
  const page = await stranger.newPage();
  if (path !== '/') {
    await page.goto(origin + path);
    await page.locator('::-p-aria([name="Your name"][role="textbox"])').fill('Visitor ' + ++visitors);
    await page.locator('::-p-aria([name="Join"][role="button"])').click();
    await page.locator('::-p-aria([name="Message"][role="textbox"])').wait();
  }
  // The room's stream never ends, so that the network is never idle: Lighthouse says so, and looks all the same.
  const flags = { disableStorageReset: true, maxWaitForLoad: 10000, logLevel: 'error' };
  const { lhr } = await lighthouse(origin + path, flags, config, page);
  const warnings = lhr.runWarnings.filter(warning => path === '/' || !/loaded too slowly/.test(warning));
  assert.deepEqual([lhr.runtimeError, warnings, lhr.finalDisplayedUrl], [undefined, [], origin + path]);
  return findings(lhr);
}

for (const [how, config] of [['a phone', undefined], ['a desktop', desktopConfig]]) {
  for (const [view, path] of [['the landing', '/'], ['the room', '/r/tea']]) {
    const name = `Lighthouse gives ${view} 100 for performance, accessibility, best practices and SEO on ${how}`;
    test(name, { timeout: 180000 }, async t => {
      let found = await audit(t, path, config);
      // A machine that is busy with something else is slow: that is not the page's fault.
      for (let tries = 1; tries < 3 && found.some(finding => finding.startsWith('Performance')); tries++) {
        found = await audit(t, path, config);
      }
      expectNothing(found);
    });
  }
}

/* ---- the Nu checker ---- */

/* Fails for what the checker calls an error in PAGES {name: HTML}, told once with the first place and the number of
 * places; the rest it says of a page as it is sent is told beside. */
async function check(t, pages) {
  const folder = await mkdtemp(join(tmpdir(), 'snug-judge-'));
  t.after(() => rm(folder, { recursive: true }));
  const files = [];
  for (const name of Object.keys(pages)) {
    files.push(join(folder, name));
    await writeFile(files[files.length - 1], pages[name]);
  }
  const how = ['-jar', VNU, '--html', '--format', 'json', '--exit-zero-always', ...files];
  const { stderr } = await promisify(execFile)('java', how, { maxBuffer: 1 << 26 });
  const errors = new Map();
  for (const { type, url, lastLine, message, extract } of JSON.parse(stderr).messages) {
    const place = `${url.split('/').pop()}:${lastLine}: ${message} ${JSON.stringify(extract)}`;
    if (type !== 'info') errors.set(message, [...errors.get(message) || [], place]);
    else if (files.length === 1) t.diagnostic(place);
  }
  expectNothing([...errors.values()].map(places => `${places[0]} (${places.length} times)`));
}

test('the Nu checker finds no error in the page as it is sent', { timeout: 60000 }, async t => {
  await check(t, { page: await (await fetch(`http://127.0.0.1:${scene.server.port}/`)).text() });
});

test('the Nu checker finds no error in the room as made by the server', { timeout: 60000 }, async t => {
  const address = `http://127.0.0.1:${scene.server.port}/r/tea?plain`;
  const stranger = await (await fetch(address)).text();
  if (/<script/.test(stranger)) return t.skip('the server makes no page yet');
  const [{ name, value }] = await scene.person.context.cookies(scene.server.origin + '/r/tea');
  const member = await (await fetch(address, { headers: { Cookie: `${name}=${value}` } })).text();
  assert.match(member, /At ten, in the big room/);
  await check(t, { stranger, member });
});

test('the Nu checker finds no error in what the script makes of the page', { timeout: 180000 }, async t => {
  const pages = {};
  for (const name of Object.keys(SCENES)) {
    const played = await openScene(name, browser, DESKTOP);
    if (!played) continue;
    pages[name] = '<!DOCTYPE html>' + await played.page.evaluate(() => document.documentElement.outerHTML);
    await played.close();
  }
  await check(t, pages);
});
