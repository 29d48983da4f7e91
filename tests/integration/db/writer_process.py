"""One of two processes that do the same work: `writer_process.py DATABASE_URL SEED`.

Prints a line when it is ready, waits for one on its input, so that both begin together, and prints the result.
"""

import asyncio
import json
import random
import sys
from collections import Counter

from db.ledger import Ledger
from runtime.settings import Settings
from wallet.commands import Charge, LedgerCommand, Withdraw

PATIENT = {"WBS_WRITE_TIMEOUT_MS": "15000", "WBS_LOCK_TIMEOUT_MS": "5000"}
WALLETS = [f"user-{number}" for number in range(10)]


def work() -> list[LedgerCommand]:
    """Return the same work for every process."""
    commands: list[LedgerCommand] = [
        Charge("shop", f"charge-{n}", WALLETS[n % len(WALLETS)], "USD", 2) for n in range(1000)
    ]
    commands += [Withdraw("shop", f"out-{n}", WALLETS[n % len(WALLETS)], "USD", 3) for n in range(300)]
    return commands


async def main(database_url: str, seed: int) -> None:
    """Give every wallet enough, then do the work in an order of our own."""
    ledger = Ledger(Settings.from_env({**PATIENT, "DATABASE_URL": database_url, "WBS_BATCH_SIZE_MAX": "20"}))
    ledger.start()
    await asyncio.gather(
        *(ledger.submit(Charge("shop", f"start-{user}", user, "USD", 1000)) for user in WALLETS)
    )
    commands = work()
    random.Random(seed).shuffle(commands)
    print("ready", flush=True)
    sys.stdin.readline()
    results = await asyncio.gather(*(ledger.submit(command) for command in commands))
    await ledger.stop()
    print(json.dumps(Counter("replayed" if result.replayed else "new" for result in results)))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
