"""The settings of the bank simulator."""

from datetime import UTC, datetime
from pathlib import Path

from bank_sim.settings import Settings


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    """Goal: a file with the callbacks' secrets counts as the variable does, line end or not."""
    secrets = "whsec_" + "A" * 32 + ",whsec_" + "B" * 32
    path = tmp_path / "secret"
    path.write_text(secrets + "\n", encoding="ascii")
    given = Settings.from_env({"WBS_CALLBACK_URL": "http://x", "WBS_BANK_WEBHOOK_SECRET": secrets})
    read = Settings.from_env({"WBS_CALLBACK_URL": "http://x", "WBS_BANK_WEBHOOK_SECRET_FILE": str(path)})
    body = ("m", datetime(2026, 1, 1, tzinfo=UTC), "{}")
    assert [webhook.sign(*body) for webhook in read.webhooks] == [
        webhook.sign(*body) for webhook in given.webhooks
    ]
