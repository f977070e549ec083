"""Signs of life: of clocks, of sweeps, of workers. One row a name, overwritten."""

from __future__ import annotations

from typing import Final

from psycopg.types.json import Jsonb

from app.db import Json, Transaction, new_id


def note_beat(tx: Transaction, kind: str, name: str, detail: Json) -> None:
    tx.later(
        BEAT, {"id": new_id(), "kind": kind, "name": name, "now": tx.now, "detail": Jsonb(detail)}
    )


BEAT: Final = """
INSERT INTO beats (id, kind, name, seen_at, detail)
VALUES (%(id)s, %(kind)s, %(name)s, %(now)s, %(detail)s)
ON CONFLICT (kind, name)
DO UPDATE SET seen_at = excluded.seen_at, detail = excluded.detail, updated_at = now()
"""
