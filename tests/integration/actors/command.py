"""`wbs dlq` as an operator runs it, in this process."""

import argparse
import asyncio
import contextlib
import io

import pytest

from ops import dlq
from tests.integration.actors.pipeline import Pipeline


async def wbs_dlq(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Run `wbs dlq WORDS` as the command line does; return exit code and what it printed."""
    for name, value in pipeline.environment.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    dlq.add_parser(parser.add_subparsers())
    printed = io.StringIO()

    def run() -> int:
        with contextlib.redirect_stdout(printed):
            return dlq.run(parser.parse_args(["dlq", *words]))

    return await asyncio.to_thread(run), printed.getvalue()
