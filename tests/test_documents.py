"""The documents are true: their links, paths, names, commands and codes exist."""

import argparse
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.contract.problem_kinds import KINDS
from ops.cli import build_parser
from tests.test_tidy import PACKAGES, ROOT, name, tracked

DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]
AMOUNT_FILES_MAX = 12
TOPS = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}


def prose(path: Path) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def spans(path: Path) -> Iterator[str]:
    """Yield what a document writes as code within its sentences."""
    yield from re.findall(r"`([^`\n]+)`", prose(path))


def slug(heading: str) -> str:
    """Return the anchor that hosts make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


# --- Links and references ---


def test_anchors_are_there() -> None:
    """Goal: a link to a part of a document leads to a heading of it."""
    broken = []
    for path in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            page = (path.parent / target) if target else path
            headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
            if anchor not in {slug(heading) for heading in headings}:
                broken.append(f"{name(path)}: {target}#{anchor}")
    assert not broken


def test_no_reference_to_pages_that_are_not_here() -> None:
    """Goal: no document refers to a design, a style or facts outside the repository."""
    elsewhere = re.compile(r"\bDESIGN\b|\bSTYLE\.md|\bFACTS\b|§ ?\d")
    found = [
        f"{name(path)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__) and path.suffix not in {".png", ".ico", ".woff2"}
        for match in elsewhere.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_decisions_that_are_named_exist() -> None:
    """Goal: `ADR 7` in code or prose is a decision that can be read."""
    decisions = {int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md")}
    found = [
        f"{name(path)}: ADR {number}"
        for path in tracked()
        if path.suffix in {".py", ".md", ".sql", ".yml", ".toml"}
        for number in re.findall(r"\bADR (\d+)", path.read_text(encoding="utf-8"))
        if int(number) not in decisions
    ]
    assert not found


# --- Paths and names ---

PATHS_OF_TESTS = {"unit", "integration", "acceptance", "model", "browser", "chaos", "bench", "mutations"}
"""A document may leave out `tests/` before these."""

STRANGERS = {
    *(
        "archive_command",
        "archive_mode",
        "archive_timeout",
        "backend_flush_after",
        "commit_delay",
    ),  # PostgreSQL
    *("commit_siblings", "open_datasync", "recovery_target_timeline", "restore_command", "wal_sync_method"),
    *("consumer_timeout", "ignore_startup_parameters"),  # RabbitMQ, PgBouncer
    *("get_current", "max_retries", "skip_queue"),  # Sanic, dramatiq, Blnk
    "named_returned_less",  # ours, put together from parts
}
"""Names in documents that this repository does not define."""


@cache
def words() -> frozenset[str]:
    """Return every word of everything but the documents and this file, and the names of all files."""
    found: set[str] = set()
    for path in tracked():
        if path.suffix not in {".md", ".png", ".ico", ".woff2"}:
            found.update(re.findall(r"\w+", path.stem))
            if path != Path(__file__):
                found.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return frozenset(found)


@cache
def places() -> frozenset[str]:
    """Return every file and folder, each also by its last parts alone."""
    found: set[str] = set()
    for path in tracked():
        parts = path.relative_to(ROOT).parts
        found.update("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        found.add(parts[-1])
    return frozenset(found)


def missing_place(span: str) -> bool:
    """Tell whether a span is a path of this repository that leads nowhere."""
    path = span.partition("::")[0].rstrip("/")
    if not re.fullmatch(r"\.?[\w-]+(/[\w.-]+)*", path.replace("/.", "/")):
        return False
    first = path.split("/")[0]
    if first in PATHS_OF_TESTS and "/" in span:
        return path not in places() and f"tests/{path}" not in places()
    if (first in TOPS and "/" in span) or re.search(r"\.(py|sql|md|sh|yml)$", path):
        return path not in places()
    return False


def missing_names(span: str) -> Iterator[str]:
    """Yield the words of a span that look like names of code and occur in none."""
    for word in re.findall(r"(?<![\w.…-])[A-Za-z_]\w*(?:\.\w+)*", span):
        for part in word.split("."):
            is_name = re.search(r"[a-z0-9]_[a-z]|^[A-Z][a-z]+[A-Z]", part) is not None
            stem = re.sub(r"_(total|down|degraded|unknown)$", "", part)  # of counters, of what health names
            if is_name and not {part, stem} & (words() | STRANGERS):
                yield part


def test_paths_in_documents_exist() -> None:
    """Goal: a file or folder that a document names is there."""
    found = [f"{name(path)}: {span}" for path in DOCUMENTS for span in spans(path) if missing_place(span)]
    assert not found


def test_names_in_documents_exist() -> None:
    """Goal: a function, class, setting, metric, table or test that a document names is there."""
    found = {
        f"{name(path)}: {missing}"
        for path in DOCUMENTS
        for span in spans(path)
        for missing in missing_names(span)
    }
    assert not found


def code_named(span: str) -> bool:
    """Tell whether `db.ledger` is a module or a package of ours, or `db.ledger.Ledger` defined in one."""
    parts = span.removesuffix("()").split(".")
    whole = "/".join(parts)
    if {whole, f"{whole}.py"} & places():
        return True
    module = ROOT / ("/".join(parts[:-1]) + ".py")
    if not module.is_file() and len(parts) > 2:  # a method of a class
        return code_named(".".join(parts[:-1])) and parts[-1] in words()
    return (
        module.is_file()
        and re.search(
            rf"^(class|def|async def) {parts[-1]}\b|^{parts[-1]}\b.* =", module.read_text(), re.MULTILINE
        )
        is not None
    )


def test_modules_in_documents_exist() -> None:
    """Goal: `db.group_commit` in a document is a module, or something that a module defines."""
    ours = "|".join((*PACKAGES, "tests"))
    found = [
        f"{name(path)}: {span}"
        for path in DOCUMENTS
        for span in spans(path)
        if re.fullmatch(rf"({ours})(\.\w+)+(\(\))?", span) and not code_named(span)
    ]
    assert not found


def test_an_amount_is_followed_through_few_files() -> None:
    """Goal: the path of a charge's amount is there, each of its files once, and at most twelve of them."""
    section = (
        (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("### Follow a charge")[2]
    )
    files = re.findall(r"^\| `([^`]+)` \|", section.partition("\n##")[0], re.MULTILINE)
    assert 3 < len(files) <= AMOUNT_FILES_MAX
    assert len(files) == len(set(files))
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_modules_in_docstrings_exist() -> None:
    """Goal: so is what a docstring or a comment of the code names in backticks."""
    ours = "|".join((*PACKAGES, "tests"))
    found = [
        f"{name(path)}: {span}"
        for path in tracked()
        if path.suffix in (".py", ".sql") and "migrations" not in path.parts
        for span in re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
        if re.fullmatch(rf"({ours})(\.\w+)+(\(\))?", span) and not code_named(span)
    ]
    assert not found


def test_the_glossary_says_each_term_once() -> None:
    """Goal: one name, one thing: no term has two entries, and most say where the code has them."""
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \|.*\|(.*)\|$", (ROOT / "docs" / "GLOSSARY.md").read_text(), re.MULTILINE
    )
    terms = [term for entry, _ in rows for term in entry.split(", ")]
    assert len(terms) == len(set(terms))
    assert len(terms) > 60
    assert sum("`" in code for _, code in rows) > len(rows) / 2


