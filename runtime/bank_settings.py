"""The slice of the settings that a bank module gets: the bank's address, timeouts, and our credentials."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runtime.addresses import is_loopback


@dataclass(frozen=True, slots=True)
class BankSettings:
    """The way to the bank. Each field is the setting `WBS_BANK_…` of the same name; `repr` never shows a secret."""

    module: str
    """`WBS_BANK`: the Python module that speaks to the bank."""
    url: str
    timeout_ms: int
    connect_timeout_ms: int
    calls_max: int
    """Maximum number of concurrent calls."""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    proxy: str = field(default="", repr=False)
    """Address of a proxy; it may carry a name and a password."""

    def rules(self) -> list[tuple[bool, str]]:
        """Return the rules for these settings: whether each holds, and its sentence. No sentence contains a secret."""
        return [
            (
                self.connect_timeout_ms <= self.timeout_ms,
                "WBS_BANK_CONNECT_TIMEOUT_MS must not exceed WBS_BANK_TIMEOUT_MS",
            ),
            (is_http_address(self.url), "WBS_BANK_URL must be an http:// or https:// address with a host"),
            (
                not _credential_of(self.url),
                "WBS_BANK_URL: an address is shown in logs, so a credential does not belong there; "
                "use WBS_BANK_TOKEN, or WBS_BANK_USER and WBS_BANK_PASSWORD",
            ),
            *self._tls_rules(),
            *self._credential_rules(),
            *self._proxy_rules(),
        ]

    def _tls_rules(self) -> list[tuple[bool, str]]:
        return [
            (
                bool(self.cert_file) == bool(self.key_file),
                "WBS_BANK_CERT_FILE and WBS_BANK_KEY_FILE go together",
            ),
            (
                _is_https(self.url) or not (self.ca_file or self.cert_file),
                "WBS_BANK_CA_FILE and WBS_BANK_CERT_FILE are of no use while WBS_BANK_URL is not https",
            ),
        ]

    def _credential_rules(self) -> list[tuple[bool, str]]:
        return [
            (
                bool(self.user) == bool(self.password or self.password_file) and ":" not in self.user,
                "WBS_BANK_USER and WBS_BANK_PASSWORD go together, and the name has no colon",
            ),
            (
                bool(self.token) + bool(self.token_file) + bool(self.user) <= 1,
                "WBS_BANK_TOKEN, WBS_BANK_TOKEN_FILE and WBS_BANK_USER exclude each other",
            ),
            (
                not (self.password and self.password_file),
                "WBS_BANK_PASSWORD and WBS_BANK_PASSWORD_FILE exclude each other",
            ),
            (is_token(self.token) or not self.token, "WBS_BANK_TOKEN must be visible ASCII characters"),
            (
                not (self.token or self.token_file or self.user) or _is_private_way(self.url),
                "WBS_BANK_URL must be https: WBS_BANK_TOKEN or WBS_BANK_USER would go through the network "
                "where everybody can read it",
            ),
        ]

    def _proxy_rules(self) -> list[tuple[bool, str]]:
        if not self.proxy:
            return []
        return [
            (
                is_http_address(self.proxy) and urlsplit(self.proxy).path in ("", "/"),
                "WBS_BANK_PROXY must be an http:// or https:// address: a host, and a port",
            ),
            (
                _is_https(self.url),
                "WBS_BANK_PROXY is of use only while WBS_BANK_URL is https: a proxy reads whatever is not",
            ),
            (
                not _credential_of(self.proxy) or _is_private_way(self.proxy),
                "WBS_BANK_PROXY must be https: its password would go through the network where everybody can read it",
            ),
        ]


def is_token(text: str) -> bool:
    """Return whether this can be a bearer credential in a header: visible ASCII characters."""
    return re.fullmatch("[!-~]+", text) is not None


def is_http_address(text: str) -> bool:
    """Return whether this is an HTTP address. Never show the text: it may contain a password."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and re.fullmatch(r"[!-~]+", text) is not None
            and re.fullmatch(r"[^\s/?#@]+", parts.hostname or "") is not None
            and parts.port != 0
            and not (parts.query or parts.fragment)
        )
    except ValueError:
        return False


def _is_https(url: str) -> bool:
    return url.lower().startswith("https://")


def _credential_of(url: str) -> bool:
    return "@" in url.split("://", 1)[-1].split("/", 1)[0]


def _is_private_way(url: str) -> bool:
    """Return whether traffic to this address is private: it is encrypted, or stays on this machine."""
    if _is_https(url) or not is_http_address(url):  # another rule refuses a text that is no address
        return True
    return is_loopback(urlsplit(url).hostname or "")
