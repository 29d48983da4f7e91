"""A client that does anything the API allows, in any order, and knows from a simple model what must be answered."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from tests.model.wallet_model import ModelWallet
from tests.polling import poll_until
from tests.service import Answer, Service
from wallet.withdrawal import Status, is_legal_history

T = TypeVar("T")
ENDS_WITHIN_S = 90.0
Place = tuple[str, str]
Request = tuple[str, dict[str, Any]]

amounts = st.integers(1, 1000)
places = st.tuples(st.sampled_from(("a", "b")), st.sampled_from(("USD", "EUR")))


def now() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)


class WalletMachine(RuleBasedStateMachine):
    """Rules are calls; each checks its answer, the invariant checks balances after every one of them."""

    runner: asyncio.Runner
    service: Service

    accepted = Bundle("accepted")
    """Requests that took effect, with the answer they got."""
    refused = Bundle("refused")
    """Requests that were refused for lack of funds: their keys are free."""
    out = Bundle("out")
    """Withdrawals: place and identifier."""

    @initialize()
    def begin(self) -> None:
        """Take unused wallets."""
        self.run_id = uuid4().hex[:10]
        self.wallets: dict[Place, ModelWallet] = {}
        self.keys = 0

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self.runner.run(coroutine)

    def wallet(self, place: Place) -> ModelWallet:
        """Return the model of a wallet."""
        return self.wallets.setdefault(place, ModelWallet())

    def body(self, place: Place, amount: int, **more: Any) -> dict[str, Any]:
        """Return a request under a key of its own."""
        self.keys += 1
        user, currency = place
        key = f"{self.run_id}-{self.keys}"
        named = {"user_id": f"{self.run_id}-{user}", "currency": currency, "amount": amount}
        return {**named, "idempotency_key": key, **more}

    def post(self, path: str, body: object) -> Answer:
        """Send a request."""
        return self.do(self.service.call("POST", path, json=body))

    # --- Money in ---

    @rule(target=accepted, place=places, amount=amounts)
    def charge(self, place: Place, amount: int) -> tuple[Request, bytes]:
        """Charge without a lock."""
        body = self.body(place, amount, metadata={"n": amount})
        answer = self.post("/charge", body)
        assert answer.status == 200, answer.body
        found = answer.json
        assert (found["amount"], found["status"], found["metadata"]) == (amount, "completed", {"n": amount})
        self.wallet(place).charge(found["id"], amount, None)
        return ("/charge", body), answer.body

    @rule(place=places, amount=amounts, seconds=st.sampled_from((0.4, 1.0, 3600.0)))
    def charge_with_a_lock(self, place: Place, amount: int, seconds: float) -> None:
        """Charge money that is locked for a while."""
        release_at = now() + timedelta(seconds=seconds)
        answer = self.post("/charge", self.body(place, amount, release_at=release_at.isoformat()))
        if answer.status == 422:  # the moment had come before the request was decided
            assert now() > release_at
            return
        assert answer.status == 200, answer.body
        assert datetime.fromisoformat(answer.json["release_at"]) == release_at
        self.wallet(place).charge(answer.json["id"], amount, release_at)

    @rule(items=st.lists(st.tuples(places, amounts, st.booleans()), min_size=1, max_size=8))
    def charge_in_bulk(self, items: list[tuple[Place, int, bool]]) -> None:
        """Charge many at once; the bad ones among them harm no other, nor does a doubled one."""
        bodies = [self.body(place, amount if good else 0) for place, amount, good in items]
        answer = self.post("/charges", [*bodies, bodies[0]])
        assert answer.status == 200, answer.body
        results = answer.json["results"]
        for (place, amount, good), result in zip(items, results, strict=False):
            assert result["status"] == (200 if good else 422)
            if good:
                self.wallet(place).charge(result["transaction"]["id"], amount, None)
        assert len(results) == len(items) + 1
        assert results[-1].get("transaction") == results[0].get("transaction")
        assert results[-1].get("replayed", False) is items[0][2]

    # --- Money out ---

    @rule(target=out, place=places, share=st.sampled_from((0.1, 0.5, 1.0)))
    def withdraw(self, place: Place, share: float) -> tuple[Place, str] | None:
        """Withdraw what there surely is, or a part of it."""
        start = now()
        least, _ = self.wallet(place).withdrawable_between(start, start)
        amount = int(least * share)
        if amount < 1:
            return None
        body = self.body(place, amount, destination={"iban": "X"})
        answer = self.post("/withdraw", body)
        assert answer.status == 202, answer.body
        id = answer.json["withdrawal_id"]
        assert answer.headers["location"] == answer.json["status_url"]
        self.wallet(place).withdraw(id, amount)
        again = self.post("/withdraw", body)
        assert (again.status, again.body) == (202, answer.body)
        assert again.headers["idempotent-replayed"] == "true"
        return place, id

    @rule(target=refused, place=places, beyond=amounts)
    def overdraw(self, place: Place, beyond: int) -> Request:
        """Withdraw more than there can be."""
        _, most = self.wallet(place).withdrawable_between(now(), now() + timedelta(seconds=30))
        request = ("/withdraw", self.body(place, most + beyond))
        answer = self.post(*request)
        assert (answer.status, answer.code) == (422, "insufficient_funds")
        return request

    @rule(request=consumes(refused), amount=amounts)
    def use_the_key_of_a_refused_request(self, request: Request, amount: int) -> None:
        """A refused request has left its key free, for a charge too."""
        _, body = request
        answer = self.post("/charge", {**body, "amount": amount})
        assert answer.status == 200, answer.body
        place = (body["user_id"].rpartition("-")[2], body["currency"])
        self.wallet(place).charge(answer.json["id"], amount, None)

    @rule(withdrawal=out)
    def cancel(self, withdrawal: tuple[Place, str] | None) -> None:
        """Cancel: either it works and the money is back at once, or the bank may have been called."""
        if withdrawal is None:
            return
        place, id = withdrawal
        model = self.wallet(place).withdrawals[id]
        answer = self.post(f"/withdrawals/{id}/cancel", {})
        if answer.status == 200:
            assert answer.json["status"] == "cancelled"
            assert model.status in ("pending", "cancelled")
            model.refunded = model.ended = True
            model.status = "cancelled"
        else:
            assert (answer.status, answer.code) == (409, "not_cancellable")
            assert model.status != "cancelled"

    # --- The same again, and misuse ---

    @rule(earlier=accepted)
    def repeat(self, earlier: tuple[Request, bytes]) -> None:
        """The same request under the same key gets the same bytes, whenever it comes."""
        request, first = earlier
        answer = self.post(*request)
        assert (answer.status, answer.body) == (200, first)
        assert answer.headers["idempotent-replayed"] == "true"

    @rule(earlier=accepted, path=st.sampled_from(("/charge", "/withdraw")), more=amounts)
    def misuse_a_key(self, earlier: tuple[Request, bytes], path: str, more: int) -> None:
        """Another request under a used key is refused."""
        (_, body), _ = earlier
        answer = self.post(path, {**body, "amount": body["amount"] + more})
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")

    # --- Reads ---

    @invariant()
    def balances_are_possible(self) -> None:
        """Each wallet's split is one that the model allows at this moment."""
        for place in getattr(self, "wallets", {}):
            self.check_balance(place)

    def check_balance(self, place: Place) -> tuple[int, int, int]:
        """Read a balance and compare it; return withdrawable, locked, held."""
        model, (user, currency) = self.wallet(place), place
        path = f"/balance/{self.run_id}-{user}?currency={currency}"
        start = now()
        found = self.do(self.service.call("GET", path)).json
        end = now()
        least, most = model.withdrawable_between(start, end)
        least_kept, most_kept = model.kept_between(start, end)
        withdrawable, locked, held = found["withdrawable"], found["locked"], found["held"]
        assert found["total"] == withdrawable + locked + held
        assert least_kept <= model.own - withdrawable - locked <= most_kept
        assert least <= withdrawable <= most
        assert least_kept <= held <= model.held_at_most + most_kept
        return withdrawable, locked, held

    @rule(place=places, limit=st.integers(1, 7))
    def list_transactions(self, place: Place, limit: int) -> None:
        """Follow the cursor: every transaction once, newest first."""
        user, currency = place
        path = f"/transactions?user_id={self.run_id}-{user}&currency={currency}&limit={limit}"
        expected = self.wallet(place).listing[::-1]
        seen: list[tuple[str, int]] = []
        cursor = ""
        while True:
            page = self.do(self.service.call("GET", path + cursor)).json
            assert len(page["transactions"]) <= limit
            assert page["total"] == len(expected)
            seen += [(one["id"], one["amount"]) for one in page["transactions"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == expected

    @rule(withdrawal=out)
    def look(self, withdrawal: tuple[Place, str] | None) -> None:
        """A withdrawal's history is a legal path that only grows."""
        if withdrawal is not None:
            place, id = withdrawal
            self.learn(place, self.do(self.service.withdrawal(id)))

    def learn(self, place: Place, found: dict[str, Any]) -> None:
        """Take in the state read of a withdrawal, if it is possible."""
        model = self.wallet(place).withdrawals[found["withdrawal_id"]]
        path = [Status(entry["status"]) for entry in found["history"]]
        assert is_legal_history(path)
        assert path[-1] == found["status"]
        assert model.status in path, "its past has changed"
        assert found["amount"] == model.amount
        if model.status == "cancelled":
            assert found["attempts"] == 0
        model.status = found["status"]
        model.ended |= found["status"] in ("completed", "failed", "cancelled", "returned")

    # --- The bank ---

    @rule()
    def everything_ends(self) -> None:
        """With a bank that works every withdrawal ends, paid, and nothing is held any more."""
        for place, wallet in self.wallets.items():
            for id in wallet.open_withdrawals:
                self.do(self.service.ends(id, ENDS_WITHIN_S))
                self.learn(place, self.do(self.service.withdrawal(id)))
                assert wallet.withdrawals[id].status == "completed"
            kept_before = wallet.kept_between(now(), now())[1]
            assert self.check_balance(place)[2] <= kept_before

    @rule(place=places, amount=amounts)
    def a_bank_that_declines(self, place: Place, amount: int) -> None:
        """What the bank declines comes back."""
        self.everything_ends()
        self.charge(place, amount)
        self.do(self.service.faults(decline_rate=1))
        try:
            id = self.do(self.service.withdraw(amount, user=f"{self.run_id}-{place[0]}", currency=place[1]))
            assert self.do(self.service.ends(id, ENDS_WITHIN_S)) == "failed"
        finally:
            self.do(self.service.faults())
        self.wallet(place).withdraw(id, amount)
        self.wallet(place).withdrawals[id].refunded = True
        self.learn(place, self.do(self.service.withdrawal(id)))

    @rule(place=places, amount=amounts, fault=st.sampled_from(("lost_reply_rate", "error_rate")))
    def a_bank_that_stumbles(self, place: Place, amount: int, fault: str) -> None:
        """While replies are lost the money stays held; once the bank is well it is paid once."""
        self.charge(place, amount)
        self.do(self.service.faults(seed=self.keys, **{fault: 0.7}))
        try:
            id = self.do(self.service.withdraw(amount, user=f"{self.run_id}-{place[0]}", currency=place[1]))
            self.wallet(place).withdraw(id, amount)
            self.check_balance(place)
        finally:
            self.do(self.service.faults())
        assert self.do(self.service.ends(id, ENDS_WITHIN_S)) == "completed"
        self.learn(place, self.do(self.service.withdrawal(id)))

    @rule(withdrawal=out)
    def the_bank_sends_it_back(self, withdrawal: tuple[Place, str] | None) -> None:
        """A returned payout is money in the wallet again, once."""
        if withdrawal is None or self.wallet(withdrawal[0]).withdrawals[withdrawal[1]].status == "cancelled":
            return
        place, id = withdrawal
        model = self.wallet(place).withdrawals[id]
        if model.status != "returned":
            assert self.do(self.service.ends(id, ENDS_WITHIN_S)) == "completed"
            self.learn(place, self.do(self.service.withdrawal(id)))
        self.do(self.service.send_back(id))

        async def is_returned() -> bool:
            return bool((await self.service.withdrawal(id))["status"] == "returned")

        self.do(poll_until(is_returned, ENDS_WITHIN_S))
        model.refunded = True
        self.learn(place, self.do(self.service.withdrawal(id)))

    def teardown(self) -> None:
        """Every run ends with nothing under way, and with lists that are complete."""
        if hasattr(self, "wallets"):
            self.everything_ends()
            for place in self.wallets:
                self.list_transactions(place, 7)
