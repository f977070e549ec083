"""The actor that proves that a worker works: `taskyard check` sends it a word to write down."""

from __future__ import annotations

import dramatiq
from dramatiq import Broker
from dramatiq.brokers.redis import RedisBroker

from app.broker import PULSES


def register(broker: Broker) -> None:
    def pulse(word: str) -> None:
        assert isinstance(broker, RedisBroker)
        broker.client.set(PULSES + word, "1", ex=30)

    dramatiq.actor(broker=broker, actor_name="pulse", queue_name="default")(pulse)
