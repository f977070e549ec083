"""The account that the servers run under. PostgreSQL refuses root, so for root it is `nobody`."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from app.embedded.faults import CannotStart


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def owns(self, path: Path) -> None:
        """Hand a file or folder of ours to this account."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, folder: Path) -> bool:
        """Whether every folder on the way down to this one lets the account through."""
        folder = folder.resolve()
        return all(self._passes(each) for each in (folder, *folder.parents))

    def _passes(self, folder: Path) -> bool:
        about = folder.stat()
        if about.st_uid == self.uid:
            return bool(about.st_mode & stat.S_IXUSR)
        if about.st_gid == self.gid:
            return bool(about.st_mode & stat.S_IXGRP)
        return bool(about.st_mode & stat.S_IXOTH)


def our_name() -> str:
    """The name of the account that this process runs under."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise CannotStart(
            f"The account number {os.geteuid()} has no name, which PostgreSQL insists on: add it"
            " to /etc/passwd, or set DATABASE_URL and REDIS_URL to servers of your own."
        ) from None


def servers_account() -> Account:
    """Who runs the servers: ourselves, or `nobody` when we are root."""
    if os.geteuid() != 0:
        return Account(our_name(), os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart(
            "PostgreSQL does not run as root and there is no account `nobody` to run it: start"
            " Taskyard as another user."
        ) from None
    return Account("nobody", nobody.pw_uid, nobody.pw_gid)
