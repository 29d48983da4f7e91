"""Slices of the settings: a constructor takes only the part that it uses."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The settings of a RabbitMQ client; the fields of `Settings` document them."""

    url: str = field(repr=False)
    quorum_queues: bool
    dead_message_ttl_ms: int


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """What a connection to PostgreSQL uses; documented at the fields of `Settings`."""

    url: str = field(repr=False)
    lock_timeout_ms: int
    write_timeout_ms: int
    read_timeout_ms: int


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How requests are collected; documented at the fields of `Settings` that begin with `batch_`."""

    size_max: int
    linger_us: int
    backlog_max: int
