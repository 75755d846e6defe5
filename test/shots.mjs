/* Pictures of the page, to lay beside those of the design. Run by hand: node test/shots.mjs FOLDER */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Person, Server, box, live, openBrowser, saying, status } from './page.mjs';

const FOLDER = process.argv[2] || 'shots';
const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const NARROW = { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true };

mkdirSync(FOLDER, { recursive: true });
const server = await Server.open();
const browser = await openBrowser();

function shot(page, name) {
  return page.screenshot({ path: join(FOLDER, name + '.png') });
}

/* The people of the pictures, talking in tea. */
async function talk() {
  const said = [
    ['Chidi', 'Morning. The Pi by the door is back at http://10.0.0.5:8080'],
    ['Chidi', '$ ping -c 1 10.0.0.5\n64 bytes received, time=0.41 ms'],
    ['Bartholomew Featherstonehaugh-Cholmondeley', 'Confirmed from the second floor. ping says 0.4 ms.'],
    ['مريم', 'صباح الخير! هل الاجتماع في الساعة العاشرة؟'],
    ['Nadia', 'Ann knows. I’ll bring the good biscuits either way.'],
    ['Nadia', '🎉🍪'],
    ['Bob', 'A very long word must break: /usr/share/doc/packages/kernel-source-6.12.0/Documentation/devicetree/bindings/and/so/on/'],
  ];
  const guests = new Map();
  for (const [name, text] of said) {
    if (!guests.has(name)) guests.set(name, await (await Person.open(browser, server)).join('tea', name));
    await guests.get(name).say(text);
    await saying(guests.get(name).page, text).waitFor();
  }
  return guests;
}

async function leave(person) {
  await person.page.getByRole('button', { name: 'Leave' }).click();
  await person.page.getByRole('button', { name: 'Join' }).waitFor();
  await person.close();
}

async function typeAll(guests) {
  for (const name of ['Bob', 'Nadia']) await box(guests.get(name).page).pressSequentially('I', { delay: 1 });
}

async function landingShots(how, options) {
  const person = await Person.open(browser, server, options);
  await person.page.goto(server.origin + '/');
  await person.page.getByRole('textbox', { name: 'Room' }).fill('tea');
  await person.page.getByRole('textbox', { name: 'Your name' }).fill('Ann');
  await person.page.getByText('Open rooms').waitFor();
  await shot(person.page, 'landing-' + how);
  await person.page.goto(server.origin + '/r/tea');
  await person.page.getByRole('textbox', { name: 'Your name' }).fill('Bob');
  await person.page.getByRole('button', { name: 'Join' }).click();
  await person.page.getByRole('alert').waitFor();
  await shot(person.page, 'landing-invited-' + how);
  await person.close();
}

async function roomShots(how, options, guests) {
  const ann = await (await Person.open(browser, server, options)).join('tea', 'Ann');
  await ann.say('At ten, in the big room. See you there.');
  await saying(ann.page, 'At ten, in the big room. See you there.').last().locator('.state').getByText('sent').waitFor();
  await typeAll(guests);
  await ann.page.getByText('are typing').waitFor();
  await shot(ann.page, 'room-' + how);
  await ann.context.setOffline(true);
  for (const text of ['Lift is stuck again, somewhere between two and three.', 'I am fine. I have biscuits.']) await ann.say(text);
  await box(ann.page).fill('Tell Nadia to start without me');
  await status(ann.page).getByText('Offline').waitFor();
  await shot(ann.page, 'room-offline-' + how);
  await ann.context.setOffline(false);
  await live(ann.page);
  await box(ann.page).fill('x'.repeat(4100));
  await ann.page.getByRole('button', { name: 'Send' }).click();
  await ann.page.getByRole('button', { name: 'Edit again' }).waitFor();
  await shot(ann.page, 'room-refused-' + how);
  await leave(ann);
}

async function emptyShots(how, options) {
  const ann = await (await Person.open(browser, server, options)).join('quiet ' + how, 'Ann');
  await shot(ann.page, 'room-empty-' + how);
  await leave(ann);
}

async function longShots(how, options) {
  const room = 'a room whose name goes on and on until it is cut off at the end';
  const ann = await (await Person.open(browser, server, options)).join(room, 'Bartholomew Featherstonehaugh-Cholmondeley of Much Wenlock');
  await ann.say('Hello');
  await saying(ann.page, 'Hello').last().waitFor();
  await shot(ann.page, 'room-long-' + how);
  await leave(ann);
}

const guests = await talk();
for (const [name, place] of [['desktop', DESKTOP], ['phone', PHONE], ['narrow', NARROW]]) {
  for (const colorScheme of ['light', 'dark']) {
    const how = name + '-' + colorScheme;
    await landingShots(how, { ...place, colorScheme });
    await roomShots(how, { ...place, colorScheme }, guests);
    await emptyShots(how, { ...place, colorScheme });
    await longShots(how, { ...place, colorScheme });
  }
}
await browser.close();
await server.close();
