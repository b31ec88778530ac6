#!/usr/bin/env node
// Receives Bulkhead's webhooks, and writes each of them once to standard output, as a line of JSON.
//
//   receiver.mjs SECRET_FILE [PORT]   the file contains the secret of BULKHEAD_WEBHOOK_SECRET (whsec_…)
//
// It needs `npm install` in this folder, and listens on 127.0.0.1 at port 9000 by default.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';

const BODY_BYTES_MAX = 1 << 20;
const IDS_MAX = 100_000;

const [secretFile, port = '9000'] = process.argv.slice(2);
if (!secretFile) {
  console.error('receiver.mjs SECRET_FILE [PORT]');
  process.exit(2);
}
const webhook = new Webhook(readFileSync(secretFile, 'utf8').trim());

// The newest ids. This receiver forgets them when it ends. In production, store an id and the effect of its
// webhook in one transaction.
const seen = new Set();

/** Processes a webhook. If this throws, the response is 500, and the webhook is sent again. */
function handle(event) {
  console.log(JSON.stringify(event));
}

/** Processes each id once. Bulkhead sends a webhook again if it has no response, with the same id. */
function once(id, event) {
  if (!seen.has(id)) {
    handle(event);
    seen.add(id);
  }
  if (seen.size > IDS_MAX) seen.delete(seen.values().next().value);
}

async function receive(request) {
  if (request.method !== 'POST') return 405;
  if (!(Number(request.headers['content-length']) <= BODY_BYTES_MAX)) return 413;
  // The signature covers the received bytes, not JSON that was parsed and written again.
  const body = await buffer(request);
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch {
    return 400;
  }
  once(request.headers['webhook-id'], event);
  return 204;
}

const server = createServer({ requestTimeout: 10_000 }, async (request, response) => {
  try {
    response.writeHead(await receive(request)).end();
  } catch (error) {
    console.error(error);
    response.writeHead(500).end();
  }
});
server.listen(Number(port), '127.0.0.1', () => {
  console.error(`listening on http://127.0.0.1:${server.address().port}`);
});
