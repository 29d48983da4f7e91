"""All the ways in which a request can be refused, as one tree with stable codes.

    WalletError
    ├── ValidationFailed         validation_failed
    ├── InsufficientFunds        insufficient_funds
    ├── AmountLimitExceeded      amount_limit_exceeded
    ├── BalanceLimitExceeded     balance_limit_exceeded
    ├── OpenLocksLimitExceeded   open_locks_limit_exceeded
    ├── OpenHoldsLimitExceeded   open_holds_limit_exceeded
    ├── IdempotencyKeyReused     idempotency_key_reused
    ├── IdempotencyKeyArchived   idempotency_key_archived
    ├── HistoryArchived          history_archived
    ├── WalletNotFound           wallet_not_found
    ├── WithdrawalNotFound       withdrawal_not_found
    ├── ChargeNotFound           charge_not_found
    ├── TransferNotFound         transfer_not_found
    ├── HoldNotFound             hold_not_found
    ├── AdjustmentNotFound       adjustment_not_found
    ├── NotConfirmable           not_confirmable
    ├── HoldNotOpen              hold_not_open
    ├── CaptureExceedsHold       capture_exceeds_hold
    ├── ExceedsOriginal          exceeds_original
    ├── EventsGone               events_gone
    ├── WebhookNotFound          webhook_not_found
    ├── WebhooksLimitExceeded    webhooks_limit_exceeded
    ├── NotCancellable           not_cancellable
    ├── IllegalMove              illegal_move
    └── TryLater
        ├── Overloaded           overloaded
        └── Unavailable          unavailable

The code is part of the API: clients branch on it, so it never changes. Only `gateway.contract.problems` knows the
HTTP statuses.
"""

from datetime import datetime

FIELDS_MAX = 20
"""Number of bad fields reported at once, at most."""


class WalletError(Exception):
    """Root of all refusals. `code` is stable; the message is for people."""

    code = "wallet_error"


class ValidationFailed(WalletError):
    """The request is not valid. `errors` names each bad field and the reason, up to FIELDS_MAX."""

    code = "validation_failed"

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        self.errors = errors[:FIELDS_MAX]
        reasons = "; ".join(f"{field}: {reason}" for field, reason in self.errors)
        super().__init__(reasons + ("; and more" if len(errors) > FIELDS_MAX else ""))


class InsufficientFunds(WalletError):
    """The wallet has less withdrawable money than the request needs."""

    code = "insufficient_funds"

    def __init__(self, withdrawable: int, amount: int) -> None:
        super().__init__(f"{amount} asked for, {withdrawable} can be withdrawn")
        self.withdrawable = withdrawable
        self.amount = amount


class AmountLimitExceeded(WalletError):
    """A charge or a withdrawal is for more than a setting allows (`what` says which of them)."""

    code = "amount_limit_exceeded"

    def __init__(self, what: str, amount: int, limit: int) -> None:
        super().__init__(f"{amount} asked for, a {what} may be for {limit} at most")
        self.amount = amount
        self.limit = limit


class BalanceLimitExceeded(WalletError):
    """The wallet's total would pass a setting, or `wallet.money.AMOUNT_MAX`."""

    code = "balance_limit_exceeded"

    def __init__(self, whose: str, limit: int) -> None:
        super().__init__(f"{whose} total would pass {limit}")
        self.limit = limit


class OpenLocksLimitExceeded(WalletError):
    """The wallet has as many locks as a setting allows."""

    code = "open_locks_limit_exceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the wallet has {limit} locks, and may not have more")
        self.limit = limit


class OpenHoldsLimitExceeded(WalletError):
    """The wallet has as many open holds as a setting allows."""

    code = "open_holds_limit_exceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the wallet has {limit} open holds, and may not have more")
        self.limit = limit


class IdempotencyKeyArchived(WalletError):
    """The key was used, for the same request, so long ago that what it made is archived."""

    code = "idempotency_key_archived"


