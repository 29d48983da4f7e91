"""What went wrong, in one sentence for the person at the terminal, whatever it was."""

import aiohttp

from actors.amqp import AmqpError
from actors.bank.protocol import BooksUnreadable
from actors.dead_letters import DeadLettersUnreachable
from db.errors import DATABASE_ERRORS, is_odd, translate
from runtime.settings import SettingsError
from wallet.errors import TryLater


def explain(error: Exception) -> str:
    """Return the sentence. It holds no secret: of a server's address neither user nor password."""
    what = " ".join(f"{error}".split())
    match error:
        case SettingsError():
            return what
        case ModuleNotFoundError():
            return f"the Python package {error.name} is missing: `make init` installs the tools"
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
