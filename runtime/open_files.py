"""How many files a process may have open: each connection of a client is one."""

import resource

OPEN_FILES_MAX = 65_536
"""Enough for any gateway; some systems would allow a thousand millions, which others then make tables for."""


def raise_open_files_limit() -> None:
    """Raise this process's soft limit, often 1,024 from times of select(), to the hard one or OPEN_FILES_MAX.

    As Go's runtime does at every start. Nothing here uses select(), for which higher numbers are too much.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = allowed_open_files(OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def allowed_open_files(wanted: int) -> int:
    """Return `wanted`, or the hard limit where that is less."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
