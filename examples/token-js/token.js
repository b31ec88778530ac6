import { hmac } from '@noble/hashes/hmac.js';
import { sha1 } from '@noble/hashes/legacy.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

const hashes = { sha1, sha256, sha384, sha512 };
const make = (algorithm, secret, body) => bytesToHex(hmac(hashes[algorithm], secret, body));

export const authenticator = {
  make,
  verify(algorithm, secrets, body, token) {
    const given = token.toLowerCase();
    let found = 0;
    for (const secret of secrets) {
      const expected = make(algorithm, secret, body);
      let different = expected.length ^ given.length;
      for (let at = 0; at < expected.length; at++) {
        different |= expected.charCodeAt(at) ^ (given.charCodeAt(at) | 0);
      }
      found |= different === 0;
    }
    return found === 1;
  },
};

export const about = {
  describe: () => ({ name: 'token-js', version: '1.0.0', summary: 'Tokens in JavaScript' }),
  selfTest() {
    const text = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));
    const token = make('sha256', text('Jefe'), text('what do ya want for nothing?'));
    if (token !== '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843') {
      throw 'a known answer is wrong';
    }
  },
};
