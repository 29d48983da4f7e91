"""WBS_MAX_…: what they may say, and what is refused at the start."""

import pytest

from runtime.settings import Settings, SettingsError
from wallet.limits import UNLIMITED
from wallet.money import AMOUNT_MAX

CEILINGS = {"WBS_MAX_CHARGE": "charge", "WBS_MAX_WITHDRAWAL": "withdrawal", "WBS_MAX_BALANCE": "balance"}


def test_unset_is_no_limit() -> None:
    """Goal: without settings there are no limits but the service's own, and whoever asks can see that at once."""
    assert Settings.from_env({}).limits == UNLIMITED
    assert UNLIMITED.balance.of("USD") == AMOUNT_MAX


@pytest.mark.parametrize(("setting", "name"), CEILINGS.items())
def test_amounts_per_currency(setting: str, name: str) -> None:
    """Goal: one amount for all currencies, others for those that are named, or only these."""
    ceiling = getattr(Settings.from_env({setting: "1000000, JPY:100000000"}).limits, name)
    assert [ceiling.of(code) for code in ("USD", "EUR", "JPY")] == [1_000_000, 1_000_000, 100_000_000]
    only = getattr(Settings.from_env({setting: "JPY:5"}).limits, name)
    assert (only.of("JPY"), only.of("USD")) == (5, AMOUNT_MAX)


def test_numbers_of_locks_and_holds() -> None:
    """Goal: how many locks and holds a wallet may have open."""
    limits = Settings.from_env({"WBS_MAX_OPEN_LOCKS": "3", "WBS_MAX_OPEN_HOLDS": "2"}).limits
    assert (limits.open_locks, limits.open_holds) == (3, 2)


@pytest.mark.parametrize("setting", CEILINGS)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("many", "'many' is neither"),
        ("1.5", "'1.5' is neither"),
        ("-1", "'-1' is neither"),
        ("JPY=1", "'JPY=1' is neither"),
        ("0", "0 must be from 1"),
        ("9007199254740992", "must be from 1"),
        ("1,2", "two amounts"),
        ("JPY:1,JPY:2", "JPY is given twice"),
        ("JYP:1", "JYP is not among WBS_CURRENCIES"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: str, text: str, reason: str) -> None:
    """Goal: a mistake in a limit ends the start: a limit that silently is none would be worse than none."""
    with pytest.raises(SettingsError, match=f"{setting}: ") as refusal:
        Settings.from_env({setting: text})
    assert reason in str(refusal.value)
