"""How user ids are spelled outside: in the database each is text."""

from collections.abc import Callable

from wallet.money import AMOUNT_MAX

Spelling = Callable[[str], int | str]
"""Returns a user id as responses, events and webhooks spell it."""


def as_text(user_id: str) -> int | str:
    """Return the user id as it is kept."""
    return user_id


def whole_as_number(user_id: str) -> int | str:
    """Return a user id that is a whole number up to 2^53 - 1 as that, any other as it is kept."""
    is_whole = (
        user_id.isdecimal()
        and user_id.isascii()
        and (user_id[0] != "0" or user_id == "0")
        and len(user_id) <= 16
        and int(user_id) <= AMOUNT_MAX
    )
    return int(user_id) if is_whole else user_id


def spelling(setting: str) -> Spelling:
    """Return the spelling that WBS_USER_IDS (`auto`, `string` or `integer`) asks for."""
    return as_text if setting == "string" else whole_as_number
