/* What the page can look like: each scene brings a newcomer's browser to one state of the page, on a server of its own.
 * page_axe.mjs and judge/judge.mjs look at all of them by machine, shots.mjs makes the pictures. */

import { Person, Server, box, live, log, messages, saying, status, until } from './page.mjs';

export const DESKTOP = { viewport: { width: 1280, height: 800 } };
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
export const NARROW = { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true };

/* Somebody who talks without a browser: the scenes need many, and quickly. */
class Guest {
  static async come(server, room, name) {
    const guest = new Guest();
    guest.path = `http://127.0.0.1:${server.port}/r/${encodeURIComponent(room)}`;
    guest.gone = new AbortController();
    const answer = await guest.post('join', { name });
    guest.cookie = answer.headers.get('Set-Cookie').split(';')[0];
    const { cookie, gone: { signal } } = guest;
    await fetch(guest.path + '/events', { headers: { Cookie: cookie }, signal });    // is here while it streams
    return guest;
  }

  async post(what, fields) {
    const body = new URLSearchParams(fields);
    const answer = await fetch(`${this.path}/${what}`, { method: 'POST', headers: { Cookie: this.cookie || '' }, body });
    if (!answer.ok) throw new Error(`${what} is answered ${answer.status}: ${await answer.text()}`);
    return answer;
  }

  say(text) {
    return this.post('send', { text });
  }
}

/* Eight people in a row wear all eight colours: seven come here, the eighth is the newcomer. */
const SAID = [
  ['Chidi', 'Morning. The Pi by the door is back at http://10.0.0.5:8080'],
  ['Chidi', '```\n$ ping -c 1 10.0.0.5\n64 bytes received, time=0.41 ms\n```'],
  ['Jo', 'A very long word must break: /usr/share/doc/packages/kernel-source-6.12.0/Documentation/devicetree/bindings/'],
  ['Quentin', 'Which printer was it?'],
  ['Bartholomew Featherstonehaugh-Cholmondeley',
    '> The Pi by the door is back\nConfirmed from the *second floor*. `ping` says 0.4 ms.'],
  ['مريم', 'صباح الخير! هل الاجتماع في الساعة العاشرة؟'],
  ['Nadia', 'Ann knows. I’ll bring the _good_ biscuits either way.'],
  ['Nadia', '🎉🍪'],
  ['Bob', 'Ten it is.'],
];

async function talk(scene) {
  const guests = new Map();
  for (const [name, text] of SAID) {
    if (!guests.has(name)) guests.set(name, await scene.guest('tea', name));
    await guests.get(name).say(text);
  }
  return guests;
}

/* Ann in the room where the others talk. */
async function joinTalk(scene) {
  const guests = await talk(scene);
  await scene.person.join('tea', 'Ann');
  await until('all that was said', async () => await messages(scene.page).count() === SAID.length);
  return guests;
}

async function sayAndWait(scene, text) {
  await scene.person.say(text);
  await saying(scene.page, text).locator('.state').getByText('sent').waitFor();
}

async function openLanding(scene) {
  await scene.page.goto(scene.server.origin + '/');
  await scene.page.getByRole('textbox', { name: 'Your name', exact: true }).fill('Ann');
}

async function askName(scene, room, name) {
  await scene.page.goto(`${scene.server.origin}/r/${encodeURIComponent(room)}`);
  await scene.page.getByRole('textbox', { name: 'Your name', exact: true }).fill(name);
}

function press(scene, name) {
  return scene.page.getByRole('button', { name, exact: true }).click();
}

/* By name: what to do with SCENE {server, person, page, guest(room, name)}. `pressed`: in the talk, this button was
 * pressed before; there is no such scene on a page without it. */
