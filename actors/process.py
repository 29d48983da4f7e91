"""The start and the end of a background process."""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import uvloop

from db.sessions import require_fit_server
from runtime import beat
from runtime.identity import name_process
from runtime.known_settings import warn_of_unknown_settings
from runtime.open_files import raise_open_files_limit
from runtime.settings import Settings, SettingsError
from runtime.spans import spans
from runtime.tasks import SupervisedTasks
from runtime.telemetry import configure_logging, log

BAD_SETTINGS_EXIT_CODE = 2
MAKE_SPANS = frozenset({"actors", "reconciler"})
"""Kinds of processes that work in the traces of requests, or call others."""


def boot(kind: str, check: Callable[[Settings], object] | None = None) -> Settings:
    """Raise the limit of open files, read the settings, set up logging, and check the database if it can be reached.

    Ends the process with a message if the settings are wrong, `check` raises SettingsError about them, or the database
    must not be used.
    """
    raise_open_files_limit()
    name_process(kind)
    configure_logging(kind, "info")
    try:
        settings = Settings.from_env()
        configure_logging(kind, settings.log_level)
        warn_of_unknown_settings()
        if check is not None:
            check(settings)
        if settings.otel and kind in MAKE_SPANS:
            spans.open(kind)
        asyncio.run(require_fit_server(settings.database))
    except SettingsError as error:
        log.error("bad_settings", reason=str(error))
        sys.exit(BAD_SETTINGS_EXIT_CODE)
    # pika logs a dozen errors for a lost connection; we log one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    log.info("started")
    return settings


def run(main: Callable[[asyncio.Event, SupervisedTasks], Awaitable[None]], *, beats: bool = True) -> int:
    """Run `main` on uvloop until it returns. Return 0.

    `main` gets an event, which SIGTERM and SIGINT set, and the SupervisedTasks for its tasks: the beat stops while one
    of them is failing, and all are stopped after `main`. `beats` is False if another event loop of the process does the
    work, and beats.
    """

    async def until_stopped() -> None:
        tasks = SupervisedTasks()
        if beats:
            beat.start(tasks)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            await main(stop, tasks)
        finally:
            await tasks.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())
    spans.close()
    log.info("stopped")
    return 0


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set, for processes that use threads."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until the process is told to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
