"""A shop on wallets: a buyer tops up, an order is held, captured with a fee, half refunded, and the seller is paid out.

Run it against a stack of `make run`: `python examples/shop/shop.py`. At the end three books are compared to the cent:
the shop's own, our statements, and the bank's. It needs the Python client (clients/python), which `make init` installs.
"""

import argparse
import json
import urllib.request
import uuid
from collections import Counter

from wbs_client import Client, InsufficientFunds, LegRequest, ReversedLegRequest
from wbs_client.models import Hold, Transfer, Withdrawal

FEE_PERCENT = 10


class Shop:
    """Sells, and keeps books of its own: what each user should have, and what the bank should have paid."""

    def __init__(self, wallets: Client, name: str) -> None:
        self._wallets = wallets
        self._name = name
        self.books: Counter[str] = Counter()
        self.paid_out: Counter[str] = Counter()
        self.fees = f"{name}-fees"

    def _key(self, what: str, number: str) -> str:
        """Return the key of an intention: under it, whatever is sent again takes effect once."""
        return f"{self._name}:{number}:{what}"

    def top_up(self, buyer: str, amount: int, number: str) -> None:
        """Put money that came in by card into a buyer's wallet."""
        self._wallets.charge(buyer, amount, idempotency_key=self._key("top-up", number))
        self.books[buyer] += amount

    def order(self, buyer: str, amount: int, number: str) -> Hold:
        """Set the price of an order aside. Raises InsufficientFunds."""
        hold = self._wallets.hold(buyer, amount, idempotency_key=self._key("order", number))
        self.books[buyer] -= amount
        return hold

    def ship(self, hold: Hold, seller: str, shipped: int, number: str) -> Transfer:
        """Pay the seller for what was shipped, less the fee. The rest goes back to the buyer."""
        fee = shipped * FEE_PERCENT // 100
        legs = [LegRequest(seller, shipped - fee), LegRequest(self.fees, fee)]
        captured = self._wallets.capture_hold(hold.id, legs=legs, idempotency_key=self._key("ship", number))
        self.books[str(hold.user_id)] += hold.amount - shipped
        self.books[seller] += shipped - fee
        self.books[self.fees] += fee
        assert captured.transfer_id is not None
        return self._wallets.get_transfer(captured.transfer_id)

    def refund_half(self, transfer: Transfer, number: str) -> None:
        """Give half of what a transfer moved back to the buyer, each leg its part."""
        halves = [ReversedLegRequest(n, leg.amount // 2) for n, leg in enumerate(transfer.legs, 1)]
        key = self._key("refund", number)
        self._wallets.reverse_transfer(
            transfer.id, legs=halves, idempotency_key=key, reason="half came broken"
        )
        for leg, half in zip(transfer.legs, halves, strict=True):
            self.books[str(leg.to_user_id)] -= half.amount
            self.books[str(transfer.from_user_id)] += half.amount

    def pay_out(self, seller: str, number: str) -> Withdrawal:
        """Pay all that a seller has to the seller's bank account, and wait for the outcome."""
        amount = self._wallets.balance(seller).withdrawable
        account = {"iban": "DE89370400440532013000"}
        key = self._key("payout", number)
        withdrawal = self._wallets.withdraw(seller, amount, destination=account, idempotency_key=key).wait()
        if withdrawal.status == "completed":
            self.books[seller] -= amount
            self.paid_out[withdrawal.reference] += amount
        return withdrawal


def compare(shop: Shop, wallets: Client, bank_url: str) -> list[str]:
    """Return every difference between the shop's books, our balances and statements, and the bank's books."""
    differences = []
    for user, amount in sorted(shop.books.items()):
        entries = list(wallets.entries(user))
        added_up = sum(entry.amount for entry in entries)
        told = wallets.balance(user).total
        if not amount == told == added_up == entries[-1].balance_after.total:
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
    wallets = Client(given.api, given.key)
    shop = Shop(wallets, f"shop-{run}")
    buyer, seller = f"buyer-{run}", f"seller-{run}"

    shop.top_up(buyer, 100_00, "top-up-1")
    hold = shop.order(buyer, 60_00, "order-1")
    try:
        shop.order(buyer, 60_00, "order-2")
    except InsufficientFunds as refused:
        print(f"a second order: {refused.code}, {refused.detail}")
    transfer = shop.ship(hold, seller, shipped=50_00, number="order-1")
    shop.refund_half(transfer, "order-1")
    withdrawal = shop.pay_out(seller, "payout-1")
    print(f"paid out to {seller}: {withdrawal.amount}, {withdrawal.status}")

    for user, amount in sorted(shop.books.items()):
        print(f"{user:24} {amount:8}")
    differences = compare(shop, wallets, given.bank)
    print("\n".join(differences) or "the shop's books, our statements and the bank's books agree")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
