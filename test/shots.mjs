/* Pictures of the page in every scene, to lay beside those of the design: phone and desktop, light and dark.
 * Run by hand: node test/shots.mjs FOLDER [SCENE]... */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openBrowser } from './page.mjs';
import { DESKTOP, NARROW, PHONE, SCENES, openScene } from './scenes.mjs';

const [folder = 'shots', ...wanted] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await openBrowser();

/* Both themes of SCENE, as NAME-HOW-THEME.png. */
async function shoot({ page }, name, how) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(folder, `${name}-${how}-${colorScheme}.png`), animations: 'disabled' });
  }
}

for (const name of wanted.length ? wanted : Object.keys(SCENES)) {
  for (const [how, place] of [['desktop', DESKTOP], ['phone', PHONE], ['narrow', NARROW]]) {
    const scene = await openScene(name, browser, place);
    if (!scene) {
      console.log(`${name}: the page has no button ${SCENES[name].pressed}`);
      break;
    }
    await shoot(scene, name, how);
    await scene.close();
  }
}
await browser.close();
