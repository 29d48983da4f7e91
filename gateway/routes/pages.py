"""GET /openapi.json, /docs and /problems/{code}: the API, explained. Nothing is loaded from the internet."""

from importlib.util import find_spec
from pathlib import Path

import msgspec

from gateway.contract.openapi import document
from gateway.contract.operation import Operation, ResponseSpec
from gateway.contract.problems import KINDS, NotFound
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response

STATIC = Path(__file__).parent.parent / "static"
HTML = "text/html; charset=utf-8"
_TYPES = {
    ".html": HTML,
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}

PAGE_HEADERS = {
    # Swagger UI draws its icons from data: addresses and sets styles on elements.
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def _swagger_ui() -> Path:
    """Return the folder of Swagger UI's files in the package that ships them, without importing its code."""
    spec = find_spec("swagger_ui")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "static"


_DOCS_FILES = {
    "swagger-ui.css": _swagger_ui() / "swagger-ui.css",
    "swagger-ui-bundle.js": _swagger_ui() / "swagger-ui-bundle.js",
    "favicon-32x32.png": _swagger_ui() / "favicon-32x32.png",
    "docs.css": STATIC / "docs.css",
    "docs.js": STATIC / "docs.js",
}

OPENAPI = Operation(
    "GET",
    "/openapi.json",
    "Operations",
    "This document",
    responses={200: ResponseSpec("OpenAPI 3.1.", dict)},
    open_to_all=True,
)
PROBLEM = Operation(
    "GET",
    "/problems/{code}",
    "Operations",
    "What an error code means",
    path_parameters={"code": "The last part of a problem's `type`."},
    responses={200: ResponseSpec("A few words.", media_types=("text/plain",))},
    errors=("not_found",),
    open_to_all=True,
)
DOCS = Operation("GET", "/docs", "Pages", "Swagger UI", {}, open_to_all=True, documented=False)
DOCS_FILE = Operation(
    "GET", "/docs/{name}", "Pages", "Files of Swagger UI", {}, open_to_all=True, documented=False
)
ROOT = Operation("GET", "/", "Pages", "To the documentation", {}, open_to_all=True, documented=False)


class StaticFiles:
    """Files by name, read when first asked for. Only these names exist: there is no path to escape from."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files
        self._read: dict[str, bytes] = {}

    def answer(self, name: str) -> Response:
        """Return the file. Raises NotFound."""
        path = self._files.get(name)
        if path is None:
            raise NotFound(f"there is no file {name[:100]}")
        if name not in self._read:
            self._read[name] = path.read_bytes()
        return Response(self._read[name], content_type=_TYPES[path.suffix], extra=PAGE_HEADERS)


def register(endpoints: Endpoints, services: Services, version: str) -> bytes:
    """Serve the documentation; return the OpenAPI document.

    Called last: the document describes the operations registered before.
    """
    files = StaticFiles(_DOCS_FILES)
    page = StaticFiles({"docs.html": STATIC / "docs.html"})

    async def openapi(request: Request, caller: Caller) -> Response:
        # Other pages may show it (the Swagger container of docker-compose.yml does): it is public anyway.
        return Response(described, extra={"access-control-allow-origin": "*"})

    async def docs(request: Request, caller: Caller) -> Response:
        return page.answer("docs.html")

    async def docs_file(request: Request, caller: Caller, name: str) -> Response:
        return files.answer(name)

    async def root(request: Request, caller: Caller) -> Response:
        return Response(b"", 302, extra={"location": "/docs"})

    async def problem(request: Request, caller: Caller, code: str) -> Response:
        kind = KINDS.get(code)
        if kind is None:
            raise NotFound("there is no such code")
        text = f"{code}\n\n{kind.title}. HTTP status {kind.status}.\nFor example: {kind.example}\n"
        return Response(text.encode(), content_type="text/plain; charset=utf-8")

    endpoints.add(OPENAPI, openapi)
    endpoints.add(PROBLEM, problem)
    endpoints.add(DOCS, docs)
    endpoints.add(DOCS_FILE, docs_file)
    endpoints.add(ROOT, root)
    with_login = bool(services.settings.api_keys)
    described = msgspec.json.encode(document(endpoints.operations, version=version, with_login=with_login))
    return described
