#!/usr/bin/env python3
"""Receives Bulkhead's webhooks, and writes each of them once to standard output, as a line of JSON.

  receiver.py SECRET_FILE [PORT]   the file contains the secret of BULKHEAD_WEBHOOK_SECRET (whsec_…)

It needs `pip install standardwebhooks`, and listens on 127.0.0.1 at port 9000 by default.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1 << 20
IDS_MAX = 100_000

# The newest ids. This receiver forgets them when it ends. In production, store an id and the effect of its
# webhook in one transaction.
seen = {}
lock = threading.Lock()


def handle(event):
    """Processes a webhook. If this raises, there is no response, and the webhook is sent again."""
    print(json.dumps(event), flush=True)


class Receiver(BaseHTTPRequestHandler):
    timeout = 10
    webhook: Webhook

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            return self.respond(413)
        # The signature covers the received bytes, not JSON that was parsed and written again.
        body = self.rfile.read(int(length))
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            # ValueError: the signature is malformed, or the body is not UTF-8.
            return self.respond(400)
        self.once(self.headers["webhook-id"], event)
        self.respond(204)

    def once(self, webhook_id, event):
        """Processes each id once. Bulkhead sends a webhook again if it has no response, with the same id."""
        with lock:
            if webhook_id not in seen:
                handle(event)
                seen[webhook_id] = True
            if len(seen) > IDS_MAX:
                del seen[next(iter(seen))]

    def respond(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    Receiver.webhook = Webhook(Path(sys.argv[1]).read_text().strip())
    port = int(sys.argv[2]) if len(sys.argv) == 3 else 9000
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
