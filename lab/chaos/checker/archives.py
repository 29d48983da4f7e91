"""Archives: what is in their files was asked for, once, and is older than their instant."""

from collections.abc import Mapping

from lab.chaos.checker.deeds import Deed
from lab.chaos.checker.evidence import CLOCK_SLACK_S
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.stories import Story
from lab.chaos.history import Archived

_ASKED_FOR = frozenset({"charge", "send", "hold", "capture", "reversal", "reserve"})
"""Kinds of movements that a request makes; the others follow from these."""


def check_archived(
    left: dict[str, Archived], stories: Mapping[str, Story], deeds: Mapping[str, Deed], findings: Findings
) -> None:
    """Check what was archived of a cell, and remove it from what is left to be explained."""
    for id, story in stories.items():
        archived = left.pop(id, None)
        if archived is not None and story.created > archived.before + CLOCK_SLACK_S:
            expected = f"before second {archived.before:.3f}"
            findings.add("archived_too_young", id, expected, f"{story.created:.3f}", story.line)
    for id, deed in deeds.items():
        archived = left.pop(id, None)
        if archived is not None and deed.began.earliest > archived.before + CLOCK_SLACK_S:
            expected = f"before second {archived.before:.3f}"
            findings.add("archived_too_young", id, expected, f"{deed.began.earliest:.3f}", deed.line)


def check_rest(left: Mapping[str, Archived], findings: Findings) -> None:
    """Report archived movements that nobody has asked for."""
    for id, archived in left.items():
        if archived.kind in _ASKED_FOR:
            found = f"{archived.kind} of {archived.wallet}"
            findings.add("archived_unknown", id, "what was asked for", found)
