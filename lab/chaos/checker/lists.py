"""Lists of transactions: newest first, no duplicates, nothing missing, nothing unknown."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from itertools import pairwise
from math import inf
from typing import Any

from lab.chaos.checker.evidence import Cell, Read, Times, canonical
from lab.chaos.checker.findings import Findings
from lab.chaos.checker.stories import ChargeStory, Story


class Book:
    """The stories of one wallet, ordered so that a page can be checked without reading all of them."""

    def __init__(self, stories: list[Story]) -> None:
        self.newest_first = sorted(stories, key=lambda story: story.created, reverse=True)
        self._earliest = sorted(story.began.earliest for story in stories)
        self._latest = sorted(story.began.latest for story in stories)

    def totals(self, start: float, end: float) -> tuple[int, int]:
        """Return the least and the greatest number of transactions that a read between these seconds can have seen."""
        return bisect_left(self._latest, start), bisect_right(self._earliest, end)


def check_lists(cell: Cell, stories: dict[str, Story], times: Times, findings: Findings) -> None:
    """Check every page and every walk of the cell; the final walks must hold exactly the wallets' stories."""
    by_wallet: dict[str, list[Story]] = defaultdict(list)
    for story in stories.values():
        by_wallet[story.wallet].append(story)
    books = {wallet: Book(members) for wallet, members in by_wallet.items()}
    walks: dict[int, list[Read]] = defaultdict(list)
    pages: list[list[Read]] = []
    for read in cell.reads["transactions"]:
        if read.call.status != 200:
            continue
        findings.checked["pages"] += 1
        book = books.setdefault(read.call.wallet, Book([]))
        if read.call.walk:
            walks[read.call.walk].append(read)
        elif "page=" not in read.call.path or "page=1&" in f"{read.call.path}&":
            pages.append([read])
        _check_items(read, stories, book, times, findings)
    for walk in [*pages, *walks.values()]:
        _check_walk(cell, walk, books[walk[0].call.wallet], times, findings)
    read_whole = {walk[0].call.wallet for walk in walks.values() if _is_final(walk)}
    for wallet in books.keys() - read_whole:
        findings.add("wallet_unread", wallet, "a final walk through all its transactions", "none")


def _is_final(walk: list[Read]) -> bool:
    return walk[0].call.phase == "final" and walk[-1].answer["next_cursor"] is None


def _check_items(read: Read, stories: dict[str, Story], book: Book, times: Times, findings: Findings) -> None:
    """Check that every item is the requested movement, that the page is in order, and that the total was possible."""
    call, items = read.call, read.answer["transactions"]
    for item in items:
        story = stories.get(item["id"])
        if story is None or story.wallet != call.wallet:
            found = canonical(item)
            findings.add("unknown_transaction", call.wallet, "what was asked for", found, read.line)
            continue
        if story.began.earliest > call.end:
            expected = f"not before second {story.began.earliest:.3f}"
            findings.add("listed_too_early", item["id"], expected, f"read by {call.end:.3f}", read.line)
        story.began = story.began.until(call.end)
        if (told := _told(item)) != (wanted := _wanted(story)):
            findings.add("transaction_differs", item["id"], str(wanted), str(told), story.line, read.line)
    _check_order(items, call.wallet, times, findings, read.line)
    least, most = book.totals(call.start, call.end)
    total = read.answer["total"]
    if not least <= total <= most:
        expected = f"{least} to {most} transactions"
        findings.add("impossible_total", call.wallet, expected, str(total), read.line)


def _told(item: dict[str, Any]) -> tuple[Any, ...]:
    status = item["status"] if item["type"] == "charge" else ""
    return item["type"], item["amount"], item["created_at"], item["currency"], str(item["user_id"]), status


def _wanted(story: Story) -> tuple[Any, ...]:
    user, currency = story.wallet.split(" ")
    if isinstance(story, ChargeStory):
        return "charge", story.amount, story.created_at, currency, user, "completed"
    return "withdrawal", -story.amount, story.created_at, currency, user, ""


def _check_order(
    items: list[dict[str, Any]], wallet: str, times: Times, findings: Findings, *lines: int
) -> None:
    twice = [id for id, count in Counter(item["id"] for item in items).items() if count > 1]
    if twice:
        findings.add("listed_twice", wallet, "each transaction once", str(twice[:5]), *lines)
    for newer, older in pairwise(items):
        if times.of(newer["created_at"]) < times.of(older["created_at"]):
            found = f"{newer['created_at']} before {older['created_at']}"
            findings.add("not_newest_first", wallet, "descending created_at", found, *lines)
            return


def _check_walk(cell: Cell, walk: list[Read], book: Book, times: Times, findings: Findings) -> None:
    """Check that a walk has every story that existed before it began, is not archived, or older than its last item."""
    first, last = walk[0], walk[-1]
    wallet, lines = first.call.wallet, [read.line for read in walk]
    items = [item for read in walk for item in read.answer["transactions"]]
    if len(walk) > 1:
        _check_order(items, wallet, times, findings, *lines)
    listed = {item["id"] for item in items}
    whole = last.answer["next_cursor"] is None
    down_to = -inf if whole else min((times.of(item["created_at"]) for item in items), default=inf)
    missing = []
    for story in book.newest_first:
        if story.created <= down_to:
            break
        is_gone = cell.archived_by(story.id, last.call.end)
        if story.began.latest < first.call.start and story.id not in listed and not is_gone:
            missing.append(story)
    for story in missing[:5]:
        rule = "lost" if _is_final(walk) else "missing_in_list"
        found = f"not in the list of {wallet}"
        expected = f"{story.amount}, acknowledged before"
        findings.add(rule, f"key {story.key}", expected, found, story.line, *lines)
    if not _is_final(walk):
        return
    gone = {story.id for story in book.newest_first if story.id in cell.archived}
    if listed & gone:
        findings.add("archived_and_listed", wallet, "in one place", str(sorted(listed & gone)[:5]), *lines)
    if last.answer["total"] != len(items) + len(gone):
        found = str(last.answer["total"])
        expected = f"{len(items)} transactions, {len(gone)} archived"
        findings.add("impossible_total", wallet, expected, found, *lines)
