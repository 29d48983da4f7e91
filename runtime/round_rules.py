"""The rules for settings about rounds of bank calls: each limit has room for those within it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.settings import Settings


def round_rules(settings: "Settings") -> list[tuple[bool, str]]:
    """Return whether each rule holds, with the sentence for when it does not."""
    return [
        (
            settings.bank_timeout_ms < settings.round_deadline_ms,
            "WBS_BANK_TIMEOUT_MS must be less than WBS_ROUND_DEADLINE_MS",
        ),
        (
            settings.round_deadline_ms + settings.bank_timeout_ms < settings.lease_ms,
            "WBS_ROUND_DEADLINE_MS + WBS_BANK_TIMEOUT_MS must be less than WBS_LEASE_MS: "
            "a round has to be over before another may begin",
        ),
        (
            3 * settings.bank_timeout_ms < settings.lease_ms,
            "WBS_LEASE_MS must be more than three times WBS_BANK_TIMEOUT_MS: a round's first try, a look-up and "
            "an order, is not cut off by WBS_ROUND_DEADLINE_MS",
        ),
        (
            settings.retry_delay_ms_min <= settings.retry_delay_ms_max,
            "WBS_RETRY_DELAY_MS_MIN must not exceed WBS_RETRY_DELAY_MS_MAX",
        ),
    ]
