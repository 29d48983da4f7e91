"""What we take, `llhttp` takes too, with the same boundaries: the parser of Node.js and of many a proxy.

The binding that Sanic brings is always there; the real Node.js is asked where there is one.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import httptools
import pytest
from hypothesis import given, settings
from sanic.http.http1 import Http

from gateway.wire.checked_http import CheckedHttp
from gateway.wire.protocol import PlainHttp
from tests.conftest import unavailable
from tests.unit.gateway.wire.received import HEADER_BYTES_MAX, Message, read_all, requests

NODE = shutil.which("node") or shutil.which("nodejs")

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})

SEEDED = "FUZZ_EXAMPLES" not in os.environ
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3000"))
"""Always the same ones, unless FUZZ_EXAMPLES asks for many others."""

Reader = Callable[[bytes], list[Message]]


class Parser:
    """Collects the requests that `llhttp` finds, complete ones only."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        """Called by httptools."""
        self._target, self._body = b"", b""
        self._fields: list[tuple[bytes, bytes]] = []

    def on_url(self, part: bytes) -> None:
        """Called by httptools."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by httptools. What comes after this are trailers, which we drop."""
        self._fields_of_head = list(self._fields)

    def on_body(self, part: bytes) -> None:
        """Called by httptools."""
        self._body += part

    def on_message_complete(self) -> None:
        """Called by httptools."""
        method = self._parser.get_method().decode()
        fields = [(name.decode(), _text(value)) for name, value in self._fields_of_head]
        self.messages.append(_message(method, self._target.decode(), fields, self._body))

    def read(self, data: bytes) -> list[Message]:
        """Return the requests in `data`, until one is refused or incomplete."""
        with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(data)
        return self.messages


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _message(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Message:
    return Message(
        method, target, tuple((name.lower(), value.strip().lower()) for name, value in fields), body
    )


def read_by_httptools(data: bytes) -> list[Message]:
    """Return the requests that `llhttp` finds."""
    return Parser().read(data)


@pytest.fixture(scope="module")
def read_by_node() -> Iterator[Reader]:
    """Return the requests that the server of Node.js finds."""
    if NODE is None:
        unavailable("no Node.js here")
    script = Path(__file__).with_name("llhttp.js")
    with subprocess.Popen([NODE, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        stdin, stdout = node.stdin, node.stdout

        def read(data: bytes) -> list[Message]:
            stdin.write(base64.b64encode(data) + b"\n")
            stdin.flush()
            found = json.loads(stdout.readline())
            return [
                _message(
                    method,
                    target,
                    [
                        (name, _text(value.encode("latin-1")))
                        for name, value in zip(raw[::2], raw[1::2], strict=True)
                    ],
                    body.encode("latin-1"),
                )
                for method, target, raw, body in found
            ]

        yield read
        stdin.close()


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Http, "HEADER_MAX_SIZE", HEADER_BYTES_MAX)


def check(data: bytes, theirs: list[Message]) -> None:
    """Assert that all that we take from `data` is what they take, on both ways."""
    for kind in (PlainHttp, CheckedHttp):
        # Any other method is answered with 405; `llhttp` does not take it for one.
        ours = list(takewhile(lambda message: message.method in METHODS, read_all(kind, data)))
        assert ours == theirs[: len(ours)]


@settings(max_examples=EXAMPLES, derandomize=SEEDED)
@given(requests())
def test_what_we_take_llhttp_takes(data: bytes) -> None:
    """Goal: no request, and no end of one, is read otherwise than by a proxy that uses `llhttp`."""
    check(data, read_by_httptools(data))


def test_what_we_take_node_takes(read_by_node: Reader) -> None:
    """Goal: the same, by the server of Node.js itself."""

    @settings(max_examples=EXAMPLES // 3, derandomize=SEEDED)
    @given(requests())
    def compare(data: bytes) -> None:
        check(data, read_by_node(data))

    compare()


LEGAL = [
    b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a="b;c";d\r\nhello\r\n00\r\nX: 1\r\n\r\n',
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length:  005 \r\n\r\nhello",
]


@pytest.mark.parametrize("data", LEGAL)
@pytest.mark.parametrize("kind", [PlainHttp, CheckedHttp])
def test_what_is_legal_is_taken(kind: type[Http], data: bytes) -> None:
    """Goal: strictness refuses nothing that a client may send."""
    twice = read_all(kind, data * 2)
    assert len(twice) == 2
    assert twice == read_by_httptools(data * 2)


ILLEGAL = [
    b"GET /x HTTP/1.1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a:65536\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: [a]\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a, a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX\x00: 1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX: \x0b1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /x HTTP/1.1\nHost: a\n\n",
    b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]
LENGTHS = [
    b"5\t",
    b"\t5",
    b"\xd9\xa5",
    b"\xb2",
    b"+5",
    b"-5",
    b"5,5",
    b"5, 5",
    b"5 5",
    b"0x5",
    b"5_",
    b"",
    b"5\x0b",
    b"9" * 30,
]
CODINGS = [
    b"",
    b"x",
    b"identity",
    b"gzip, chunked",
    b"chunked, chunked",
    b"chunked;a=b",
    b"\x0bchunked",
    b'"chunked"',
]
SIZE_LINES = [
    b"+5",
    b"-5",
    b"0x5",
    b"5_",
    b" 5",
    b"5 ",
    b"g",
    b"",
    b"\xd9\xa5",
    b"5;\n",
    b"5;a\n5",
    b"5;a\x00",
    b"5\x0b",
]
ILLEGAL += [b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\nhello" % value for value in LENGTHS]
ILLEGAL += [
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %b\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % value
    for value in CODINGS
]
ILLEGAL += [
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\nhello\r\n0\r\n\r\n" % line
    for line in SIZE_LINES
]
ILLEGAL += [
    b"POST /x HTTP/1.1\r\nHost: a\r\n%b\r\n%b\r\n\r\nhello" % lines
    for lines in [
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    ]
]


@pytest.mark.parametrize("data", ILLEGAL)
@pytest.mark.parametrize("more", [b"", b"X: \xc3\xa9\r\n", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("kind", [PlainHttp, CheckedHttp])
def test_what_can_be_read_otherwise_is_refused(kind: type[Http], data: bytes, more: bytes) -> None:
    """Goal: whatever a proxy may take for something else is no request to us, whichever way it takes."""
    first, rest = data.split(b"\n", 1)
    assert read_all(kind, first + b"\n" + more + rest) == []
