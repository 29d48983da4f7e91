"""Idempotency keys: each took effect at most once, and all uses of it got the same answer.

The sends of a cell give its stories: the movements that took effect.
"""

from math import inf
from typing import Any

from lab.chaos.checker.deeds import Deed, deed_of
from lab.chaos.checker.evidence import CLOCK_SLACK_S, Asked, Cell, Send, Times, canonical, parse
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.stories import ChargeStory, Story, Window, WithdrawalStory

EXPECTED_REFUSALS = {
    "charge": {"idempotency_key_reused", "validation_failed"},
    "withdraw": {"idempotency_key_reused", "insufficient_funds"},
    "transfer": {"idempotency_key_reused", "insufficient_funds", "validation_failed"},
    "hold": {"idempotency_key_reused", "insufficient_funds", "validation_failed"},
    "capture": {
        "idempotency_key_reused",
        "hold_not_open",
        "capture_exceeds_hold",
        "validation_failed",
    },
    "reverse_charge": {"idempotency_key_reused", "insufficient_funds", "exceeds_original"},
    "reverse_transfer": {"idempotency_key_reused", "insufficient_funds", "exceeds_original"},
}


ARCHIVED = "idempotency_key_archived"


def check_keys(cell: Cell, times: Times, findings: Findings) -> tuple[dict[str, Story], dict[str, Deed]]:
    """Check every key of the cell; return the stories and the deeds by identifier."""
    stories: dict[str, Story] = {}
    deeds: dict[str, Deed] = {}
    for key, sends in cell.sends.items():
        by_meaning: dict[Asked, list[Send]] = {}
        for send in sends:
            by_meaning.setdefault(send.asked, []).append(send)
            findings.checked["requests"] += 1
        story = _story_of_key(key, by_meaning, times, findings)
        if story is not None:
            other = stories.get(story.id) or deeds.get(story.id)
            if other is not None:
                expected = f"not the movement of {other.key}"
                _add(findings, "one_movement_for_two_keys", key, expected, story.id, sends)
            if isinstance(story, Deed):
                deeds[story.id] = story
            else:
                stories[story.id] = story
        for asked, group in by_meaning.items():
            _check_settled(key, group, findings)
            own = story.id if story is not None and any(send.done for send in group) else ""
            group = [send for send in group if not _is_archived(cell, send, own, findings)]
            _check_refusals(key, asked, group, by_meaning, times, findings)
    return stories, deeds


def _is_archived(cell: Cell, send: Send, own: str, findings: Findings) -> bool:
    """Return whether an answer says that what was made (`own`), or what it is about, is archived; check that it is."""
    if send.code == ARCHIVED:
        id = own
    elif send.call.status == 404 and send.asked.subject:
        id = send.asked.subject
    else:
        return False
    findings.checked["archived_answers"] += 1
    if not cell.archived_by(id, send.call.end):
        found = f"{send.call.status} {send.code}"
        _add(findings, "not_archived", send.call.key, "what is in the books", found, [send])
    return True


def _story_of_key(
    key: str, by_meaning: dict[Asked, list[Send]], times: Times, findings: Findings
) -> Story | Deed | None:
    done = {asked: [send for send in group if send.done] for asked, group in by_meaning.items()}
    winners = [asked for asked, group in done.items() if group]
    if not winners:
        return None
    if len(winners) > 1:
        lines = [done[asked][0] for asked in winners]
        found = f"{len(winners)} different requests"
        _add(findings, "key_took_effect_twice", key, "one request", found, lines)
    asked = winners[0]
    accepted = done[asked]
    first = accepted[0]
    for send in accepted[1:]:
        if send.call.answer != first.call.answer:
            expected, found = first.call.answer[:300], send.call.answer[:300]
            _add(findings, "replay_changed", key, expected, found, [first, send])
    fresh = [send for send in accepted if not send.call.replayed]
    if len(fresh) > 1:
        _add(findings, "doubled", key, "answered as new once", f"{len(fresh)} times", fresh)
    began = Window(
        min(send.call.start for send in by_meaning[asked]), min(send.call.end for send in accepted)
    )
    answer = parse(first.call.answer)
    try:
        return _story(key, asked, first, answer, began, times, findings)
    except (KeyError, TypeError, ValueError) as error:
        _add(findings, "unreadable_answer", key, "the answer of the API's contract", repr(error), [first])
        return None


