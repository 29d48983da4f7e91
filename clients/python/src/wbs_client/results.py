"""The results of bulk requests: one per item, in the order of the items. A refused item harms no other."""

from wbs_client.codes import error_of_problem
from wbs_client.models import Model, Problem, Transaction, Transfer


class ChargeResult(Model, frozen=True):
    """The result of one item; `replayed`: it had taken effect before."""

    status: int
    transaction: Transaction | None = None
    replayed: bool = False
    error: Problem | None = None

    def get(self) -> Transaction:
        """Return the transaction. Raises ApiError if the item was refused."""
        if self.transaction is None:
            raise error_of_problem(self.error)
        return self.transaction


class ChargesResult(Model, frozen=True):
    """One result per item."""

    results: list[ChargeResult]


class TransferResult(Model, frozen=True):
    """The result of one item; `replayed`: it had taken effect before."""

    status: int
    transfer: Transfer | None = None
    replayed: bool = False
    error: Problem | None = None

    def get(self) -> Transfer:
        """Return the transfer. Raises ApiError if the item was refused."""
        if self.transfer is None:
            raise error_of_problem(self.error)
        return self.transfer


class TransfersResult(Model, frozen=True):
    """One result per item."""

    results: list[TransferResult]
