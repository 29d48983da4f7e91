"""Middleware around each payout and at each start and end of a process; one class per file."""
