/* axe-core looks at every state of the page, in both themes, on a desktop and on a phone; the page's policy must have
 * had nothing to report meanwhile. */

import { after, before, describe, test } from 'node:test';
import axe from 'axe-core';
import { expectNothing, openBrowser } from './page.mjs';
import { DESKTOP, PHONE, SCENES, openScene } from './scenes.mjs';

let browser;

before(async () => {
  browser = await openBrowser();
});

after(() => browser.close());

/* The themes differ in nothing but colours. */
const EVERYTHING = { rules: { 'target-size': { enabled: true } } };
const COLOURS = { runOnly: ['color-contrast', 'link-in-text-block'] };

/* One sentence for each element that breaks a rule. */
async function findings(page, theme, options) {
  await page.emulateMedia({ colorScheme: theme });
  const { violations } = await page.evaluate(how => window.axe.run({ resultTypes: ['violations'], ...how }), options);
  return violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) =>
    `${theme}: ${help} (${id}): ${target.join(' ')}: ${failureSummary.split('\n').slice(1).join(';').trim()}`));
}

/* So high that nothing has scrolled away: axe-core judges no colour that it can't see. */
function high({ viewport, ...options }) {
  return { ...options, viewport: { ...viewport, height: 1600 }, reducedMotion: 'reduce' };
}

for (const [how, options] of [['on a desktop', high(DESKTOP)], ['on a phone', high(PHONE)]]) {
  describe(how, { concurrency: 2 }, () => {
    for (const name of Object.keys(SCENES)) {
      test(`axe-core and the page's policy have nothing against ${name} ${how}`, { timeout: 60000 }, async t => {
        const scene = await openScene(name, browser, options);
        if (!scene) return t.skip(`the page has no button ${SCENES[name].pressed}`);
        t.after(() => scene.close());
        await scene.page.evaluate(axe.source);
        expectNothing([
          ...await findings(scene.page, 'light', EVERYTHING), ...await findings(scene.page, 'dark', COLOURS),
          ...scene.person.complaints, ...await scene.page.evaluate(() => window.violations),
        ]);
      });
    }
  });
}
