"""Dramatiq's broker, the same for whoever sends and whoever works. Nothing kept in it is needed."""

from __future__ import annotations

from typing import Final

from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, ShutdownNotifications, TimeLimit

from app.settings import Settings

QUEUES: Final = ("default",)
BEATS: Final = "taskyard:worker:"  # one key a worker process, which lapses when it ends
PULSES: Final = "taskyard:pulse:"
BEAT_SECONDS: Final = 5


def connect(settings: Settings) -> RedisBroker:
    """A broker on the settings' Redis. It connects when it is first used."""
    return RedisBroker(
        url=settings.redis_url,
        # No Retries: the job's own policy is the only one. No AgeLimit: a late hint is still one.
        middleware=[
            TimeLimit(time_limit=24 * 60 * 60 * 1000),
            ShutdownNotifications(notify_shutdown=False),
            CurrentMessage(),
        ],
        # What a killed worker had taken is found by maintenance. By default that happens once in
        # a thousand commands: on a quiet queue, never.
        maintenance_chance=100_000,
        heartbeat_timeout=15_000,
    )
