"""Media types of bodies, and how long a body may be."""

JSON = "application/json"
NDJSON = "application/x-ndjson"

BODY_BYTES_MAX = 64 * 1024
BULK_BYTES_MAX = 1024 * 1024
