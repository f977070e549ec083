"""Whether this process was told to end. Streams and long polls look here and end by themselves."""

from __future__ import annotations

import os
import threading
from typing import Final

# Set by whatever runs the process, on SIGTERM. `stopping.wait(seconds)` is a sleep that ends early.
stopping: Final = threading.Event()


def leave_by(seconds: float) -> None:
    """End this process then, whatever still hangs: who runs it kills it soon after anyway."""
    last = threading.Timer(seconds, os._exit, args=(1,))
    last.daemon = True
    last.start()
