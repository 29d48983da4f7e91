"""What clients and gateway agree on: models, parameters, problems, OpenAPI. It knows no HTTP server."""
