"""Reads the limits of amounts: `1000000,JPY:100000000` is a greatest amount for every currency, and one for yen."""

import re
from collections.abc import Container
from typing import TYPE_CHECKING

from wallet.limits import Ceiling, Limits
from wallet.money import AMOUNT_MAX

if TYPE_CHECKING:
    from runtime.settings import Settings


def read_limits(settings: "Settings") -> Limits:
    """Return the limits that the settings name. Raises ValueError, naming the setting."""
    taken = settings.taken_currencies.exponents
    ceilings = []
    for name in ("max_charge", "max_withdrawal", "max_balance"):
        try:
            ceilings.append(read_ceiling(getattr(settings, name), taken))
        except ValueError as error:
            raise ValueError(f"WBS_{name.upper()}: {error}") from None
    charge, withdrawal, balance = ceilings
    return Limits(charge, withdrawal, balance, settings.max_open_locks, settings.max_open_holds)


def read_ceiling(text: str, taken: Container[str]) -> Ceiling:
    """Return the greatest amounts that a setting lists; none if it is empty. Raises ValueError, saying why."""
    others: int | None = None
    named: dict[str, int] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        match = re.fullmatch(r"(?:([A-Z]{3}):)?([0-9]{1,16})", item)
        if match is None:
            raise ValueError(f"{item!r} is neither minor units (1000000) nor a currency's (JPY:100000000)")
        code, amount = match[1], int(match[2])
        if not 1 <= amount <= AMOUNT_MAX:
            raise ValueError(f"{item} must be from 1 to {AMOUNT_MAX}; leave it out for no limit")
        if code is None:
            if others is not None:
                raise ValueError("there are two amounts for all currencies")
            others = amount
        elif code not in taken:
            raise ValueError(f"{code} is not among WBS_CURRENCIES")
        elif code in named:
            raise ValueError(f"{code} is given twice")
        else:
            named[code] = amount
    return Ceiling(AMOUNT_MAX if others is None else others, named)
