"""What can go wrong. `wbs_client.codes` has a class for each code of the service's problems.

WbsError
├── ApiError         the service says no, or that it can't now
│   └── …            one class per code: InsufficientFunds, NotCancellable …
├── Unanswered       no answer: nobody knows whether it took effect
└── InvalidWebhook   a delivery that is not the service's
"""

from typing import Any

from wbs_client.models import Problem


class WbsError(Exception):
    """Root of what this package raises."""


class ApiError(WbsError):
    """The service's problem. A `code` that this version does not know comes as this class itself.

    `members` are all members of the problem, `problem` those that this version knows. `idempotency_key` is that of the
    request: under it, the same can be sent again.
    """

    code: str = ""

    def __init__(
        self,
        problem: Problem,
        members: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{problem.code}: {problem.detail or problem.title}")
        self.code = problem.code
        self.status = problem.status
        self.detail = problem.detail
        self.problem = problem
        self.members = members or {}
        self.idempotency_key = idempotency_key
        self.retry_after_s = retry_after_s

    @property
    def may_have_taken_effect(self) -> bool:
        """Whether nobody knows if it took effect. Then send the same again, under the same key."""
        return self.status >= 500


class Unanswered(WbsError):
    """There was no answer that could be read, in all the time that there was.

    It may have taken effect: send the same again, under `idempotency_key`, until there is an answer.
    """

    may_have_taken_effect = True

    def __init__(self, reason: str, *, idempotency_key: str | None = None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key


class InvalidWebhook(WbsError):
    """A delivery that the service did not sign, or that is too old to be believed."""
