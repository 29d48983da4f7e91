"""Who the bank is and who we are: TLS and credentials, against a real server with certificates made here."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from actors.bank import open_bank
from actors.bank.protocol import PayoutOrder
from runtime.settings import Settings, SettingsError
from tests.integration.actors import fault_server as ending
from tests.integration.actors.authority import Authority
from tests.integration.actors.fault_server import FaultServer
from tests.integration.actors.processes import Process
from wallet.outcomes import BankUnavailable, FindOutcome, OutcomeUnknown, Paid

PAID = {"payout_id": "po_1", "reference": "w-1", "status": "paid", "amount": 1, "currency": "USD"}
ORDER = PayoutOrder("w-1", 1, "USD")
PATIENT = {"WBS_BANK_CONNECT_TIMEOUT_MS": "8000", "WBS_BANK_TIMEOUT_MS": "9000", "WBS_LEASE_MS": "40000"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The one that vouches for the bank, and for us."""
    return Authority(tmp_path / "authority")


@pytest_asyncio.fixture
async def tls_bank(authority: Authority) -> AsyncIterator[FaultServer]:
    """A bank behind https that wants to see a certificate of ours."""
    async with serving(authority.server(*authority.issue("bank"), wants_ours=True)) as server:
        yield server


def settings(server: FaultServer, **environment: object) -> Settings:
    """Settings that lead to this bank."""
    return Settings.from_env({"WBS_BANK_URL": server.url, **PATIENT, **_text(environment)})


def _text(environment: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in environment.items()}


@asynccontextmanager
async def serving(tls: ssl.SSLContext) -> AsyncIterator[FaultServer]:
    """A bank behind https."""
    server = FaultServer()
    await server.start(tls)
    yield server
    await server.stop()


async def pays(settings: Settings) -> FindOutcome:
    """What comes of a payment: the same on the event loop of the actors and on that of the commands."""

    async def pay() -> FindOutcome:
        bank = open_bank(settings.for_bank)
        try:
            return await bank.pay(ORDER)
        finally:
            await bank.close()

    def on_uvloop() -> FindOutcome:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(pay())

    outcome, again = await pay(), await asyncio.to_thread(on_uvloop)
    assert type(outcome) is type(again)
    if isinstance(outcome, BankUnavailable):
        assert outcome == again
    return outcome


async def test_a_bank_with_its_own_authority_and_our_certificate(
    tls_bank: FaultServer, authority: Authority, tmp_path: Path
) -> None:
    """Goal: paid only over TLS that both sides have proved; kept alive, with the credential in each call."""
    certificate, key = authority.issue("wallet")
    known = {"WBS_BANK_CA_FILE": authority.file, "WBS_BANK_CERT_FILE": certificate, "WBS_BANK_KEY_FILE": key}
    bank = open_bank(settings(tls_bank, **known, WBS_BANK_TOKEN="s3cret").for_bank)
    tls_bank.script.extend([ending.answer(201, PAID)] * 3)
    for _ in range(3):
        assert await bank.pay(ORDER) == Paid("po_1")
    await bank.close()
    assert tls_bank.connections == 1
    assert {request.headers["authorization"] for request in tls_bank.requests} == {"Bearer s3cret"}


NOT_THE_BANK: dict[str, tuple[dict[str, Any], str]] = {
    "of another authority": ({}, "self-signed certificate in certificate chain"),
    "expired": ({"days": -1}, "certificate has expired"),
    "of another host": ({"address": "DNS:bank.example"}, "IP address mismatch"),
    "of another address": ({"address": "IP:127.0.0.2"}, "IP address mismatch"),
}


@pytest.mark.parametrize("kind", NOT_THE_BANK)
async def test_nothing_is_sent_to_a_bank_that_is_not_known(
    kind: str, authority: Authority, tmp_path: Path
) -> None:
    """Goal: a server that does not prove to be the bank receives nothing of a payment, and the reason is reported."""
    changed, reason = NOT_THE_BANK[kind]
    certificate, key = authority.issue("wallet")
    environment = {"WBS_BANK_CA_FILE": authority.file, "WBS_BANK_TOKEN": "s3cret"}
    environment |= {"WBS_BANK_CERT_FILE": certificate, "WBS_BANK_KEY_FILE": key}
    if kind == "of another authority":
        environment["WBS_BANK_CA_FILE"] = Authority(tmp_path / "stranger").file
    async with serving(authority.server(*authority.issue("server", **changed))) as server:
        outcome = await pays(settings(server, **environment))
        assert isinstance(outcome, BankUnavailable)
        assert reason in outcome.reason
        assert not server.requests


async def test_a_bank_that_the_systems_authorities_do_not_know(tls_bank: FaultServer) -> None:
    """Goal: without a CA file the system's authorities vouch, and a bank of its own authority hears nothing."""
    assert isinstance(await pays(settings(tls_bank)), BankUnavailable)
    assert not tls_bank.requests


