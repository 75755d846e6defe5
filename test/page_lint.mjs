/* ESLint reads the script of index.html, cut out but on its own lines. What browsers of 2020 lack and no parser tells is
 * looked for by name. */

import { test } from 'node:test';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import { expectNothing } from './page.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/* What is too new: where each is known from. */
const YOUNG_STYLE = [
  ['nesting (2023)', /&/], [':has() (2022)', /:has\(/], [':is(), :where() (2021)', /:(?:is|where)\(/], ['container queries (2023)', /@container|container-type/],
  ['@layer, @scope, @property (2022)', /@(?:layer|scope|property|starting-style)/], ['aspect-ratio (2021)', /aspect-ratio\s*:/], ['accent-color (2021)', /accent-color/],
  ['color-mix() and wide colours (2023)', /color-mix\(|light-dark\(|\b(?:oklch|oklab|lab|lch)\(/], ['overflow: clip (2022)', /overflow(?:-[xy])?\s*:\s*clip/], ['text-wrap (2023)', /text-wrap/],
  ['field-sizing (2024)', /field-sizing/], ['subgrid (2023)', /subgrid/], ['transforms by themselves (2022)', /[;{]\s*(?:translate|rotate|scale)\s*:/], ['content-visibility (2020 in one browser)', /content-visibility/],
  ['ranges in media queries (2023)', /@media[^{]*[<>]/], ['scrollbar-gutter (2021)', /scrollbar-gutter/], ['logical inset (2021)', /inset-(?:inline|block)/],
];
const YOUNG_SCRIPT = [
  ['lookbehind (Safari 2023)', /\(\?<[=!]/], ['flags d and v (2021, 2023)', /\/[gimsuy]*[dv][gimsuy]*(?=[.,;)\s])/], ['at(), findLast() and copies (2021 to 2023)', /\.(?:at|findLast|findLastIndex|toSorted|toReversed|toSpliced|with)\(/],
  ['replaceAll() (2020)', /\.replaceAll\(/], ['hasOwn(), groupBy(), fromAsync() (2021 to 2024)', /\b(?:hasOwn|groupBy|fromAsync)\(/], ['structuredClone() (2021)', /structuredClone/],
  ['Promise.any(), WeakRef (2020)', /Promise\.any|WeakRef|AggregateError/], ['AbortSignal.timeout(), any() (2022)', /AbortSignal\./], ['randomUUID() (2021, and not on plain http)', /randomUUID/],
  ['dialogs, popovers, inert (2022 to 2024)', /showModal|popover|\.inert\b/], ['scrollend (2022)', /scrollend/], ['CSS highlights, view transitions (2022)', /CSS\.highlights|startViewTransition/], ['checkVisibility() (2022)', /checkVisibility/],
  ['Intl.Segmenter, ListFormat (2020, 2021)', /Intl\.(?:Segmenter|ListFormat|DurationFormat)/], ['URL.canParse() (2023)', /canParse|URL\.parse/], ['requestIdleCallback() (not in Safari)', /requestIdleCallback/],
];

function young(text, rows) {
  return rows.filter(([, pattern]) => pattern.test(text)).map(([name, pattern]) => `${name}: ${pattern.exec(text)[0]}`);
}

test('what browsers of 2020 lack is not used, or with what they know before it', async () => {
  const page = await readFile(HERE + '../index.html', 'utf8');
  const [, style] = page.match(/<style>([\s\S]*)<\/style>/);
  const [, script] = page.match(/<script>([\s\S]*)<\/script>/);
  const bare = style.replace(/\/\*[\s\S]*?\*\//g, '');
  const dynamic = bare.match(/([\w-]+)\s*:\s*[^;}]*\d[dsl]v[hw]\b/g) || [];
  const alone = dynamic.filter(line => !bare.includes(line.replace(/[dsl](?=v[hw]$)/, '') + '; ' + line));
  // In Safari until 2022 a selector with :focus-visible counts for nothing: then it may only take away.
  const focus = bare.match(/[^{}]*:focus-visible[^{}]*\{[^{}]*\}/g) || [];
  const rings = focus.filter(rule => !/:not\(:focus-visible\)\s*\{\s*outline:\s*0\s*\}/.test(rule));
  expectNothing([...young(bare, YOUNG_STYLE), ...young(script, YOUNG_SCRIPT), ...alone, ...rings]);
});

test('ESLint has nothing against the script, and its syntax is that of 2020', async () => {
  const page = await readFile(HERE + '../index.html', 'utf8');
  const [, before, script] = page.match(/^([\s\S]*?<script>)([\s\S]*)<\/script>/);
  const lines = '\n'.repeat(before.split('\n').length - 1) + script;
  const lint = new ESLint({ cwd: HERE, overrideConfigFile: HERE + 'eslint.config.mjs' });
  const [{ messages }] = await lint.lintText(lines);
  expectNothing(messages.map(({ line, column, message, ruleId }) => `${line}:${column}: ${message} (${ruleId})`));
});
