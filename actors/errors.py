"""How an actor says what should become of its message.

Exception
├── Undeliverable     to the dead letters: no retry will help
│   ├── AlreadyDeadLettered       the same, unless the message is an echo of one that is there already
│   └── NoneOfOurs    the same, and nobody has to be told of each
└── Requeue          back to the queue: it could not be begun now
"""


class Undeliverable(Exception):
    """The message goes to `withdrawals.XQ`: its withdrawal requires attention."""


class AlreadyDeadLettered(Undeliverable):
    """The withdrawal required attention before this message was looked at.

    If RabbitMQ delivers the message again, the process that wrote `requires_attention` has died before it
    could reject it, and it belongs to the dead letters. Otherwise it is a second one of the same withdrawal.
    """


class NoneOfOurs(Undeliverable):
    """The message names no withdrawal that there is, or not its user. Anybody can send any number of these."""


class Requeue(Exception):
    """The message goes back to its queue: bank or database are away, or the process is stopping."""
