"""The error tree: stable codes, one each, all in one place."""

import re

import pytest

import runtime.settings  # noqa: F401  # declares one more error
from wallet import errors
from wallet.errors import TryLater, WalletError

CODES = {
    "WalletError": "wallet_error",
    "ValidationFailed": "validation_failed",
    "InsufficientFunds": "insufficient_funds",
    "AmountLimitExceeded": "amount_limit_exceeded",
    "BalanceLimitExceeded": "balance_limit_exceeded",
    "OpenLocksLimitExceeded": "open_locks_limit_exceeded",
    "OpenHoldsLimitExceeded": "open_holds_limit_exceeded",
    "IdempotencyKeyReused": "idempotency_key_reused",
    "IdempotencyKeyArchived": "idempotency_key_archived",
    "HistoryArchived": "history_archived",
    "WalletNotFound": "wallet_not_found",
    "WithdrawalNotFound": "withdrawal_not_found",
    "ChargeNotFound": "charge_not_found",
    "TransferNotFound": "transfer_not_found",
    "HoldNotFound": "hold_not_found",
    "AdjustmentNotFound": "adjustment_not_found",
    "NotConfirmable": "not_confirmable",
    "HoldNotOpen": "hold_not_open",
    "CaptureExceedsHold": "capture_exceeds_hold",
    "ExceedsOriginal": "exceeds_original",
    "EventsGone": "events_gone",
    "WebhookNotFound": "webhook_not_found",
    "WebhooksLimitExceeded": "webhooks_limit_exceeded",
    "NotCancellable": "not_cancellable",
    "IllegalMove": "illegal_move",
    "TryLater": "try_later",
    "Overloaded": "overloaded",
    "Unavailable": "unavailable",
}


def _tree(root: type[WalletError]) -> list[type[WalletError]]:
    ours = (child for child in root.__subclasses__() if not child.__module__.startswith("tests."))
    return [root, *(one for child in ours for one in _tree(child))]


def test_codes_are_what_clients_know() -> None:
    """Goal: clients branch on the codes, so none of them ever changes or goes."""
    of_the_domain = {
        one.__name__: one.code for one in _tree(WalletError) if one.__module__ == errors.__name__
    }
    assert of_the_domain == CODES


def test_codes_are_unique() -> None:
    """Goal: one code means one thing. (Classes with children are never raised themselves.)"""
    codes = [one.code for one in _tree(WalletError) if not one.__subclasses__()]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_each_error_has_a_code_of_its_own() -> None:
    """Goal: an error does not inherit its parent's code by being forgotten."""
    assert all("code" in vars(one) for one in _tree(WalletError))


def test_the_docstring_draws_the_tree() -> None:
    """Goal: the picture at the top of the module shows every error with its code."""
    drawn = dict(re.findall(r"── (\w+) +(\w+)$", errors.__doc__ or "", re.MULTILINE))
    leaves = {name: code for name, code in CODES.items() if name not in ("WalletError", "TryLater")}
    assert drawn == leaves


@pytest.mark.parametrize("error", [errors.Overloaded("full"), errors.Unavailable("away")])
def test_trouble_of_ours_can_be_tried_later(error: TryLater) -> None:
    """Goal: an error that is not the request's fault says when to retry, in whole seconds."""
    assert isinstance(error, TryLater)
    assert error.retry_after_s >= 1


def test_messages_name_what_was_wrong() -> None:
    """Goal: the messages tell fields, amounts and states, for people."""
    assert "amount: must be positive" in str(errors.ValidationFailed([("amount", "must be positive")]))
    assert "8" in str(errors.InsufficientFunds(7, 8))
    assert "processing" in str(errors.NotCancellable("processing"))
    assert "may know" in str(errors.NotCancellable("pending", may_be_known=True))
