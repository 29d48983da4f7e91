"""GET /console: one page to look at wallets and try things out. It uses the public API and nothing else."""

from gateway.contract.operation import Operation
from gateway.routes.pages import STATIC, StaticFiles
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response

CONSOLE = Operation("GET", "/console", "Pages", "Console", {}, open_to_all=True, documented=False)
CONSOLE_FILE = Operation(
    "GET", "/console/{name}", "Pages", "Files of the console", {}, open_to_all=True, documented=False
)


class ConsoleRoutes:
    """Serves the console."""

    def __init__(self) -> None:
        self._page = StaticFiles({"console.html": STATIC / "console.html"})
        self._files = StaticFiles({name: STATIC / name for name in ("console.css", "console.js")})

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(CONSOLE, self.console)
        endpoints.add(CONSOLE_FILE, self.file)

    async def console(self, request: Request, caller: Caller) -> Response:
        """Return the page."""
        return self._page.response("console.html")

    async def file(self, request: Request, caller: Caller, name: str) -> Response:
        """Return a file that the page loads. Raises PathNotFound."""
        return self._files.response(name)