def _story(
    key: str, asked: Asked, first: Send, answer: Any, began: Window, times: Times, findings: Findings
) -> Story | Deed:
    created = times.of(answer["created_at"])
    if asked.op != "capture":  # whose answer is the hold
        early = times.clock_was_back(*began)
        if not (began.earliest - CLOCK_SLACK_S <= created or early) or created > began.latest + CLOCK_SLACK_S:
            expected = f"between {began.earliest:.3f} and {began.latest:.3f} s"
            _add(findings, "impossible_created_at", key, expected, f"{created:.3f} s", [first])
        began = began.since(created - CLOCK_SLACK_S)
    if asked.op not in ("charge", "withdraw"):
        deed, wanted, given = deed_of(key, asked, answer, first.line, began)
        if given != wanted:
            _add(findings, "answer_differs_from_request", key, str(wanted), str(given), [first])
        return deed
    return _movement(key, asked, first, answer, began, created, times, findings)


def _movement(
    key: str,
    asked: Asked,
    first: Send,
    answer: Any,
    began: Window,
    created: float,
    times: Times,
    findings: Findings,
) -> Story:
    """Return the story of a charge or a withdrawal."""
    given: dict[str, Any] = {
        "user_id": str(answer["user_id"]),
        "currency": answer["currency"],
        "amount": answer["amount"],
        "metadata": canonical(answer["metadata"]),
    }
    wanted: dict[str, Any] = {
        "user_id": asked.user,
        "currency": asked.currency,
        "amount": asked.amount,
        "metadata": asked.metadata,
    }
    story: Story
    if asked.op == "charge":
        release = None if asked.release_at is None else times.of(asked.release_at)
        wanted |= {"type": "charge", "status": "completed", "release_at": release}
        told = answer["release_at"]
        given |= {
            "type": answer["type"],
            "status": answer["status"],
            "release_at": None if told is None else times.of(told),
        }
        basis = (
            answer["id"],
            key,
            asked.wallet,
            asked.amount,
            first.line,
            began,
            answer["created_at"],
            created,
        )
        story = ChargeStory(*basis, release, times.clock_back)
    else:
        wanted |= {"status": "pending", "destination": asked.destination}
        given |= {"status": answer["status"], "destination": canonical(answer["destination"])}
        id, at = answer["withdrawal_id"], answer["created_at"]
        story = WithdrawalStory(id, key, asked.wallet, asked.amount, first.line, began, at, created)
    if given != wanted:
        _add(findings, "answer_differs_from_request", key, str(wanted), str(given), [first])
    return story


def _check_refusals(
    key: str,
    asked: Asked,
    group: list[Send],
    by_meaning: dict[Asked, list[Send]],
    times: Times,
    findings: Findings,
) -> None:
    """Check that every refusal has a reason, and that an acknowledged request is never refused afterwards."""
    known_at = min((send.call.end for send in group if send.done), default=inf)
    for send in group:
        if not send.refused:
            continue
        if send.call.start > known_at:
            found = f"{send.call.status} {send.code}"
            _add(findings, "lost_after_acknowledged", key, "the first answer again", found, [send])
            continue
        if send.call.status not in (409, 422) or send.code not in EXPECTED_REFUSALS[asked.op]:
            found = f"{send.call.status} {send.code}"
            _add(findings, "unexpected_refusal", key, str(sorted(EXPECTED_REFUSALS[asked.op])), found, [send])
        elif send.code == "idempotency_key_reused":
            others = [
                other
                for meaning, rivals in by_meaning.items()
                if meaning != asked and any(rival.done for rival in rivals)
                for other in rivals
            ]
            if not any(other.call.start <= send.call.end for other in others):
                _add(findings, "wrongly_refused", key, "no other request under this key", send.code, [send])
        elif send.code == "validation_failed":
            passed_by = send.call.end + CLOCK_SLACK_S
            if min(map(times.of, asked.dates), default=inf) > passed_by:
                _add(findings, "wrongly_refused", key, "all is in the future", send.code, [send])


def _check_settled(key: str, group: list[Send], findings: Findings) -> None:
    """Check that every request that was sent again after the healing got a certain answer."""
    if not any(send.call.phase == "settle" and (send.done or send.refused) for send in group):
        last = group[-1]
        found = f"{last.call.status or last.call.error}"
        _add(findings, "unsettled", key, "an answer when sent again after healing", found, [last])


def _add(findings: Findings, rule: str, key: str, expected: str, found: str, sends: list[Send]) -> None:
    findings.add(rule, f"key {key}", expected, found, *(send.line for send in sends))
