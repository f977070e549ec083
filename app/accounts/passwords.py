"""Passwords: hashed with Argon2id, away from the loop that serves everybody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar

from gevent import get_hub, monkey
from gevent.threadpool import ThreadPool
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.errors import Fault, Invalid

P = ParamSpec("P")
T = TypeVar("T")

SHORTEST: Final = 10
LONGEST: Final = 1024
AT_ONCE: Final = 2  # each takes 64 MiB and a core for about 0.1 s

_hasher = PasswordHash((Argon2Hasher(),))
_few = threading.BoundedSemaphore(AT_ONCE)
_pools: dict[Any, ThreadPool] = {}


def hash_password(password: str) -> str:
    check_password(password)
    return _aside(_hasher.hash, password)


def fits(password: str, stored: str | None) -> bool:
    """Whether this is the password. Takes as long for a user that is unknown or has none."""
    if len(password) > LONGEST:
        return False
    verified = _aside(_hasher.verify, password, stored or _nobodys())
    return verified and stored is not None


def check_password(password: str, pointer: str = "/password") -> None:
    if len(password) < SHORTEST:
        raise Invalid(
            f"A password has at least {SHORTEST} characters.",
            [Fault(pointer, f"has {len(password)} characters, needs {SHORTEST}")],
            hint="Three or four unrelated words make a good one.",
        )
    if len(password) > LONGEST:
        raise Invalid(
            f"A password has at most {LONGEST} characters.",
            [Fault(pointer, f"has {len(password)} characters")],
        )


@lru_cache(maxsize=1)
def _nobodys() -> str:
    """What an unknown user's password is compared with, so that the answer takes as long."""
    return _hasher.hash("the password of nobody")


def _aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a slow computation in a real thread; under gevent it would hold up every request."""
    if not monkey.is_module_patched("threading"):
        with _few:
            return work(*args, **kwargs)
    hub = get_hub()
    pool = _pools.get(hub)
    if pool is None:
        pool = _pools[hub] = ThreadPool(AT_ONCE, hub=hub)
    result: T = pool.apply(work, args, kwargs)
    return result
