"""Reads WBS_CURRENCIES: which currencies are taken, and how many decimal places each has.

The list of ISO 4217 comes from the package iso4217, which is the standard's own table. Money in use is what has a
number of decimal places there and is no fund's code: not gold (XAU), drawing rights (XDR) or tests
(XTS), nor a unit of account as CLF or USN.
"""

import re
from functools import cache

import iso4217

from wallet.currencies import Currencies

EXPONENT_MAX = 12
"""Decimal places of an own unit, at most."""

ISO = "iso"
"""The item of WBS_CURRENCIES that stands for all ISO 4217 codes of money in use."""

_NAMED_MAX = 20
"""Currencies that a refusal names one by one, at most."""


def read_currencies(text: str, default: str) -> Currencies:
    """Return the currencies that a setting lists: `USD,EUR`, `iso,PTS:0`. Raises ValueError, saying what is wrong."""
    exponents: dict[str, int] = {}
    own: list[str] = []
    items = [item.strip() for item in text.split(",")]
    for item in items:
        if item == ISO:
            exponents |= money_in_use()
            continue
        code, exponent = _item(item)
        if code in exponents and exponents[code] != exponent:
            raise ValueError(f"{code} is given twice")
        exponents[code] = exponent
        own.append(code)
    if default not in exponents:
        raise ValueError(f"{default} is not among them, and that is WBS_DEFAULT_CURRENCY")
    words = ", ".join(own)
    if ISO in items:
        words = f"ISO 4217 codes of money in use{' and ' if words else ''}{words}"
    elif len(own) > _NAMED_MAX:
        words = f"{len(own)} codes"
    return Currencies(exponents, default, f"{words} (GET /currencies)", all_exponents())


@cache
def money_in_use() -> dict[str, int]:
    """Return the ISO 4217 codes of money in use, with their decimal places."""
    funds = {
        entry.findtext("Ccy")
        for entry in iso4217.raw_xml.iter("CcyNtry")
        if (name := entry.find("CcyNm")) is not None and name.get("IsFund") == "true"
    }
    return {
        code: exponent
        for code, exponent in all_exponents().items()
        if code not in funds and code not in _UNITS_OF_ACCOUNT
    }


_UNITS_OF_ACCOUNT = ("UYW",)
"""Codes that the standard does not mark as a fund's, but that nobody pays in."""


@cache
def all_exponents() -> dict[str, int]:
    """Return all codes of ISO 4217 that have decimal places, funds included."""
    return {
        currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None
    }


def _item(item: str) -> tuple[str, int]:
    match = re.fullmatch(r"([A-Z]{3})(?::([0-9]{1,2}))?", item)
    if match is None:
        raise ValueError(
            f"{item!r} is neither a code (USD), a code with its decimal places (PTS:0), nor {ISO!r}"
        )
    code, places = match.groups()
    listed = all_exponents().get(code)
    if places is None:
        if listed is None:
            raise ValueError(
                f"{code} has no decimal places in ISO 4217: say how many ({code}:0) if it is meant"
            )
        return code, listed
    if listed is not None and listed != int(places):
        raise ValueError(f"{code} has {listed} decimal places in ISO 4217, not {places}")
    if int(places) > EXPONENT_MAX:
        raise ValueError(f"{code} may have {EXPONENT_MAX} decimal places at most")
    return code, int(places)
