"""The client also pays from wallet to wallet, sets money aside, and takes it back."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule

from tests.model.machine import Place, Request, WalletMachine, amounts, now, places
from tests.model.wallet_model import SKEW, Held
from tests.service import Answer

shares = st.sampled_from((0.1, 0.5, 1.0))
times = st.sampled_from((None, 0.4, 1.0, 3600.0))


@dataclass
class Leg:
    """What one payee got, and how much of it was taken back."""

    place: Place
    amount: int
    release_at: datetime | None
    reversed: int = 0

    def left(self) -> int:
        """What can still be taken back."""
        return self.amount - self.reversed


@dataclass
class Paid:
    """A charge (one leg, no payer) or a transfer."""

    id: str
    payer: Place | None
    legs: list[Leg] = field(default_factory=list)


class TransferMachine(WalletMachine):
    """Each rule knows what must be answered, and changes the model only where money has moved."""

    paid = Bundle("paid")
    """Transfers and charges that can be taken back."""
    held = Bundle("held")
    """Holds: place and identifier."""
    done = Bundle("done")
    """Requests that took effect, with the answer they got."""

    def other(self, place: Place) -> Place:
        """Return the wallet that this one pays."""
        return ("b" if place[0] == "a" else "a", place[1])

    def named(self, place: Place) -> str:
        """Return the user's name in requests."""
        return f"{self.run_id}-{place[0]}"

    def under_a_key(self, **body: Any) -> dict[str, Any]:
        """Return a body with a key of its own."""
        self.keys += 1
        return {**body, "idempotency_key": f"{self.run_id}-{self.keys}"}

    def legs(self, payee: Place, amount: int, parts: int, seconds: float | None) -> list[Leg]:
        """Return legs for an amount, the first locked for so many seconds."""
        parts = min(parts, amount)
        amounts = [amount // parts] * (parts - 1)
        release_at = None if seconds is None else now() + timedelta(seconds=seconds)
        first = Leg(payee, amount - sum(amounts), release_at)
        return [first, *(Leg(payee, part, None) for part in amounts)]

    def spelled(self, legs: list[Leg]) -> list[dict[str, Any]]:
        """Return the legs as a request has them."""
        return [
            {"to_user_id": self.named(leg.place), "amount": leg.amount}
            | ({} if leg.release_at is None else {"release_at": leg.release_at.isoformat()})
            for leg in legs
        ]

    def surely(self, place: Place) -> int:
        """Return what is withdrawable for certain, for a while."""
        return self.wallet(place).withdrawable_between(now(), now() + timedelta(seconds=5))[0]

    # --- Transfers ---

    @rule(target=paid, place=places, share=shares, parts=st.integers(1, 3), seconds=times)
    def transfer(self, place: Place, share: float, parts: int, seconds: float | None) -> Paid | None:
        """Pay the other wallet, all of it or a part, at once or locked for a while."""
        amount = int(self.surely(place) * share)
        if amount < 1:
            return None
        legs = self.legs(self.other(place), amount, parts, seconds)
        body = self.under_a_key(from_user_id=self.named(place), currency=place[1], legs=self.spelled(legs))
        answer = self.post("/transfers", body)
        if self.came_too_late(answer, legs[0].release_at):
            return None
        assert answer.status == 200, answer.body
        assert (answer.json["amount"], answer.json["reversed"]) == (amount, 0)
        assert [leg["amount"] for leg in answer.json["legs"]] == [leg.amount for leg in legs]
        self.wallet(place).move(-amount)
        for leg in legs:
            self.wallet(leg.place).move(leg.amount, leg.release_at)
        again = self.post("/transfers", body)
        assert (again.status, again.body) == (200, answer.body)
        return Paid(answer.json["id"], place, legs)

    def came_too_late(self, answer: Answer, moment: datetime | None) -> bool:
        """Return whether a request was refused because the moment that it names had come."""
        if answer.status == 422 and answer.code == "validation_failed":
            assert moment is not None
            assert now() + SKEW > moment
            return True
        return False

    @rule(place=places, beyond=amounts)
    def overpay(self, place: Place, beyond: int) -> None:
        """Pay, or set aside, more than there can be: nothing moves, not even a leg that there is enough for."""
        _, most = self.wallet(place).withdrawable_between(now(), now() + timedelta(seconds=30))
        payee = self.named(self.other(place))
        legs = [{"to_user_id": payee, "amount": most + beyond}, {"to_user_id": payee, "amount": 1}]
        body = self.under_a_key(from_user_id=self.named(place), currency=place[1], legs=legs)
        answer = self.post("/transfers", body)
        assert (answer.status, answer.code) == (422, "insufficient_funds")
        answer = self.post("/holds", self.body(place, most + beyond))
        assert (answer.status, answer.code) == (422, "insufficient_funds")

    @rule(place=places, items=st.lists(st.booleans(), min_size=1, max_size=6))
    def transfer_in_bulk(self, place: Place, items: list[bool]) -> None:
        """Pay one unit many times at once; what there is nothing for is refused by itself."""
        payee = self.other(place)
        if self.surely(place) < len(items):
            return
        bodies = [
            self.under_a_key(
                from_user_id=self.named(place if good else payee),
                to_user_id=self.named(payee),
                currency=place[1],
                amount=1,
            )
            for good in items
        ]
        results = self.post("/transfers", bodies).json["results"]
        assert [result["status"] for result in results] == [200 if good else 422 for good in items]
        self.wallet(place).move(-sum(items))
        self.wallet(payee).move(sum(items))

    # --- Holds ---

    @rule(target=held, place=places, share=shares, seconds=times)
    def hold(self, place: Place, share: float, seconds: float | None) -> tuple[Place, str] | None:
        """Set money aside, for a while or until something is done about it."""
        amount = int(self.surely(place) * share)
        if amount < 1:
            return None
        expires_at = None if seconds is None else now() + timedelta(seconds=seconds)
        more = {} if expires_at is None else {"expires_at": expires_at.isoformat()}
        body = self.body(place, amount, metadata={"n": amount}, **more)
        answer = self.post("/holds", body)
        if self.came_too_late(answer, expires_at):
            return None
        assert answer.status == 200, answer.body
        assert (answer.json["status"], answer.json["amount"]) == ("open", amount)
        self.wallet(place).holds[answer.json["id"]] = Held(amount, expires_at)
        return place, answer.json["id"]

    @rule(target=paid, hold=held, share=shares, parts=st.integers(1, 2), seconds=times)
    def capture(
        self, hold: tuple[Place, str] | None, share: float, parts: int, seconds: float | None
    ) -> Paid | None:
        """Capture a hold, all of it or a part: the rest is back, and it can't end again."""
        if hold is None:
            return None
        place, id = hold
        model = self.wallet(place).holds[id]
        amount = max(int(model.amount * share), 1)
        legs = self.legs(self.other(place), amount, parts, seconds)
        body = self.under_a_key(legs=self.spelled(legs))
        start = now()
        answer = self.post(f"/holds/{id}/capture", body)
        if self.is_over(model, start, answer) or self.came_too_late(answer, legs[0].release_at):
            return None
        assert answer.status == 200, answer.body
        assert (answer.json["status"], answer.json["captured"]) == ("captured", amount)
        model.ended = True
        self.wallet(place).move(-amount)
        for leg in legs:
            self.wallet(leg.place).move(leg.amount, leg.release_at)
        again = self.post(f"/holds/{id}/capture", body)
        assert (again.status, again.body) == (200, answer.body)
        return Paid(answer.json["transfer_id"], place, legs)

    def is_over(self, model: Held, start: datetime, answer: Answer) -> bool:
        """Return whether a hold was not open any more, and check that this can be."""
        if answer.status == 409:
            assert answer.code == "hold_not_open"
            assert not model.is_open_at(now() + SKEW)
            return True
        assert model.is_open_at(start - SKEW), answer.body
        return False

    @rule(hold=held)
    def void(self, hold: tuple[Place, str] | None) -> None:
        """Void a hold: its money is back, and voiding again changes nothing."""
        if hold is None:
            return
        place, id = hold
        model = self.wallet(place).holds[id]
        before = self.do(self.service.call("GET", f"/holds/{id}")).json["status"]
        start = now()
        answer = self.post(f"/holds/{id}/void", {})
        if before != "voided" and self.is_over(model, start, answer):
            return
        assert (answer.status, answer.json["status"]) == (200, "voided")
        model.ended = True

    @rule(hold=held)
    def look_at_a_hold(self, hold: tuple[Place, str] | None) -> None:
        """A hold is open, or has ended, as the model has it."""
        if hold is None:
            return
        place, id = hold
        model, start = self.wallet(place).holds[id], now()
        found = self.do(self.service.call("GET", f"/holds/{id}")).json
        assert found["amount"] == model.amount
        if found["status"] == "open":
            assert model.is_open_at(start - SKEW)
        elif found["status"] == "expired":
            assert not model.ended
            assert not model.is_open_at(now() + SKEW)
        else:
            assert model.ended

    @rule(hold=held, beyond=amounts)
    def capture_too_much(self, hold: tuple[Place, str] | None, beyond: int) -> None:
        """More than is held can't be captured."""
        if hold is None:
            return
        place, id = hold
        model = self.wallet(place).holds[id]
        body = self.under_a_key(to_user_id=self.named(self.other(place)), amount=model.amount + beyond)
        answer = self.post(f"/holds/{id}/capture", body)
        assert answer.code in ("hold_not_open", "capture_exceeds_hold")
        if answer.code == "hold_not_open":
            assert not model.is_open_at(now() + SKEW)

    # --- Reversals ---

    @rule(target=paid, place=places, amount=amounts, seconds=times)
    def charge_to_be_reversed(self, place: Place, amount: int, seconds: float | None) -> Paid | None:
        """Charge, at once or locked for a while."""
        release_at = None if seconds is None else now() + timedelta(seconds=seconds)
        more = {} if release_at is None else {"release_at": release_at.isoformat()}
        answer = self.post("/charge", self.body(place, amount, **more))
        if self.came_too_late(answer, release_at):
            return None
        self.wallet(place).charge(answer.json["id"], amount, release_at)
        return Paid(answer.json["id"], None, [Leg(place, amount, release_at)])

    @rule(target=done, paid=paid, share=st.sampled_from((None, 0.3, 0.7, 1.2)))
    def reverse(self, paid: Paid | None, share: float | None) -> tuple[Request, bytes] | None:
        """Take a charge or a transfer back, all that is left or a part of each leg: never more than there was."""
        if paid is None:
            return None
        path = f"/charges/{paid.id}/reverse" if paid.payer is None else f"/transfers/{paid.id}/reverse"
        if share is None:
            parts = [leg.left() for leg in paid.legs]
            body = self.under_a_key()
        else:
            parts = [max(int(leg.amount * share), 1) for leg in paid.legs]
            named: Any = [{"leg": number, "amount": part} for number, part in enumerate(parts, 1)]
            body = self.under_a_key(**({"amount": parts[0]} if paid.payer is None else {"legs": named}))
        start = now()
        answer = self.post(path, body)
        beyond = any(part > leg.left() for part, leg in zip(parts, paid.legs, strict=True))
        if beyond or not sum(parts):
            assert (answer.status, answer.code) == (422, "exceeds_original")
            return None
        if answer.status == 422:
            assert answer.code == "insufficient_funds"
            assert self.may_be_short(paid, parts, start)
            return None
        assert answer.status == 200, answer.body
        assert (answer.json["reverses"], answer.json["amount"]) == (paid.id, sum(parts))
        for part, leg in zip(parts, paid.legs, strict=True):
            leg.reversed += part
            self.wallet(leg.place).move(-part, leg.release_at)
        if paid.payer is not None:
            self.wallet(paid.payer).move(sum(parts))
        return (path, body), answer.body

    def may_be_short(self, paid: Paid, parts: list[int], start: datetime) -> bool:
        """Return whether a wallet may lack what is to be taken back: that which is not locked still."""
        place = paid.legs[0].place
        wanted = sum(
            part
            for part, leg in zip(parts, paid.legs, strict=True)
            if leg.release_at is None or leg.release_at <= now() + SKEW
        )
        return self.wallet(place).withdrawable_between(start, now())[0] < wanted

    @rule(deed=done)
    def repeat_a_reversal(self, deed: tuple[Request, bytes] | None) -> None:
        """The same request under the same key gets the same bytes, and nothing moves."""
        if deed is None:
            return
        request, first = deed
        answer = self.post(*request)
        assert (answer.status, answer.body) == (200, first)
        assert answer.headers["idempotent-replayed"] == "true"
        other = self.post(request[0], {**request[1], "reason": "another"})
        assert (other.status, other.code) == (422, "idempotency_key_reused")

    @rule(paid=paid)
    def look_at_what_was_paid(self, paid: Paid | None) -> None:
        """It says how much of it was taken back."""
        if paid is None:
            return
        path = f"/charges/{paid.id}" if paid.payer is None else f"/transfers/{paid.id}"
        found = json.loads(self.do(self.service.call("GET", path)).body)
        assert found["amount"] == sum(leg.amount for leg in paid.legs)
        assert found["reversed"] == sum(leg.reversed for leg in paid.legs)
