"""The rules for settings that say where we are and who may come: ports, hosts, origins, logins."""

import re
from typing import TYPE_CHECKING

from runtime.host_names import are_host_names, are_origins

if TYPE_CHECKING:
    from runtime.settings import Settings

PORT_MAX = 65_535


def address_rules(settings: "Settings") -> list[tuple[bool, str]]:
    """Return whether each rule holds, with the sentence for when it does not."""
    return [
        (settings.http_port <= PORT_MAX, f"WBS_HTTP_PORT must not exceed {PORT_MAX}"),
        (settings.bank_port <= PORT_MAX, f"WBS_BANK_PORT must not exceed {PORT_MAX}"),
        (settings.metrics_port <= PORT_MAX, f"WBS_METRICS_PORT must not exceed {PORT_MAX}"),
        (
            settings.metrics_port != settings.http_port,
            f"WBS_METRICS_PORT and WBS_HTTP_PORT must not both be {settings.http_port}",
        ),
        (
            # With another bank, nothing listens on the simulator's port.
            settings.bank_port != settings.http_port
            or settings.bank_url != simulator_url(settings.bank_port),
            f"WBS_BANK_PORT and WBS_HTTP_PORT must not both be {settings.http_port}",
        ),
        (
            are_host_names(settings.allowed_hosts),
            "WBS_ALLOWED_HOSTS must be names or addresses, without port, comma separated",
        ),
        (
            are_origins(settings.cors_origins),
            "WBS_CORS_ORIGINS must be origins as browsers spell them (https://host, in small letters, without "
            "path and default port), comma separated",
        ),
    ]


def access_rules(settings: "Settings") -> list[tuple[bool, str]]:
    """Return the rules for logins, as `address_rules` does."""
    return [
        (settings.auth in ("auto", "on", "off"), "WBS_AUTH must be auto, on or off"),
        (settings.user_ids in ("auto", "string", "integer"), "WBS_USER_IDS must be auto, string or integer"),
        (
            re.fullmatch("([!-~]{16,})?", settings.metrics_token) is not None,
            "WBS_METRICS_TOKEN must be at least 16 visible ASCII characters",
        ),
    ]


def simulator_url(port: int) -> str:
    """Return the address of the bank simulator that `wbs up` starts."""
    return f"http://127.0.0.1:{port}"
