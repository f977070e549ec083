"""What the pages say is tried on one Taskyard."""

from __future__ import annotations

import pytest
from flask import Flask

from app import create_app
from app.settings import Settings
from tests.examples.conftest import yard

__all__ = ["routes", "yard"]


@pytest.fixture(scope="session")
def routes(settings: Settings) -> Flask:
    """The app, for the routes that it serves."""
    return create_app(settings)
