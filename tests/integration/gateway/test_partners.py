"""Keys that are bound to users: what a partner sees of others' transfers."""

from typing import Any

import aiohttp
import pytest

from tests.api_keys import create_key
from tests.integration.gateway.conftest import Gateway, new_key, with_key


@pytest.fixture(scope="module")
def shared_environment() -> dict[str, str]:
    return {"WBS_AUTH": "on"}


async def test_a_bound_key_sees_its_own_legs(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: a transfer is there for a partner, by itself and in lists alike, if a wallet of its own takes part.

    Of another's transfer it sees who paid and its own legs with what was reversed of them; no other payee, no metadata.
    """
    everything = await with_key(
        shared_gateway, session, await create_key(shared_database_url, f"all-{new_key()}")
    )
    space = f"acme-{new_key()}"
    secret = await create_key(shared_database_url, space, space=space, user_prefix="acme-")
    partner = await with_key(shared_gateway, session, secret)
    theirs, other, mine = f"theirs-{new_key()}", f"other-{new_key()}", f"acme-{new_key()}"
    for user in (theirs, mine):
        assert (await everything.charge(user, 100)).status == 200

    async def transferred(payer: str, *legs: tuple[str, int]) -> Any:
        body = {
            "from_user_id": payer,
            "legs": [{"to_user_id": user, "amount": amount} for user, amount in legs],
            "idempotency_key": new_key(),
            "metadata": {"note": 1},
        }
        reply = await everything.post("/transfers", body)
        assert reply.status == 200, reply
        return reply.json

    received = await transferred(theirs, (other, 5), (mine, 7), (other, 11), (mine, 13))
    reversal = {"legs": [{"leg": 2, "amount": 3}, {"leg": 3, "amount": 4}], "idempotency_key": new_key()}
    assert (await everything.post(f"/transfers/{received['id']}/reverse", reversal)).status == 200
    sent = await transferred(mine, (theirs, 2), (f"acme-{new_key()}", 1))
    foreign = await transferred(theirs, (other, 1))
    whole = (await everything.get(f"/transfers/{received['id']}")).json
    assert (whole["amount"], whole["reversed"], len(whole["legs"])) == (36, 7, 4)

    seen = (await partner.get(f"/transfers/{received['id']}")).json
    own_legs = [leg for leg in whole["legs"] if leg["to_user_id"] == mine]
    assert seen == {**whole, "amount": 20, "reversed": 3, "legs": own_legs, "metadata": None}
    assert (await partner.get(f"/transfers/{sent['id']}")).json == sent
    assert (await partner.get(f"/transfers/{foreign['id']}")).code == "transfer_not_found"
    assert (await partner.get("/transfers", user_id=mine)).json["items"] == [sent, seen]
    assert (await everything.get("/transfers", user_id=mine)).json["items"] == [sent, whole]
    for id in (received["id"], sent["id"], foreign["id"]):
        refused = await partner.post(f"/transfers/{id}/reverse", {"idempotency_key": new_key()})
        assert (refused.status, refused.code) == (404, "transfer_not_found")
