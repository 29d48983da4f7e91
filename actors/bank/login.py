"""How we show the bank who we are, and how it shows us: TLS and credentials, from the settings. Nothing is logged."""

import base64
import ssl
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from runtime.settings import Settings, SettingsError

_T = TypeVar("_T")


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return what `https` needs, None for `http`. Raises SettingsError, naming the variable whose file is unusable.

    A CA file replaces the system's authorities: a bank with its own is not to be had by anybody else's.
    """
    if urlsplit(settings.bank_url).scheme != "https":
        return None
    context = _using(
        "WBS_BANK_CA_FILE", lambda: ssl.create_default_context(cafile=settings.bank_ca_file or None)
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.bank_cert_file:
        _using(
            "WBS_BANK_CERT_FILE or WBS_BANK_KEY_FILE",
            # A key that wants a passphrase is refused, instead of asking for it on the terminal.
            lambda: context.load_cert_chain(
                settings.bank_cert_file, settings.bank_key_file, password=lambda: ""
            ),
        )
    return context


def authorization_of(settings: Settings) -> str:
    """Return the header line with the credential, its end of line included; nothing if there is none."""
    if settings.bank_token:
        return f"Authorization: Bearer {settings.bank_token}\r\n"
    if settings.bank_user:
        pair = base64.b64encode(f"{settings.bank_user}:{settings.bank_password}".encode()).decode()
        return f"Authorization: Basic {pair}\r\n"
    return ""


def _using(variable: str, load: Callable[[], _T]) -> _T:
    try:
        return load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(f"{variable}: not usable: {type(error).__name__}: {error}") from None
