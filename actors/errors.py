"""How an actor says what should become of its message.

Exception
├── Undeliverable     to the dead letters: no retry will help
└── GiveBack          back to the queue: it could not be begun now
"""


class Undeliverable(Exception):
    """The message goes to `withdrawals.XQ`: its withdrawal requires attention, or it is none of ours."""


class GiveBack(Exception):
    """The message goes back to its queue: bank or database are away, or the process is stopping."""