@pytest.mark.parametrize("shown", ["nothing", "expired", "of another authority"])
async def test_a_bank_that_does_not_know_us_takes_nothing(
    shown: str, authority: Authority, tmp_path: Path
) -> None:
    """Goal: if the bank does not accept our certificate, nothing is paid or declined, and the reason is reported."""
    environment: dict[str, object] = {"WBS_BANK_CA_FILE": authority.file}
    if shown != "nothing":
        issuer = authority if shown == "expired" else Authority(tmp_path / "stranger")
        certificate, key = issuer.issue("wallet", days=-1 if shown == "expired" else 2)
        environment |= {"WBS_BANK_CERT_FILE": certificate, "WBS_BANK_KEY_FILE": key}
    with alerting(authority.server(*authority.issue("bank"), wants_ours=True)) as (url, heard):
        outcome = await pays(Settings.from_env({"WBS_BANK_URL": url, **PATIENT, **_text(environment)}))
        assert isinstance(outcome, BankUnavailable | OutcomeUnknown)
        assert "certificate" in outcome.reason or "unknown ca" in outcome.reason
        assert not heard


def _serve_one(tls: ssl.SSLContext, plain: socket.socket, heard: list[bytes]) -> None:
    with tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as connection:
        try:
            connection.do_handshake()
        except ssl.SSLError:  # it has told why; what the client sends meanwhile must not cut that off
            socket.socket.shutdown(connection, socket.SHUT_WR)
            while socket.socket.recv(connection, 4096):
                pass
        else:
            heard.append(connection.recv(1024))


