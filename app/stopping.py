"""Whether this process was told to end. Streams and long polls look here and end by themselves."""

from __future__ import annotations

import threading
from typing import Final

# Set by whatever runs the process, on SIGTERM. `stopping.wait(seconds)` is a sleep that ends early.
stopping: Final = threading.Event()
