"""Parts of the settings: a constructor takes what it uses."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What whoever talks to RabbitMQ uses; documented at the fields of `Settings`."""

    url: str = field(repr=False)
    quorum_queues: bool
    dead_message_ttl_ms: int
