// Decrypts messages with the components in dist/, each message in instances of its own.
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import * as cryptoSoft from './dist/crypto-soft.js';
import * as decrypt from './dist/decrypt.js';

// The defaults of the server.
const limits = {
  plaintextBytes: 32n << 20n,
  compressionLayers: 4,
  compressionRatio: 4096,
  sessionKeyPackets: 16,
  armorHeaderBytes: 64 << 10,
};

// jco's code looks for this function in each new instance. If Node.js does not have it, catching the errors
// takes nine tenths of the time of a cheap message.
WebAssembly.promising ??= (exported) => exported;

const compiled = new Map();
function coreModule(file) {
  if (!compiled.has(file)) {
    const bytes = readFileSync(new URL(`dist/${file}`, import.meta.url));
    compiled.set(file, new WebAssembly.Module(bytes));
  }
  return compiled.get(file);
}

// Rust's standard library imports these functions of WASI. The components only use the environment, which is
// empty here. Panics use the others, and are traps in any case.
const inert = new Proxy({ getEnvironment: () => [] }, {
  get: (given, name) => given[name] ?? (() => {
    throw new WebAssembly.RuntimeError(`${name} is not available`);
  }),
});
const only = (imports) => new Proxy(imports, { get: (given, name) => given[name] ?? inert });

function open({ message, passphrase }) {
  try {
    const { kdf, bulk } = cryptoSoft.instantiate(coreModule, only({}));
    const crypto = { 'bulkhead:crypto/kdf': kdf, 'bulkhead:crypto/bulk': bulk };
    const { decryptor } = decrypt.instantiate(coreModule, only(crypto));
    const opened = decryptor.open(Buffer.from(message), Buffer.from(passphrase), limits);
    return { plaintext: Buffer.from(opened.plaintext) };
  } catch (error) {
    // A rejection has a payload. An error without one is a trap, which ends only these two instances.
    if (error.payload) return { rejection: error.payload };
    if (error instanceof WebAssembly.RuntimeError) return { trap: String(error) };
    throw error;
  }
}

// A u64 is a BigInt, which JSON cannot represent.
const plain = (_, value) => (typeof value === 'bigint' ? Number(value) : value);
const write = (result) => console.log(JSON.stringify(result, plain));

const input = await text(process.stdin);
if (process.argv.includes('--lines')) {
  for (const line of input.split('\n').filter(Boolean)) {
    const { plaintext, ...failure } = open(JSON.parse(line));
    write(plaintext ? { plaintext_base64: plaintext.toString('base64') } : failure);
  }
} else {
  const { plaintext, ...failure } = open(JSON.parse(input));
  const isText = plaintext && isUtf8(plaintext);
  if (isText) write({ DecryptedMessage: plaintext.toString() });
  else if (plaintext) console.error('the plaintext is not UTF-8; use --lines to get it in base64');
  else write(failure);
  process.exitCode = isText ? 0 : 1;
}
