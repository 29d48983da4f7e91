"""The reference by which the bank knows a withdrawal: 32 hexadecimal digits, which fit into SEPA's 35 characters.

Eight digits are the stack's (`stack.bank_prefix`), 24 are a digest of the request. If an older backup is restored and
a client sends the same withdrawal again, it gets the same reference: the bank's own idempotency prevents a second
payout.
"""

from hashlib import blake2b

from wallet.canonical import canonical_or_nothing
from wallet.commands import Withdraw

_VERSION = b"wbs reference 1"
"""Version of the digest's input. A change of the input needs a new version; a request repeated after a restore could
then be paid twice."""

_DIGEST_BYTES = 12


def reference_end(withdraw: Withdraw) -> str:
    """Return the last 24 digits of the reference: the same for the same space, key, user, money and destination.

    The length of each part precedes it, so that two different requests never make the same text.
    """
    parts = (
        withdraw.space,
        withdraw.key,
        withdraw.user_id,
        str(withdraw.amount),
        withdraw.currency,
        canonical_or_nothing(withdraw.destination),
    )
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES, person=_VERSION).hexdigest()
