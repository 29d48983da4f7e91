"""What goes wrong while a stack is provisioned, started or stopped."""


class OpsError(Exception):
    """One clear sentence for the person at the terminal, naming the mend. The command exits with 1."""
