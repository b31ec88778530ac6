#!/usr/bin/env python3
"""Receives Bulkhead's webhooks, and writes each once to standard output, a line of JSON.

  receiver.py SECRET_FILE [PORT]   the secret is that of BULKHEAD_WEBHOOK_SECRET (whsec_…)

Needs `pip install standardwebhooks`. Listens on 127.0.0.1, at port 9000 by default.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 1 << 20
IDS_MAX = 100_000

# The newest ids. A receiver in earnest keeps them where it keeps what comes of the webhooks, and
# writes both in one transaction: this one forgets when it ends.
seen = {}
lock = threading.Lock()


def handle(event):
    """What the webhook is for. Where it raises, there is no answer, and the webhook comes again."""
    print(json.dumps(event), flush=True)


class Receiver(BaseHTTPRequestHandler):
    timeout = 10
    webhook: Webhook

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            return self.answer(413)
        # The signature is that of the bytes as they came, not of JSON that was read and written.
        body = self.rfile.read(int(length))
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            # ValueError: a signature that is none, a body that is not UTF-8.
            return self.answer(400)
        self.once(self.headers["webhook-id"], event)
        self.answer(204)

    def once(self, webhook_id, event):
        """Bulkhead sends again what it does not know to have arrived, with the same id."""
        with lock:
            if webhook_id not in seen:
                handle(event)
                seen[webhook_id] = True
            if len(seen) > IDS_MAX:
                del seen[next(iter(seen))]

    def answer(self, status):
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
