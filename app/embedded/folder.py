"""The data folder: who holds it, what runs on it, and the secrets that it keeps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import orjson

from app.embedded.account import Account
from app.embedded.child import born, end_found, find
from app.embedded.faults import CannotStart, FolderHeld

# A socket's address holds 107 bytes; PostgreSQL's file and its lock need some of them.
_LONGEST_SOCKETS: Final = 80
_SHORT: Final = "taskyard-"


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Taskyard: what other commands need to find it, and the next start to mend it."""

    pid: int
    born: float
    url: str = ""
    database_url: str = ""
    redis_url: str = ""
    sockets: str = ""
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return find(self.pid, self.born) is not None


class DataFolder:
    """Everything that Taskyard keeps on this machine. One process at a time holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.postgres = path / "postgres"
        self.valkey = path / "valkey"
        self._lock: int | None = None

    def hold(self) -> None:
        """Make the folder if need be and lock it for the life of this process."""
        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir()
                # Root's servers run as another account, which must get through.
                self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as fault:
            raise CannotStart(
                f"The data folder {self.path} cannot be written ({fault.strerror}): name another"
                " with --data or TASKYARD_DATA."
            ) from fault
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 100).decode(errors="replace").strip()
            os.close(lock)
            raise FolderHeld(self._say_holder(holder)) from None
        except OSError as fault:
            os.close(lock)
            raise CannotStart(
                f"The data folder {self.path} cannot be locked ({fault.strerror}): name one on a"
                " local disk."
            ) from fault
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _say_holder(self, pid: str) -> str:
        instance = self.read()
        where = f" at {instance.url}" if instance and instance.alive and instance.url else ""
        return (
            f"The data folder {self.path} is held by the Taskyard{where} with process {pid}: stop"
            " that one, or name another folder with --data."
        )

    def let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def record(self, instance: Instance) -> None:
        write_safely(self.path / "instance.json", orjson.dumps(asdict(instance)), 0o600)

    def forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.path / "instance.json").unlink()

    def read(self) -> Instance | None:
        """What was recorded last, whether or not it still runs."""
        try:
            said: dict[str, Any] = orjson.loads((self.path / "instance.json").read_bytes())
            processes = {
                str(name): (int(pid), float(since))
                for name, (pid, since) in said.pop("processes").items()
            }
            return Instance(processes=processes, **said)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def running(self) -> Instance | None:
        instance = self.read()
        return instance if instance is not None and instance.alive else None

    def clear_leftovers(self) -> bool:
        """After a start took the lock: end what a killed holder left, and say if there was one."""
        instance = self.read()
        if instance is None:
            return False
        for name, (pid, since) in instance.processes.items():
            process = find(pid, since)
            # Each was told to end when its parent died, and may be at it. PostgreSQL has signals
            # of its own, and a file that says who it is.
            if process is not None and name != "postgres":
                end_found(process, (signal.SIGTERM, 25))
        sockets = Path(instance.sockets) if instance.sockets else None
        if sockets is not None and sockets.name.startswith(_SHORT) and sockets.parent != self.path:
            shutil.rmtree(sockets, ignore_errors=True)
        self.forget()
        return True

    def open_sockets(self, account: Account) -> Path:
        """An empty folder for the servers' sockets that only their account enters."""
        sockets = self.path / "run"
        far = len(os.fsencode(sockets)) > _LONGEST_SOCKETS
        if far or not account.can_enter(self.path):
            place = tempfile.gettempdir()
            if len(os.fsencode(place)) > _LONGEST_SOCKETS - 20 or not account.can_enter(
                Path(place)
            ):
                place = "/tmp"  # noqa: S108 - mkdtemp makes a folder of our own in it
            sockets = Path(tempfile.mkdtemp(prefix=_SHORT, dir=place))
        else:
            shutil.rmtree(sockets, ignore_errors=True)
            sockets.mkdir(mode=0o700)
        account.owns(sockets)
        return sockets

    def close_sockets(self, sockets: Path) -> None:
        shutil.rmtree(sockets, ignore_errors=True)

    def secret_key(self) -> str:
        """The key of this folder, made once: sessions and tokens outlive a restart."""
        kept = self.path / "secret_key"
        with contextlib.suppress(FileNotFoundError):
            key = kept.read_text().strip()
            if len(key) >= 32:
                return key
        key = secrets.token_hex(32)
        write_safely(kept, key.encode() + b"\n", 0o600)
        return key


def ourselves() -> tuple[int, float]:
    """This process, as an instance records it."""
    return os.getpid(), born(os.getpid())


def write_safely(path: Path, content: bytes, mode: int, account: Account | None = None) -> None:
    """Write a whole file or none, never through a link that somebody else laid there."""
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(unfinished, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if account is not None:
        account.owns(unfinished)
    unfinished.replace(path)


def open_log(path: Path) -> IO[bytes]:
    """A fresh log that only we read; the one before is kept beside it."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "ab")
