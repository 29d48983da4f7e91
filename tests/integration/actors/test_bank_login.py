"""Who the bank is and who we are: TLS and credentials, against a real server with certificates made here."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from actors.bank import open_bank
from actors.bank.protocol import PayoutOrder
from runtime.settings import Settings, SettingsError
from tests.integration.actors import fault_server as ending
from tests.integration.actors.fault_server import FaultServer
from tests.integration.actors.processes import Process
from wallet.outcomes import BankUnavailable, Paid

PAID = {"payout_id": "po_1", "reference": "w-1", "status": "paid", "amount": 1, "currency": "USD"}
ORDER = PayoutOrder("w-1", 1, "USD")
PATIENT = {"WBS_BANK_CONNECT_TIMEOUT_MS": "8000", "WBS_BANK_TIMEOUT_MS": "9000"}


class Authority:
    """A certificate authority in a folder, by the openssl command."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._openssl(
            "req", "-x509", "-keyout", folder / "ca.key", "-out", self.file, "-subj", "/CN=a bank's own"
        )

    def issue(self, name: str, *, passphrase: str = "") -> tuple[Path, Path]:
        """Make a certificate for 127.0.0.1 and its key."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        signed_by = ("-CA", self.file, "-CAkey", self._folder / "ca.key")
        names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        self._openssl("req", "-x509", *signed_by, "-keyout", key, "-out", certificate, *names)
        if passphrase:
            locked = self._folder / f"{name}.locked.key"
            subprocess.run(
                ["openssl", "ec", "-in", key, "-aes128", "-passout", f"pass:{passphrase}", "-out", locked],
                check=True,
                capture_output=True,
            )
            key = locked
        return certificate, key

    def _openssl(self, *arguments: object) -> None:
        usual = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-batch")
        subprocess.run(["openssl", *map(str, (*arguments, *usual))], check=True, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The one that vouches for the bank, and for us."""
    return Authority(tmp_path / "authority")


@pytest_asyncio.fixture
async def tls_bank(authority: Authority) -> AsyncIterator[FaultServer]:
    """A bank behind https that wants to see a certificate of ours."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*authority.issue("bank"))
    context.verify_mode = ssl.CERT_REQUIRED
    server = FaultServer()
    await server.start(context)
    yield server
    await server.stop()


def settings(server: FaultServer, **environment: object) -> Settings:
    """Settings that lead to this bank."""
    given = {name: str(value) for name, value in environment.items()}
    return Settings.from_env({"WBS_BANK_URL": server.url, "WBS_LEASE_MS": "40000", **PATIENT, **given})


async def pays(settings: Settings) -> object:
    """What comes of a payment."""
    bank = open_bank(settings)
    try:
        return await bank.pay(ORDER)
    finally:
        await bank.close()


async def test_a_bank_with_its_own_authority_and_our_certificate(
    tls_bank: FaultServer, authority: Authority, tmp_path: Path
) -> None:
    """Goal: paid only over TLS that both sides have proved; kept alive, with the credential in each call."""
    certificate, key = authority.issue("wallet")
    known = {"WBS_BANK_CA_FILE": authority.file, "WBS_BANK_CERT_FILE": certificate, "WBS_BANK_KEY_FILE": key}
    bank = open_bank(settings(tls_bank, **known, WBS_BANK_TOKEN="s3cret"))
    tls_bank.script.extend([ending.answer(201, PAID)] * 3)
    for _ in range(3):
        assert await bank.pay(ORDER) == Paid("po_1")
    await bank.close()
    assert tls_bank.connections == 1
    assert {request.headers["authorization"] for request in tls_bank.requests} == {"Bearer s3cret"}


async def test_nothing_is_sent_to_a_bank_that_is_not_known(
    tls_bank: FaultServer, authority: Authority, tmp_path: Path
) -> None:
    """Goal: a bank that the CA file does not vouch for hears no word of a payment, nor a credential."""
    stranger = Authority(tmp_path / "stranger")
    certificate, key = authority.issue("wallet")
    shown = {"WBS_BANK_CERT_FILE": certificate, "WBS_BANK_KEY_FILE": key}
    for known in ({}, {"WBS_BANK_CA_FILE": stranger.file}):
        assert isinstance(await pays(settings(tls_bank, **known, **shown)), BankUnavailable)
    assert not tls_bank.requests


async def test_a_bank_that_does_not_know_us_takes_nothing(
    tls_bank: FaultServer, authority: Authority
) -> None:
    """Goal: without our certificate nothing reaches the bank, so nothing is paid."""
    outcome = await pays(settings(tls_bank, WBS_BANK_CA_FILE=authority.file))
    assert not isinstance(outcome, Paid)
    assert not tls_bank.requests


async def test_a_name_and_a_password(fault_server: FaultServer) -> None:
    """Goal: a basic credential goes with payments, look-ups and the reading of the books."""
    fault_server.script.extend(
        [ending.answer(201, PAID), ending.answer(404), ending.answer(200, {"payouts": []})]
    )
    bank = open_bank(settings(fault_server, WBS_BANK_USER="wällets", WBS_BANK_PASSWORD="s3:cret"))
    await bank.pay(ORDER)
    await bank.find(ORDER)
    await bank.read_books(None)
    await bank.close()
    assert {request.headers["authorization"] for request in fault_server.requests} == {
        "Basic d8OkbGxldHM6czM6Y3JldA=="
    }


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WBS_BANK_CA_FILE": "/nowhere.pem"}, "WBS_BANK_CA_FILE"),
        ({"WBS_BANK_CA_FILE": __file__}, "WBS_BANK_CA_FILE"),
        ({"WBS_BANK_CERT_FILE": "/nowhere.pem"}, "WBS_BANK_KEY_FILE"),
        ({"WBS_BANK_CERT_FILE": "/nowhere.pem", "WBS_BANK_KEY_FILE": "/nowhere.key"}, "WBS_BANK_CERT_FILE"),
        ({"WBS_BANK_CA_FILE": "ca.pem", "WBS_BANK_URL": "http://bank"}, "WBS_BANK_CA_FILE"),
        ({"WBS_BANK_TOKEN": "a b"}, "WBS_BANK_TOKEN"),
        ({"WBS_BANK_TOKEN": "x\r\nHost: y"}, "WBS_BANK_TOKEN"),
        ({"WBS_BANK_TOKEN": "x", "WBS_BANK_USER": "y", "WBS_BANK_PASSWORD": "z"}, "WBS_BANK_TOKEN"),
        ({"WBS_BANK_USER": "y"}, "WBS_BANK_PASSWORD"),
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
    """Goal: a bank that can't be called with these settings is refused by its name, and no secret is told."""
    with pytest.raises(SettingsError, match=named) as refused:
        open_bank(Settings.from_env({"WBS_BANK_URL": "https://bank", **environment}))
    assert "s3cret" not in str(refused.value)


def test_a_locked_key_is_refused(authority: Authority) -> None:
    """Goal: a key that wants a passphrase is refused, and nobody is asked for it on a terminal."""
    certificate, key = authority.issue("wallet", passphrase="open sesame")
    environment = {"WBS_BANK_CERT_FILE": str(certificate), "WBS_BANK_KEY_FILE": str(key)}
    with pytest.raises(SettingsError, match="WBS_BANK_KEY_FILE"):
        open_bank(Settings.from_env({"WBS_BANK_URL": "https://bank", **environment}))


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
