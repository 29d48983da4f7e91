"""The limit on a process's open files: each client connection is one."""

import resource

OPEN_FILES_MAX = 65_536
"""Enough for any gateway. Some systems allow a thousand million, and some programs then make tables of that size."""


def raise_open_files_limit() -> None:
    """Raise this process's soft limit, often 1,024 because of select(), to the hard one or OPEN_FILES_MAX.

    Go's runtime does the same at every start. Nothing here uses select(), which fails on higher descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = allowed_open_files(OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def allowed_open_files(wanted: int) -> int:
    """Return `wanted`, or the hard limit if that is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
