"""The rules of the house: which way imports point, who writes a status, who reads settings."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import app

ROOT = Path(app.__file__).parent

# Each room may import what stands to its right, never what stands to its left; those that share a
# place do not import each other.
ORDER = [
    {"api", "dashboard", "clock", "cli"},
    {"control"},
    {"handoff"},
    {"agents", "checkpoints"},
    {"executions"},
    {"callbacks", "plans"},
    {"accounts"},
]
# What every room may use: it knows no room.
GROUND = {
    "bell", "broker", "clockwork", "db", "dispatch", "embedded", "errors", "green", "leader",
    "logs",
    "migrating", "settings", "stopping", "variables", "version", "waiting", "web",
}  # fmt: skip
# What binds the rooms together, and is therefore imported by entries alone.
BINDING = {"__init__", "records"}
# One command prints the document of the API.
ALLOWED = {("cli", "api")}


def imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        room = parts[0]
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            elif isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            for name in names:
                steps = name.split(".")
                if steps[0] == "app" and len(steps) > 1 and steps[1] != room and known(steps[1]):
                    found[room].add(steps[1])
    return found


def known(name: str) -> bool:
    return (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()


def test_arrows_point_to_the_right() -> None:
    place = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
    wrong = [
        f"{room} imports {other}"
        for room, others in imports().items()
        for other in others
        if room in place
        and other not in GROUND
        and (room, other) not in ALLOWED
        and not (other == "records" and place[room] == 0)
        and place.get(other, -1) <= place[room]
    ]
    assert not wrong


def test_the_ground_knows_no_room() -> None:
    found = imports()
    rooms = {room for rooms in ORDER for room in rooms}
    wrong = [f"{name} imports {other}" for name in GROUND for other in found[name] & rooms]
    assert not wrong


def test_every_module_has_its_place() -> None:
    there = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    placed = {room for rooms in ORDER for room in rooms} | GROUND | BINDING
    assert there - placed - {"static", "__pycache__"} == set()


def test_one_room_writes_a_status() -> None:
    """Job and execution: in memory by Run alone, in SQL by its one statement alone."""
    wrong = []
    for file in ROOT.rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        text = file.read_text()
        for statement in re.findall(r"UPDATE (?:jobs|executions)\b.*?(?:WHERE|\Z)", text, re.S):
            if re.search(r"\bstatus\s*=", statement) and name != "executions/writing.py":
                wrong.append(f"{name} writes a status in SQL")
        in_memory = re.search(r"\b(?:job|execution|run\.execution)\.status\s*=[^=]", text)
        if in_memory and name != "executions/run.py":
            wrong.append(f"{name} writes a status in memory")
    assert not wrong


def test_only_settings_reads_the_environment() -> None:
    allowed = {"settings.py", "variables.py"}
    readers = [
        file.relative_to(ROOT).as_posix()
        for file in ROOT.rglob("*.py")
        if re.search(r"os\.(?:environ\.get|getenv|environ\[\")", file.read_text())
        and file.name not in allowed
    ]
    assert not readers


def test_files_tell_one_story() -> None:
    long = {
        file.relative_to(ROOT).as_posix(): lines
        for file in ROOT.rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long
