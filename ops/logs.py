"""`wbs logs [KIND]`: the logs of this stack's processes and servers, in the order of time.

  wbs logs -f                      all of them, and what is added from now on (Ctrl-C ends it)
  wbs logs actors --level warning  a kind, or one program (actors_1); warnings and errors
  wbs logs --since 90m --grep 0199d3c0-8b2f-7d10-8000-5be1c0ffee01
                                   every line with this withdrawal's id (or a request id, a user …)

Each request that writes and each step of a payout has a line: `accepted`, `attempt`, `paid` (or `declined`,
`outcome_unknown` …) with `bank_ms`, `completed`. `--no-trail` leaves these out. The files are in `log/` of the state
folder: of each log the last two files, and the first one of the last trouble (NAME.log.head). In Compose the logs are
Docker's: `docker compose logs`.

Exit codes: 0 done, 2 wrong usage, or there are no such logs.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ops.errors import WrongUsage
from ops.log_files import Line, LogFile, files, in_order
from ops.state import StateDir
from ops.tables import plain

LINES_DEFAULT = 100
LOOK_S = 0.3
AGE_MAX = timedelta(days=36_500)
LEVELS = ("debug", "info", "warning", "error")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FIRST = ("at", "level", "process", "pid", "event")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `wbs logs` to the command line."""
    parser = subparsers.add_parser(
        "logs",
        help="read the logs of all processes, in the order of time",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "kind", metavar="KIND", nargs="?", help="a kind, as `wbs ps` names it, or one program"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    parser.add_argument(
        "--since", metavar="10m", type=age, help="lines of the last s, m, h or d (default: the last ones)"
    )
    parser.add_argument(
        "--lines", metavar="N", type=int, default=LINES_DEFAULT, help="how many (default 100)"
    )
    parser.add_argument("--level", choices=LEVELS, default="debug", help="this and graver ones")
    parser.add_argument("--grep", metavar="TEXT", default="", help="lines with this text in them")
    parser.add_argument("--no-trail", action="store_true", help="without requests and steps of payouts")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with its `program`")


def age(text: str) -> timedelta:
    """Return the time span that `90m` means. Raises ArgumentTypeError."""
    parts = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: 30s, 90m, 12h, 2d")
    span = timedelta(**{_UNITS[parts[2]]: int(parts[1])})
    if span > AGE_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is older than {AGE_MAX.days} days")
    return span


def run(args: argparse.Namespace) -> int:
    """Print the lines. Raises WrongUsage if there are no such logs."""
    state = StateDir.from_env(os.environ)
    logs = _wanted(state, args)
    if not logs:
        what = f"of {args.kind} " if args.kind else ""
        raise WrongUsage(
            f"There are no logs {what}in {state.log}: `wbs up` writes some. In Compose: `docker compose logs`."
        )
    since = None if args.since is None else datetime.now(UTC) - args.since
    lines = [line for line in in_order([log.since(since) for log in logs]) if _is_wanted(line, args)]
    _print(lines if since is not None else lines[-args.lines :] if args.lines > 0 else [], args)
    known = {log.path: log for log in logs}
    while args.follow:
        time.sleep(LOOK_S)
        for log in _wanted(state, args):  # there may be more of them: `wbs scale`
            known.setdefault(log.path, log)
        _print(
            (line for line in in_order([log.more() for log in known.values()]) if _is_wanted(line, args)),
            args,
        )
    return 0


def _wanted(state: StateDir, args: argparse.Namespace) -> list[LogFile]:
    found = files(state, args.kind)
    return [file for file in found if not (args.no_trail and file.path.name.endswith(".trail.log"))]


def _is_wanted(line: Line, args: argparse.Namespace) -> bool:
    level = line.level if line.level in LEVELS else "info"
    if LEVELS.index(level) < LEVELS.index(args.level):
        return False
    return not args.grep or args.grep in json.dumps(line.fields, ensure_ascii=False)


def _print(lines: Iterable[Line], args: argparse.Namespace) -> None:
    for line in lines:
        if args.json:
            at = {"at": line.at.isoformat(timespec="milliseconds")}
            print(
                json.dumps({**at, "program": line.program, **line.fields}, ensure_ascii=False),
                flush=args.follow,
            )
        else:
            print(_text(line), flush=args.follow)


def _text(line: Line) -> str:
    """Return a line as people read it."""
    ids = " ".join(f"{name}={_value(value)}" for name, value in line.fields.items() if name not in _FIRST)
    at = f"{line.at:%Y-%m-%d %H:%M:%S}.{line.at.microsecond // 1000:03d}"
    level = "" if line.level in ("debug", "info") else f"{line.level.upper()} "
    return plain(f"{at}  {line.program:<12}  {level}{line.fields.get('event', '')}  {ids}".rstrip())


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f'"{text}"' if " " in text else text