class HistoryArchived(WalletError):
    """The instant is before the history that the wallet still has."""

    code = "history_archived"

    def __init__(self, before: datetime) -> None:
        super().__init__(
            f"what the wallet's books say begins at {before:%Y-%m-%dT%H:%M:%SZ}: the rest is archived"
        )


class IdempotencyKeyReused(WalletError):
    """The key was used before for another request; this request did nothing."""

    code = "idempotency_key_reused"


class WithdrawalNotFound(WalletError):
    """There is no such withdrawal."""

    code = "withdrawal_not_found"


class ChargeNotFound(WalletError):
    """There is no such charge."""

    code = "charge_not_found"


class TransferNotFound(WalletError):
    """There is no such transfer."""

    code = "transfer_not_found"


class HoldNotFound(WalletError):
    """There is no such hold."""

    code = "hold_not_found"


class AdjustmentNotFound(WalletError):
    """There is no such adjustment."""

    code = "adjustment_not_found"


class NotConfirmable(WalletError):
    """This person can't confirm what was proposed, or nobody can any more."""

    code = "not_confirmable"


class HoldNotOpen(WalletError):
    """The hold was captured or voided, or it has expired: its money is not held any more."""

    code = "hold_not_open"

    def __init__(self, status: str) -> None:
        super().__init__(f"the hold is {status}")
        self.status = status


class CaptureExceedsHold(WalletError):
    """More was to be captured than the hold has set aside."""

    code = "capture_exceeds_hold"

    def __init__(self, held: int, amount: int) -> None:
        super().__init__(f"{amount} to be captured, {held} held")
        self.held = held
        self.amount = amount


class ExceedsOriginal(WalletError):
    """More was to be reversed than is left of the charge or the transfer."""

    code = "exceeds_original"

    def __init__(self, left: int, amount: int) -> None:
        super().__init__(f"{amount} to be reversed, {left} left" if left else "all of it was reversed before")
        self.left = left
        self.amount = amount


class WalletNotFound(WalletError):
    """There is no such wallet, or none that the caller may know of."""

    code = "wallet_not_found"


class EventsGone(WalletError):
    """The position is not one of the sequence: of another epoch, past the end, or before the oldest that is kept."""

    code = "events_gone"

    def __init__(self, epoch: str, oldest_seq: int, last_seq: int) -> None:
        super().__init__(f"the sequence {epoch} goes from {oldest_seq} to {last_seq}")
        self.epoch = epoch
        self.oldest_seq = oldest_seq
        self.last_seq = last_seq


class WebhookNotFound(WalletError):
    """There is no such webhook endpoint, or none that the caller may know of."""

    code = "webhook_not_found"


class WebhooksLimitExceeded(WalletError):
    """There are as many webhook endpoints as there may be."""

    code = "webhooks_limit_exceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} webhooks, and may not be more")
        self.limit = limit


class NotCancellable(WalletError):
    """It is too late to cancel: the bank may have been called already, or the withdrawal has ended."""

    code = "not_cancellable"

    def __init__(self, status: str, *, may_be_known: bool = False) -> None:
        super().__init__(
            "the bank may know of the withdrawal; until it was asked it can't be cancelled"
            if may_be_known
            else f"the withdrawal is {status}; only a pending one can be cancelled"
        )
        self.status = status


class IllegalMove(WalletError):
    """A withdrawal can't go from this state to that one (see `wallet.withdrawal.LEGAL_MOVES`)."""

    code = "illegal_move"


class TryLater(WalletError):
    """Nothing is wrong with the request; the client may send it again, with the same key.

    `reason` says why, as a machine-readable token that health reports.
    """

    code = "try_later"
    reason = "overloaded"
    retry_after_s = 1


class Overloaded(TryLater):
    """A bounded queue is full; the request was not taken."""

    code = "overloaded"


class Unavailable(TryLater):
    """The database can't take the request now. Its key tells later whether it took effect."""

    code = "unavailable"

    def __init__(self, message: str, *, reason: str = "database_away") -> None:
        super().__init__(message)
        self.reason = reason
