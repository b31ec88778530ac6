// Writes the components to dist/: their core modules unchanged, and JavaScript for the component model
// around them.
import { transpile, writeFiles } from '@bytecodealliance/jco-transpile';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [decrypt, cryptoSoft] = process.argv.slice(2);
if (!cryptoSoft) {
  console.error('usage: npm run build -- DECRYPT.wasm CRYPTO_SOFT.wasm');
  process.exit(2);
}
for (const [name, path] of Object.entries({ decrypt, 'crypto-soft': cryptoSoft })) {
  const { files } = await transpile(path, {
    name,
    outDir: fileURLToPath(new URL('dist', import.meta.url)),
    // open.mjs creates the instances, from modules that it compiles once.
    instantiation: 'sync',
    noComponentErrorWrapping: false,
    emitTypescriptDeclarations: false,
  });
  await writeFiles(files);
  // A server that runs this decrypt.wasm shows the same hash in /health.
  console.log(`${name}: sha256 ${createHash('sha256').update(readFileSync(path)).digest('hex')}`);
}
