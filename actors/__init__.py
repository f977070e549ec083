"""What the worker runs: thin actors that load a row, call the domain, and report."""

from __future__ import annotations

from dramatiq import Broker

from actors import pulse


def register(broker: Broker) -> None:
    """Declare every actor on this broker."""
    pulse.register(broker)
