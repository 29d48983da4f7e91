"""Settings: one frozen object per process, read from the environment and checked before anything starts."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from runtime.address_rules import access_rules, address_rules, simulator_url
from runtime.audit_times import audit_rules
from runtime.bank_settings import BankSettings
from runtime.currencies import read_currencies
from runtime.host_names import items
from runtime.limits import read_limits
from runtime.round_rules import round_rules
from runtime.secret_files import secret_in
from runtime.slices import BatchSettings, BrokerSettings, DatabaseSettings
from runtime.webhook_secrets import webhook_secret_rules, webhook_secrets
from wallet.currencies import Currencies
from wallet.errors import WalletError
from wallet.events import read_event_kinds
from wallet.limits import Limits

Read = TypeVar("Read")


class SettingsError(WalletError):
    """A setting is missing, unreadable or contradicts another one. The message names it."""

    code = "bad_settings"


def _setting(env: str, default: Any, doc: str, *, secret: bool = False, low: int | None = None) -> Any:
    metadata = {"env": env, "doc": doc, "low": low}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. The names of times end in their unit; `repr` never shows a secret."""

    http_host: str = _setting("WBS_HTTP_HOST", "127.0.0.1", "address the gateway listens on")
    http_port: int = _setting("WBS_HTTP_PORT", 8080, "port of the API", low=1)
    allowed_hosts: str = _setting(
        "WBS_ALLOWED_HOSTS", "", "further names that clients call us by, without port"
    )
    cors_origins: str = _setting(
        "WBS_CORS_ORIGINS", "", "pages that may use the API: https://host,…; empty: none"
    )
    state_dir: str = _setting("WBS_STATE_DIR", ".wbs", "folder for everything private")
    database_url: str = _setting("DATABASE_URL", "", "PostgreSQL, several hosts allowed", secret=True)
    rabbitmq_url: str = _setting("RABBITMQ_URL", "", "RabbitMQ; empty: in-memory broker", secret=True)
    bank_port: int = _setting("WBS_BANK_PORT", 8090, "port of the bank simulator", low=1)
    bank_url: str = _setting("WBS_BANK_URL", "", "the bank; default: the simulator on WBS_BANK_PORT")
    bank: str = _setting("WBS_BANK", "actors.bank.http", "module that speaks to the bank")
    bank_ca_file: str = _setting("WBS_BANK_CA_FILE", "", "authorities that may vouch for the bank (PEM)")
    bank_cert_file: str = _setting("WBS_BANK_CERT_FILE", "", "our certificate for the bank (PEM)")
    bank_key_file: str = _setting("WBS_BANK_KEY_FILE", "", "its private key (PEM, without passphrase)")
    bank_token: str = _setting("WBS_BANK_TOKEN", "", "bearer credential for the bank", secret=True)
    bank_token_file: str = _setting("WBS_BANK_TOKEN_FILE", "", "file with it instead")
    bank_user: str = _setting("WBS_BANK_USER", "", "basic credential for the bank: its name")
    bank_password: str = _setting("WBS_BANK_PASSWORD", "", "and its password", secret=True)
    bank_password_file: str = _setting("WBS_BANK_PASSWORD_FILE", "", "file with it instead")
    bank_proxy: str = _setting(
        "WBS_BANK_PROXY", "", "the way to the bank (http:// or https:// address)", secret=True
    )
    bank_prefix: str = _setting(
        "WBS_BANK_PREFIX", "", "8 hex digits that begin references for the bank; empty: the database's own"
    )
    bank_webhook_secret: str = _setting(
        "WBS_BANK_WEBHOOK_SECRET", "", "signs the bank's callbacks; two while it is replaced", secret=True
    )
    bank_webhook_secret_file: str = _setting("WBS_BANK_WEBHOOK_SECRET_FILE", "", "file with it instead")
    default_currency: str = _setting("WBS_DEFAULT_CURRENCY", "USD", "for requests that name none")
    user_ids: str = _setting("WBS_USER_IDS", "auto", "auto, string or integer: what user ids are (ADR 5)")
    currencies: str = _setting(
        "WBS_CURRENCIES",
        "iso",
        "those that are taken: ISO 4217 codes, own units (PTS:0); iso: all money in use",
    )
    max_charge: str = _setting("WBS_MAX_CHARGE", "", "greatest charge in minor units: 1000000,JPY:100000000")
    max_withdrawal: str = _setting("WBS_MAX_WITHDRAWAL", "", "greatest withdrawal, likewise")
    max_balance: str = _setting("WBS_MAX_BALANCE", "", "greatest total of a wallet, likewise")
    max_open_locks: int = _setting("WBS_MAX_OPEN_LOCKS", 0, "locks of one wallet; 0: no limit", low=0)
    max_open_holds: int = _setting("WBS_MAX_OPEN_HOLDS", 0, "open holds of one wallet; 0: no limit", low=0)
    auth: str = _setting("WBS_AUTH", "auto", "auto, on or off: whether requests need an API key")
    second_person: int = _setting(
        "WBS_SECOND_PERSON", 0, "1: what operators settle by hand or adjust, another must approve", low=0
    )
    metrics_token: str = _setting(
        "WBS_METRICS_TOKEN", "", "bearer token that may read /metrics and nothing else", secret=True
    )
    connections_max: int = _setting("WBS_CONNECTIONS_MAX", 10_000, "of one gateway; beyond: 503", low=1)
    connections_per_address_max: int = _setting(
        "WBS_CONNECTIONS_PER_ADDRESS_MAX", 2_000, "of these, of one address", low=1
    )
    buffers_mb_max: int = _setting("WBS_BUFFERS_MB_MAX", 64, "bodies and responses in memory", low=16)
    trusted_proxies: str = _setting("WBS_TRUSTED_PROXIES", "", "networks whose X-Forwarded-For is believed")
    events: str = _setting(
        "WBS_EVENTS", "all", "kinds of events that are made, beside withdrawals': charge,…"
    )
    events_days: int = _setting("WBS_EVENTS_DAYS", 0, "days for which events are kept; 0: for ever", low=0)
    reversible_days: int = _setting(
        "WBS_REVERSIBLE_DAYS", 180, "days for which nothing is archived: it can be reversed", low=0
    )
    webhooks_private: int = _setting("WBS_WEBHOOKS_PRIVATE", 0, "1: also to http and private hosts", low=0)
    rate_limit_per_s: int = _setting("WBS_RATE_LIMIT_PER_S", 0, "items per key, in all; 0: no limit", low=0)
    log_level: str = _setting("WBS_LOG_LEVEL", "info", "debug, info, warning or error")
    otel: int = _setting(
        "WBS_OTEL", 0, "1: tell a collector of spans (OTEL_… variables; extra [otel])", low=0
    )
    metrics_port: int = _setting("WBS_METRICS_PORT", 0, "Prometheus port of this process; 0: none", low=0)

    batch_size_max: int = _setting("WBS_BATCH_SIZE_MAX", 512, "requests in one transaction", low=1)
    batch_linger_us: int = _setting("WBS_BATCH_LINGER_US", 1000, "wait for fuller transactions", low=0)
    backlog_max: int = _setting("WBS_BACKLOG_MAX", 8192, "requests waiting for a transaction", low=1)
    write_timeout_ms: int = _setting("WBS_WRITE_TIMEOUT_MS", 1500, "one batch, tried again included", low=100)
    read_timeout_ms: int = _setting("WBS_READ_TIMEOUT_MS", 1500, "one query", low=100)
    lock_timeout_ms: int = _setting("WBS_LOCK_TIMEOUT_MS", 700, "waiting for a row's lock", low=10)
    db_pool_size: int = _setting("WBS_DB_POOL_SIZE", 4, "connections for reads, per process", low=1)

    actor_threads: int = _setting("WBS_ACTOR_THREADS", 50, "payouts at once, per actor process", low=1)
    bank_connect_timeout_ms: int = _setting("WBS_BANK_CONNECT_TIMEOUT_MS", 1000, "to reach the bank", low=1)
    bank_timeout_ms: int = _setting("WBS_BANK_TIMEOUT_MS", 3000, "one bank call in all", low=1)
    bank_key_window_h: int = _setting(
        "WBS_BANK_KEY_WINDOW_H", 24, "hours for which the bank keeps idempotency keys", low=1
    )
    bank_our_codes: str = _setting(
        "WBS_BANK_OUR_CODES",
        "balance_insufficient,payer_account_blocked,payer_account_closed",
        "codes of declines about us, comma separated: they refund nobody and pause payouts",
    )
    bank_tries: int = _setting("WBS_BANK_TRIES", 3, "bank calls in one round", low=1)
    bank_try_delay_ms_min: int = _setting("WBS_BANK_TRY_DELAY_MS_MIN", 100, "first wait in a round", low=1)
    bank_try_delay_ms_max: int = _setting("WBS_BANK_TRY_DELAY_MS_MAX", 2000, "longest wait in a round", low=1)
    round_deadline_ms: int = _setting("WBS_ROUND_DEADLINE_MS", 10_000, "one round in all", low=1)
    lease_ms: int = _setting("WBS_LEASE_MS", 20_000, "a round's claim on its withdrawal", low=1)
    retry_rounds: int = _setting("WBS_RETRY_ROUNDS", 120, "rounds before requires_attention", low=1)
    retry_delay_ms_min: int = _setting("WBS_RETRY_DELAY_MS_MIN", 2_000, "wait after the first round", low=1)
    retry_delay_ms_max: int = _setting("WBS_RETRY_DELAY_MS_MAX", 30_000, "longest wait", low=1)
    reconcile_interval_ms: int = _setting("WBS_RECONCILE_INTERVAL_MS", 1_000, "the reconciler's beat", low=10)
    redrive_after_ms: int = _setting(
        "WBS_REDRIVE_AFTER_MS", 30_000, "an accepted withdrawal nobody took is announced again", low=100
    )
    dead_message_ttl_ms: int = _setting(
        "WBS_DEAD_MESSAGE_TTL_MS", 604_800_000, "life of a dead letter", low=1
    )
    audit_at: str = _setting("WBS_AUDIT_AT", "03:00", "time of the nightly audit, UTC; `never`: none")
    watched_folders: str = _setting("WBS_WATCHED_FOLDERS", "", "folders whose disks must not fill")
    quorum_queues: int = _setting("WBS_QUORUM_QUEUES", 0, "1: replicated queues (RabbitMQ cluster)", low=0)
    fast_path: int = _setting(
        "WBS_FAST_PATH", 1, "0: plain requests go Sanic's own way too, which is slower (ADR 11)", low=0
    )
    bench: int = _setting("WBS_BENCH", 0, "1: serve POST /noop, the benchmark's yardstick", low=0)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings. Raises SettingsError, naming the variable at fault."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = environ.get(item.metadata["env"], "").strip()
            if text:
                values[item.name] = _parse(item.metadata, item.type, text)
        values.setdefault("bank_url", simulator_url(values.get("bank_port", 8090)))
        settings = cls(**values)
        settings.check()
        return settings

    @property
    def database(self) -> DatabaseSettings:
        """PostgreSQL, and for how long each kind of call waits for it."""
        return DatabaseSettings(
            self.database_url, self.lock_timeout_ms, self.write_timeout_ms, self.read_timeout_ms
        )

    @property
    def batches(self) -> BatchSettings:
        """How requests are collected into transactions."""
        return BatchSettings(self.batch_size_max, self.batch_linger_us, self.backlog_max)

    @property
    def broker(self) -> BrokerSettings | None:
        """RabbitMQ and its queues; None without RabbitMQ, when the in-memory broker is used."""
        if not self.rabbitmq_url:
            return None
        return BrokerSettings(self.rabbitmq_url, bool(self.quorum_queues), self.dead_message_ttl_ms)

    @property
    def taken_currencies(self) -> Currencies:
        """The currencies that are taken. Raises SettingsError."""
        return _read("WBS_CURRENCIES: ", read_currencies, self.currencies, self.default_currency)

    @property
    def limits(self) -> Limits:
        """What a request may ask for and a wallet may hold. Raises SettingsError."""
        return _read("", read_limits, self)

    @property
    def event_kinds(self) -> frozenset[str]:
        """Kinds of events that are made. Raises SettingsError."""
        return _read("WBS_EVENTS: ", read_event_kinds, self.events)

    @property
    def our_decline_codes(self) -> frozenset[str]:
        """Codes of declines that are about us."""
        return items(self.bank_our_codes)

    @property
    def other_hosts(self) -> frozenset[str]:
        """Names that the gateway is called by, besides loopback and the address it listens on."""
        return items(self.allowed_hosts)

    @property
    def foreign_origins(self) -> frozenset[str]:
        """Origins whose pages may use the API."""
        return items(self.cors_origins)

    @property
    def bank_webhook_secrets(self) -> tuple[str, ...]:
        """Secrets, any of which may sign the bank's callbacks. Raises SettingsError."""
        path = self.bank_webhook_secret_file
        in_file = _read("", secret_in, "WBS_BANK_WEBHOOK_SECRET_FILE", path) if path else ""
        return webhook_secrets(self.bank_webhook_secret or in_file)

    @property
    def for_bank(self) -> BankSettings:
        """The slice of the settings that a bank module gets."""
        return BankSettings(
            module=self.bank,
            url=self.bank_url,
            timeout_ms=self.bank_timeout_ms,
            connect_timeout_ms=self.bank_connect_timeout_ms,
            calls_max=self.actor_threads,
            ca_file=self.bank_ca_file,
            cert_file=self.bank_cert_file,
            key_file=self.bank_key_file,
            token=self.bank_token,
            token_file=self.bank_token_file,
            user=self.bank_user,
            password=self.bank_password,
            password_file=self.bank_password_file,
            proxy=self.bank_proxy,
        )

    def check(self) -> None:
        """Raise SettingsError if the settings contradict each other."""
        rules = [
            (
                self.lock_timeout_ms < self.write_timeout_ms,
                "WBS_LOCK_TIMEOUT_MS must be less than WBS_WRITE_TIMEOUT_MS",
            ),
            (self.batch_size_max <= 2_000, "WBS_BATCH_SIZE_MAX must not exceed 2000"),
            (
                re.fullmatch("([0-9a-f]{8})?", self.bank_prefix) is not None,
                "WBS_BANK_PREFIX must be 8 hexadecimal digits, in small letters",
            ),
            (
                re.fullmatch("[A-Z]{3}", self.default_currency) is not None,
                "WBS_DEFAULT_CURRENCY must be three capital letters",
            ),
            (
                self.log_level in ("debug", "info", "warning", "error"),
                "WBS_LOG_LEVEL must be debug, info, warning or error",
            ),
        ]
        for holds, sentence in [
            *rules,
            *self.for_bank.rules(),
            *address_rules(self),
            *access_rules(self),
            *round_rules(self),
            *audit_rules(self),
            *webhook_secret_rules(self),
        ]:
            if not holds:
                raise SettingsError(sentence)
        _ = self.limits, self.event_kinds  # and the currencies that the limits are about


def _read(prefix: str, read: Callable[..., Read], *given: Any) -> Read:
    try:
        return read(*given)
    except ValueError as error:
        raise SettingsError(f"{prefix}{error}") from None


def _parse(metadata: Mapping[str, Any], type_: Any, text: str) -> Any:
    if type_ not in (int, "int"):
        return text
    try:
        number = int(text)
    except ValueError:
        raise SettingsError(f"{metadata['env']} must be a whole number, not {text!r}") from None
    if metadata["low"] is not None and number < metadata["low"]:
        raise SettingsError(f"{metadata['env']} must be at least {metadata['low']}, not {number}")
    return number
