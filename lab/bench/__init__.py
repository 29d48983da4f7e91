"""`wbs bench`: the service's rates, next to yardsticks measured in the same minutes."""

from lab.bench.command import add_parser, run

__all__ = ["add_parser", "run"]
