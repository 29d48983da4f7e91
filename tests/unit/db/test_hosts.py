"""The hosts of a DSN."""

import pytest

from db.hosts import Hosts, single_hosts

UNREADABLE = "postgresql:" + "//[::1/db"


@pytest.mark.parametrize(
    ("dsn", "each"),
    [
        ("postgresql://u:p@a:1/db?x=1", ["postgresql://u:p@a:1/db?x=1"]),
        ("postgresql://u:p@a:1,b:2/db?x=1", ["postgresql://u:p@a:1/db?x=1", "postgresql://u:p@b:2/db?x=1"]),
        ("postgresql://a,b,c/db", ["postgresql://a/db", "postgresql://b/db", "postgresql://c/db"]),
        ("postgresql://[::1]:1,[::1]:2/db", ["postgresql://[::1]:1/db", "postgresql://[::1]:2/db"]),
        (
            "postgresql:///db?host=a,b&port=1,2",
            ["postgresql:///db?host=a&port=1", "postgresql:///db?host=b&port=2"],
        ),
        (
            "postgresql:///db?host=a,b&port=5",
            ["postgresql:///db?host=a&port=5", "postgresql:///db?host=b&port=5"],
        ),
        ("postgresql:///db?host=/run", ["postgresql:///db?host=/run"]),
        ("nonsense", ["nonsense"]),
        (UNREADABLE, [UNREADABLE]),
    ],
)
def test_each_host_by_itself(dsn: str, each: list[str]) -> None:
    """Goal: one DSN for each host, with all that goes for all of them."""
    assert single_hosts(dsn) == each


def test_the_last_good_one_is_the_first() -> None:
    """Goal: who was good is asked first; the others keep their order."""
    hosts = Hosts("postgresql://a,b,c/db")
    assert [dsn[13] for dsn in hosts.in_turn()] == ["a", "b", "c"]
    hosts.remember("postgresql://b/db")
    assert [dsn[13] for dsn in hosts.in_turn()] == ["b", "a", "c"]
