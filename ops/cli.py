"""The `wbs` command."""


def main() -> int:
    """Not written yet."""
    return 0
