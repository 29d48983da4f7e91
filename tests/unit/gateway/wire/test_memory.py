"""Who may hold how much of the memory for bodies and responses."""

from gateway.wire.memory import Hold, MemoryBudget


def test_there_is_always_room_for_another() -> None:
    """Goal: one owner gets half of it, two a third each, and what is given back is there again."""
    budget = MemoryBudget(1_200)
    holds = {owner: Hold(budget, owner) for owner in ("a", "b", "c")}
    assert not holds["a"].grow(601)
    assert holds["a"].grow(600)
    assert holds["a"].grow(500), "it holds as much already"
    assert not Hold(budget, "a").grow(1)
    assert holds["b"].grow(300)
    assert not holds["b"].grow(301)
    assert holds["c"].grow(150)
    assert budget.used == 1_050
    holds["a"].shrink(100)
    assert holds["b"].grow(450)
    for hold in holds.values():
        hold.shrink()
        hold.shrink()
    assert budget.used == 0
    assert Hold(budget, "d").grow(600)
