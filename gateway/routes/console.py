"""GET /console: one page to look at wallets and try things out. It uses the public API and nothing else."""

from gateway.contract.operation import Operation
from gateway.contract.problems import Unauthorized
from gateway.routes.pages import STATIC, StaticFiles
from gateway.wire.auth import Authenticator, Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.scopes import Scope

CONSOLE = Operation("GET", "/console", "Pages", "Console", {}, id="showConsole", documented=False)
CONSOLE_FILE = Operation(
    "GET", "/console/{name}", "Pages", "Files of the console", {}, id="getConsoleFile", documented=False
)


class ConsoleRoutes:
    """Serves the console."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._pages = StaticFiles({name: STATIC / name for name in ("console.html", "login.html")})
        self._files = StaticFiles(
            {name: STATIC / name for name in ("console.css", "console.js", "login.js", "money.js")}
        )

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(CONSOLE, self.console)
        endpoints.add(CONSOLE_FILE, self.file)

    async def console(self, request: Request, caller: Caller) -> Response:
        """Return the page, or one to log in (401): a browser can't send a key with a link. Raises Forbidden."""
        try:
            # The page itself holds nothing, and is wanted most while the database is away.
            self._authenticator.identify(request, Scope.OPERATE, as_last_known=True)
        except Unauthorized as error:
            return self._pages.response("login.html", 401, error.headers)
        return self._pages.response("console.html")

    async def file(self, request: Request, caller: Caller, name: str) -> Response:
        """Return a file that the page loads. Raises PathNotFound."""
        return self._files.response(name)
