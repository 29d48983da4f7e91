"""Media types and size limits of bodies."""

JSON = "application/json"
NDJSON = "application/x-ndjson"

BODY_BYTES_MAX = 64 * 1024
BULK_BYTES_MAX = 1024 * 1024
ITEMS_MAX = 1_000
"""Charges in one request. They are counted before any is read: to explain one that is wrong takes 50 µs."""
