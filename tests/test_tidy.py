"""The style is a test as well: sizes, names, imports, docstrings, and nothing that belongs to one machine."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from ops.local.programs import own_programs
from ops.local.servers import Servers
from ops.state import StateDir

ROOT = Path(__file__).parents[1]
PACKAGES = ("wallet", "runtime", "db", "gateway", "actors", "bank_sim", "ops", "lab")
SHIPPED = (*PACKAGES, "clients")

MODULE_LINES_MAX = 300
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 70


@cache
def tracked() -> list[Path]:
    """Return the files of the repository, also those that git does not know yet."""
    output = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for line in output.splitlines() if (path := ROOT / line).is_file()]


def name(path: Path) -> str:
    """Return a file's name as a reader of the repository knows it."""
    return str(path.relative_to(ROOT))


def sources(*folders: str) -> list[Path]:
    """Return the Python files below these folders."""
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


@cache
def tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def texts() -> Iterator[tuple[str, str]]:
    """Yield name and content of every text file."""
    for path in tracked():
        if path.suffix not in {".png", ".ico", ".woff2"}:
            yield name(path), path.read_text(encoding="utf-8")


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """Yield a file's functions and methods."""
    for node in ast.walk(tree(path)):
        if isinstance(node, Function):
            yield node


def modules_imported(path: Path) -> set[str]:
    """Return the modules that a file imports, as their full names."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def tops(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {module.split(".")[0] for module in modules_imported(path)}


# --- Size and names ---


def test_modules_are_short() -> None:
    """Goal: a module that grows beyond a few screens holds two concepts."""
    limits = [(sources(*SHIPPED), MODULE_LINES_MAX), (sources("tests"), TEST_LINES_MAX)]
    long = {
        name(path): lines
        for paths, limit in limits
        for path in paths
        if path.name not in ("catalogue.py", "codes.py")  # tables: each holds one concept however long it is
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > limit
    }
    assert not long


def test_functions_fit_a_screen() -> None:
    """Goal: a function can be seen at once."""
    long = {
        f"{name(path)}: {function.name}": lines
        for path in sources(*SHIPPED, "tests")
        for function in functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


def test_names_say_something() -> None:
    """Goal: nothing is called what could be called anything."""
    empty = re.compile(r"(^|_)(utils?|common|helpers?|managers?|misc|stuff)(_|$)")
    found = [name(path) for path in tracked() if any(empty.search(part) for part in path.stem.split("."))]
    for path in sources(*SHIPPED, "tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, Function | ast.ClassDef):
                snake = re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
                if empty.search(snake):
                    found.append(f"{name(path)}: {node.name}")
    assert not found


# --- Who may import whom ---

MAY_IMPORT = {
    "wallet": {"wallet"},
    "runtime": {"wallet", "runtime"},
    "db": {"wallet", "runtime", "db"},
    "gateway": {"wallet", "runtime", "db", "gateway"},
    "actors": {"wallet", "runtime", "db", "actors"},
    "bank_sim": {"bank_sim"},
    "ops": {"wallet", "runtime", "db", "gateway", "actors", "ops"},
    "lab": {"wallet", "runtime", "db", "gateway", "actors", "ops", "lab"},
}
ONLY_IN = {
    "asyncpg": {"db", "lab/bench/database.py", "lab/chaos/database.py"},
    "pogo_core": {"db"},
    "sanic": {"gateway/wire", "bank_sim"},
    "dramatiq": {"actors", "ops"},
    "pika": {"actors", "ops", "lab"},
    "supervisor": {"ops/local"},
    "opentelemetry": {"runtime/otel.py"},
    "psutil": {"ops/local", "lab"},
    "sqlite3": {"bank_sim"},
}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_downwards_only(package: str) -> None:
    """Goal: wallet <- runtime <- db <- gateway | actors <- ops <- lab; the bank is a stranger to all of them."""
    wrong = {
        name(path): strangers
        for path in sources(package)
        if (strangers := tops(path) & set(PACKAGES) - MAY_IMPORT[package])
    }
    assert not wrong


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_where_they_belong(library: str) -> None:
    """Goal: each library that talks to something is known in its one place."""
    users = {name(path) for path in sources(*PACKAGES) if library in tops(path)}
    strangers = {
        user
        for user in users
        if not user.startswith(
            tuple(place if place.endswith(".py") else f"{place}/" for place in ONLY_IN[library])
        )
    }
    assert not strangers


def test_the_domain_does_no_input_or_output() -> None:
    """Goal: the rules of money need no event loop, no file, no network, no environment and no clock of their own."""
    impure = {"asyncio", "logging", "os", "pathlib", "prometheus_client", "random", "resource", "socket"}
    impure |= {"subprocess", "sys", "threading", "time"}
    wrong = {name(path): found for path in sources("wallet") if (found := tops(path) & impure)}
    assert not wrong


def _strings_but_docstrings(path: Path) -> Iterator[tuple[int, str]]:
    docs = set()
    for node in ast.walk(tree(path)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                docs.add(id(statement.value))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def test_sql_is_only_in_db() -> None:
    """Goal: all SQL is in db/, so a reader finds it there; the laboratory has .sql files of its own."""
    sql = re.compile(
        r"\s*(select\s.+\sfrom\s|select\s+\w+\(|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s"
        r"|(create|alter|drop|truncate)\s+(table|index|type)\s|with\s+\w+\s+as\s*\()",
        re.IGNORECASE | re.DOTALL,
    )
    # The bank is another house with books of its own.
    found = [
        f"{name(path)}:{line}: {text[:50]}"
        for path in sources("wallet", "runtime", "gateway", "actors", "ops", "lab")
        for line, text in _strings_but_docstrings(path)
        if sql.match(text)
    ]
    assert not found


# --- Tasks ---

SHORT_TASKS = {
    "actors/amqp.py": "waits a few seconds for RabbitMQ to take messages again",
    "actors/webhook_turns.py": "turns of some seconds; what one leaves undone, the courier rings for again",
    "bank_sim/supervision.py": "the bank's own supervision: it imports nothing of ours",
    "bank_sim/books.py": "writes what is waiting, then ends; begun anew by the next to come",
    "lab/chaos/aftermath.py": "within one run of the laboratory",
    "lab/chaos/lines.py": "calls to the laboratory's own event loop, each waited for",
    "lab/chaos/campaign.py": "within one run of the laboratory",
    "lab/chaos/consumers.py": "within one run of the laboratory",
    "lab/chaos/proxy.py": "a connection's attempt to reach its target",
}
"""Files outside runtime/ that start bare tasks, and why these need no supervision."""


def _bare_tasks(path: Path) -> Iterator[int]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = node.func
            bare = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            owner = called.value if isinstance(called, ast.Attribute) else None
            in_a_group = (
                isinstance(owner, ast.Name) and owner.id == "group"
            )  # asyncio.TaskGroup: awaited at its end
            if (
                bare in {"create_task", "ensure_future", "run_coroutine_threadsafe", "add_task"}
                and not in_a_group
            ):
                yield node.lineno


def test_long_lived_tasks_are_supervised() -> None:
    """Goal: whatever runs as long as its process is started by runtime.tasks: nothing dies unseen."""
    starting = {
        name(path): lines
        for path in sources(*PACKAGES)
        if path.relative_to(ROOT).parts[0] != "runtime" and (lines := list(_bare_tasks(path)))
    }
    assert set(starting) == set(SHORT_TASKS), starting


# --- Docstrings ---


def _public_without_docstring(path: Path) -> Iterator[str]:
    module = tree(path)
    if module.body and ast.get_docstring(module) is None and path.name != "__init__.py":
        yield name(path)
    for node in module.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield f"{name(path)}: {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from (
                f"{name(path)}: {node.name}.{method.name}"
                for method in node.body
                if isinstance(method, Function)
                and not method.name.startswith("_")
                and ast.get_docstring(method) is None
            )


def test_what_is_public_is_explained() -> None:
    """Goal: each public module, class, function and method of what we ship says what it means."""
    missing = [line for path in sources(*SHIPPED) for line in _public_without_docstring(path)]
    assert not missing


def _tests() -> Iterator[tuple[Path, Function]]:
    for path in sources("tests"):
        for function in functions(path):
            if function.name.startswith("test_"):
                yield path, function


def test_every_test_says_its_goal() -> None:
    """Goal: the first line of a broken test says what was promised."""
    silent = [f"{name(path)}: {test.name}" for path, test in _tests() if not ast.get_docstring(test)]
    assert not silent
    assert len(list(_tests())) > 100


# --- Tests wait for conditions ---


def _sleeps(path: Path) -> Iterator[int]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep":
            argument = node.args[0] if node.args else None
            is_turn = isinstance(argument, ast.Constant) and argument.value == 0  # one turn of the event loop
            if not is_turn:
                yield node.lineno


MAY_SLEEP = {
    "tests/polling.py": "the one place that waits",
    "tests/integration/actors/fault_server.py": "a server that says nothing for as long as it is asked",
    "tests/integration/actors/test_bank_endings.py": "a server's pause between two replies",
    "tests/integration/db/histories.py": "time passes in a history, so that locks mature in it",
    "tests/integration/gateway/test_shared_rates.py": "clients that ask at a steady rate",
    "tests/integration/outages/test_side_by_side.py": "clients that repeat a request a moment later",
}
"""Files of the tests in which something sleeps, and why that is no test waiting."""


def test_no_test_sleeps() -> None:
    """Goal: a test waits for a condition with a deadline (tests/polling.py), never for a time."""
    found = [
        f"{name(path)}:{line}"
        for path in sources("tests")
        if name(path) not in MAY_SLEEP
        for line in _sleeps(path)
    ]
    assert not found


# --- Nothing of this machine, nothing of the outside ---

OUR_HOSTS = re.compile(
    r"(localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|bank|bank_sim|gateway|proxy|postgres|rabbitmq|prometheus|grafana"
    r"|swagger|relay|actors|reconciler|db|broker|host|[a-z]|.*\.(example|test|invalid)|example\.(com|org|net)|\{.*|\$.*|<.*)"
    r"(:.*)?$"
)
REFERENCES = {
    "json-schema.org",
    "keepachangelog.com",
    "spec.openapis.org",
    "www.rfc-editor.org",
    "www.standardwebhooks.com",
    "www.w3.org",
}
"""Names of specifications: read by people or compared as text, never fetched."""


def test_no_address_of_the_outside() -> None:
    """Goal: nothing that we ship or test reaches for a host that is not ours."""
    found = []
    for file, text in texts():
        for host in re.findall(r"(?:https?|wss?|amqps?|postgres(?:ql)?)://([^/\s\"'`)>,\\]*)", text):
            bare = host.rpartition("@")[2]
            if bare and not OUR_HOSTS.match(bare) and bare not in REFERENCES:
                found.append(f"{file}: {host}")
    assert not found


def test_no_path_of_this_machine() -> None:
    """Goal: no file names a folder that exists only where it was written."""
    home = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w+|/tmp/wbs\b(?!-)|" + re.escape(f"{ROOT}/"))
    found = [file for file, text in texts() if file != name(Path(__file__)) and home.search(text)]
    assert not found


def test_nothing_is_left_unfinished() -> None:
    """Goal: missing work is described in an issue, not in the code."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    found = [
        name(path)
        for path in sources(*PACKAGES, "tests")
        if path != Path(__file__) and marks.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


