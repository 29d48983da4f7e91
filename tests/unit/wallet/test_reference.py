"""The reference that the bank knows a withdrawal by."""

import json
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from wallet.commands import Withdraw
from wallet.reference import reference_end

WITHDRAW = Withdraw("default", "key", "ann", "USD", 100, '"DE89"', '{"note":1}', "shop")

texts = st.text(alphabet="ab1:\x1f ", max_size=4)
destinations = st.one_of(st.none(), texts.map(json.dumps))
withdraws = st.builds(Withdraw, texts, texts, texts, texts, st.integers(1, 30), destinations)


def _asked(one: Withdraw) -> tuple[str | int, ...]:
    return (one.space, one.key, one.user_id, one.currency, one.amount, one.destination or "")


def test_it_is_for_ever() -> None:
    """Goal: another release of the service gives the same request the same reference, or a restore pays twice."""
    assert reference_end(WITHDRAW) == "96c9ff0e01cccb1a61140f7e"
    spelled = replace(WITHDRAW, destination='{"iban": "DE89", "fee": 1.50}')
    assert reference_end(spelled) == "9d486f16a90b4c3404cc334a"
    assert reference_end(replace(WITHDRAW, destination=None)) == "6435bdd6e795422b7f3af515"


def test_what_makes_no_difference() -> None:
    """Goal: a request repeated by another API key, with other metadata or another spelling has the same reference."""
    assert reference_end(replace(WITHDRAW, by="app", metadata=None)) == reference_end(WITHDRAW)
    one, other = '{"a": 1.0, "b": "x"}', '{"b":"\\u0078","a":1}'
    assert reference_end(replace(WITHDRAW, destination=one)) == reference_end(
        replace(WITHDRAW, destination=other)
    )
    assert reference_end(replace(WITHDRAW, destination="{}")) == reference_end(
        replace(WITHDRAW, destination=None)
    )


def test_what_makes_another_payout() -> None:
    """Goal: each of space, key, user, money and destination counts."""
    others = [
        replace(WITHDRAW, space="partner"),
        replace(WITHDRAW, key="key2"),
        replace(WITHDRAW, user_id="bob"),
        replace(WITHDRAW, amount=101),
        replace(WITHDRAW, currency="EUR"),
        replace(WITHDRAW, destination='"DE90"'),
        replace(WITHDRAW, destination=None),
    ]
    ends = [reference_end(one) for one in (WITHDRAW, *others)]
    assert len(set(ends)) == len(ends)
    assert all(len(end) == 24 and int(end, 16) >= 0 for end in ends)


@given(st.lists(withdraws, min_size=2, max_size=20))
def test_parts_are_kept_apart(some: list[Withdraw]) -> None:
    """Goal: no two requests have one reference because of where one part ends and the next begins."""
    for one, other in combinations(some, 2):
        assert (reference_end(one) == reference_end(other)) == (_asked(one) == _asked(other))
