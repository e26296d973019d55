"""The demo under load: twenty visitors for a minute, and memory over four hundred runs.

    python benchmarks/space_load.py [RESULT.json]

Each visitor opens the page, asks for prepared answers, and every tenth time for one that must be
measured; those wait in the page's own line. Over HTTP, as the browser asks, against the real app.
It keeps the state of its last 200 sessions (`state_session_capacity`), and each run is a session
of its own: memory may grow over the first half of the runs, and must not over the second.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from machine import describe_run

APP = Path(__file__).parents[1] / "spaces_demo" / "app.py"
VISITORS, SECONDS, RUNS = 20, 60, 400
PREPARED = tuple(("gaussian", x) for x in (0.08, 0.12, 0.18, 0.26, 0.38))
MEASURED = ("gaussian", 0.5)


@dataclass
class Seen:
    """Seconds of prepared and of measured answers, and what went wrong."""

    prepared: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    in_line: int = 0
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def main() -> None:
    port = _free_port()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    app = subprocess.Popen([sys.executable, str(APP)], env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        ready = time.monotonic() - began
        found = asyncio.run(_visit(url, psutil.Process(app.pid)))
    finally:
        app.terminate()
        app.wait()
    document = {"machine": describe_run(), "ready_s": ready, **found}
    text = json.dumps(document, indent=2)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


async def _visit(url: str, process: psutil.Process) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=180, limits=limits, trust_env=False) as http:
        config = (await http.get("/config")).json()
        event = _event(config)
        await _ask(http, event, MEASURED, Seen())  # workers are warm
        crowd = Seen()
        end = time.monotonic() + SECONDS
        await asyncio.gather(*(_visitor(http, event, crowd, end, i) for i in range(VISITORS)))
        before, alone = _memory(process), Seen()
        after = []
        for i in range(RUNS):
            await _ask(http, event, (MEASURED[0], 0.41 + 0.01 * (i % 8)), alone)
            if (i + 1) % (RUNS // 8) == 0:
                after.append(_memory(process))
    return {
        "visitors": VISITORS,
        "seconds": SECONDS,
        "prepared": _summary(crowd.prepared),
        "measured": _summary(crowd.measured),
        "told_to_wait_in_line": crowd.in_line,
        "refused": sorted(set(crowd.refused)),
        "failed": crowd.failed + alone.failed + alone.refused,
        "runs": RUNS,
        "run": _summary(alone.measured),
        "memory_mb_before": before,
        f"memory_mb_after_each_{RUNS // 8}": after,
    }


async def _visitor(
    http: httpx.AsyncClient, event: dict[str, Any], seen: Seen, end: float, number: int
) -> None:
    choose = random.Random(number)
    turn = number
    while time.monotonic() < end:
        (await http.get("/")).raise_for_status()
        turn += 1
        wish = MEASURED if turn % 10 == 0 else choose.choice(PREPARED)
        await _ask(http, event, wish, seen)
        await asyncio.sleep(choose.uniform(0.5, 2))  # a person looks at the answer


async def _ask(
    http: httpx.AsyncClient, event: dict[str, Any], wish: tuple[str, float], seen: Seen
) -> None:
    """Press Measure as a browser does, and wait for the whole answer."""
    session = uuid.uuid4().hex
    data = list(event["data"])
    data[3], data[4] = wish
    began = time.monotonic()
    body = {"fn_index": event["id"], "data": data, "session_hash": session}
    (await http.post("/gradio_api/queue/join", json=body)).raise_for_status()
    waited = False
    query = {"session_hash": session}
    async with http.stream("GET", "/gradio_api/queue/data", params=query) as lines:
        async for line in lines.aiter_lines():
            if not line.startswith("data:"):
                continue
            waited |= "Waiting in line" in line
            if "No answer." in line:
                seen.refused.append(line[-300:])
            message = json.loads(line[5:])
            if message["msg"] == "process_completed":
                if not message["success"]:
                    seen.failed.append(line[:300])
                break
    seen.in_line += waited
    (seen.prepared if wish in PREPARED else seen.measured).append(time.monotonic() - began)


def _event(config: dict[str, Any]) -> dict[str, Any]:
    """Return id and first inputs of what the button "Measure" does."""
    parts = {x["id"]: x for x in config["components"]}
    button = next(i for i, x in parts.items() if x["props"].get("elem_id") == "measure")
    event = next(x for x in config["dependencies"] if [button, "click"] in x["targets"])
    return {"id": event["id"], "data": [parts[i]["props"].get("value") for i in event["inputs"]]}


def _memory(process: psutil.Process) -> dict[str, int]:
    """Return the memory of the app and of its workers, in MB."""
    workers = sum(x.memory_info().rss for x in process.children(recursive=True))
    return {"app": round(process.memory_info().rss / 1e6), "workers": round(workers / 1e6)}


def _summary(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"count": 0}
    quantiles = np.quantile(seconds, (0.5, 0.95, 1.0))
    names = ("median_s", "p95_s", "longest_s")
    found = {name: round(float(x), 3) for name, x in zip(names, quantiles, strict=True)}
    return {"count": len(seconds), **found}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit("the app did not start within 120 s")


if __name__ == "__main__":
    main()
