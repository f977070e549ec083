"""Receipts: the answer once given to a report, for the agent that repeats it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from psycopg.types.json import Jsonb

from app.db import Json, Transaction, Tuple, new_id
from app.errors import Refused
from app.handoff.questions import KEEP_RECEIPTS
from app.handoff.reports import TERMINAL, Report


def keys_of(said: Report) -> list[str]:
    """Under what a report is known again. One that ends its lease is so by itself."""
    keys = [] if said.idempotency_key is None else [f"key {said.idempotency_key}"]
    if isinstance(said, TERMINAL):
        keys.append(f"end {said.token}")
    return keys


class Receipts:
    """Those that were found, and those that are written for this batch."""

    def __init__(self, found: Iterable[Tuple]) -> None:
        self._known: dict[tuple[uuid.UUID, str], tuple[str, Json]] = {
            (agent, key): (bytes(digest).hex(), answer) for agent, key, digest, answer in found
        }
        self._new: list[Json] = []

    def find(self, agent: uuid.UUID, said: Report) -> Json | None:
        """The answer that this report was given before; refused where the key said another."""
        for key in keys_of(said):
            known = self._known.get((agent, key))
            if known is None:
                continue
            digest, answer = known
            if digest == said.digest().hex():
                return {**answer, "repeated": True}
            raise Refused(
                "This idempotency key was used for another report."
                if key.startswith("key ")
                else "This lease has ended with another report.",
                hint="Use a new key for a new report; a lease ends once: poll for new work.",
                control="continue" if key.startswith("key ") else "cancel",
            )
        return None

    def give(self, agent: uuid.UUID, said: Report, answer: Json) -> None:
        for key in keys_of(said):
            digest = said.digest().hex()
            self._known[agent, key] = digest, answer
            self._new.append(
                {
                    "id": new_id(),
                    "agent_id": agent,
                    "key": key,
                    "digest": digest,
                    "answer": answer,
                }
            )

    def keep(self, tx: Transaction) -> None:
        if self._new:
            tx.later(KEEP_RECEIPTS, {"receipts": Jsonb(self._new)})
