"""The HTTP API. It takes requests, writes through the ledger, reads, and never talks to RabbitMQ."""
