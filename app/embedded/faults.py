"""Why the embedded servers cannot be used, in one sentence each."""

from __future__ import annotations

from app.errors import TaskyardError


class CannotStart(TaskyardError):
    """A server, or the folder that it would keep its data in, cannot be used."""

    title = "Cannot start"


class FolderHeld(CannotStart):
    """Another Taskyard runs on the same data folder."""

    title = "In use"


class NotRunning(TaskyardError):
    """No Taskyard runs on the data folder, so there are no servers to speak to."""

    title = "Not running"
