"""What the pages name is there: files, headings, commands, targets, settings, routes."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import click
import pytest
from flask import Flask
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect

from app.cli import COMMANDS, main
from app.settings import VARIABLES
from tests.docs.pages import PAGES, anchors, name_of, prose
from tests.shell.running import ROOT

every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# What is written in capitals and is no setting.
FOREIGN = {"AGENT_ID", "AGENT_KEY", "YARD_URL", "TOKEN", "SIGTERM", "NULL", "POST"}


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} of {name_of(page)}"
        assert not heading or heading in anchors(there), f"{target} of {name_of(page)}"


@every_page
def test_every_command_that_is_named_exists(page: Path) -> None:
    for words in re.findall(r"\btaskyard ((?:[a-z]+ ?)+)", code(page)):
        command: click.Command = main
        context = click.Context(main)
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            found = command.get_command(context, word)
            assert found is not None, f"taskyard {words} of {name_of(page)}"
            command = found
    for target in re.findall(r"\bmake ([a-z-]+)", code(page)):
        assert target in TARGETS, f"make {target} of {name_of(page)}"


@every_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {variable.name for variable in VARIABLES} | FOREIGN
    named = set(re.findall(r"`(?:\$)?([A-Z][A-Z_]{3,})(?:=[^`]*)?`", prose(page)))
    assert named <= known, named - known


@every_page
def test_every_route_that_is_named_is_served(page: Path, routes: Flask) -> None:
    adapter = routes.url_map.bind("localhost")
    for method, path in re.findall(r"`(?:(GET|POST|PATCH|DELETE) )?(/api/[^`\s?]*)", prose(page)):
        address = re.sub(r"\{\w+\}", str(uuid.UUID(int=0)), path)
        try:
            adapter.match(address, method=method or "GET")
        except RequestRedirect:
            continue
        except (NotFound, MethodNotAllowed) as fault:
            raise AssertionError(f"{method} {path} of {name_of(page)}") from fault


def test_the_index_leads_to_every_page() -> None:
    for index in (ROOT / "docs" / "README.md", ROOT / "docs" / "decisions" / "README.md"):
        for page in index.parent.glob("*.md"):
            assert page == index or f"({page.name})" in index.read_text(), name_of(page)


def test_every_command_says_what_it_does() -> None:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert command.help, name


def code(page: Path) -> str:
    """What is written as code, in a line or in a block."""
    return "\n".join(re.findall(r"`([^`]+)`", page.read_text()))
