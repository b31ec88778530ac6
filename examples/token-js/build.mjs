// Builds token.wasm from token.js and the published contracts in wit/.
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// The tools expect the dependencies of a package in its folder `deps`.
const wit = await mkdtemp(join(tmpdir(), 'wit-'));
try {
  await cp(here('../../wit/token'), wit, { recursive: true });
  await cp(here('../../wit/component'), join(wit, 'deps/component'), { recursive: true });
  const bundle = await build({
    entryPoints: [here('token.js')],
    bundle: true,
    format: 'esm',
    write: false,
  });
  const { component } = await componentize(bundle.outputFiles[0].text, {
    witPath: wit,
    worldName: 'token',
    // A server rejects a component that imports any of these.
    disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
  });
  await writeFile(here('token.wasm'), component);
  console.log(`token.wasm: ${component.length} bytes`);
} finally {
  await rm(wit, { recursive: true });
}
