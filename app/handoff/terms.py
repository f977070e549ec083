"""The terms on which work is handed out, and the tokens that prove who holds it."""

from __future__ import annotations

import base64
import hmac
import uuid
from dataclasses import dataclass, field
from typing import Final

START_SECONDS: Final = {"external": 600, "human": 600, "builtin": 120}
LEASE_SECONDS: Final = 900
TOKEN_BYTES: Final = 18


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say about handing out work."""

    secret: str
    enabled: bool = True
    poll_seconds: int = 300
    key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        key = hmac.digest(self.secret.encode(), b"taskyard lease token 1", "sha256")
        object.__setattr__(self, "key", key)

    def token(self, lease_id: uuid.UUID) -> str:
        """Never stored, always derivable again, so that a repeated claim can tell it."""
        mark = hmac.digest(self.key, lease_id.bytes, "sha256")[:TOKEN_BYTES]
        return f"{lease_id.hex}.{base64.urlsafe_b64encode(mark).decode()}"

    def lease_of(self, token: str) -> uuid.UUID | None:
        """The lease that a token is for, or None where the token was never ours."""
        try:
            lease_id = uuid.UUID(hex=token.partition(".")[0])
        except ValueError:
            return None
        return (
            lease_id
            if hmac.compare_digest(self.token(lease_id).encode(), token.encode(errors="replace"))
            else None
        )
