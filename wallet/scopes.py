"""The rights of API keys."""

from enum import StrEnum


class Scope(StrEnum):
    """A right. A key has one or several; none includes another, but for `operate`, which includes `metrics` (not where
    the key is bound to users)."""

    CHARGE = "charge"
    WITHDRAW = "withdraw"
    TRANSFER = "transfer"
    HOLD = "hold"
    REVERSE = "reverse"
    CANCEL = "cancel"
    READ = "read"
    EVENTS = "events"
    OPERATE = "operate"
    METRICS = "metrics"
    """Reading the metrics: the right of Prometheus's token, which no created key gets."""


GRANTABLE = frozenset(Scope) - {Scope.METRICS}
"""Scopes that a key can be created with."""
