"""The HTTP API as a command calls it: JSON out and in, a refusal as one sentence."""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from app.errors import TaskyardError, Unavailable
from app.variables import printable

PATIENCE: Final = 10.0


class Api:
    """A running Taskyard, called with somebody's token."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        # What runs on this machine is not asked for through a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path + (f"?{urlencode(query, doseq=True)}" if query else ""))

    def post(self, path: str, body: Any) -> Any:
        return self._call("POST", path, orjson.dumps(body))

    def patch(self, path: str, body: Any) -> Any:
        return self._call("PATCH", path, orjson.dumps(body))

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """Every item of a list, page by page."""
        page = self.get(path, **query)
        yield from page["items"]
        while page["next_cursor"] is not None:
            page = self.get(path, **query, cursor=page["next_cursor"])
            yield from page["items"]

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        asked = urllib.request.Request(  # noqa: S310 - the address comes from the settings
            f"{self.url}/api/{path}", data=body, headers=headers, method=method
        )
        try:
            with self._opener.open(asked, timeout=PATIENCE) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as refusal:
            raise refused(refusal.code, refusal.read()) from refusal
        except (OSError, http.client.HTTPException) as fault:
            raise Unavailable(f"{self.url} does not answer: {printable(str(fault))}.") from fault
        return orjson.loads(text) if text else None


def refused(status: int, text: bytes) -> TaskyardError:
    """What the problem document says."""
    problem: Any = None
    with contextlib.suppress(orjson.JSONDecodeError):
        problem = orjson.loads(text)
    if not isinstance(problem, Mapping):
        problem = {}
    detail = printable(str(problem.get("detail") or f"The server answered {status}."), 1000)
    hint = printable(str(problem["hint"]), 1000) if problem.get("hint") else None
    kind = Unavailable if status in (429, 502, 503, 504) else TaskyardError
    return kind(detail, hint=hint, status=status)
