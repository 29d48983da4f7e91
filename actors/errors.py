"""How an actor says what should become of its message.

Exception
├── Undeliverable     to the dead letters: no retry will help
│   └── GivenUp       the same, unless the message is an echo of one that is there already
└── GiveBack          back to the queue: it could not be begun now
"""


class Undeliverable(Exception):
    """The message goes to `withdrawals.XQ`: its withdrawal requires attention, or it is none of ours."""


class GivenUp(Undeliverable):
    """The withdrawal required attention before this message was looked at.

    If RabbitMQ delivers the message again, the process that wrote `requires_attention` has died before it
    could reject it, and it belongs to the dead letters. Otherwise it is a second one of the same withdrawal.
    """


class GiveBack(Exception):
    """The message goes back to its queue: bank or database are away, or the process is stopping."""