# --- The API guide ---


def test_the_guide_has_every_code() -> None:
    """Goal: docs/API.md says of each error code its status and what to do, and names none that there is not."""
    table = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", (ROOT / "docs" / "API.md").read_text(), re.MULTILINE)
    assert dict(table) == {code: str(kind.status) for code, kind in KINDS.items()}
    assert len(table) == len(KINDS)


def test_operations_has_every_reason() -> None:
    """Goal: an operator finds each reason that health can give for failing writes, and what to do."""
    source = (ROOT / "db" / "errors.py").read_text(encoding="utf-8")
    reasons = set(re.findall(r'^[A-Z_]+ = "(database_\w+)"', source, re.MULTILINE))
    rows = re.findall(r"^\| (`database_.*?) \|", (ROOT / "docs" / "OPERATIONS.md").read_text(), re.MULTILINE)
    assert len(reasons) > 10
    assert reasons <= {reason for row in rows for reason in re.findall(r"`(\w+)`", row)}


# --- Figures and versions ---


def test_the_first_screen_tells_what_was_measured() -> None:
    """Goal: the README's figures are those of the newest benchmark in the repository."""
    measured = json.loads((ROOT / "docs" / "performance" / "bench.json").read_text(encoding="utf-8"))
    charges = measured["scenarios"]["charges"]["median_per_s"]
    ratio = next(one["value"] for one in measured["ratios"] if "pgbench, one charge" in one["figure"])
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"**{charges // 100 * 100:,.0f} charges per second on two cores**" in text
    assert f"{ratio:.1f} times what PostgreSQL's own benchmark does" in text
    assert measured["machine"]["cores"] == 2


