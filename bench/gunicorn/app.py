"""A common way to write this service: Flask and python-gnupg, with one gpg process per request."""

import os
import tempfile

import gnupg
from flask import Flask, jsonify, request

app = Flask(__name__)
gpg = gnupg.GPG(
    gnupghome=tempfile.mkdtemp(prefix="bulkhead-bench-"),
    # As in the rest of the benchmark: without a passphrase cache and without this machine's settings.
    options=["--no-options", "--no-symkey-cache", "--pinentry-mode", "loopback"],
)


@app.post("/decryptMessage")
def decrypt_message():
    body = request.get_json()
    opened = gpg.decrypt(body["message"], passphrase=body["passphrase"])
    if not opened.ok:
        return jsonify(error=opened.status), 422
    return jsonify(DecryptedMessage=str(opened))
