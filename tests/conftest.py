"""What every room's tests share: real servers, one pair a pytest process, thrown away after."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from app.embedded import DataFolder, Postgres, Valkey
from app.embedded.account import servers_account
from app.settings import Settings, load

FOLDERS = "taskyard-test-"


@dataclass(frozen=True)
class Servers:
    """The embedded servers of this pytest process."""

    postgres: Postgres
    valkey: Valkey
    folder: DataFolder


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Valkey without durability: a test that kills them starts its own."""
    with ExitStack() as stack:
        folder = DataFolder(make_test_folder(stack))
        folder.hold()
        stack.callback(folder.let_go)
        sockets = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, sockets)
        postgres = Postgres(folder.postgres, sockets, fast=True)
        stack.callback(postgres.stop)
        postgres.start()
        valkey = Valkey(folder.valkey, sockets, fast=True)
        stack.callback(valkey.stop)
        valkey.start()
        yield Servers(postgres, valkey, folder)


@pytest.fixture(scope="session")
def settings(servers: Servers) -> Settings:
    """Settings that point to the servers of this pytest process, and to nothing else."""
    return load(
        {
            "DATABASE_URL": servers.postgres.url,
            "REDIS_URL": servers.valkey.url,
            "SECRET_KEY": "a key for tests that nobody else uses",
            "TASKYARD_DATA": str(servers.folder.path),
        }
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path that other accounts may enter, unlike `tmp_path`."""
    with ExitStack() as stack:
        yield make_test_folder(stack)


def make_test_folder(stack: ExitStack) -> Path:
    """A folder named after the process that started pytest, so that leftovers can be told."""
    pid = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    path = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{pid}-"))
    path.chmod(0o711)
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    return path


def pytest_configure(config: pytest.Config) -> None:
    """Remove what a run that was killed could not."""
    if not hasattr(config, "workerinput"):
        for path in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
            pid = path.name.removeprefix(FOLDERS).split("-")[0]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(path, ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """An interrupted run ends its workers before they have cleared up."""
    if not hasattr(config, "workerinput"):
        for path in Path(tempfile.gettempdir()).glob(f"{FOLDERS}{os.getpid()}-*"):
            shutil.rmtree(path, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """CI installs every tool: there, a test that is skipped for want of one has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if "needs " in str(reason):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: skipped in CI, where this must run: {reason}"
    return report
