"""The HTTP API. It reads and writes the database, and talks to nothing else.

`contract` (models, problems, OpenAPI) <- `wire` (everything that knows Sanic) <- `routes` (the endpoints).
`services` are the objects that routes work with; `app` puts it all together.
"""
