#!/usr/bin/env node
// A client of Bulkhead that needs only Node.js (20 or later). Import it, or run it:
const USAGE = `\
  bulkhead.mjs decrypt [--bytes] FILE            decrypts a message; reads the passphrase from standard input
  bulkhead.mjs token FILE                        makes a token of a file
  bulkhead.mjs verify [--secret-file FILE] FILE  verifies a token, which it reads from standard input; with the
                                                 secret, it does so without the server
  bulkhead.mjs sign FILE [CALLBACK_URL]          requests the signature of a text, and waits for it

BULKHEAD_URL is the address of the server (http://127.0.0.1:8080), and BULKHEAD_WAIT the number of seconds
to wait (600). BULKHEAD_ACCESS_KEY is the access key, if the server needs one.
The exit status is 1 if the server rejects the request, and 75 if the signature is pending.`;

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const REQUEST_MS = 60_000;
const UNAVAILABLE = [502, 503, 504];

/** A problem document of the server (RFC 9457). `code` is for programs, and `detail` says what to do. */
export class Problem extends Error {
  constructor(status, body) {
    let document;
    try {
      document = JSON.parse(body);
    } catch {
      // The response may be that of a proxy.
    }
    const { code = 'unknown', detail = 'the response is not a problem document' } = document ?? {};
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code, detail });
  }
}

/** The upstream rejects this message. */
export class Failed extends Error {}

/** The signature is not there yet. The request is stored: sign() of the same message continues it. */
export class Pending extends Error {}

export class Client {
  constructor({ url = 'http://127.0.0.1:8080', waitSeconds = 600, accessKey } = {}) {
    this.url = url;
    this.waitMs = waitSeconds * 1000;
    this.authorization = accessKey ? { authorization: `Bearer ${accessKey}` } : {};
  }

  /** Returns the plaintext of an armored message as text. */
  async decrypt(passphrase, message) {
    const response = await this.#decrypt(passphrase, message, 'application/json');
    return response.json().DecryptedMessage;
  }

  /** Returns the plaintext as bytes, for plaintext that is not text. */
  async decryptBytes(passphrase, message) {
    return (await this.#decrypt(passphrase, message, 'application/octet-stream')).body;
  }

  #decrypt(passphrase, message, accept) {
    return this.#request('/decryptMessage', json({ passphrase, message }, { accept }));
  }

  /** Returns the HMAC of bytes under the server's secret, in hexadecimal. */
  async token(body) {
    return (await this.#request('/token', { method: 'POST', body })).json().token;
  }

  /** Returns whether the token belongs to these bytes. */
  async verify(body, token) {
    if (!isHexadecimal(token)) return false;
    const headers = { 'bulkhead-token': token };
    return (await this.#request('/token/verify', { method: 'POST', body, headers })).json().valid;
  }

  /** Returns the signature of a text. If it is not there at once, the server also sends it to the
   *  callback, if there is one. */
  async sign(message, callbackUrl) {
    const end = Date.now() + this.waitMs;
    const request = json({ message, callback_url: callbackUrl });
    let response = await this.#request('/crypto/sign', request, [200, 202]);
    if (response.status === 202) response = await this.#await(response, end);
    const { signature, error } = response.json();
    if (signature === undefined) throw new Failed(`not signed: ${error}`);
    return signature;
  }

  /** Repeats the request for the status until the signature is there. Tolerates a server that is
   *  unavailable for a while, because the request is stored. */
  async #await(accepted, end) {
    const statusUrl = new URL(accepted.json().status_url, this.url);
    let seconds = accepted.retryAfter;
    while (await pause(seconds || 1, end)) {
      const response = await this.#send(statusUrl).catch(() => undefined);
      seconds = response?.retryAfter;
      if (!response || UNAVAILABLE.includes(response.status)) continue;
      if (response.status !== 200) throw new Problem(response.status, response.body);
      if (response.json().status !== 'pending') return response;
    }
    throw new Pending(`not signed yet: ${statusUrl}`);
  }

  /** Returns a response with an expected status. After a 503, waits for the time in Retry-After. */
  async #request(path, request, expected = [200]) {
    const end = Date.now() + this.waitMs;
    for (;;) {
      const response = await this.#send(new URL(path, this.url), request);
      if (expected.includes(response.status)) return response;
      if (response.status !== 503 || !(await pause(response.retryAfter, end))) {
        throw new Problem(response.status, response.body);
      }
    }
  }

  /** Redirects are not followed and proxies are not used, so that confidential data goes to this
   *  server only. */
  async #send(url, request = {}) {
    const signal = AbortSignal.timeout(REQUEST_MS);
    const headers = { ...request.headers, ...this.authorization };
    const response = await fetch(url, { ...request, headers, redirect: 'manual', signal });
    return new Reply(response, Buffer.from(await response.arrayBuffer()));
  }
}

class Reply {
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

/** Waits. Returns false if there is no time, or if the client may not wait that long. */
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

/** Returns whether the token belongs to these bytes, without the server (HMAC-SHA256). */
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

/** Returns bytes as text. Other bytes than UTF-8 are an error, because they would change in JSON. */
function text(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error('the input is not UTF-8, which JSON needs');
  }
}

/** Returns the text for standard output, and the exit status. */
async function run(client, values, [verb, file, callbackUrl]) {
  const bytes = readFileSync(file);
  if (verb === 'token') return [`${await client.token(bytes)}\n`, 0];
  if (verb === 'sign') return [`${await client.sign(text(bytes), callbackUrl)}\n`, 0];
  // A passphrase or token is not an argument, because all users of the machine can read command lines.
  const input = text(withoutLineEnd(await buffer(process.stdin)));
  if (verb === 'decrypt') {
    const message = text(bytes);
    return [await (values.bytes ? client.decryptBytes(input, message) : client.decrypt(input, message)), 0];
  }
  const secretFile = values['secret-file'];
  const valid = secretFile
    ? verifyHere(withoutLineEnd(readFileSync(secretFile)), bytes, input)
    : await client.verify(bytes, input);
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
  const max = positionals[0] === 'sign' ? 3 : 2;
  if (!verbs.includes(positionals[0]) || positionals.length < 2 || positionals.length > max) usage();
  const { BULKHEAD_URL: url, BULKHEAD_WAIT: waitSeconds, BULKHEAD_ACCESS_KEY: accessKey } = process.env;
  try {
    const [output, status] = await run(new Client({ url, waitSeconds, accessKey }), values, positionals);
    process.stdout.write(output);
    process.exitCode = status;
  } catch (error) {
    console.error([error.message, error.cause?.code].filter(Boolean).join(': '));
    process.exitCode = error instanceof Pending ? 75 : 1;
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
