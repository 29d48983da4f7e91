"""The bank, seen from our side: one small protocol, and the module that the setting `WBS_BANK` names.

Such a module offers `open_bank(settings) -> Bank` and passes `wbs bank check` (actors/bank/conformance.py).
"""

from importlib import import_module

from actors.bank.protocol import Bank
from runtime.settings import Settings, SettingsError


def open_bank(settings: Settings) -> Bank:
    """Return the bank chosen by the settings. Call it on the event loop that will use it.

    Raises SettingsError if there is no such module, or the bank can't be called with these settings.
    """
    try:
        module = import_module(settings.bank)
    except ImportError as error:
        raise SettingsError(f"WBS_BANK: no module {settings.bank!r}: {error}") from None
    if not hasattr(module, "open_bank"):
        raise SettingsError(f"WBS_BANK: {settings.bank!r} is no bank module: it has no open_bank")
    bank: Bank = module.open_bank(settings)
    return bank
