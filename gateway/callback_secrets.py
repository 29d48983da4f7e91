"""The secrets that sign the bank's callbacks, as they are now."""

from gateway.contract.callback_signatures import CallbackSignatures
from runtime.secret_files import WatchedFile
from runtime.settings import Settings, SettingsError
from runtime.telemetry import log
from runtime.webhook_secrets import UNUSABLE, are_webhook_secrets


class CallbackSecrets:
    """Reads a file with secrets again once it is another one, so that nobody has to restart gateways.

    While it holds none that can be used, those that it held before count.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = WatchedFile(settings.bank_webhook_secret_file)
        self._signatures = CallbackSignatures(settings.bank_webhook_secrets)

    def signatures(self) -> CallbackSignatures:
        """Return what verifies callbacks now."""
        if self._file.is_new():
            self._read_again()
        return self._signatures

    def _read_again(self) -> None:
        problem = UNUSABLE
        try:
            secrets = self._settings.bank_webhook_secrets
        except SettingsError as error:
            secrets, problem = (), str(error)
        if secrets and are_webhook_secrets(secrets):
            self._signatures = CallbackSignatures(secrets)
        else:
            log.error("callback_secret_unusable", detail=problem)
