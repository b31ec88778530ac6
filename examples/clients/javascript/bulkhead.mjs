#!/usr/bin/env node
// A client of Bulkhead with nothing but Node.js (20 or later). Import it, or run it:
const USAGE = `\
  bulkhead.mjs decrypt [--bytes] FILE            opens a message; the passphrase comes on standard input
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
const AWAY = [502, 503, 504];

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

  /** The same as bytes, for what is not text. */
  async decryptBytes(passphrase, message) {
    return (await this.#decrypt(passphrase, message, 'application/octet-stream')).body;
  }

  #decrypt(passphrase, message, accept) {
    return this.#ask('/decryptMessage', json({ passphrase, message }, { accept }));
  }

  /** The HMAC of bytes under the server's secret, in hexadecimal. */
  async token(body) {
    return (await this.#ask('/token', { method: 'POST', body })).json().token;
  }

  /** Whether a token is that of these bytes. */
  async verify(body, token) {
    if (!isHexadecimal(token)) return false;
    const headers = { 'bulkhead-token': token };
    return (await this.#ask('/token/verify', { method: 'POST', body, headers })).json().valid;
  }

  /** The signature of a text. The callback, if there is one, is told too, unless the signature is
   *  there at once. */
  async sign(message, callbackUrl) {
    const end = Date.now() + this.waitMs;
    const request = json({ message, callback_url: callbackUrl });
    let answer = await this.#ask('/crypto/sign', request, [200, 202]);
    if (answer.status === 202) answer = await this.#await(answer, end);
    const { signature, error } = answer.json();
    if (signature === undefined) throw new Failed(`not signed: ${error}`);
    return signature;
  }

  /** Asks until an accepted request is done. It is stored: a server that is away for a while is
   *  waited for. */
  async #await(accepted, end) {
    const statusUrl = new URL(accepted.json().status_url, this.url);
    let seconds = accepted.retryAfter;
    while (await pause(seconds || 1, end)) {
      const answer = await this.#send(statusUrl).catch(() => undefined);
      seconds = answer?.retryAfter;
      if (!answer || AWAY.includes(answer.status)) continue;
      if (answer.status !== 200) throw new Problem(answer.status, answer.body);
      if (answer.json().status !== 'pending') return answer;
    }
    throw new Pending(`not signed yet: ${statusUrl}`);
  }

  /** An answer with such a status. A server without room is asked again when it says. */
  async #ask(path, request, expected = [200]) {
    const end = Date.now() + this.waitMs;
    for (;;) {
      const answer = await this.#send(new URL(path, this.url), request);
      if (expected.includes(answer.status)) return answer;
      if (answer.status !== 503 || !(await pause(answer.retryAfter, end))) {
        throw new Problem(answer.status, answer.body);
      }
    }
  }

  /** What is confidential goes to this server alone: no redirect is followed, no proxy asked. */
  async #send(url, request = {}) {
    const signal = AbortSignal.timeout(REQUEST_MS);
    const response = await fetch(url, { ...request, redirect: 'manual', signal });
    return new Answer(response, Buffer.from(await response.arrayBuffer()));
  }
}

class Answer {
  constructor(response, body) {
    const retryAfter = response.headers.get('retry-after') ?? '';
    this.status = response.status;
    this.retryAfter = /^\d+$/.test(retryAfter) ? Number(retryAfter) : undefined;
    this.body = body;
  }

  json() {
    return JSON.parse(this.body);
  }
}

/** Waits so long. False where that is not said, or too long. */
async function pause(seconds, end) {
  if (!seconds || Date.now() + seconds * 1000 > end) return false;
  await sleep(seconds * 1000);
  return true;
}

function json(fields, headers = {}) {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(fields),
  };
}

/** Whether a token is that of these bytes, for who has the secret (HMAC-SHA256). */
export function verifyHere(secret, body, token) {
  const expected = createHmac('sha256', secret).update(body).digest();
  const given = Buffer.from(isHexadecimal(token) ? token : '', 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function isHexadecimal(token) {
  return /^[0-9a-f]+$/i.test(token);
}

function withoutLineEnd(bytes) {
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}

/** JSON is UTF-8. What is not would be changed in silence. */
function text(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error('what is sent as JSON has to be UTF-8');
  }
}

/** What standard output gets, and the exit status. */
async function run(client, values, [verb, file, callbackUrl]) {
  const bytes = readFileSync(file);
  if (verb === 'token') return [`${await client.token(bytes)}\n`, 0];
  if (verb === 'sign') return [`${await client.sign(text(bytes), callbackUrl)}\n`, 0];
  // Confidential, and therefore no argument: command lines can be read by everybody on the machine.
  const said = text(withoutLineEnd(await buffer(process.stdin)));
  if (verb === 'decrypt') {
    const message = text(bytes);
    return [await (values.bytes ? client.decryptBytes(said, message) : client.decrypt(said, message)), 0];
  }
  const secretFile = values['secret-file'];
  const valid = secretFile
    ? verifyHere(withoutLineEnd(readFileSync(secretFile)), bytes, said)
    : await client.verify(bytes, said);
  return valid ? ['valid\n', 0] : ['not valid\n', 1];
}

function usage() {
  console.error(USAGE);
  process.exit(2);
}

async function main() {
  const options = { bytes: { type: 'boolean' }, 'secret-file': { type: 'string' } };
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
