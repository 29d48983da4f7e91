"""The bank, seen from our side: one small protocol, and the module that the setting `WBS_BANK` names.

Such a module offers `open_bank(settings) -> Bank` and passes tests/integration/actors/test_actors_bank.py.
"""

from importlib import import_module

from actors.bank.protocol import Bank
from wallet.config import Settings


def open_bank(settings: Settings) -> Bank:
    """Return the bank chosen by the settings. Call it on the event loop that will use it.

    Raises `ImportError` if there is no such module.
    """
    bank: Bank = import_module(settings.bank).open_bank(settings)
    return bank
