"""The samples run as their users run them, on one Taskyard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.examples.yard import Yard, open_yard


@pytest.fixture(scope="session")
def yard() -> Iterator[Yard]:
    """A Taskyard of this pytest process. Tests name actions of their own, so they do not meet."""
    with open_yard() as opened:
        yield opened
