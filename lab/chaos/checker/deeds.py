"""What requests about transfers, holds and reversals were answered with, once they took effect."""

from dataclasses import dataclass
from typing import Any

from lab.chaos.checker.evidence import Asked, Times, canonical
from lab.chaos.checker.stories import Window


@dataclass(slots=True)
class Deed:
    """A transfer, hold, capture or reversal that took effect."""

    op: str
    id: str
    """Of the hold, the transfer (a capture's too), or the reversal."""
    key: str
    asked: Asked
    line: int
    began: Window
    answer: dict[str, Any]


def deed_of(
    key: str, asked: Asked, answer: dict[str, Any], line: int, began: Window
) -> tuple[Deed, dict[str, Any], dict[str, Any]]:
    """Return the deed, what its answer should say of it, and what it says. Raises KeyError, TypeError."""
    id = answer["transfer_id" if asked.op == "capture" else "id"]
    deed = Deed(asked.op, id, key, asked, line, began, answer)
    if asked.op == "transfer":
        return deed, _wanted_of_transfer(asked), _told_of_transfer(answer)
    if asked.op == "hold":
        wanted = {
            "user": asked.user,
            "currency": asked.currency,
            "amount": asked.amount,
            "metadata": asked.metadata,
            "status": "open",
            "captured": 0,
            "transfer_id": None,
        }
        told = wanted | {
            name: answer[name] for name in ("currency", "amount", "status", "captured", "transfer_id")
        }
        return (
            deed,
            wanted,
            told | {"user": str(answer["user_id"]), "metadata": canonical(answer["metadata"])},
        )
    if asked.op == "capture":
        wanted = {"id": asked.subject, "status": "captured", "captured": asked.amount or answer["amount"]}
        return deed, wanted, {name: answer[name] for name in wanted}
    wanted = {
        "reverses": asked.subject,
        "amount": asked.amount or answer["amount"],
        "reason": asked.reason or None,
    }
    return deed, wanted, {name: answer[name] for name in wanted}


def expires(answer: dict[str, Any], times: Times) -> float | None:
    """Return the second of the run at which a hold expires, if it does."""
    return None if answer["expires_at"] is None else times.of(answer["expires_at"])


def _wanted_of_transfer(asked: Asked) -> dict[str, Any]:
    return {
        "user": asked.user,
        "currency": asked.currency,
        "amount": asked.amount,
        "legs": [(user, amount, at is not None) for user, amount, at in asked.legs],
        "metadata": asked.metadata,
        "reversed": 0,
    }


def _told_of_transfer(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "user": str(answer["from_user_id"]),
        "currency": answer["currency"],
        "amount": answer["amount"],
        "legs": [
            (str(leg["to_user_id"]), leg["amount"], leg["release_at"] is not None) for leg in answer["legs"]
        ],
        "metadata": canonical(answer["metadata"]),
        "reversed": answer["reversed"],
    }
