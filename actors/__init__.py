"""The background half: the relay, the actors that pay through the bank, and the reconciler."""
