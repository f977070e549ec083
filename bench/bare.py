"""Yardstick N: one Flask view that parses and answers JSON of the real call's size, and no more."""

import os
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, request

from bench.sample import ANSWER

app = Flask(__name__)
recorded = os.environ.get("BENCH_ANSWER")
answer: dict[str, Any] = orjson.loads(Path(recorded).read_bytes()) if recorded else ANSWER


@app.post("/api/agents/<caller>/work")
@app.post("/api/executions/<caller>/events")
def hand_over(caller: str) -> Response:  # noqa: ARG001 - the path is matched as the real one is
    said: dict[str, Any] = orjson.loads(request.get_data() or b"{}")
    return Response(
        orjson.dumps({**answer, "type": said.get("type")}),
        status=201,
        mimetype="application/json",
    )
