/* What the browser tests share: a server in a folder of its own, a browser that believes it is on somebody's network,
 * and a person, who is a browser of her own with a page or more. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const SNUG = resolve(HERE, process.env.SNUG || '../snug');

/* The name is no secure context, as on a real network. The rest keeps Chromium from talking to anybody else. */
export const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';
export const SWITCHES = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP snug.lan 127.0.0.1'];

export function openBrowser(...more) {
  return chromium.launch({ executablePath: CHROMIUM, args: SWITCHES.concat(more) });
}

function freePort() {
  return new Promise((done, fail) => {
    const server = createServer().on('error', fail).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/* A server of its own: start it, kill it without warning, start it again on the same port and file. */
export class Server {
  static async open(...options) {
    const server = new Server();
    server.folder = await mkdtemp(join(tmpdir(), 'snug-page-'));
    server.port = await freePort();
    server.origin = `http://snug.lan:${server.port}`;
    server.options = options;
    await server.start();
    return server;
  }

  async start() {
    const file = join(this.folder, 'snug.data');
    const child = spawn(SNUG, ['-a', '127.0.0.1', '-p', String(this.port), '-f', file, ...this.options]);
    let said = '';
    child.stderr.on('data', part => { said += part; });
    this.child = child;
    this.ended = new Promise(done => child.on('close', done).on('error', done));
    for (const end = Date.now() + 10000; !await this.answers(); await pause(20)) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`${SNUG} does not start: ${said}`);
    }
  }

  async answers() {
    try {
      return (await fetch(`http://127.0.0.1:${this.port}/healthz`)).status === 200;
    } catch {
      return false;
    }
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  async close() {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/* A reverse proxy before SERVER, for a person to come by. It answers 502 while the server is away, as proxies do.
 * `sends` are the messages that came by: {nonce, text, status}, 0 before there is an answer; `streams` and `openStreams` are counted. `meddle(path, form)` may give
 * the answer {status, fields, body} in the server's stead, a promise of what to do, or LOST, for the server's to get lost
 * on its way back. */
export const LOST = {};

export class Proxy {
  static async open(server) {
    const proxy = new Proxy();
    Object.assign(proxy, { server, sends: [], streams: 0, openStreams: 0, meddle: () => null, sockets: new Set() });
    proxy.http = createHttpServer((request, response) => proxy.pass(request, response));
    proxy.http.on('connection', socket => {
      proxy.sockets.add(socket.on('close', () => proxy.sockets.delete(socket)).on('error', () => {}));
    });
    await new Promise(done => proxy.http.listen(0, '127.0.0.1', done));
    proxy.origin = `http://snug.lan:${proxy.http.address().port}`;
    return proxy;
  }

  /* As if a cable was cut: what is open falls silent for ever, what is opened then until mend(), and nobody is told. */
  cut() {
    this.mended = new Promise(done => { this.mend = done; });
    for (const socket of this.sockets) {
      socket.isMute = true;
      socket.cork();
    }
  }

  /* Breaks what is open off. */
  drop() {
    for (const socket of this.sockets) socket.destroy();
  }

  async pass(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    await this.mended;
    if (request.socket.isMute) return;
    const body = Buffer.concat(parts);
    const form = new URLSearchParams(String(body));
    const sent = { nonce: form.get('nonce'), text: form.get('text'), status: 0 };
    if (request.url.endsWith('/send')) this.sends.push(sent);
    if (request.url.endsWith('/events')) {
      this.streams++;
      this.openStreams++;
      response.on('close', () => { this.openStreams--; });
    }
    const instead = await this.meddle(request.url, sent);
    if (instead && instead !== LOST) {
      sent.status = instead.status;
      response.writeHead(instead.status, { Connection: 'close', ...instead.fields }).end(instead.body);
      return;
    }
    const { method, url: path, headers } = request;
    const onward = httpRequest({ host: '127.0.0.1', port: this.server.port, method, path, headers: { ...headers, connection: 'close' } });
    response.on('close', () => onward.destroy());
    onward.on('error', () => {
      if (response.headersSent) return response.destroy();
      sent.status = 502;
      response.writeHead(502, { 'Content-Type': 'text/html', Connection: 'close' }).end('<h1>502 Bad Gateway</h1>');
    });
    onward.on('response', answer => {
      sent.status = answer.statusCode;
      if (request.socket.isMute) return answer.resume();    // end() would uncork it
      if (instead === LOST) return response.destroy();
      response.writeHead(answer.statusCode, { ...answer.headers, connection: 'close' });
      response.flushHeaders();
      answer.on('error', () => response.destroy()).pipe(response);
    });
    onward.end(body);
  }

  async close() {
    this.http.close();
    this.drop();
  }
}

/* A person with a browser profile of her own. `complaints` are what the console and the page's policy objected to. */
export class Person {
  static async open(browser, server, options = {}) {
    const person = new Person();
    person.server = server;
    person.complaints = [];
    person.context = await browser.newContext({ locale: 'en-GB', viewport: { width: 1280, height: 800 }, ...options });
    await person.context.addInitScript(() => {
      window.violations = [];
      document.addEventListener('securitypolicyviolation', event => window.violations.push(event.violatedDirective));
    });
    person.page = await person.tab();
    return person;
  }

  async tab() {
    const page = await this.context.newPage();
    page.setDefaultTimeout(15000);
    page.on('pageerror', error => this.complaints.push(String(error)));
    page.on('console', message => {
      // A failed request is in the console too; what the page makes of it is what the tests look at.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) this.complaints.push(message.text());
    });
    return page;
  }

  /* Through the landing form, as somebody comes for the first time. */
  async join(room, name, page = this.page) {
    await page.goto(this.server.origin + '/');
    await page.getByRole('textbox', { name: 'Room', exact: true }).fill(room);
    await page.getByRole('textbox', { name: 'Your name', exact: true }).fill(name);
    await page.getByRole('button', { name: 'Join', exact: true }).click();
    await live(page);
    return this;
  }

  async say(text, page = this.page) {
    await box(page).fill(text);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
  }

  close() {
    return this.context.close();
  }
}

export function box(page) {
  return page.getByRole('textbox', { name: 'Message', exact: true });
}

export function log(page) {
  return page.getByRole('log', { name: 'Messages' });
}

export function messages(page) {
  return log(page).getByRole('article');
}

/* The messages that say exactly TEXT. */
export function saying(page, text) {
  return messages(page).filter({ has: page.locator('.text').getByText(text, { exact: true }) });
}

export function people(page) {
  return page.getByRole('list', { name: 'People' }).getByRole('listitem');
}

export function status(page) {
  return page.getByRole('status');
}

export function texts(page) {
  return page.locator('article .text').allTextContents();
}

/* Waits until CHECK gives a true value, and gives it; fails after LIMIT with WHAT was awaited. */
export async function until(what, check, limit = 15000) {
  for (const end = Date.now() + limit; ; await pause(50)) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${limit / 1000} s for ${what}`);
  }
}

/* Fails if there are FINDINGS, which it tells, a line each. */
export function expectNothing(findings) {
  assert.ok(!findings.length, `${findings.length} found:\n${findings.join('\n')}`);
}

export function live(page) {
  return status(page).getByText('Live', { exact: true }).waitFor();
}

/* One server and browser for the tests of a file. Gives the function that brings a person, into ROOM if there is one; at
 * the end of the test she is gone. */
export function oneHouse() {
  let server, browser;
  before(async () => {
    server = await Server.open();
    browser = await openBrowser();
  });
  after(async () => {
    await browser.close();
    await server.close();
  });
  return async function comes(t, room, name, options) {
    const person = await Person.open(browser, server, options);
    t.after(() => person.close());
    if (room) await person.join(room, name);
    return person;
  };
}

/* ---- an outage: a server, Ann who comes by a proxy, and Bob who doesn't ---- */

/* BY: Ann's browser. PREPARE is done to her page before she joins. */
export async function meet(t, browser, { by = browser, options = [], isClockFaked = false, prepare = async () => {} } = {}) {
  const server = await Server.open(...options);
  const proxy = await Proxy.open(server);
  const [ann, bob] = [await Person.open(by, proxy), await Person.open(browser, server)];
  t.after(async () => {
    await ann.close();
    await bob.close();
    await proxy.close();
    await server.close();
  });
  if (isClockFaked) await ann.page.clock.install();
  await prepare(ann.page);
  await ann.join('tea', 'Ann');
  await bob.join('tea', 'Bob');
  return { server, proxy, ann, bob, page: ann.page };
}

/* The texts of the messages that are waiting, refused or sent. */
export function inState(page, how) {
  return page.locator(`article[data-state=${how}] .text`).allTextContents();
}

export function noneWaits(page, limit = 30000) {
  return until('all to be sent', async () => (await inState(page, 'waiting')).length === 0, limit);
}

export async function showAll(page, expected, limit = 30000) {
  await until(expected.length + ' messages', async () => (await texts(page)).length >= expected.length, limit);
  assert.deepEqual(await texts(page), expected);
}

/* Whoever opens the room in PLACE (a page or a context) says TEXT in the very moment that it shows. */
export function sayAtOnce(place, text) {
  return place.addInitScript(words => addEventListener('DOMContentLoaded', () => {
    const talk = document.getElementById('talk');
    new MutationObserver((_, observer) => {
      if (talk.hidden) return;
      observer.disconnect();
      document.getElementById('message').value = words;
      document.getElementById('compose').requestSubmit();
    }).observe(talk, { attributes: true });
  }), text);
}
