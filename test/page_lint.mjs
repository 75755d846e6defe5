/* ESLint reads the script of index.html, cut out but on its own lines. */

import { test } from 'node:test';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import { expectNothing } from './page.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));

test('ESLint has nothing against the script, and its syntax is that of 2020', async () => {
  const page = await readFile(HERE + '../index.html', 'utf8');
  const [, before, script] = page.match(/^([\s\S]*?<script>)([\s\S]*)<\/script>/);
  const lines = '\n'.repeat(before.split('\n').length - 1) + script;
  const lint = new ESLint({ cwd: HERE, overrideConfigFile: HERE + 'eslint.config.mjs' });
  const [{ messages }] = await lint.lintText(lines);
  expectNothing(messages.map(({ line, column, message, ruleId }) => `${line}:${column}: ${message} (${ruleId})`));
});
