"""The wallets of the load: many, and one hot wallet that gets a good part of all operations."""

from random import Random
from typing import NamedTuple

HOT_SHARE = 0.25
CELLS = 24


class Place(NamedTuple):
    """One wallet of one cell. `spelled` is its user_id in the form of requests: some are numbers."""

    cell: str
    user: str
    currency: str
    spelled: str | int

    @property
    def wallet(self) -> str:
        """The wallet's name in the history."""
        return f"{self.user} {self.currency}"


class Wallets:
    """Cells of three wallets: one user with two currencies, and a neighbour. Keys never leave a cell."""

    def __init__(self, seed: int) -> None:
        self.cells: dict[str, list[Place]] = {"hot": _cell("hot", f"hot-{seed}", f"warm-{seed}")}
        for number in range(CELLS):
            # Users that are numbers may be spelled as JSON numbers; others are strings.
            user = (
                str(1_000_000 + seed % 1000 * 1000 + number)
                if number % 2
                else f"user-{seed}-{number}@example"
            )
            name = f"c{number:02}"
            self.cells[name] = _cell(name, user, f"{user}+")
        self._others = [place for name, places in self.cells.items() if name != "hot" for place in places]

    def draw(self, random: Random) -> Place:
        """Draw a wallet; the hot one with probability `HOT_SHARE`."""
        if random.random() < HOT_SHARE:
            return self.cells["hot"][0]
        if random.random() < 0.03:
            return random.choice(self.cells["hot"][1:])
        return random.choice(self._others)

    def neighbour(self, place: Place, random: Random) -> Place:
        """Draw another wallet of the same cell."""
        return random.choice([other for other in self.cells[place.cell] if other != place])

    def pair(self, random: Random) -> tuple[Place, Place]:
        """Draw two wallets of one cell and currency, one to pay the other."""
        cell = self.draw(random).cell
        first, second = (place for place in self.cells[cell] if place.currency == "USD")
        return (first, second) if random.random() < 0.5 else (second, first)

    def payee_of(self, cell: str, wallet: str) -> Place:
        """Return the wallet that this wallet pays."""
        return next(place for place in self.cells[cell] if place.currency == "USD" and place.wallet != wallet)

    def all(self) -> list[Place]:
        """Every wallet."""
        return [place for places in self.cells.values() for place in places]


def _cell(name: str, user: str, neighbour: str) -> list[Place]:
    spelled: str | int = int(user) if user.isdigit() else user
    return [
        Place(name, user, "USD", spelled),
        Place(name, user, "EUR", user),
        Place(name, neighbour, "USD", neighbour),
    ]
