"""Invariant 6: keys and movements match one to one, and each key's fingerprint is that of its movement."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from db.audit.findings import Findings
from wallet.adjustments import Adjust, signed
from wallet.commands import Charge, LedgerCommand, Leg, MakeTransfer, PlaceHold, Withdraw
from wallet.fingerprints import UnknownVersion
from wallet.follow_up_commands import CaptureHold, ReverseCharge, ReverseTransfer
from wallet.reference import reference_end

_INVARIANT = 6

OLD_FINGERPRINT_BYTES = 16
"""Length of first-version fingerprints, which belong to withdrawals made before references existed."""

PREFIX_DIGITS = 8
"""Length of the stack's part of a reference. A stack's prefix may change, so any prefix is accepted."""


class KeyJudge:
    """Judges movements together with their keys, in the order of movements; either of the two may be missing."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._last: UUID | None = None
        self._archived = 0

    def judge(self, row: Any) -> None:
        """Report the violations of one movement and key."""
        doubled = row["id"] == self._last
        self._last = row["id"]
        if row["withdrawal"] and row["made_by"] != row["asked_by"]:
            name = f"withdrawal {row['id']} of {row['user_id']}"
            self._add(row, "made_by", name, f"{row['asked_by']}, as its reserve", row["made_by"])
        if not row["keyed"]:
            if not _is_adopted(row):
                name = f"{row['kind']} {row['id']} of {row['user_id']}"
                self._add(row, "movement_without_key", name, "an idempotency key", "none")
            return
        name = f"key {str(row['key'])[:8]}… of {row['client']}"
        if not row["moved"] and row["may_be_archived"]:
            self._archived += 1
            return
        if not row["moved"]:
            expected = f"movement {row['id']} of {row['key_user_id']}"
            self._add(row, "key_without_movement", name, expected, "none")
            return
        if doubled:
            self._add(row, "two_keys", name, f"movement {row['id']} to itself", "another key for it")
        ours, theirs = (
            f"{row['user_id']} {row['currency']}",
            f"{row['key_user_id']} {row['key_currency']}",
        )
        if ours != theirs:
            self._add(row, "key_of_another", name, f"{ours}, as movement {row['id']}", theirs)
        if not row["digest_holds"]:
            self._add(row, "key_digest", name, "the digest of space and key", "another")
        request = next((one for one in _requests(row) if _is_fingerprint(one, row["fingerprint"])), None)
        if request is None:
            self._add(row, "fingerprint", name, f"the fingerprint of movement {row['id']}", "another")
        elif isinstance(request, Withdraw) and not _is_reference(request, row):
            expected = f"a reference that ends in {reference_end(request)}"
            self._add(
                row, "reference", f"withdrawal {row['id']} of {row['user_id']}", expected, row["reference"]
            )

    def end(self, archived: int) -> None:
        """Report it if not as many keys as movements that were archived are left without one."""
        if self._archived != archived:
            expected = f"{archived} without a movement, which is archived"
            self._findings.add(_INVARIANT, "archived_keys", "keys", expected, self._archived)

    def _add(self, row: Any, kind: str, subject: str, expected: str, found: object) -> None:
        currency = row["currency"] or row["key_currency"]
        self._findings.add(
            _INVARIANT, kind, subject, expected, found, amount=row["amount"], currency=currency
        )


def _is_adopted(row: Any) -> bool:
    """Return whether an operator adopted it because the bank knew it: there was no request, so there is no key."""
    names = (row["made_by"] or "", row["asked_by"] or "")
    if row["kind"] == "adjustment":
        return "adopted" in _told(row)
    return row["kind"] == "reserve" and all(name.startswith("operator:") for name in names)


def _told(row: Any) -> dict[str, Any]:
    """Return what an adjustment's metadata say; nothing if they are not ours."""
    told = json.loads(row["metadata"] or "null")
    return told if isinstance(told, dict) else {}


Keyed = LedgerCommand | CaptureHold | ReverseCharge | ReverseTransfer | Adjust
"""A command that comes with an idempotency key."""


def _requests(row: Any) -> Iterator[Keyed]:
    """Yield the requests that can be behind the rows, if these are complete enough.

    A request can spell out what another leaves to us: all of a hold, or all that is left of a charge or transfer.
    """
    head = (row["client"], row["key"], row["user_id"], row["currency"], row["amount"])
    if None in head:
        return
    if row["kind"] == "charge":
        yield Charge(*head, row["release_at"], row["metadata"])
    elif row["kind"] == "reserve":
        yield Withdraw(*head, row["destination"], row["metadata"])
    elif row["kind"] == "hold":
        yield PlaceHold(*head, row["expires_at"], row["metadata"])
    elif row["kind"] == "send":
        yield MakeTransfer(*head, _legs(row), row["metadata"])
    elif row["kind"] == "adjustment":
        reason = _told(row).get("reason")
        if isinstance(reason, str):
            *_, amount = head
            yield Adjust(*head[:-1], signed(amount, row["debit_account"]), reason, row["asked_by"])
    elif row["kind"] == "capture":
        yield from _captures(row)
    elif row["reverses"] is not None:
        yield from _reversals(row)


def _legs(row: Any) -> tuple[Leg, ...]:
    """Return the legs; none if they are incomplete."""
    if None in (*(row["payees"] or ()), *(row["amounts"] or ())):
        return ()
    return tuple(map(Leg, row["payees"] or (), row["amounts"] or (), row["release_ats"] or ()))


def _captures(row: Any) -> Iterator[CaptureHold]:
    legs = _legs(row)
    if row["hold_id"] is None or not legs:
        return
    yield CaptureHold(row["client"], row["key"], row["hold_id"], legs)
    if len(legs) == 1 and row["amount"] == row["hold_amount"]:
        to_user_id, _, release_at = legs[0]
        yield CaptureHold(row["client"], row["key"], row["hold_id"], (), to_user_id, release_at)


def _reversals(row: Any) -> Iterator[ReverseCharge | ReverseTransfer]:
    head, reason = (row["client"], row["key"], row["reverses"]), row["reason"]
    if row["kind"] == "reversal":
        for amount in (row["amount"], None):
            yield ReverseCharge(*head, amount, reason)
        return
    legs = tuple(zip(row["reversed_legs"] or (), row["reversed_amounts"] or (), strict=True))
    yield ReverseTransfer(*head, legs, None, reason)
    yield ReverseTransfer(*head, (), None, reason)
    if len(legs) == 1:
        yield ReverseTransfer(*head, (), row["amount"], reason)


def _is_fingerprint(request: Keyed, fingerprint: bytes | None) -> bool:
    """Return whether the fingerprint is the request's, recomputed in the fingerprint's own version."""
    try:
        return fingerprint is not None and request.matches(fingerprint)
    except UnknownVersion:
        return False


def _is_reference(request: Withdraw, row: Any) -> bool:
    """Return whether the bank's reference is the request's. Rows made before references existed have none."""
    if row["reference"] is None:
        return not row["withdrawal"] or len(row["fingerprint"]) == OLD_FINGERPRINT_BYTES
    return bool(row["reference"].hex[PREFIX_DIGITS:] == reference_end(request))
