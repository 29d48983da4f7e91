"""Errors of commands: each is one sentence for the person at the terminal."""


class OpsError(Exception):
    """One clear sentence for the person at the terminal, with what mends it. The command exits with 1."""


class NothingRunning(OpsError):
    """The command needs a running stack, or a setting that names a server, and there is neither. It exits with 2."""


class ServerAway(OpsError):
    """A server that the command needs can't be reached, does not answer, or answers errors. It exits with 2."""


class WrongUsage(OpsError):
    """The command can't be understood, or names something that does not exist. It exits with 2."""
