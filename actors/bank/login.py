"""Mutual authentication with the bank: TLS and credentials, from the settings. Nothing here is logged."""

import base64
import ssl
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from actors.bank.tunnel import Proxy
from runtime.bank_settings import BankSettings, is_token
from runtime.secret_files import UnusableFile, require_readable, secret_in
from runtime.settings import SettingsError

Found = TypeVar("Found")


def tls_of(settings: BankSettings) -> ssl.SSLContext | None:
    """Return the context for `https`, None for `http`. Raises SettingsError, naming the variable of an unusable file.

    A CA file replaces the system's authorities: no other authority can vouch for a bank that has its own.
    """
    if urlsplit(settings.url).scheme != "https":
        return None
    context = _context(settings.ca_file)
    if settings.cert_file:
        _checked(require_readable, "WBS_BANK_CERT_FILE", settings.cert_file)
        _checked(require_readable, "WBS_BANK_KEY_FILE", settings.key_file)
        try:
            # A key with a passphrase is refused; otherwise OpenSSL would prompt for it on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(
                f"WBS_BANK_CERT_FILE {settings.cert_file!r} with WBS_BANK_KEY_FILE {settings.key_file!r}: "
                f"not usable: {error}"
            ) from None
    return context


def proxy_of(settings: BankSettings) -> Proxy | None:
    """Return the proxy on the way to the bank, None if there is none.

    The system's authorities vouch for an https proxy, because the proxy is not the bank's.
    """
    if not settings.proxy:
        return None
    parts = urlsplit(settings.proxy)
    by_tls = parts.scheme == "https"
    assert parts.hostname, "checked by BankSettings.rules"
    return Proxy(
        host=parts.hostname,
        port=parts.port or (443 if by_tls else 80),
        tls=_context("") if by_tls else None,
        authorization=""
        if parts.username is None
        else f"Proxy-Authorization: {_basic(unquote(parts.username), unquote(parts.password or ''))}\r\n",
    )


def authorization_of(settings: BankSettings) -> str:
    """Return the header line with the credential, including its line end; an empty text without a credential.

    Raises SettingsError, naming the variable of an unusable file.
    """
    if settings.token:
        return f"Authorization: Bearer {settings.token}\r\n"
    if settings.token_file:
        token = _checked(secret_in, "WBS_BANK_TOKEN_FILE", settings.token_file)
        if not is_token(token):
            raise SettingsError(
                f"WBS_BANK_TOKEN_FILE {settings.token_file!r}: not made of visible ASCII characters"
            )
        return f"Authorization: Bearer {token}\r\n"
    if settings.user:
        password = settings.password or _checked(secret_in, "WBS_BANK_PASSWORD_FILE", settings.password_file)
        return f"Authorization: {_basic(settings.user, password)}\r\n"
    return ""


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _context(ca_file: str) -> ssl.SSLContext:
    if ca_file:
        _checked(require_readable, "WBS_BANK_CA_FILE", ca_file)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise SettingsError(f"WBS_BANK_CA_FILE {ca_file!r}: not usable: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _checked(look: Callable[[str, str], Found], variable: str, path: str) -> Found:
    """Return what is found in the file that a variable names. Raises SettingsError if the file is unusable."""
    try:
        return look(variable, path)
    except UnusableFile as error:
        raise SettingsError(str(error)) from None
