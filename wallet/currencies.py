"""Currencies: the codes that are taken, and amounts as people read them."""

from collections.abc import Mapping

from wallet.errors import ValidationFailed


class Currencies:
    """The currencies that are taken.

    `exponents` maps their codes to the number of decimal places (an amount of 1234 is 12.34 with two of them);
    `default` is the currency of requests that name none. `words` says what is taken, for people. `known` holds
    exponents of further codes, which are not taken but may be in the books.
    """

    def __init__(
        self,
        exponents: Mapping[str, int],
        default: str,
        words: str | None = None,
        known: Mapping[str, int] | None = None,
    ) -> None:
        self.exponents = dict(sorted(exponents.items()))
        self.default = default
        self._words = words or ", ".join(self.exponents)
        self._known = {**(known or {}), **self.exponents}
        self._taken: dict[str | None, str] = {code: code for code in exponents} | {None: default}

    def taken(self, asked: str | None) -> str | None:
        """Return the currency that a request means which names `asked`; None if that is not taken."""
        return self._taken.get(asked)

    def refusal(self, code: str) -> ValidationFailed:
        """Return the error for a currency that is not taken."""
        return ValidationFailed([("currency", f"{code} is not taken here, only {self._words}")])

    def spelled(self, amount: int, code: str) -> str:
        """Return an amount of minor units as people read it: `1,234.56 USD`, `1,234 JPY`."""
        exponent = self._known.get(code)
        if exponent is None:
            return f"{amount:,} minor units of {code}"
        return f"{decimal(amount, exponent)} {code}"


def decimal(amount: int, exponent: int) -> str:
    """Return an amount of minor units with its decimal places, digits in groups of three: `-1,234.56`."""
    whole, part = divmod(abs(amount), 10**exponent)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole:,}.{part:0{exponent}}" if exponent else f"{sign}{whole:,}"
