"""The states of a withdrawal: the table is the diagram of the design, and histories are judged by it."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.withdrawal import END_STATES, LEGAL_MOVES, OPEN_STATES, Status, can_move, is_legal_history

DIAGRAM = {
    ("pending", "cancelled"),
    ("pending", "processing"),
    ("processing", "completed"),
    ("processing", "failed"),
    ("processing", "requires_attention"),
    ("requires_attention", "processing"),
    ("requires_attention", "completed"),
    ("requires_attention", "failed"),
    ("completed", "returned"),
}


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
def test_each_pair_is_as_in_the_diagram(source: Status, target: Status) -> None:
    """Goal: exactly the nine moves of the design are legal."""
    assert can_move(source, target) is ((source.value, target.value) in DIAGRAM)


def test_every_state_is_in_the_table() -> None:
    """Goal: no state is forgotten: each either ends or is open, and each has its moves listed."""
    assert LEGAL_MOVES.keys() == set(Status)
    assert set(Status) == END_STATES | OPEN_STATES
    assert not END_STATES & OPEN_STATES


def test_pending_is_never_come_back_to() -> None:
    """Goal: pending means that the bank was never called, so nothing leads there."""
    assert not any(can_move(source, Status.PENDING) for source in Status)


def test_money_leaves_held_for_good() -> None:
    """Goal: from an end state no move leads to a state whose money is held."""
    assert not any(can_move(end, open_) for end in END_STATES for open_ in OPEN_STATES)


def test_every_state_can_be_reached_and_every_open_one_can_end() -> None:
    """Goal: the diagram has no island and no trap."""
    for status in Status:
        assert status in _reachable(Status.PENDING)
        assert status in END_STATES or _reachable(status) & END_STATES


def _reachable(source: Status) -> set[Status]:
    reached = {source}
    while True:
        further = {target for one in reached for target in LEGAL_MOVES[one]} - reached
        if not further:
            return reached
        reached |= further


@given(st.data())
def test_walks_along_the_table_are_legal_and_detours_are_not(data: st.DataObject) -> None:
    """Goal: a history that follows the table is legal; with one state left out or put in it mostly is not."""
    path = [Status.PENDING]
    while LEGAL_MOVES[path[-1]] and len(path) < 8:
        path.append(data.draw(st.sampled_from(sorted(LEGAL_MOVES[path[-1]]))))
    assert is_legal_history(path)
    assert is_legal_history(path[: data.draw(st.integers(1, len(path)))])
    assert not is_legal_history(path[1:])
    at = data.draw(st.integers(0, len(path)))
    detour = [*path[:at], data.draw(st.sampled_from(Status)), *path[at:]]
    steps = set(pairwise(detour))
    assert is_legal_history(detour) is (steps <= DIAGRAM and detour[0] == "pending")


def test_no_history_is_no_legal_history() -> None:
    """Goal: a withdrawal without any history is a fault, not an empty success."""
    assert not is_legal_history([])
