"""The contract between clients and gateway: models, parameters, problems, OpenAPI. It knows no HTTP server."""
