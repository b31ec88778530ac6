#!/usr/bin/env python3
"""A client of Bulkhead that needs only Python (3.9 or later). Import it, or run it:

  bulkhead.py decrypt [--bytes] FILE            decrypts a message; reads the passphrase from standard input
  bulkhead.py token FILE                        makes a token of a file
  bulkhead.py verify [--secret-file FILE] FILE  verifies a token, which it reads from standard input; with the
                                                secret, it does so without the server
  bulkhead.py sign FILE [CALLBACK_URL]          requests the signature of a text, and waits for it

BULKHEAD_URL is the address of the server (http://127.0.0.1:8080), and BULKHEAD_WAIT the number of seconds
to wait (600). BULKHEAD_ACCESS_KEY is the access key, if the server needs one.
The exit status is 1 if the server rejects the request, and 75 if the signature is pending.
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
UNAVAILABLE = (502, 503, 504)
BROKEN = (OSError, HTTPException)


class Unchanged(urllib.request.HTTPErrorProcessor):
    """Returns every response, whatever its status is. Redirects are not followed."""

    def http_response(self, request, response):
        return response

    https_response = http_response


# Redirects are not followed and proxies are not used, so that confidential data goes to this server only.
OPENER = urllib.request.build_opener(Unchanged, urllib.request.ProxyHandler({}))


class Problem(Exception):
    """A problem document of the server (RFC 9457). `code` is for programs, and `detail` says what to do."""

    def __init__(self, status, body):
        try:
            document = dict(json.loads(body))
        except (TypeError, ValueError):
            document = {}  # the response may be that of a proxy
        self.status = status
        self.code = document.get("code", "unknown")
        self.detail = document.get("detail", "the response is not a problem document")
        super().__init__(f"{status} {self.code}: {self.detail}")


class Failed(Exception):
    """The upstream rejects this message."""


class Pending(Exception):
    """The signature is not there yet. The request is stored: sign() of the same message continues it."""


class Client:
    def __init__(self, url="http://127.0.0.1:8080", wait_seconds=600, access_key=None):
        self.url = url
        self.wait_seconds = wait_seconds
        self.authorization = {"Authorization": f"Bearer {access_key}"} if access_key else {}

    def decrypt(self, passphrase, message):
        """Returns the plaintext of an armored message as text."""
        return self._decrypt(passphrase, message, "application/json").json()["DecryptedMessage"]

    def decrypt_bytes(self, passphrase, message):
        """Returns the plaintext as bytes, for plaintext that is not text."""
        return self._decrypt(passphrase, message, "application/octet-stream").body

    def _decrypt(self, passphrase, message, accept):
        fields = {"passphrase": passphrase, "message": message}
        return self._request("/decryptMessage", to_json(fields), {**JSON, "Accept": accept})

    def token(self, body):
        """Returns the HMAC of bytes under the server's secret, in hexadecimal."""
        return self._request("/token", body).json()["token"]

    def verify(self, body, token):
        """Returns whether the token belongs to these bytes."""
        if not is_hexadecimal(token):
            return False
        return self._request("/token/verify", body, {**BYTES, "Bulkhead-Token": token}).json()["valid"]

    def sign(self, message, callback_url=None):
        """Returns the signature of a text. If it is not there at once, the server also sends it to the
        callback, if there is one."""
        end = self._end()
        fields = {"message": message, "callback_url": callback_url}
        response = self._request("/crypto/sign", to_json(fields), JSON, expected=(200, 202))
        if response.status == 202:
            response = self._await(response, end)
        request = response.json()
        if "signature" not in request:
            raise Failed(f"not signed: {request.get('error')}")
        return request["signature"]

    def _await(self, accepted, end):
        """Repeats the request for the status until the signature is there. Tolerates a server that is
        unavailable for a while, because the request is stored."""
        status_url = urljoin(self.url, accepted.json()["status_url"])
        seconds = accepted.retry_after
        while pause(seconds or 1, end):
            try:
                response = self._send(status_url)
            except BROKEN:
                seconds = None
                continue
            seconds = response.retry_after
            if response.status in UNAVAILABLE:
                continue
            if response.status != 200:
                raise Problem(response.status, response.body)
            if response.json()["status"] != "pending":
                return response
        raise Pending(f"not signed yet: {status_url}")

    def _request(self, path, body, headers=BYTES, expected=(200,)):
        """Returns a response with an expected status. After a 503, waits for the time in Retry-After."""
        end = self._end()
        while True:
            response = self._send(urljoin(self.url, path), body, headers)
            if response.status in expected:
                return response
            if response.status != 503 or not pause(response.retry_after, end):
                raise Problem(response.status, response.body)

    def _send(self, url, body=None, headers=BYTES):
        request = urllib.request.Request(url, body, {**headers, **self.authorization})
        with OPENER.open(request, timeout=REQUEST_SECONDS) as response:
            return Response(response)

    def _end(self):
        return time.monotonic() + self.wait_seconds


class Response:
    def __init__(self, response):
        self.status = response.status
        retry_after = response.headers.get("retry-after", "")
        self.retry_after = int(retry_after) if retry_after.isdecimal() else None
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def pause(seconds, end):
    """Waits. Returns False if there is no time, or if the client may not wait that long."""
    if not seconds or time.monotonic() + seconds > end:
        return False
    time.sleep(seconds)
    return True


def to_json(fields):
    return json.dumps(fields).encode()


def verify_here(secret, body, token):
    """Returns whether the token belongs to these bytes, without the server (HMAC-SHA256)."""
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return is_hexadecimal(token) and hmac.compare_digest(expected, token.lower())


def is_hexadecimal(token):
    return token != "" and set(token) <= set(string.hexdigits)


def without_line_end(data):
    return data[:-1] if data.endswith(b"\n") else data


def run(arguments, client):
    """Returns the text for standard output, and the exit status."""
    data = arguments.file.read_bytes()
    if arguments.verb == "token":
        return f"{client.token(data)}\n", 0
    if arguments.verb == "sign":
        return f"{client.sign(data.decode(), arguments.callback_url)}\n", 0
    # A passphrase or token is not an argument, because all users of the machine can read command lines.
    given = without_line_end(sys.stdin.buffer.read()).decode()
    if arguments.verb == "decrypt":
        decrypt = client.decrypt_bytes if arguments.bytes else client.decrypt
        return decrypt(given, data.decode()), 0
    if arguments.secret_file:
        valid = verify_here(without_line_end(arguments.secret_file.read_bytes()), data, given)
    else:
        valid = client.verify(data, given)
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
    wait_seconds = float(os.environ.get("BULKHEAD_WAIT", "600"))
    client = Client(url, wait_seconds, os.environ.get("BULKHEAD_ACCESS_KEY"))
    try:
        output, status = run(parser.parse_args(), client)
    except Pending as pending:
        print(pending, file=sys.stderr)
        return 75
    except UnicodeDecodeError:
        # The text of the error would show the input.
        print("the input is not UTF-8, which JSON needs", file=sys.stderr)
        return 1
    except (Problem, Failed, *BROKEN) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(output if isinstance(output, bytes) else output.encode())
    return status


if __name__ == "__main__":
    sys.exit(main())
