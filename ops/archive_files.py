"""The files of an archive: per table a CSV file, compressed, and a manifest that says what is in them.

Each transaction's rows are a part (gzip member) of their own, so a file that is cut where a part ends is whole:
`zcat transfers.csv.gz` gives all of it, with the names of the columns in the first line.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.errors import OpsError
from ops.state import private_opener

MANIFEST = "manifest.json"
SUFFIX = ".csv.gz"
_LEVEL = 3
"""Of compression: what 6 saves in bytes it costs four times over in time."""
_PIECE = 2**20


class ArchiveFolder:
    """The files of one archive, which only we may read. `lengths` are those that count: what is longer is cut."""

    def __init__(self, folder: Path, lengths: Mapping[str, int]) -> None:
        self._folder = folder
        self._lengths = dict(lengths)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OpsError(f"{folder} can't be made: {error.strerror}.") from error
        if (folder / MANIFEST).exists() and not lengths:
            raise OpsError(f"{folder} holds an archive already: name another folder.")
        (folder / MANIFEST).unlink(missing_ok=True)
        for table, length in lengths.items():
            if not self.path(table).exists() or self.path(table).stat().st_size < length:
                raise OpsError(f"{self.path(table)} is not as the run before left it: it had {length} bytes.")
        for path in folder.glob(f"*{SUFFIX}"):
            os.truncate(path, lengths.get(path.name.removesuffix(SUFFIX), 0))

    def path(self, table: str) -> Path:
        """Return the file of a table."""
        return self._folder / f"{table}{SUFFIX}"

    def has(self, table: str) -> bool:
        """Return whether the table's file was begun: then what is added has no line of column names."""
        return self._lengths.get(table, 0) > 0

    def add(self, table: str, rows: bytes) -> int:
        """Add rows, as CSV; return the length of the file, once it is on disk. Raises OpsError."""
        part = gzip.compress(rows, _LEVEL)
        try:
            with open(self.path(table), "ab", opener=private_opener) as file:
                file.write(part)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OpsError(
                f"{self.path(table)} can't be written: {error.strerror}. What was archived so far is whole."
            ) from error
        self._lengths[table] = self._lengths.get(table, 0) + len(part)
        return self._lengths[table]

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 sums of the files, by table."""
        return {table: checksum(self.path(table)) for table in self._lengths}

    def write_manifest(self, told: Mapping[str, Any]) -> None:
        """Write what the archive holds; the archive is whole then."""
        partial = self._folder / f"{MANIFEST}.partial"
        with open(partial, "w", encoding="utf-8", opener=private_opener) as file:
            json.dump(told, file, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._folder / MANIFEST)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def checksum(path: Path) -> str:
    """Return the SHA-256 sum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def problems(folder: Path) -> list[str]:
    """Return what is not as the manifest says: files missing or changed, rows too many or too few. Raises OpsError."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OpsError(f"{folder / MANIFEST} can't be read: {error}.") from error
    found = []
    for file in told["files"]:
        path = folder / f"{file['name']}{SUFFIX}"
        if not path.exists():
            found.append(f"{path.name} is missing")
        elif checksum(path) != file["sha256"]:
            found.append(f"{path.name} was changed: its SHA-256 is not {file['sha256']}")
    return found
