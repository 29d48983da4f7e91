"""GET /console: one page to look at wallets and play with them. It uses the public API and nothing else."""

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


def register(endpoints: Endpoints) -> None:
    """Serve the console."""
    page = StaticFiles({"console.html": STATIC / "console.html"})
    files = StaticFiles({name: STATIC / name for name in ("console.css", "console.js")})

    async def console(request: Request, caller: Caller) -> Response:
        return page.answer("console.html")

    async def console_file(request: Request, caller: Caller, name: str) -> Response:
        return files.answer(name)

    endpoints.add(CONSOLE, console)
    endpoints.add(CONSOLE_FILE, console_file)
