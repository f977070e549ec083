"""The state diagrams have the arrows of the tables, no more and no fewer."""

from __future__ import annotations

import re

from app.executions.states import EXECUTION_MOVES, JOB_MOVES
from tests.docs.pages import blocks
from tests.shell.running import ROOT

ARROW = re.compile(r"^\s*(\S+) --> (\S+?)(?:: (.+))?$", re.MULTILINE)
PAGE = ROOT / "docs" / "how-it-works.md"


def arrows() -> list[tuple[str, str, str]]:
    """Source, target and label of every arrow of every state diagram."""
    diagrams = [text for text in blocks(PAGE, "mermaid") if text.startswith("stateDiagram-v2\n")]
    assert len(diagrams) == 3
    for diagram in diagrams:
        for line in diagram.splitlines()[1:]:
            assert ARROW.fullmatch(line), line
    return [arrow for diagram in diagrams for arrow in ARROW.findall(diagram)]


def test_the_executions_diagram_has_the_moves_of_an_execution() -> None:
    states = set(EXECUTION_MOVES) | {"[*]"}
    execution = [text for text in blocks(PAGE, "mermaid") if "[*] --> created" in text]
    drawn = {(source, target) for source, target, _ in ARROW.findall(execution[0])}
    moves = {(source, target) for source, targets in EXECUTION_MOVES.items() for target in targets}
    ends = {(source, "[*]") for source, targets in EXECUTION_MOVES.items() if not targets}
    assert {state for arrow in drawn for state in arrow} == states
    assert drawn == moves | ends | {("[*]", "created")}


def test_the_jobs_diagrams_have_the_moves_of_a_job_with_their_events() -> None:
    drawn = {
        (event, source, target)
        for source, target, label in arrows()
        for event in label.split(", ")
        if event in JOB_MOVES
    }
    moves = {
        (event, source, target)
        for event, (sources, targets) in JOB_MOVES.items()
        for source in sources
        for target in targets
    }
    assert drawn == moves
    for diagram in blocks(PAGE, "mermaid"):
        if "job_" in diagram:
            labels = [label for _, _, label in ARROW.findall(diagram) if label]
            assert all(event in JOB_MOVES for label in labels for event in label.split(", "))