@contextmanager
def alerting(tls: ssl.SSLContext) -> Iterator[tuple[str, list[bytes]]]:
    """A server that tells why it refuses a client, as all but asyncio's do; and what it has heard."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(ConnectionError):
                _serve_one(tls, plain, heard)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


async def test_a_name_and_a_password(fault_server: FaultServer) -> None:
    """Goal: a basic credential goes with payments, look-ups and the reading of the books."""
    fault_server.script.extend(
        [ending.answer(201, PAID), ending.answer(404), ending.answer(200, {"payouts": []})]
    )
    bank = open_bank(settings(fault_server, WBS_BANK_USER="wällets", WBS_BANK_PASSWORD="s3:cret").for_bank)
    await bank.pay(ORDER)
    await bank.find(ORDER)
    await bank.read_books(None)
    await bank.close()
    assert {request.headers["authorization"] for request in fault_server.requests} == {
        "Basic d8OkbGxldHM6czM6Y3JldA=="
    }


@pytest.mark.parametrize(
    ("variable", "content", "header"),
    [
        ("WBS_BANK_TOKEN_FILE", b"s3cret\n", "Bearer s3cret"),
        ("WBS_BANK_TOKEN_FILE", b"s3cret", "Bearer s3cret"),
        ("WBS_BANK_PASSWORD_FILE", "s3:cr\u00e9t \r\n".encode(), "Basic dXM6czM6Y3LDqXQg"),
    ],
)
async def test_a_credential_in_a_file(
    fault_server: FaultServer, tmp_path: Path, variable: str, content: bytes, header: str
) -> None:
    """Goal: a credential may stand in a file, as Docker, Kubernetes and systemd hand them out, with a line's end."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    user = {"WBS_BANK_USER": "us"} if "PASSWORD" in variable else {}
    fault_server.script.append(ending.answer(404))
    bank = open_bank(settings(fault_server, **{variable: file}, **user).for_bank)
    await bank.find(ORDER)
    await bank.close()
    assert fault_server.requests[0].headers["authorization"] == header


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"s3cret\nmore", b"s3cret\xff", b"s3 cret", b"s" * 9_000]
)
def test_a_file_without_a_credential(tmp_path: Path, content: bytes | None) -> None:
    """Goal: a file that is missing, empty or of the wrong kind is named at the start, without its content."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"WBS_BANK_TOKEN_FILE '{file}': ") as refused:
        open_bank(
            Settings.from_env({"WBS_BANK_URL": "https://bank", "WBS_BANK_TOKEN_FILE": str(file)}).for_bank
        )
    assert "s3" not in str(refused.value).removeprefix(f"WBS_BANK_TOKEN_FILE '{file}': ")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WBS_BANK_CA_FILE": "/nowhere.pem"}, "WBS_BANK_CA_FILE '/nowhere.pem': No such file"),
        ({"WBS_BANK_CA_FILE": __file__}, "WBS_BANK_CA_FILE"),
        ({"WBS_BANK_CERT_FILE": "/nowhere.pem"}, "WBS_BANK_KEY_FILE"),
        (
            {"WBS_BANK_CERT_FILE": "/nowhere.pem", "WBS_BANK_KEY_FILE": "/nowhere.key"},
            "WBS_BANK_CERT_FILE '/nowhere",
        ),
        (
            {"WBS_BANK_CERT_FILE": __file__, "WBS_BANK_KEY_FILE": "/nowhere.key"},
            "WBS_BANK_KEY_FILE '/nowhere.key'",
        ),
        ({"WBS_BANK_CERT_FILE": __file__, "WBS_BANK_KEY_FILE": __file__}, "WBS_BANK_CERT_FILE .*not usable"),
        ({"WBS_BANK_URL": "http://bank", "WBS_BANK_TOKEN": "s3cret"}, "WBS_BANK_URL must be https"),
        (
            {"WBS_BANK_URL": "http://localhost.example", "WBS_BANK_TOKEN": "s3cret"},
            "WBS_BANK_URL must be https",
        ),
        (
            {"WBS_BANK_URL": "http://bank", "WBS_BANK_USER": "u", "WBS_BANK_PASSWORD": "s3cret"},
            "WBS_BANK_URL must",
        ),
        ({"WBS_BANK_PROXY": "socks5://proxy"}, "WBS_BANK_PROXY must be"),
        ({"WBS_BANK_PROXY": "proxy:3128"}, "WBS_BANK_PROXY must be"),
        ({"WBS_BANK_PROXY": "http://proxy/path"}, "WBS_BANK_PROXY must be"),
        ({"WBS_BANK_PROXY": "http://proxy", "WBS_BANK_URL": "http://bank"}, "WBS_BANK_PROXY is of use only"),
        ({"WBS_BANK_PROXY": "http://me:s3cret@proxy"}, "WBS_BANK_PROXY must be https"),
        ({"WBS_BANK_CA_FILE": "ca.pem", "WBS_BANK_URL": "http://bank"}, "WBS_BANK_CA_FILE"),
        ({"WBS_BANK_TOKEN": "a b"}, "WBS_BANK_TOKEN"),
        ({"WBS_BANK_TOKEN": "x\r\nHost: y"}, "WBS_BANK_TOKEN"),
        ({"WBS_BANK_TOKEN": "x", "WBS_BANK_USER": "y", "WBS_BANK_PASSWORD": "z"}, "WBS_BANK_TOKEN"),
        ({"WBS_BANK_USER": "y"}, "WBS_BANK_PASSWORD"),
        ({"WBS_BANK_PASSWORD_FILE": "/nowhere"}, "WBS_BANK_USER"),
        ({"WBS_BANK_USER": "y", "WBS_BANK_PASSWORD_FILE": "/nowhere"}, "WBS_BANK_PASSWORD_FILE '/nowhere'"),
        (
            {"WBS_BANK_USER": "y", "WBS_BANK_PASSWORD": "z", "WBS_BANK_PASSWORD_FILE": "/nowhere"},
            "WBS_BANK_PASSWORD",
        ),
        ({"WBS_BANK_TOKEN": "x", "WBS_BANK_TOKEN_FILE": "/nowhere"}, "WBS_BANK_TOKEN_FILE"),
        ({"WBS_BANK_URL": "http://bank", "WBS_BANK_TOKEN_FILE": "/nowhere"}, "WBS_BANK_URL must be https"),
        ({"WBS_BANK_USER": "y:z", "WBS_BANK_PASSWORD": "z"}, "WBS_BANK_USER"),
        ({"WBS_BANK_URL": "https://me:s3cret@bank"}, "WBS_BANK_URL"),
        ({"WBS_BANK_URL": "ftp://bank"}, "WBS_BANK_URL"),
        ({"WBS_BANK_URL": "https://bank:port"}, "WBS_BANK_URL"),
        ({"WBS_BANK_URL": "https://bänk.example"}, "WBS_BANK_URL"),
        ({"WBS_BANK": "actors.bank.none"}, "WBS_BANK"),
        ({"WBS_BANK": "actors.bank.protocol"}, "WBS_BANK"),
    ],
)
def test_what_can_not_work_is_named_at_the_start(environment: dict[str, str], named: str) -> None:
    """Goal: a setting with which the bank can't be called is refused by name, and no secret is shown."""
    with pytest.raises(SettingsError, match=named) as refused:
        open_bank(Settings.from_env({"WBS_BANK_URL": "https://bank", **environment}).for_bank)
    assert "s3cret" not in str(refused.value)


def test_a_locked_key_is_refused(authority: Authority) -> None:
    """Goal: a key with a passphrase is refused, without a prompt on the terminal."""
    certificate, key = authority.issue("wallet", passphrase="open sesame")
    environment = {"WBS_BANK_CERT_FILE": str(certificate), "WBS_BANK_KEY_FILE": str(key)}
    with pytest.raises(SettingsError, match="WBS_BANK_KEY_FILE"):
        open_bank(Settings.from_env({"WBS_BANK_URL": "https://bank", **environment}).for_bank)


async def test_a_process_says_what_is_wrong(tmp_path: Path) -> None:
    """Goal: actors and reconciler end with one sentence and exit code 2, before they take anything up."""
    for module in ("actors", "actors.reconciler"):
        process = Process(
            module, tmp_path, {"WBS_BANK_URL": "https://bank", "WBS_BANK_CA_FILE": "/nowhere.pem"}
        )
        process.start()
        assert await asyncio.to_thread(process.wait) == 2
        assert "WBS_BANK_CA_FILE" in process.log.read_text()
        assert "Traceback" not in process.log.read_text()
