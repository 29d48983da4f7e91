"""The errors by which an actor decides the fate of its message.

Exception
├── Undeliverable             to the dead letters: no retry will help
│   ├── AlreadyDeadLettered   the same, unless the message repeats one that is there already
│   └── NoneOfOurs            the same, without a report of each message
└── Requeue                   back to the queue: the payout could not begin now
"""


class Undeliverable(Exception):
    """The message goes to `withdrawals.XQ`: its withdrawal requires attention."""


class AlreadyDeadLettered(Undeliverable):
    """The withdrawal required attention before this message was looked at.

    If RabbitMQ redelivers the message, the process that wrote `requires_attention` died before it could reject the
    message, so the message belongs to the dead letters. Otherwise it is a second message for the same withdrawal.
    """


class NoneOfOurs(Undeliverable):
    """The message names no existing withdrawal, or not the withdrawal's user. Anybody can send any number of these."""


class Requeue(Exception):
    """The message goes back to its queue: the bank or the database is away, or the process is stopping."""
