"""Starting a process that does not outlive its parent, and ending one."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import psutil

from app.embedded.account import Account

_PR_SET_PDEATHSIG: Final = 1
# Loaded here: between fork and exec nothing may be imported.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(
    command: Sequence[str],
    *,
    cwd: Path,
    output: int | IO[bytes],
    on_orphaned: signal.Signals,
    account: Account | None = None,
    environ: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches its parent alone.

    The kernel sends it `on_orphaned` when the thread that called this ends, however it ends: call
    it from the main thread.
    """
    other = account is not None and not account.is_ours
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=keep,
        preexec_fn=_follow_parent(on_orphaned),
        user=account.uid if account is not None and other else None,
        group=account.gid if account is not None and other else None,
        extra_groups=[] if other else None,
    )


def _follow_parent(sign: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def ask_kernel() -> None:
        # Runs after the change of account, which would clear it.
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_kernel


def end(process: subprocess.Popen[bytes], *signs: tuple[signal.Signals, float]) -> None:
    """Send each signal in turn and wait as long as it says; what is left is killed."""
    for sign, seconds in signs:
        if process.poll() is not None:
            return
        process.send_signal(sign)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait()


def born(pid: int) -> float:
    """When a process began, by the kernel's count."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def find(pid: int, since: float, name: str = "") -> psutil.Process | None:
    """The live process that has this number, was born then, and (if given) bears this name.

    A number alone proves nothing: after a restart it may belong to anybody.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if abs(process.create_time() - since) > 5:
            return None
        if name and process.name() != name:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def end_found(process: psutil.Process, *signs: tuple[signal.Signals, float]) -> None:
    """The same as `end` for a process that is not our child."""
    try:
        for sign, seconds in signs:
            process.send_signal(sign)
            try:
                process.wait(seconds)
            except psutil.TimeoutExpired:
                continue
            return
        process.kill()
        process.wait(5)
    except psutil.NoSuchProcess:
        return
