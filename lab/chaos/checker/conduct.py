"""Conduct: the answers that are ever allowed, with or without faults. Needs no memory of other calls."""

from lab.chaos.checker.evidence import parse
from lab.chaos.checker.findings import Findings
from lab.chaos.history import Call

AWAY = frozenset({0, 503})
"""No answer, or the honest answer that the service is unavailable now."""

ALLOWED = {
    "charge": {200, 409, 422},
    "withdraw": {202, 409, 422},
    "balance": {200},
    "balance_at": {200, 410},
    "transactions": {200},
    "withdrawal": {200, 404},
    "by_key": {200, 404},
    "cancel": {200, 404, 409},
    "transfer": {200, 409, 422},
    "hold": {200, 409, 422},
    "capture": {200, 404, 409, 422},
    "void": {200, 404, 409},
    "reverse_charge": {200, 404, 409, 422},
    "reverse_transfer": {200, 404, 409, 422},
    "hold_now": {200, 404},
    "transfer_now": {200, 404},
    "charge_now": {200, 404},
    "events": {200, 410},
    "event_stream": {200, 410},
}
"""404 and 409 of what is archived are allowed here; the checks of keys, holds and transfers see that it is."""


def check_conduct(line: int, call: Call, findings: Findings) -> None:
    """Check status, problem body and Retry-After of one call."""
    allowed = ALLOWED.get(call.op)
    if allowed is None or call.status == 0:
        return
    subject = f"{call.method} {call.path}"
    if call.status not in allowed | AWAY:
        found = f"{call.status} {call.answer[:300]}"
        findings.add("unexpected_status", subject, f"one of {sorted(allowed)} or 503", found, line)
        return
    if call.status < 400:
        return
    problem = parse(call.answer)
    if not isinstance(problem, dict) or not problem.get("code") or problem.get("status") != call.status:
        findings.add("no_problem", subject, "a problem with status and code", call.answer[:300], line)
    if call.status == 503 and not call.retry_after:
        findings.add("no_retry_after", subject, "503 says when to come back", "no Retry-After", line)
