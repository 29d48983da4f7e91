"""What the bank knows a withdrawal by: 32 hexadecimal digits, so that SEPA's 35 characters hold them.

Eight are the stack's (`stack.bank_prefix`), 24 a digest of what was asked for. So whoever asks for the same withdrawal
again, after a backup from before it was restored, meets the bank's own idempotency and is not paid twice.
"""

from hashlib import blake2b

from wallet.canonical import canonical_or_nothing
from wallet.commands import Withdraw

_VERSION = b"wbs reference 1"
"""Of what the digest is made from. A change needs another one, and pays after a restore what had been paid before."""

_DIGEST_BYTES = 12


def reference_end(withdraw: Withdraw) -> str:
    """Return the last 24 digits of the reference: the same for the same space, key, user, money and destination.

    Each part is preceded by its length: no two different requests make one text.
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
