#!/usr/bin/env python3
"""An agent for any action: it calculates, writes, reviews, and goes step by step through the rest.

It does whatever it was registered for. Put your own work, a call of a model say, into `work_at`.
"""

from __future__ import annotations

import json
import random
from typing import Any

from polling import Failed, Work, main

SECONDS = (0.1, 0.4)  # that a step takes, where the job's params do not say `seconds`


def calculate(work: Work) -> dict[str, Any]:
    """The sum of the values, or the largest; times the factor; and how far from a target."""
    values = work.params.get("values")
    if not values:
        raise Failed("There are no values to calculate with.", "bad_input")
    step(work)
    largest = work.params.get("operation") == "max"
    result = (max(values) if largest else sum(values)) * work.params.get("factor", 1)
    told = {"result": round(result, 2), "unit": work.params.get("unit")}
    if "against" in work.params:
        told["difference"] = round(result - work.params["against"], 2)
    return told


def write_document(work: Work) -> dict[str, Any]:
    """A page of Markdown: what it is for, what it must hold, and what it builds on."""
    lines = [f"# {work.title}", "", work.instructions or work.context["goal"], ""]
    for criterion in work.acceptance:
        lines += [f"- {criterion}"]
    for number, (code, told) in enumerate(work.inputs.items()):
        work.progress(100 * number / len(work.inputs), f"takes in {code}")
        step(work)
        lines += ["", f"From {code}:", "", f"    {json.dumps(told)[:300]}"]
    name = work.params.get("document", f"{work.code}.md")
    return {"document": name, "text": "\n".join(lines)}


def review(work: Work) -> dict[str, Any]:
    """Whether what the jobs before it made is there, criterion by criterion."""
    empty = [code for code, told in work.inputs.items() if not told]
    notes = [f"{code} put nothing out" for code in empty]
    verdicts = dict.fromkeys(check_each(work), not empty)
    return {"passed": not empty, "notes": notes, "criteria": verdicts}


def work_at(work: Work) -> dict[str, Any]:
    """Anything else: step by step through what it is accepted by."""
    return {"steps": check_each(work), "built_on": sorted(work.inputs)}


def check_each(work: Work) -> list[str]:
    steps = work.acceptance or [work.instructions or work.title]
    for number, words in enumerate(steps):
        work.progress(100 * number / len(steps), words[:200])
        step(work)
    return steps


def step(work: Work) -> None:
    work.rest(float(work.params.get("seconds", random.uniform(*SECONDS))))


if __name__ == "__main__":
    actions = {"calculate": calculate, "write_document": write_document, "review": review}
    main(__doc__, actions, otherwise=work_at)
