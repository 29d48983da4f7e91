"""What a message may say: decoded strictly, or a dead letter, whatever the broker."""

from uuid import UUID

import pytest
from dramatiq import Message
from dramatiq.errors import DecodeError

from actors import messages
from actors.broker import InMemoryBroker
from tests.poison import OF_NO_WITHDRAWAL, UNREADABLE

ID = UUID("0190a5e2-7c3b-7000-8000-000000000009")
USERS = ("a", "42", "u" * 128, "\N{GRINNING FACE}" * 128, "a b\n", "ключ")


@pytest.mark.parametrize("user_id", USERS)
def test_what_the_relay_writes_is_understood(user_id: str) -> None:
    """Goal: each message of ours comes back as it was, of any user that the database can have."""
    message = messages.message(ID, user_id)
    assert messages.decode(message.encode()) == message == Message.decode(message.encode())
    assert messages.withdrawal_id_of(message.encode()) == ID


@pytest.mark.parametrize("name", UNREADABLE)
def test_anything_else_is_not(name: str) -> None:
    """Goal: one error for all that is none of ours, also where dramatiq decodes by itself."""
    for decode in (messages.decode, Message.decode):
        with pytest.raises(DecodeError):
            decode(UNREADABLE[name])
    assert messages.withdrawal_id_of(UNREADABLE[name]) is None


@pytest.mark.parametrize("name", OF_NO_WITHDRAWAL)
def test_options_are_not_taken_over(name: str) -> None:
    """Goal: no stranger sets a time limit, a delay or a callback."""
    assert messages.decode(OF_NO_WITHDRAWAL[name]).options == {}


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_broker_in_memory_rejects_it_too(name: str) -> None:
    """Goal: without RabbitMQ the consumer takes it for a dead letter as well, and the next message comes."""
    broker = InMemoryBroker()
    broker.declare_queue(messages.QUEUE)
    broker.queues[messages.QUEUE].put(UNREADABLE[name])
    broker.queues[messages.QUEUE].put(messages.message(ID, "user").encode())
    consumer = broker.consume(messages.QUEUE, prefetch=1)
    assert next(consumer) is None
    assert next(consumer).args == (str(ID), "user")
    assert len(broker.dead_letters_by_queue[messages.QUEUE]) == 1
