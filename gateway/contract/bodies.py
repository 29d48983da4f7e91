"""Media types and size limits of bodies."""

JSON = "application/json"
NDJSON = "application/x-ndjson"

BODY_BYTES_MAX = 64 * 1024
BULK_BYTES_MAX = 1024 * 1024
