"""GET /openapi.json, /docs and /problems/{code}: the documentation. Nothing is loaded from the internet."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.contract.openapi import document
from gateway.contract.operation import Operation, ResponseSpec
from gateway.contract.problem_kinds import KINDS
from gateway.contract.problems import PathNotFound
from gateway.contract.user_ids import UserIds
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

NO_HEADERS: Mapping[str, str] = {}

PAGE_POLICY = {
    # Swagger UI draws its icons from data: addresses and sets styles on elements.
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
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

OpenApi = Annotated[dict[str, Any], Meta(title="OpenApi")]

OPENAPI = Operation(
    "GET",
    "/openapi.json",
    "Operations",
    "This document",
    id="getOpenApi",
    responses={200: ResponseSpec("OpenAPI 3.1.", OpenApi)},
)
PROBLEM = Operation(
    "GET",
    "/problems/{code}",
    "Operations",
    "What an error code means",
    id="getProblem",
    examples={"code": "insufficient_funds"},
    path_parameters={"code": "The last part of a problem's `type`."},
    responses={200: ResponseSpec("A few words.", media_types=("text/plain",))},
    errors=("not_found",),
)
DOCS = Operation("GET", "/docs", "Pages", "Swagger UI", {}, id="showDocs", documented=False)
DOCS_FILE = Operation(
    "GET", "/docs/{name}", "Pages", "Files of Swagger UI", {}, id="getDocsFile", documented=False
)
ROOT = Operation("GET", "/", "Pages", "To the documentation", {}, id="showRoot", documented=False)


class StaticFiles:
    """Files by name, each read at the first request for it. Only these names exist, so no path can escape."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files
        self._read: dict[str, bytes] = {}

    def response(self, name: str, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Response:
        """Return the file. Raises PathNotFound."""
        path = self._files.get(name)
        if path is None:
            raise PathNotFound(f"there is no file {name[:100]}")
        if name not in self._read:
            self._read[name] = path.read_bytes()
        extra = {**PAGE_POLICY, **headers}
        return Response(self._read[name], status, _TYPES[path.suffix], extra)


class PageRoutes:
    """Serves the documentation."""

    def __init__(self, version: str, user_ids: UserIds) -> None:
        self._version = version
        self._user_ids = user_ids
        self._page = StaticFiles({"docs.html": STATIC / "docs.html"})
        self._files = StaticFiles(_DOCS_FILES)
        self.document = b""
        """The OpenAPI document, as JSON; empty before `register`."""

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints. Called last: the document describes the operations that are registered by then."""
        endpoints.add(OPENAPI, self.openapi)
        endpoints.add(PROBLEM, self.problem)
        endpoints.add(DOCS, self.docs)
        endpoints.add(DOCS_FILE, self.file)
        endpoints.add(ROOT, self.root)
        described = document(endpoints.operations, version=self._version, user_ids=self._user_ids)
        self.document = msgspec.json.encode(described)

    async def openapi(self, request: Request, caller: Caller) -> Response:
        """Return the OpenAPI document."""
        return Response(self.document)

    async def problem(self, request: Request, caller: Caller, code: str) -> Response:
        """Return the meaning of an error code, as text. Raises PathNotFound."""
        kind = KINDS.get(code)
        if kind is None:
            raise PathNotFound("there is no such code")
        text = f"{code}\n\n{kind.title}. HTTP status {kind.status}.\nFor example: {kind.example}\n"
        return Response(text.encode(), content_type="text/plain; charset=utf-8")

    async def docs(self, request: Request, caller: Caller) -> Response:
        """Return the page with Swagger UI."""
        return self._page.response("docs.html")

    async def file(self, request: Request, caller: Caller, name: str) -> Response:
        """Return a file that the page loads. Raises PathNotFound."""
        return self._files.response(name)

    async def root(self, request: Request, caller: Caller) -> Response:
        """Redirect to the documentation."""
        return Response(b"", 302, extra={"location": "/docs"})
