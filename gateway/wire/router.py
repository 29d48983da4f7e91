"""Finds the route of a request. Most paths end in the name of a wallet or a withdrawal.

Sanic's own router takes 3 µs to resolve such a path, and caches only the last 1,024: there are more users than that.
"""

from typing import Any

from sanic.router import Router


class LookUpRouter(Router):
    """Finds routes in a dictionary: by the path, or without its last part if that is the only parameter.

    Sanic resolves all other paths, and raises the errors.
    """

    def finalize(self, *args: Any, **kwargs: Any) -> None:
        """Fill the dictionaries, once all routes are added."""
        super().finalize(*args, **kwargs)
        plain = [route for route in self.routes if not route.params]
        taken = {_start(route) for route in plain}
        self._by_path: dict[tuple[str, str], Any] = {
            (method, f"/{route.path}"): (route, route.handler, {})
            for route in plain
            for method in route.methods
        }
        self._by_start: dict[tuple[str, str], Any] = {
            (method, f"/{_start(route)}"): (route, route.handler, *route.labels)
            for route in self.routes
            if len(route.params) == 1 and route.path.endswith(":str>") and _start(route) not in taken
            for method in route.methods
        }

    def get(self, path: str, method: str, host: str | None) -> Any:  # type: ignore[override]
        """Return (route, handler, parameters). Raises Sanic's NotFound and MethodNotAllowed."""
        if found := self._by_path.get((method, path)):
            return found
        start, _, last = path.rpartition("/")
        if last and (ending := self._by_start.get((method, start))):
            route, handler, name = ending
            return route, handler, {name: last}
        return super().get(path, method, host)


def _start(route: Any) -> str:
    start: str = route.path.rpartition("/")[0]
    return start
