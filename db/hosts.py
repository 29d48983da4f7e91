"""The hosts of a DSN, each tried within its own share of the time, the last good one first.

asyncpg's own limit covers all hosts together: a first host that swallows packets would use it up.
"""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def single_hosts(dsn: str) -> list[str]:
    """Return one DSN per host, in order; the DSN unchanged if it names one host or none."""
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return [dsn]  # not a URL: connecting will report it
    userinfo, at, hosts = parts.netloc.rpartition("@")
    if "," in hosts:
        return [urlunsplit(parts._replace(netloc=f"{userinfo}{at}{host}")) for host in hosts.split(",")]
    query = parse_qsl(parts.query, keep_blank_values=True)
    named = dict(query)
    found = named.get("host", "").split(",")
    if len(found) == 1:
        return [dsn]
    ports = named.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(found)
    rest = [(name, value) for name, value in query if name not in ("host", "port")]
    dsns = []
    for host, port in zip(found, ports, strict=False):
        its_own = [*rest, ("host", host), *([("port", port)] if port else [])]
        dsns.append(f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(its_own)}")
    return dsns


class Hosts:
    """The hosts of one DSN, and the last good one among them."""

    def __init__(self, dsn: str) -> None:
        self._dsns = single_hosts(dsn)
        self._good: str | None = None

    def __len__(self) -> int:
        return len(self._dsns)

    def in_turn(self) -> list[str]:
        """Return the hosts' DSNs, the last good one first, the others in their order in the DSN."""
        return sorted(self._dsns, key=lambda dsn: dsn != self._good)

    def remember(self, dsn: str) -> None:
        """Remember this one as the last good one."""
        self._good = dsn


def described(dsn: str) -> tuple[str, str]:
    """Return which database a DSN names, for people: its name, and its hosts with their ports. Never the password."""
    names, hosts = [], []
    for single in single_hosts(dsn):
        try:
            parts = urlsplit(single)
            port = parts.port
        except ValueError:
            return "?", "a URL that can't be read"
        query = dict(parse_qsl(parts.query))
        host = query.get("host") or parts.hostname or "localhost"
        hosts.append(f"{host}:{query.get('port') or port or 5432}")
        names.append(
            parts.path.strip("/") or query.get("dbname") or query.get("database") or parts.username or "?"
        )
    return names[0], ", ".join(dict.fromkeys(hosts))
