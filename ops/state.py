"""The state folder (`.wbs/`, `WBS_STATE_DIR`): everything private to one stack.

| file | content |
|---|---|
| `private.json` | ports and secrets, chosen at the first start and kept |
| `env.json` | environment of the running stack; there only while it runs |
| `programs.json` | the command and environment of each supervised program |
| `run/` | the processes that run (pid and start time), control socket, stamps |
| `log/` | one file per program |
| `postgres/`, `rabbitmq/`, `bank/`, `metrics/` | data |
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.errors import OpsError

DEFAULT_NAME = ".wbs"
# Unix socket paths are limited to 108 bytes; supervisor binds `<path>.<pid>` first and then links it.
SOCKET_PATH_LENGTH_MAX = 90
# For files that another user must reach (PostgreSQL refuses root) if that user can't enter the state folder.
PUBLIC_BASE = Path("/var/tmp")


def project_root() -> Path:
    """Return the checkout from which this package runs, or the working directory if it was installed otherwise."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


class StateDir:
    """One stack's folder. Files are readable by their owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "StateDir":
        """Return the folder named by `WBS_STATE_DIR`, else `.wbs` in the checkout."""
        named = environment.get("WBS_STATE_DIR", "")
        return cls(Path(named) if named else project_root() / DEFAULT_NAME)

    def create(self) -> None:
        """Make the folder and its fixed subfolders. Raises OpsError if that is not allowed."""
        try:
            for folder in (self.root, self.run, self.log):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
            # Root starts PostgreSQL as another user, who has to pass through here (not to look around).
            self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        except OSError as error:
            raise OpsError(
                f"The state folder {self.root} cannot be written ({error.strerror}): "
                "set WBS_STATE_DIR to another one."
            ) from error

    @property
    def run(self) -> Path:
        """The processes that run: pids, the control socket, stamps."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """The logs: one file per program."""
        return self.root / "log"

    @property
    def private_file(self) -> Path:
        """Ports and secrets."""
        return self.root / "private.json"

    @property
    def env_file(self) -> Path:
        """The environment of the running stack; there only while it runs."""
        return self.root / "env.json"

    @property
    def programs_file(self) -> Path:
        """The command and environment of each supervised program."""
        return self.root / "programs.json"

    @property
    def digest(self) -> str:
        """Ten hex digits that stand for this folder's path."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:10]

    @property
    def control_socket(self) -> Path:
        """supervisord's control socket: in the folder, or below /tmp where the path would be too long."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_LENGTH_MAX:
            return path
        if self._socket_folder.exists():
            require_own(self._socket_folder)
        return self._socket_folder / "s.sock"

    @property
    def _socket_folder(self) -> Path:
        return Path("/tmp") / f"wbs-{os.geteuid()}-{self.digest}"

    def make_socket_folder(self) -> None:
        """Make the folder of the control socket, if it is outside. Raises OpsError if somebody else's is there."""
        if self.control_socket.parent == self._socket_folder:
            make_own_folder(self._socket_folder, 0o700)

    def remove_socket_folder(self) -> None:
        """Remove it again: the stack has stopped."""
        shutil.rmtree(self._socket_folder, ignore_errors=True)

    @property
    def public_folder(self) -> Path:
        """Our folder outside, for files that another user must reach; made by `make_public_folder`."""
        return PUBLIC_BASE / f"wbs-{os.geteuid()}-{self.digest}"

    def make_public_folder(self) -> Path:
        """Make the outside folder, ours alone, which names the state folder it belongs to."""
        make_own_folder(self.public_folder, 0o711)
        write_private(self.public_folder / "belongs-to", str(self.root))
        return self.public_folder

    def remember(self, section: str, name: str, value: Any) -> Any:
        """Keep one value in `private.json` and return it."""
        document = read_json(self.private_file)
        document.setdefault(section, {})[name] = value
        write_json(self.private_file, document)
        return value

    def recall(self, section: str, name: str) -> Any:
        """Return a value kept earlier, or None."""
        return read_json(self.private_file).get(section, {}).get(name)

    def secret(self, name: str) -> str:
        """Return a random secret (24 bytes, hex), made at the first use and kept."""
        known = self.recall("secrets", name)
        return str(known or self.remember("secrets", name, secrets.token_hex(24)))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second `wbs up` or `wbs down`. Raises OpsError if another process holds it."""
        with open(self.run / "lock", "w", encoding="ascii", opener=private_opener) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OpsError(
                    f"Another `wbs up` or `wbs down` is at work in {self.root}: wait for it, then try again."
                ) from error
            yield

    def forget_data(self) -> None:
        """Remove the data of database, broker and bank; ports and secrets stay. Stop the stack first."""
        data = self.recall("postgres", "data")
        for folder in (
            Path(data) if data else None,
            self.root / "rabbitmq",
            self.public_folder / "rabbitmq",
            self.root / "bank",
            self.root / "metrics",
        ):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def delete(self) -> None:
        """Remove everything, the outside folders too. Only for a stack that does not run."""
        shutil.rmtree(self.public_folder, ignore_errors=True)
        self.remove_socket_folder()
        shutil.rmtree(self.root, ignore_errors=True)


def make_own_folder(folder: Path, mode: int) -> None:
    """Make `folder` in a place where everybody may write. Raises OpsError if somebody else's is there."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    require_own(folder)
    folder.chmod(mode)


def require_own(folder: Path) -> None:
    """Raise OpsError if `folder`, in a place where everybody may write, is not ours."""
    status = folder.lstat()
    if status.st_uid != os.geteuid() or not folder.is_dir() or folder.is_symlink():
        raise OpsError(f"{folder} exists and is not ours: remove it, or set WBS_STATE_DIR to another folder.")


def remove_orphans() -> None:
    """Remove our outside folders whose state folder is gone (the checkout was deleted)."""
    for folder in PUBLIC_BASE.glob(f"wbs-{os.geteuid()}-*"):
        with contextlib.suppress(OSError):
            owner_file = folder / "belongs-to"
            if folder.lstat().st_uid != os.geteuid() or owner_file.lstat().st_uid != os.geteuid():
                continue
            if not Path(owner_file.read_text(encoding="utf-8")).exists():
                shutil.rmtree(folder, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is no file. Raises OpsError if the file is damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OpsError(f"{path} is damaged ({error}): `wbs reset` starts afresh.") from error
    assert isinstance(document, dict), path
    return document


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a file by a JSON object, atomically, readable by the owner only."""
    write_private(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


def private_opener(path: str, flags: int) -> int:
    """Open a file as `open` does, but no link; a new one is readable by its owner only."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, mode 600."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(temporary, "w", encoding="utf-8", opener=private_opener) as file:
        file.write(text)
    temporary.replace(path)
