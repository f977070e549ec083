"""The project's own files: what they promise each other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.shell.running import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_everything_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(index-url|extra-index-url|find-links)", text, re.MULTILINE)
    assert not re.search(r"(^|[\s=])/[a-z]+/", text, re.MULTILINE), "no path of one machine"
    packages = re.findall(r"^[A-Za-z0-9].*$", text, re.MULTILINE)
    assert packages
    for package in packages:
        assert re.match(r"[A-Za-z0-9._\[\],-]+==\S+ .*\\$", package), package
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.parametrize("name", ["base", "dev"])
def test_a_lock_holds_what_its_source_asks_for(name: str) -> None:
    asked = re.findall(
        r"^([a-z][a-z0-9-]+)", (ROOT / f"requirements/{name}.in").read_text(), re.MULTILINE
    )
    locked = (ROOT / f"requirements/{name}.txt").read_text()
    for package in asked:
        assert re.search(rf"^{re.escape(package)}(\[.*\])?==", locked, re.MULTILINE), package


def test_the_development_lock_has_the_very_versions_that_run() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / f"requirements/{name}.txt").read_text()
        return set(re.findall(r"^([a-z0-9-]+(?:\[.*\])?==\S+)", text, re.MULTILINE))

    def bare(pin: str) -> str:
        return re.sub(r"\[.*\]", "", pin)

    assert {bare(pin) for pin in pins("base")} <= {bare(pin) for pin in pins("dev")}


def test_make_help_lists_every_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[1] for line in told.splitlines()} == targets
    assert {"setup", "run", "demo", "test", "check", "bench", "migrate", "help"} <= targets


def test_the_procfile_names_the_four_processes() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["release", "web", "worker", "clock"]


def test_ci_runs_what_people_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    for target in ("make setup", "make check", "make test"):
        assert target in script.read_text()
