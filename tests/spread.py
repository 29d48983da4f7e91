"""Which tests of a parallel run stay together: those that share what is dear to start, on one worker.

A whole stack or a RabbitMQ node costs more to start and stop than most tests do, and module-wide fixtures are for
the tests of one module. So a group is a module, or all modules that share the same servers.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

STACK = ("tests/acceptance/", "tests/browser/", "tests/model/")
OUTAGES = "tests/integration/outages/"
OWN_STACK = (
    "tests/acceptance/test_installed.py",
    "tests/acceptance/test_readme.py",
    "tests/integration/outages/test_disk_full.py",
)
RABBITMQ = (
    "tests/integration/actors/test_bank_faults.py",
    "tests/integration/actors/test_dead_letters.py",
    "tests/integration/actors/test_pipeline.py",
    "tests/integration/actors/test_poison.py",
    "tests/integration/actors/test_reconciler.py",
    "tests/integration/actors/test_relay.py",
)
LONG = (
    "stack",
    "outages",
    "rabbitmq",
    "tests/integration/crash/test_actor_crashes.py",
    "tests/attack/test_attack.py",
    "tests/chaos/test_chaos_run.py",
)
QUICK = ("tests/unit/", "tests/test_tidy.py", "tests/chaos/test_checker.py", "tests/chaos/test_schedule.py")


def group_of(nodeid: str) -> str:
    """The name of a test's group."""
    if nodeid.startswith(OWN_STACK):
        return nodeid.partition("::")[0]
    if nodeid.startswith(STACK):
        return "stack"
    if nodeid.startswith(OUTAGES):
        return "outages"
    if nodeid.startswith(RABBITMQ):
        return "rabbitmq"
    return nodeid.partition("::")[0]


def turn_of(item: pytest.Item) -> int:
    """Long groups begin early, short tests fill what is left at the end; within that the order stays random."""
    group = group_of(item.nodeid)
    if group in LONG:
        return 0
    return 2 if group.startswith(QUICK) else 1


class ByGroup(LoadScopeScheduling):
    """Gives each worker one group after the other, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
