"""A shop on wallets: a buyer tops up, an order is held, captured with a fee, half refunded, and the seller is paid out.

Run it against a stack of `make run`: `python examples/shop/shop.py`. At the end three books are compared to the cent:
the shop's own, our statements, and the bank's. Only the standard library is needed.
"""

import argparse
import http.client
import json
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from typing import Any

FEE_PERCENT = 10


class Refused(Exception):
    """The service refused, and no money moved. Branch on `code`."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.code: str = problem["code"]


class Wallets:
    """The API. Each write carries a key that says what it is for, so sending it again is safe."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request until there is an answer, for a minute at most. Raises Refused."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        for _ in range(60):
            try:
                with urllib.request.urlopen(request, timeout=35) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 429 and error.code < 500:
                    raise Refused(json.load(error)) from None
            except (OSError, http.client.HTTPException):
                pass  # nobody knows whether it took effect: the key makes it safe to ask again
            time.sleep(1)
        raise TimeoutError(f"{method} {path}")

    def withdrawable(self, user: str) -> int:
        """Return what a user can spend, in minor units."""
        return int(self.send("GET", f"/balance/{user}")["withdrawable"])

    def statement(self, user: str) -> list[dict[str, Any]]:
        """Return all entries of a user's statement, the oldest first."""
        entries: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.send("GET", f"/wallets/{user}/entries?limit=100{cursor}")
            entries += page["entries"]
            if page["next_cursor"] is None:
                return entries
            cursor = f"&cursor={page['next_cursor']}"


class Shop:
    """Sells, and keeps books of its own: what each user should have, and what the bank should have paid."""

    def __init__(self, wallets: Wallets, name: str) -> None:
        self._wallets = wallets
        self._name = name
        self.books: Counter[str] = Counter()
        self.paid_out: Counter[str] = Counter()
        self.fees = f"{name}-fees"

    def _key(self, what: str, number: str) -> str:
        return f"{self._name}:{number}:{what}"

    def top_up(self, buyer: str, amount: int, number: str) -> None:
        """Put money that came in by card into a buyer's wallet."""
        body = {"user_id": buyer, "amount": amount, "idempotency_key": self._key("top-up", number)}
        self._wallets.send("POST", "/charge", body)
        self.books[buyer] += amount

    def order(self, buyer: str, amount: int, number: str) -> str:
        """Set the price of an order aside, and return the hold. Raises Refused if the buyer is short."""
        body = {"user_id": buyer, "amount": amount, "idempotency_key": self._key("order", number)}
        hold = self._wallets.send("POST", "/holds", body)
        self.books[buyer] -= amount
        return str(hold["id"])

    def ship(self, hold: str, buyer: str, seller: str, ordered: int, shipped: int, number: str) -> str:
        """Pay the seller for what was shipped, less the fee. The rest goes back to the buyer. Return the transfer."""
        fee = shipped * FEE_PERCENT // 100
        legs = [{"to_user_id": seller, "amount": shipped - fee}, {"to_user_id": self.fees, "amount": fee}]
        body = {"legs": legs, "idempotency_key": self._key("ship", number)}
        captured = self._wallets.send("POST", f"/holds/{hold}/capture", body)
        self.books[buyer] += ordered - shipped
        self.books[seller] += shipped - fee
        self.books[self.fees] += fee
        return str(captured["transfer_id"])

    def refund_half(self, transfer: str, buyer: str, seller: str, number: str) -> None:
        """Give half of what a transfer moved back to the buyer, each leg its part."""
        legs = self._wallets.send("GET", f"/transfers/{transfer}")["legs"]
        halves = [{"leg": n, "amount": leg["amount"] // 2} for n, leg in enumerate(legs, 1)]
        body = {"legs": halves, "idempotency_key": self._key("refund", number), "reason": "half came broken"}
        self._wallets.send("POST", f"/transfers/{transfer}/reverse", body)
        for payee, half in zip((seller, self.fees), halves, strict=True):
            self.books[payee] -= half["amount"]
            self.books[buyer] += half["amount"]

    def pay_out(self, seller: str, number: str) -> dict[str, Any]:
        """Pay all that a seller has to the seller's bank account, and wait for the outcome."""
        amount = self._wallets.withdrawable(seller)
        body = {
            "user_id": seller,
            "amount": amount,
            "destination": {"iban": "DE89370400440532013000"},
            "idempotency_key": self._key("payout", number),
        }
        withdrawal = self._wallets.send("POST", "/withdraw", body)
        while withdrawal["status"] not in ("completed", "failed", "cancelled", "returned"):
            withdrawal = self._wallets.send("GET", f"/withdrawals/{withdrawal['withdrawal_id']}?wait=30")
        if withdrawal["status"] == "completed":
            self.books[seller] -= amount
            self.paid_out[withdrawal["reference"]] += amount
        return dict(withdrawal)


def compare(shop: Shop, wallets: Wallets, bank_url: str) -> list[str]:
    """Return every difference between the shop's books, our balances and statements, and the bank's books."""
    differences = []
    for user, amount in sorted(shop.books.items()):
        entries = wallets.statement(user)
        added_up = sum(entry["amount"] for entry in entries)
        told = wallets.send("GET", f"/balance/{user}")["total"]
        if not amount == told == added_up == entries[-1]["balance_after"]["total"]:
            differences.append(f"{user}: shop {amount}, balance {told}, statement {added_up}")
    for reference, amount in shop.paid_out.items():
        with urllib.request.urlopen(f"{bank_url}/payouts/{reference}", timeout=10) as answer:
            payout = json.load(answer)
        if (payout["status"], payout["amount"]) != ("paid", amount):
            differences.append(f"payout {reference}: shop {amount}, bank {payout}")
    return differences


def main() -> int:
    """Tell the story once, with new users, and compare the books. Return 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", default="http://127.0.0.1:8080")
    parser.add_argument("--bank", default="http://127.0.0.1:8090")
    parser.add_argument("--key", help="an API key with the scopes charge, hold, reverse, withdraw and read")
    given = parser.parse_args()
    run = uuid.uuid4().hex[:8]
    wallets = Wallets(given.api, given.key)
    shop = Shop(wallets, f"shop-{run}")
    buyer, seller = f"buyer-{run}", f"seller-{run}"

    shop.top_up(buyer, 100_00, "top-up-1")
    hold = shop.order(buyer, 60_00, "order-1")
    try:
        shop.order(buyer, 60_00, "order-2")
    except Refused as refused:
        print(f"a second order: {refused.code}, {refused}")
    transfer = shop.ship(hold, buyer, seller, ordered=60_00, shipped=50_00, number="order-1")
    shop.refund_half(transfer, buyer, seller, "order-1")
    withdrawal = shop.pay_out(seller, "payout-1")
    print(f"paid out to {seller}: {withdrawal['amount']}, {withdrawal['status']}")

    for user, amount in sorted(shop.books.items()):
        print(f"{user:24} {amount:8}")
    differences = compare(shop, wallets, given.bank)
    print("\n".join(differences) or "the shop's books, our statements and the bank's books agree")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
