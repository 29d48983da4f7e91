"""How requests and responses travel. The only package of the gateway that knows Sanic.

Whatever every endpoint has in common is here: who calls, how often, how long a body may be, errors, metrics.
"""
