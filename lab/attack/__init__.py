"""`wbs attack`: hostile requests against a stack of its own, beside a client that only wants to be served."""

from lab.attack.command import add_parser, run

__all__ = ["add_parser", "run"]
