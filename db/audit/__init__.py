"""The audit: checks all invariants of the ledger (docs/ARCHITECTURE.md) by reading the tables, and nothing else.

It trusts neither triggers nor constraints nor the code that wrote the rows: it recomputes the content of each row from
other rows. It reads the ledger in one snapshot, in streams, so that memory stays bounded however long the history is,
and a running service is not disturbed.
"""

from db.audit.bank import Payout, TooManyPayouts, audit_bank
from db.audit.books import DUE_WITHIN, audit_books, auditor
from db.audit.findings import VIOLATIONS_MAX, Findings, Violation

__all__ = [
    "DUE_WITHIN",
    "VIOLATIONS_MAX",
    "Findings",
    "Payout",
    "TooManyPayouts",
    "Violation",
    "audit_bank",
    "audit_books",
    "auditor",
]
