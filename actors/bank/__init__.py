"""The bank as we see it: one small protocol, and the module that the setting `WBS_BANK` names.

Such a module offers `open_bank(settings: BankSettings) -> Bank` and passes `wbs bank check`
(actors/bank/conformance.py). The actors, the reconciler and the commands reach the bank in no other way.
"""

from importlib import import_module

from actors.bank.protocol import Bank
from runtime.bank_settings import BankSettings
from runtime.settings import Settings, SettingsError


def open_bank(settings: BankSettings) -> Bank:
    """Return the bank chosen by the settings. Call it on the event loop that will use it.

    Raises SettingsError if there is no such module, or the bank can't be called with these settings.
    """
    try:
        module = import_module(settings.module)
    except ImportError as error:
        raise SettingsError(f"WBS_BANK: no module {settings.module!r}: {error}") from None
    if not hasattr(module, "open_bank"):
        raise SettingsError(f"WBS_BANK: {settings.module!r} is no bank module: it has no open_bank")
    bank: Bank = module.open_bank(settings)
    return bank


def require_bank(settings: Settings) -> None:
    """Raise SettingsError if the bank can't be called with these settings. Opens no connection."""
    open_bank(settings.for_bank)