export const SCENES = {
  'landing': { async play(scene) {
    await talk(scene);
    const jo = await scene.guest('kitchen', 'Jo');
    await jo.say('The kettle is on.');
    await scene.guest('a room whose name goes on and on until it is cut off', 'Bob');
    await (await scene.guest('nobody', 'Bob')).post('leave', {});
    await openLanding(scene);
    await scene.page.getByRole('textbox', { name: 'Room', exact: true }).fill('tea');
    await scene.page.getByRole('link', { name: /kitchen/ }).waitFor();
  } },

  'landing-alone': { play: openLanding },

  'landing-refused': { async play(scene) {
    await openLanding(scene);
    await scene.page.getByRole('textbox', { name: 'Room', exact: true }).fill('a/b');
    await press(scene, 'Join');
    await scene.page.getByRole('alert').waitFor();
  } },

  'landing-invited': { async play(scene) {
    await scene.guest('tea', 'Bob');
    await askName(scene, 'tea', 'Bob');
    await press(scene, 'Join');
    await scene.page.getByRole('alert').getByText('Bob is taken').waitFor();
  } },

  'room': { async play(scene) {
    const guests = await joinTalk(scene);
    await sayAndWait(scene, 'At ten, in the big room. See you there.');
    for (const name of ['Bob', 'Nadia']) await guests.get(name).post('typing', {});
    await scene.page.getByText('are typing').waitFor();
  } },

  'room-empty': { async play(scene) {
    await scene.person.join('tea', 'Ann');
    await scene.page.getByText('It is quiet in here.').waitFor();
  } },

  'room-long': { async play(scene) {
    const room = 'a room whose name goes on and on until it is cut off at the end';
    await scene.person.join(room, 'Bartholomew Featherstonehaugh-Cholmondeley of Much Wenlock');
    await sayAndWait(scene, 'Hello');
    await sayAndWait(scene, 'w'.repeat(300));
  } },

  'room-rtl': { async play(scene) {
    const guest = await scene.guest('غرفة الشاي', 'מרים');
    await guest.say('שלום! הפגישה ב־10:00, ראו http://10.0.0.5:8080 ואז נדבר.');
    await guest.say('Left to right again, with one word: שלום.');
    await scene.person.join('غرفة الشاي', 'مريم');
    await sayAndWait(scene, 'صباح الخير! هل الاجتماع في الساعة العاشرة؟');
    await box(scene.page).fill('نعم، في القاعة الكبيرة');
  } },

  'room-offline': { async play(scene) {
    await joinTalk(scene);
    await scene.person.context.setOffline(true);
    await scene.person.say('Lift is stuck again, somewhere between two and three.');
    await scene.person.say('I am fine. I have biscuits.');
    await box(scene.page).fill('Tell Nadia to start without me');
    await status(scene.page).getByText('Offline').waitFor();
  } },

  'room-reconnecting': { async play(scene) {
    await joinTalk(scene);
    await scene.server.kill();
    await status(scene.page).getByText('Reconnecting').waitFor();
  } },

  'room-refused': { async play(scene) {
    await joinTalk(scene);
    const refusal = { status: 403, contentType: 'text/plain', body: 'This came from another site. Open the page anew.\n' };
    await scene.page.route('**/send', route => route.fulfill(refusal));
    await scene.person.say('And the tape, and the spare tape, and the one after that.');
    await scene.page.getByRole('button', { name: 'Edit again' }).waitFor();
  } },

  'room-too-long': { async play(scene) {
    await joinTalk(scene);
    await box(scene.page).fill('A paste that is too long stays here, whole, for you to shorten. '.repeat(69));
  } },

  'room-new': { async play(scene) {
    const guests = await joinTalk(scene);
    await guests.get('Jo').say(Array.from({ length: 60 }, (_, line) => 'line ' + line).join('\n'));
    await guests.get('Jo').say('That was all.');
    await saying(scene.page, 'That was all.').waitFor();
    await log(scene.page).evaluate(node => { node.scrollTop = 0; });
    await scene.page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
    for (const text of ['one', 'two', 'three']) await guests.get('Bob').say(text);
    await scene.page.getByRole('button', { name: '3 new' }).waitFor();
  } },

  'room-lost': { async play(scene) {
    await joinTalk(scene);
    await scene.person.context.clearCookies();
    await scene.person.say('Do not lose me.');
    await scene.page.getByRole('button', { name: 'Join', exact: true }).waitFor();
  } },

  'room-search': { pressed: 'Search', async play(scene) {
    await scene.page.keyboard.type('door');
    await scene.page.getByText('2 of 2').waitFor();
  } },

  'room-menu': { pressed: 'More', async play(scene) {
    await scene.page.getByText('Save transcript').waitFor();
  } },

  'invite': { pressed: 'Invite', async play(scene) {
    await scene.page.getByRole('dialog').waitFor();
  } },
};

async function stage(browser, options) {
  const server = await Server.open();
  const person = await Person.open(browser, server, options);
  const guests = [];
  const scene = { server, person, page: person.page };
  scene.guest = async (room, name) => {
    guests.push(await Guest.come(server, room, name));
    return guests[guests.length - 1];
  };
  scene.close = async () => {
    for (const guest of guests) guest.gone.abort();
    await person.close();
    await server.close();
  };
  return scene;
}

/* Scene NAME for a browser with OPTIONS, played; the caller closes it. Null if the page has no such scene. */
export async function openScene(name, browser, options) {
  const { pressed, play } = SCENES[name];
  const scene = await stage(browser, options);
  try {
    if (pressed) {
      await joinTalk(scene);
      const stands = () => scene.page.getByRole('button', { name: pressed, exact: true }).count();
      if (!await stands()) await press(scene, 'More');    // Search on a narrow phone
      if (!await stands()) {
        await scene.close();
        return null;
      }
      await press(scene, pressed);
    }
    await play(scene);
    return scene;
  } catch (error) {
    await scene.close();
    throw error;
  }
}
