"""WBS_CURRENCIES: what it may say, and what is refused at the start."""

import pytest

from runtime.currencies import all_exponents, money_in_use, read_currencies
from runtime.settings import Settings, SettingsError


def test_unset_is_all_money_in_use() -> None:
    """Goal: by default every currency that people pay in is taken, and nothing that is none."""
    taken = Settings.from_env({}).taken_currencies
    assert taken.default == "USD"
    places = {"USD": 2, "EUR": 2, "JPY": 0, "ISK": 0, "KWD": 3, "TND": 3}
    assert places.items() <= taken.exponents.items()
    assert len(taken.exponents) > 150
    for code in ("XTS", "XAU", "XDR", "CLF", "USN", "CHE", "UYW", "PTS", "UDS", "DEM", "BGN"):
        assert taken.taken(code) is None, code


def test_the_library_is_the_standard() -> None:
    """Goal: a later version of the library that lost its marks of funds or decimal places would be noticed."""
    assert all(0 <= exponent <= 4 for exponent in all_exponents().values())
    assert set(money_in_use().values()) == {0, 2, 3}
    assert all_exponents().keys() - money_in_use().keys() == {
        *("BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW"),
    }


def test_a_list() -> None:
    """Goal: only what is listed is taken, in the order of the codes; a fund's code and own units are, if listed."""
    taken = read_currencies("USD, PTS:0 ,CLF,BGN:2,JPY:0", "USD")
    assert list(taken.exponents.items()) == [("BGN", 2), ("CLF", 4), ("JPY", 0), ("PTS", 0), ("USD", 2)]
    assert "only USD, PTS, CLF, BGN, JPY (GET /currencies)" in str(taken.refusal("EUR"))
    assert taken.spelled(1, "EUR") == "0.01 EUR"  # it may be in the books


def test_all_money_and_own_units() -> None:
    """Goal: `iso` stands for all money in use, beside own units; the refusal says both."""
    taken = read_currencies("iso,PTS:0", "PTS")
    assert taken.exponents == dict(sorted({**money_in_use(), "PTS": 0}.items()))
    assert taken.taken(None) == "PTS"
    assert "only ISO 4217 codes of money in use and PTS (GET /currencies)" in str(taken.refusal("UDS"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("USD,usd", "'usd' is neither a code"),
        ("USD,EURO", "'EURO' is neither a code"),
        ("USD;EUR", "neither a code"),
        ("USD,,EUR", "'' is neither a code"),
        ("USD,PTS", "PTS has no decimal places in ISO 4217"),
        ("USD,XAU", "XAU has no decimal places in ISO 4217"),
        ("USD,PTS:-1", "neither a code"),
        ("USD,PTS:13", "PTS may have 12 decimal places at most"),
        ("USD,PTS:0,PTS:2", "PTS is given twice"),
        ("USD,JPY:2", "JPY has 0 decimal places in ISO 4217, not 2"),
        ("EUR,JPY", "USD is not among them"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, reason: str) -> None:
    """Goal: a mistake in the setting ends the start, with a sentence that names setting and item."""
    with pytest.raises(SettingsError, match="WBS_CURRENCIES: ") as refusal:
        Settings.from_env({"WBS_CURRENCIES": text})
    assert reason in str(refusal.value)