# --- Dependencies ---

RUN_NOT_IMPORTED = {
    "import-linter": "a command of `make lint`",
    "mypy": "a command of `make lint`",
    "pogo-migrate": "brings pogo_core, which db.migrate calls, and the command that begins a migration",
    "ruff": "a command of `make lint`",
    "pytest-cov": "an option of `make test-coverage`",
    "pytest-randomly": "a plugin: random order, with the seed printed",
    "pytest-timeout": "a plugin: no test runs for ever",
    "setuptools": "builds the package",
    "types-psutil": "types for mypy",
    "types-pyyaml": "types for mypy",
    "supervisor": "`wbs up` starts supervisord",
}


@cache
def installed() -> Mapping[str, list[str]]:
    """Return which distributions each installed module is of."""
    return packages_distributions()


def _declared() -> tuple[list[str], list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    strip = re.compile(r"[<>=!~;\[ ].*")
    return (
        [strip.sub("", line) for line in project["dependencies"]],
        [
            strip.sub("", line)
            for extra in ("local", "otel", "dev")
            for line in project["optional-dependencies"][extra]
            if not line.startswith(project["name"])
        ],
    )


def test_every_dependency_is_used() -> None:
    """Goal: each installed library is imported somewhere, or run by a command named here."""
    runtime, dev = _declared()
    imported = {top for path in sources(*PACKAGES, "tests") for top in tops(path)}
    text = "".join(path.read_text(encoding="utf-8") for path in sources(*PACKAGES, "tests"))
    distributions: dict[str, set[str]] = {}
    for module, names in installed().items():
        for distribution in names:
            distributions.setdefault(distribution.lower().replace("_", "-"), set()).add(module)
    unused = [
        one
        for one in (*runtime, *dev)
        if one not in RUN_NOT_IMPORTED
        and not distributions.get(one, set()) & imported
        and not any(f'"{module}"' in text for module in distributions.get(one, set()))
    ]
    assert not unused
    assert not set(RUN_NOT_IMPORTED) - {*runtime, *dev}


def test_every_import_is_declared() -> None:
    """Goal: what we ship imports only what it declares, not what something else happens to bring."""
    runtime, dev = _declared()
    allowed = {"ops": {*runtime, *dev}, "lab": {*runtime, *dev}, "runtime": {*runtime, "opentelemetry-sdk"}}
    owners, found = installed(), []
    for path in sources(*PACKAGES):
        package = path.relative_to(ROOT).parts[0]
        for top in tops(path) - set(PACKAGES) - {"tests"}:
            if top in sys.stdlib_module_names:
                continue
            names = {owner.lower().replace("_", "-") for owner in owners.get(top, [])}
            if not names & allowed.get(package, set(runtime)) and top != "pogo_core":
                found.append(f"{name(path)}: {top}")
    assert not found


# --- The same processes everywhere ---


@pytest.mark.parametrize("rabbitmq", ["amqp://127.0.0.1", ""])
def test_supervisor_runs_the_procfile(tmp_path: Path, rabbitmq: str) -> None:
    """Goal: `wbs up` runs what the Procfile lists, the in-memory mode aside, which puts two into one."""
    state = StateDir(tmp_path)
    state.create()
    programs = own_programs(state, {"RABBITMQ_URL": rabbitmq}, gateways=2, actors=2, threads=50)
    running = {program.kind: " ".join(["python", *program.argv[1:]]) for program in programs}
    listed = dict(
        line.split(": ", 1) for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    )
    if not rabbitmq:
        del listed["relay"]
        listed["actors"] = "python -P -m actors.in_memory"
    assert running == listed
    assert Servers("", rabbitmq, "").rabbitmq_url == rabbitmq


# --- Documents ---


def test_links_lead_somewhere() -> None:
    """Goal: every link between our documents, and every file they name by a link, is there."""
    broken = []
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
                if "://" not in target and not (path.parent / target).exists():
                    broken.append(f"{name(path)}: {target}")
    assert not broken


def test_decisions_are_numbered() -> None:
    """Goal: docs/adr/NNNN-title.md, numbered from 1 without a gap, each with title, status, date, context, decision."""
    files = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers == list(range(1, len(numbers) + 1))
    for file in files:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", file.name)
        text = file.read_text(encoding="utf-8")
        title, _, status, *_ = text.splitlines()
        assert title.startswith(f"# {int(file.name[:4])}. "), file.name
        assert re.match(r"\*\*Status\.\*\* (Accepted|Superseded), 20\d\d-\d\d-\d\d\.", status), file.name
        assert re.search(r"^(\*\*|## )Context", text, re.MULTILINE), file.name
        assert re.search(r"^(\*\*|## )Decision", text, re.MULTILINE), file.name
