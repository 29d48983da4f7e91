"""The domain: money, wallets, withdrawals and the decisions about them. No I/O happens here."""
