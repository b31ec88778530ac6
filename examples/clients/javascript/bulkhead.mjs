#!/usr/bin/env node
// A client of Bulkhead with nothing but Node.js (20 or later). Import it, or run it:
const USAGE = `\
  bulkhead.mjs decrypt [--octets] FILE           opens a message; the passphrase comes on standard input
  bulkhead.mjs token FILE                        makes a token of a file
  bulkhead.mjs verify [--secret-file FILE] FILE  checks a token that comes on standard input; with the
                                                 secret, without asking the server
  bulkhead.mjs sign FILE [CALLBACK_URL]          has a text signed, waits for the signature

BULKHEAD_URL is the server, http://127.0.0.1:8080 by default; BULKHEAD_WAIT for how many seconds to
wait, 600 by default. The exit status is 1 for a refusal, and 75 for a signature that is not there yet.`;

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const REQUEST_MS = 60_000;

/** What the server refuses (RFC 9457). `code` is for programs, `detail` says what to do. */
export class Problem extends Error {
  constructor(status, body) {
    let document;
    try {
      document = JSON.parse(body);
    } catch {
      // Not from Bulkhead: a proxy, perhaps.
    }
    const { code = 'unknown', detail = 'the answer is no problem document' } = document ?? {};
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code, detail });
  }
}

/** The upstream will not sign this message. */
export class Failed extends Error {}

/** No signature yet. The request is not lost: sign() of the same message goes on with it. */
export class Pending extends Error {}

export class Client {
  constructor({ url = 'http://127.0.0.1:8080', waitSeconds = 600 } = {}) {
    this.url = url;
    this.waitMs = waitSeconds * 1000;
  }

  /** The plaintext of an armored message, as text. */
  async decrypt(passphrase, message) {
    const answer = await this.#decrypt(passphrase, message, 'application/json');
    return answer.json().DecryptedMessage;
  }

  /** The same as octets, for what is not text. */
  async decryptOctets(passphrase, message) {
    return (await this.#decrypt(passphrase, message, 'application/octet-stream')).body;
  }

  #decrypt(passphrase, message, accept) {
    return this.#ask('/decryptMessage', json({ passphrase, message }, { accept }));
  }

  /** The HMAC of octets under the server's secret, in hexadecimal. */
  async token(body) {
    return (await this.#ask('/token', { method: 'POST', body })).json().token;
  }

  /** Whether a token is that of these octets. */
  async verify(body, token) {
    if (!isHexadecimal(token)) return false;
    const headers = { 'bulkhead-token': token };
    return (await this.#ask('/token/verify', { method: 'POST', body, headers })).json().valid;
  }

  /** The signature of a text. The callback, if there is one, is told too, unless the signature is
   *  there at once. */
  async sign(message, callbackUrl) {
    const end = Date.now() + this.waitMs;
    let answer = await this.#ask('/crypto/sign', json({ message, callback_url: callbackUrl }));
    const { status_url: statusUrl } = answer.json();
    while (answer.json().status === 'pending') {
      if (!(await answer.pause(end))) {
        throw new Pending(`not signed yet: ${new URL(statusUrl, this.url)}`);
      }
      answer = await this.#ask(statusUrl);
    }
    const { signature, error } = answer.json();
    if (signature === undefined) throw new Failed(`not signed: ${error}`);
    return signature;
  }

  /** One answer; a server that has no room is asked again when it says. */
  async #ask(path, request = {}) {
    const end = Date.now() + this.waitMs;
    for (;;) {
      // What is confidential goes to this server, and to no other that it may name.
      const response = await fetch(new URL(path, this.url), {
        ...request,
        redirect: 'error',
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      const answer = new Answer(response, Buffer.from(await response.arrayBuffer()));
      if (response.ok) return answer;
      if (response.status !== 503 || !(await answer.pause(end))) {
        throw new Problem(response.status, answer.body);
      }
    }
  }
}

class Answer {
  constructor(response, body) {
    this.retryAfter = response.headers.get('retry-after') ?? '';
    this.body = body;
  }

  json() {
    return JSON.parse(this.body);
  }

  /** Waits as long as the server says. False where it does not, or where that is too long. */
  async pause(end) {
    const waitMs = Number(this.retryAfter) * 1000;
    if (!/^\d+$/.test(this.retryAfter) || Date.now() + waitMs > end) return false;
    await sleep(waitMs);
    return true;
  }
}

function json(fields, headers = {}) {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(fields),
  };
}

/** Whether a token is that of these octets, for who has the secret (HMAC-SHA256). */
export function verifyHere(secret, body, token) {
  const expected = createHmac('sha256', secret).update(body).digest();
  const given = Buffer.from(isHexadecimal(token) ? token : '', 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function isHexadecimal(token) {
  return /^[0-9a-f]+$/i.test(token);
}

function withoutLineEnd(octets) {
  return octets.at(-1) === 0x0a ? octets.subarray(0, -1) : octets;
}

/** JSON is UTF-8. What is not would be changed in silence. */
function text(octets) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    throw new Error('what is sent as JSON has to be UTF-8');
  }
}

/** What standard output gets, and the exit status. */
async function run(client, values, [verb, file, callbackUrl]) {
  const octets = readFileSync(file);
  if (verb === 'token') return [`${await client.token(octets)}\n`, 0];
  if (verb === 'sign') return [`${await client.sign(text(octets), callbackUrl)}\n`, 0];
  // Confidential, and therefore no argument: command lines can be read by everybody on the machine.
  const said = text(withoutLineEnd(await buffer(process.stdin)));
  if (verb === 'decrypt') {
    const message = text(octets);
    return [await (values.octets ? client.decryptOctets(said, message) : client.decrypt(said, message)), 0];
  }
  const secretFile = values['secret-file'];
  const valid = secretFile
    ? verifyHere(withoutLineEnd(readFileSync(secretFile)), octets, said)
    : await client.verify(octets, said);
  return valid ? ['valid\n', 0] : ['not valid\n', 1];
}

function usage() {
  console.error(USAGE);
  process.exit(2);
}

async function main() {
  const options = { octets: { type: 'boolean' }, 'secret-file': { type: 'string' } };
  let given;
  try {
    given = parseArgs({ options, allowPositionals: true });
  } catch {
    usage();
  }
  const { values, positionals } = given;
  const verbs = ['decrypt', 'token', 'verify', 'sign'];
  const most = positionals[0] === 'sign' ? 3 : 2;
  if (!verbs.includes(positionals[0]) || positionals.length < 2 || positionals.length > most) usage();
  const { BULKHEAD_URL: url, BULKHEAD_WAIT: waitSeconds } = process.env;
  try {
    const [output, status] = await run(new Client({ url, waitSeconds }), values, positionals);
    process.stdout.write(output);
    process.exitCode = status;
  } catch (error) {
    console.error([error.message, error.cause?.code].filter(Boolean).join(': '));
    process.exitCode = error instanceof Pending ? 75 : 1;
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
