"""Carries requests to handlers and responses back. The only package of the gateway that knows Sanic.

It does everything that all endpoints have in common: login, rate limits, size limits, request ids, errors, metrics.
"""
