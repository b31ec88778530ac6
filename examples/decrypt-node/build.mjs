// Makes dist/ of the components: core modules as they are, and the component model around them as JavaScript.
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
    // Instances are made when open.mjs asks for one, of modules that it has compiled once.
    instantiation: 'sync',
    noComponentErrorWrapping: false,
    emitTypescriptDeclarations: false,
  });
  await writeFiles(files);
  // A server that runs this decrypt.wasm shows the same in /health.
  console.log(`${name}: sha256 ${createHash('sha256').update(readFileSync(path)).digest('hex')}`);
}
