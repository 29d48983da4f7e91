"""Amounts as people read them, and the currencies that are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.currencies import Currencies, decimal
from wallet.errors import ValidationFailed

TAKEN = Currencies({"USD": 2, "JPY": 0, "KWD": 3, "PTS": 0}, "USD", known={"EUR": 2})

SPELLED = [
    (123456, "USD", "1,234.56 USD"),
    (1234, "JPY", "1,234 JPY"),
    (1234567, "KWD", "1,234.567 KWD"),
    (0, "USD", "0.00 USD"),
    (5, "USD", "0.05 USD"),
    (-5, "USD", "-0.05 USD"),
    (-123456, "USD", "-1,234.56 USD"),
    (-1, "JPY", "-1 JPY"),
    (999, "PTS", "999 PTS"),
    (2**53 - 1, "USD", "90,071,992,547,409.91 USD"),
    (2**53 + 1, "JPY", "9,007,199,254,740,993 JPY"),
    (2**63 + 1, "KWD", "9,223,372,036,854,775.809 KWD"),
    (100, "EUR", "1.00 EUR"),
    (1234, "BGN", "1,234 minor units of BGN"),
]


@pytest.mark.parametrize(("amount", "code", "spelled"), SPELLED)
def test_amounts_read_as_people_read_them(amount: int, code: str, spelled: str) -> None:
    """Goal: decimal places as the currency has them, to the last digit; without a guess where nobody knows them."""
    assert TAKEN.spelled(amount, code) == spelled


@given(st.integers(-(2**70), 2**70), st.integers(0, 12))
def test_no_digit_is_lost(amount: int, exponent: int) -> None:
    """Goal: whatever the amount, its digits are there again once commas and point are taken away."""
    text = decimal(amount, exponent)
    assert int(text.replace(",", "").replace(".", "")) == amount
    assert len(text.partition(".")[2]) == exponent


def test_what_is_taken() -> None:
    """Goal: a code that is taken means itself, none means the default, another is refused with what is taken."""
    assert TAKEN.taken("JPY") == "JPY"
    assert TAKEN.taken(None) == "USD"
    assert TAKEN.taken("EUR") is None
    refusal = TAKEN.refusal("UDS")
    assert isinstance(refusal, ValidationFailed)
    assert refusal.errors == [("currency", "UDS is not taken here, only JPY, KWD, PTS, USD")]
