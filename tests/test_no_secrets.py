"""Nothing that opens a door is committed."""

import re

from tests.test_tidy import texts

SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    r"|\bxox[abp]-[A-Za-z0-9-]{10,}"
    r"|\bsk_live_[A-Za-z0-9]{16,}|\bwbs_[a-z0-9]{8}_[A-Za-z0-9_-]{43}\b|\beyJ[A-Za-z0-9_-]{20,}\.eyJ"
)


def test_no_secret_in_the_tree() -> None:
    """Goal: no private key, token or API key is committed."""
    for file, text in texts():
        assert not SECRETS.search(text), file
