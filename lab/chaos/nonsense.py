"""Meaningless answers that a bank, or a proxy in front of it, may give: each must be taken for unknown.

None of them is a lie that only the bank itself could tell (for example that it declined *this* order): the only
protection against that is the bank's books.
"""


def _reply(status: str, body: bytes, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in ("content-type: application/json", *headers))
    return f"HTTP/1.1 {status}\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


_STRANGER = (
    b'{"payout_id":"po_1","reference":"00000000000000000000000000000000",'
    b'"amount":1,"currency":"USD","status":"paid"}'
)

REPLIES = (
    _reply("200 OK", b"<html>maintenance</html>"),
    _reply("201 Created", b""),
    _reply("201 Created", _STRANGER),
    _reply("200 OK", b'{"status":"PAID"}'),
    _reply("422 Unprocessable", b'{"code":"idempotency_key_in_use","status":422}'),
    _reply("422 Unprocessable", b'{"code":"account_closed"}'),
    _reply("409 Conflict", b"{}"),
    _reply("500 Oops", b"\x00\xff\xfe"),
    _reply("302 Found", b"", "location: /elsewhere"),
    _reply("200 OK", _STRANGER) + _reply("200 OK", _STRANGER),
    b"HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"HTTP/1.1 2",
)
