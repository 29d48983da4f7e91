"""A stack of the laboratory's own: what keeps this machine's servers and settings out, and how it is called."""

import json
import urllib.error
import urllib.request
from typing import Any

from ops.errors import OpsError

ENVIRONMENT = {
    "DATABASE_URL": "",
    "RABBITMQ_URL": "",
    "WBS_RABBITMQ_MANAGEMENT_URL": "",
    "WBS_AUTH": "on",
    "WBS_RATE_LIMIT_PER_S": "0",
    "WBS_BANK_URL": "",
    "WBS_BANK_FAULTS": "{}",
}
"""Settings of such a stack. Logins are on: what is promised is promised with them."""

_TIMEOUT_S = 30.0


def call(method: str, url: str, body: Any, key: str = "") -> Any:
    """Send JSON, with an API key if one is given; return JSON. Raises OpsError on anything but success."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"null")
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise OpsError(f"{method} {url}: {error}") from error


def answers(method: str, url: str, body: Any) -> bool:
    """Return whether a call succeeds."""
    try:
        call(method, url, body)
    except OpsError:
        return False
    return True
