#!/usr/bin/env python3
"""A client of Bulkhead in Python's standard library alone (3.9 or later). Import it, or run it:

  bulkhead.py decrypt [--bytes] FILE            opens a message; the passphrase comes on standard input
  bulkhead.py token FILE                        makes a token of a file
  bulkhead.py verify [--secret-file FILE] FILE  checks a token that comes on standard input; with the
                                                secret, without asking the server
  bulkhead.py sign FILE [CALLBACK_URL]          has a text signed, waits for the signature

BULKHEAD_URL is the server, http://127.0.0.1:8080 by default; BULKHEAD_WAIT for how many seconds to
wait, 600 by default. The exit status is 1 for a refusal, and 75 for a signature that is not there yet.
"""

import argparse
import hashlib
import hmac
import json
import os
import string
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urljoin

REQUEST_SECONDS = 60
JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}
AWAY = (502, 503, 504)
BROKEN = (OSError, HTTPException)


class AsItIs(urllib.request.HTTPErrorProcessor):
    """Takes every answer, whatever its status; that of a redirect, too."""

    def http_response(self, request, response):
        return response

    https_response = http_response


# What is confidential goes to this server alone: no redirect is followed, no proxy asked.
OPENER = urllib.request.build_opener(AsItIs, urllib.request.ProxyHandler({}))


class Problem(Exception):
    """What the server refuses (RFC 9457). `code` is for programs, `detail` says what to do."""

    def __init__(self, status, body):
        try:
            document = dict(json.loads(body))
        except (TypeError, ValueError):
            document = {}  # not from Bulkhead: a proxy, perhaps
        self.status = status
        self.code = document.get("code", "unknown")
        self.detail = document.get("detail", "the answer is no problem document")
        super().__init__(f"{status} {self.code}: {self.detail}")


class Failed(Exception):
    """The upstream will not sign this message."""


class Pending(Exception):
    """No signature yet. The request is not lost: sign() of the same message goes on with it."""


class Client:
    def __init__(self, url="http://127.0.0.1:8080", wait_seconds=600):
        self.url = url
        self.wait_seconds = wait_seconds

    def decrypt(self, passphrase, message):
        """The plaintext of an armored message, as text."""
        return self._decrypt(passphrase, message, "application/json").json()["DecryptedMessage"]

    def decrypt_bytes(self, passphrase, message):
        """The same as bytes, for what is not text."""
        return self._decrypt(passphrase, message, "application/octet-stream").body

    def _decrypt(self, passphrase, message, accept):
        fields = {"passphrase": passphrase, "message": message}
        return self._ask("/decryptMessage", to_json(fields), {**JSON, "Accept": accept})

    def token(self, body):
        """The HMAC of bytes under the server's secret, in hexadecimal."""
        return self._ask("/token", body).json()["token"]

    def verify(self, body, token):
        """Whether a token is that of these bytes."""
        if not is_hexadecimal(token):
            return False
        return self._ask("/token/verify", body, {**BYTES, "Bulkhead-Token": token}).json()["valid"]

    def sign(self, message, callback_url=None):
        """The signature of a text. The callback, if there is one, is told too, unless the signature
        is there at once."""
        end = self._end()
        fields = {"message": message, "callback_url": callback_url}
        answer = self._ask("/crypto/sign", to_json(fields), JSON, expected=(200, 202))
        if answer.status == 202:
            answer = self._await(answer, end)
        request = answer.json()
        if "signature" not in request:
            raise Failed(f"not signed: {request.get('error')}")
        return request["signature"]

    def _await(self, accepted, end):
        """Asks until an accepted request is done. It is stored: a server that is away for a while
        is waited for."""
        status_url = urljoin(self.url, accepted.json()["status_url"])
        seconds = accepted.retry_after
        while pause(seconds or 1, end):
            try:
                answer = self._send(status_url)
            except BROKEN:
                seconds = None
                continue
            seconds = answer.retry_after
            if answer.status in AWAY:
                continue
            if answer.status != 200:
                raise Problem(answer.status, answer.body)
            if answer.json()["status"] != "pending":
                return answer
        raise Pending(f"not signed yet: {status_url}")

    def _ask(self, path, body, headers=BYTES, expected=(200,)):
        """An answer with such a status. A server without room is asked again when it says."""
        end = self._end()
        while True:
            answer = self._send(urljoin(self.url, path), body, headers)
            if answer.status in expected:
                return answer
            if answer.status != 503 or not pause(answer.retry_after, end):
                raise Problem(answer.status, answer.body)

    def _send(self, url, body=None, headers=BYTES):
        request = urllib.request.Request(url, body, headers)
        with OPENER.open(request, timeout=REQUEST_SECONDS) as response:
            return Answer(response)

    def _end(self):
        return time.monotonic() + self.wait_seconds


class Answer:
    def __init__(self, response):
        self.status = response.status
        retry_after = response.headers.get("retry-after", "")
        self.retry_after = int(retry_after) if retry_after.isdecimal() else None
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def pause(seconds, end):
    """Waits so long. False where that is not said, or too long."""
    if not seconds or time.monotonic() + seconds > end:
        return False
    time.sleep(seconds)
    return True


def to_json(fields):
    return json.dumps(fields).encode()


def verify_here(secret, body, token):
    """Whether a token is that of these bytes, for who has the secret (HMAC-SHA256)."""
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return is_hexadecimal(token) and hmac.compare_digest(expected, token.lower())


def is_hexadecimal(token):
    return token != "" and set(token) <= set(string.hexdigits)


def without_line_end(data):
    return data[:-1] if data.endswith(b"\n") else data


def run(arguments, client):
    """What standard output gets, and the exit status."""
    data = arguments.file.read_bytes()
    if arguments.verb == "token":
        return f"{client.token(data)}\n", 0
    if arguments.verb == "sign":
        return f"{client.sign(data.decode(), arguments.callback_url)}\n", 0
    # Confidential, and therefore no argument: command lines can be read by everybody on the machine.
    said = without_line_end(sys.stdin.buffer.read()).decode()
    if arguments.verb == "decrypt":
        decrypt = client.decrypt_bytes if arguments.bytes else client.decrypt
        return decrypt(said, data.decode()), 0
    if arguments.secret_file:
        valid = verify_here(without_line_end(arguments.secret_file.read_bytes()), data, said)
    else:
        valid = client.verify(data, said)
    return ("valid\n", 0) if valid else ("not valid\n", 1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    decrypt, token, verify, sign = map(verbs.add_parser, ["decrypt", "token", "verify", "sign"])
    decrypt.add_argument("--bytes", action="store_true")
    verify.add_argument("--secret-file", type=Path)
    for verb in (decrypt, token, verify, sign):
        verb.add_argument("file", type=Path)
    sign.add_argument("callback_url", nargs="?")
    url = os.environ.get("BULKHEAD_URL", "http://127.0.0.1:8080")
    client = Client(url, float(os.environ.get("BULKHEAD_WAIT", "600")))
    try:
        output, status = run(parser.parse_args(), client)
    except Pending as pending:
        print(pending, file=sys.stderr)
        return 75
    except UnicodeDecodeError:
        # Its own text would show what was sent.
        print("what is sent as JSON has to be UTF-8", file=sys.stderr)
        return 1
    except (Problem, Failed, *BROKEN) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(output if isinstance(output, bytes) else output.encode())
    return status


if __name__ == "__main__":
    sys.exit(main())
