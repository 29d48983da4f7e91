"""What the bank simulator reads from its environment. Nothing of the wallet's own settings is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from standardwebhooks import Webhook

from .faults import NO_FAULTS, Faults


class BadSettings(Exception):
    """A setting that the bank cannot start with; the message is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one bank runs; every field is one environment variable.

    host, port     WBS_BANK_HOST (127.0.0.1), WBS_BANK_PORT (8090)
    allowed_hosts  WBS_ALLOWED_HOSTS: names it may be called by, besides loopback and its address; comma separated
    data           WBS_BANK_DATA: the file of its books (bank.db in the current folder)
    faults         WBS_BANK_FAULTS: JSON as in PUT /faults, used only while the books remember none
    callback_url   WBS_CALLBACK_URL: who is told what became of payouts; if empty, callbacks wait in the books
    webhooks       WBS_BANK_WEBHOOK_SECRET (`whsec_…`; while it is replaced, the new and the old one, comma between),
                   or a file with it, WBS_BANK_WEBHOOK_SECRET_FILE; as signers; needed with a callback URL
    webhooks_file  that file, which is read again once it is another one
    """

    host: str
    port: int
    allowed_hosts: frozenset[str]
    data: Path
    faults: Faults
    callback_url: str
    webhooks: tuple[Webhook, ...] = field(repr=False)
    webhooks_file: Path | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read and check the environment. Raises BadSettings."""
        callback_url = env.get("WBS_CALLBACK_URL", "")
        webhooks_file = env.get("WBS_BANK_WEBHOOK_SECRET_FILE", "")
        if webhooks_file:
            webhooks = webhooks_in(Path(webhooks_file))
        else:
            webhooks = _webhooks(env.get("WBS_BANK_WEBHOOK_SECRET", ""))
        if callback_url and not callback_url.startswith(("http://", "https://")):
            raise BadSettings("WBS_CALLBACK_URL must be an http:// or https:// address")
        if callback_url and not webhooks:
            raise BadSettings("WBS_CALLBACK_URL is set, so WBS_BANK_WEBHOOK_SECRET (whsec_…) must be set too")
        return cls(
            host=env.get("WBS_BANK_HOST") or "127.0.0.1",
            port=_port(env.get("WBS_BANK_PORT") or "8090"),
            allowed_hosts=_names(env.get("WBS_ALLOWED_HOSTS", "")),
            data=Path(env.get("WBS_BANK_DATA") or "bank.db"),
            faults=_faults(env.get("WBS_BANK_FAULTS", "")),
            callback_url=callback_url,
            webhooks=webhooks,
            webhooks_file=Path(webhooks_file) if webhooks_file else None,
        )


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise BadSettings(f"WBS_BANK_PORT must be a port (1 to 65535), not {text!r}")
    return int(text)


def _faults(text: str) -> Faults:
    if not text.strip():
        return NO_FAULTS
    try:
        return msgspec.json.decode(text, type=Faults)
    except msgspec.DecodeError as error:
        raise BadSettings(f"WBS_BANK_FAULTS is not what PUT /faults takes: {error}") from error


def webhooks_in(path: Path) -> tuple[Webhook, ...]:
    """Return signers by the secrets in a file. Raises BadSettings."""
    try:
        return _webhooks(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise BadSettings(f"WBS_BANK_WEBHOOK_SECRET_FILE can't be read: {error}") from error


def _webhooks(secrets: str) -> tuple[Webhook, ...]:
    return tuple(map(_webhook, re.findall(r"[^\s,]+", secrets)))


def _webhook(secret: str) -> Webhook:
    bad = BadSettings("WBS_BANK_WEBHOOK_SECRET must be `whsec_` and a key in base64")
    if not secret.startswith("whsec_"):
        raise bad
    try:
        return Webhook(secret)
    except Exception as error:  # the library raises whatever base64 raises
        raise bad from error
