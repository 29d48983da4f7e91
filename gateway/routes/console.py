"""GET /console: the operator's console, one page for all addresses below it. It uses the API and nothing else.

The page holds nothing by itself, so no key is needed to load it: it asks for one, and is wanted most while the database
is away.
"""

from gateway.contract.operation import Operation
from gateway.routes.pages import STATIC, StaticFiles
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response

CONSOLE = Operation("GET", "/console", "Pages", "Console", {}, id="showConsole", documented=False)
PAGE = Operation(
    "GET", "/console/{page}", "Pages", "A page of the console", {}, id="showConsolePage", documented=False
)
WITHDRAWAL = Operation(
    "GET",
    "/console/withdrawals/{withdrawal_id}",
    "Pages",
    "A withdrawal in the console",
    {},
    id="showConsoleWithdrawal",
    documented=False,
)
FILE = Operation(
    "GET", "/console/files/{name}", "Pages", "Files of the console", {}, id="getConsoleFile", documented=False
)

_FOLDER = STATIC / "console"


class ConsoleRoutes:
    """Serves the console."""

    def __init__(self) -> None:
        self._files = StaticFiles({file.name: file for file in _FOLDER.iterdir() if file.is_file()})

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(CONSOLE, self.page)
        endpoints.add(PAGE, self.page)
        endpoints.add(WITHDRAWAL, self.page)
        endpoints.add(FILE, self.file)

    async def page(self, request: Request, caller: Caller, **_: str) -> Response:
        """Return the page. Which address it is for, its script finds out."""
        return self._files.response("index.html")

    async def file(self, request: Request, caller: Caller, name: str) -> Response:
        """Return a file that the page loads. Raises PathNotFound."""
        return self._files.response(name)