def test_the_first_screen_tells_what_was_survived() -> None:
    """Goal: the README's operations and kills are those of the chaos runs that RELIABILITY lists."""
    told = re.search(r"\*\*([\d,]+) operations under (\d+) kills\*\*", (ROOT / "README.md").read_text())
    shown = re.search(
        r"^In all ([\d,]+) operations and (\d+) kills", (ROOT / "docs" / "RELIABILITY.md").read_text(), re.M
    )
    assert told is not None
    assert shown is not None
    operations = int(shown[1].replace(",", ""))
    assert told[1] == f"{operations // 10_000 * 10_000:,}"
    assert told[2] == shown[2]


def test_the_changelog_has_this_version() -> None:
    """Goal: the installed version is that of the newest entry in the changelog."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    newest = re.search(r"^## (\S+) – ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    assert metadata.version("wallet-balance-split") == version  # which `wbs --version` and OpenAPI tell


# --- Commands ---

SHELL_PAGES = ("README.md", "CONTRIBUTING.md", "docs/API.md")


@cache
def run_by_ci() -> str:
    """Return what CI executes, as text."""
    return "".join(
        path.read_text(encoding="utf-8") for path in tracked() if path.relative_to(ROOT).parts[0] == ".ci"
    )


RUN_BY_TESTS = {
    "make run": "`wbs up`, as tests/acceptance/test_up.py and the README's tour start it",
}
"""Commands that CI does not run by these words, and what does."""


def commands(page: str) -> Iterator[str]:
    """Yield the commands of a page's `sh` blocks, without comments."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line.partition("#")[0].strip() for line in block.splitlines() if line.strip())


@pytest.mark.parametrize("page", SHELL_PAGES)
def test_commands_are_run_by_somebody(page: str) -> None:
    """Goal: each command that we tell strangers to run is one that CI or a test runs."""
    for command in commands(page):
        if command.startswith(".venv/bin/python -m pytest "):
            file, *options = command.split()[3:]
            assert (ROOT / file).is_file(), command
            if options:
                assert options[0] == "-k", command
                assert re.search(rf"def test_\w*{options[1]}", (ROOT / file).read_text()), command
        else:
            assert f"\n{command} <" in run_by_ci() or command in RUN_BY_TESTS, command


def _vocabulary(parser: argparse.ArgumentParser) -> set[str]:
    """Return every subcommand and option that a parser knows, at any depth."""
    known = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                known |= {name, *_vocabulary(below)}
        elif action.choices:
            known |= {str(choice) for choice in action.choices}
    return known


def test_wbs_knows_what_the_documents_tell() -> None:
    """Goal: each `wbs` command in a document is one, with subcommands and options that it has."""
    wrong = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for told in re.findall(r"(?:`|venv/bin/)wbs ([a-z-](?:[^`\n$ ]| (?!\|))*)", text):
            first, *others = re.sub(r"\b(\w+)(\|\w+)+", r"\1", told).split()
            known = _vocabulary(build_parser(first))
            asked = [first, *(word for word in others if re.fullmatch(r"--[a-z-]+|[a-z-]+", word))]
            values = {word for option, word in pairwise(others) if option in ("--reason", "--as")}
            wrong += [f"{name(path)}: wbs {told}" for word in asked if word not in known | values]
    assert not wrong
