"""What the engine itself costs: the loop beside the model's arithmetic, and the log.

    PMODEL_DATA=... python benchmarks/overhead.py

*Loop*: runs whose steps take about 5 ms, with clocks around the model's loss, the backward pass and the optimiser (with the
clipping of its gradients). All other time between the first step and the last is the engine's: batches, noise, checks, the
moving average, reports. One network has many parameters for its time, and so a costly average; the other has few. Validation
and pictures are work that a user asks for; they are left out by taking medians over reports.

*Log*: the same run, by itself in a process, with the log and without, in turn: seconds of training, and the largest memory.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.learning import Phase
from pmodel.train import Stepped, Training, plan

STEPS, ROUNDS = 1500, 5
NETWORKS: dict[str, dict[str, Any]] = {
    "dense": {"architecture": "dense", "width": 384, "latent": 16},
    "convolutional": {"architecture": "residual", "channels": 4, "width": 64, "latent": 16},
}
OPTIONS = NETWORKS["dense"]
SETTINGS = {"batch": 128, "select": "last"}
RESULT = Path(__file__).parent / "results" / "overhead.json"
ONE_RUN = """
import json, resource, sys
import pmodel
from pmodel.train import Finished
ends = []
pmodel.fit("vae", "mnist-binary", out=sys.argv[1], steps={steps}, precision="float32", settings={settings},
           logs=json.loads(sys.argv[2]), on_event=lambda e: ends.append(e.seconds) if isinstance(e, Finished) else None,
           **{options})
print(json.dumps([ends[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


class Clock:
    """Adds up the time spent in functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Any) -> Any:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def loop(options: dict[str, Any]) -> dict[str, Any]:
    """The engine's part of a step."""
    data = pmodel.load_data("mnist-binary")
    model = pmodel.make("vae", data.domain, **options)
    training = Training(model, data, plan(model, data, steps=STEPS, precision="float32", settings=SETTINGS))
    stepper, clock = training.stepper, Clock()
    assert stepper is not None
    stepper.phases = tuple(Phase(p.name, p.parameters, clock.around(p.loss), p.repeat, p.span) for p in stepper.phases)
    for optimiser in stepper.optimisers.values():
        optimiser.step = clock.around(optimiser.step)  # type: ignore[method-assign]
        optimiser.zero_grad = clock.around(optimiser.zero_grad)  # type: ignore[method-assign]
    stepper._clipped = clock.around(stepper._clipped)  # type: ignore[method-assign]
    backward, torch.Tensor.backward = torch.Tensor.backward, clock.around(torch.Tensor.backward)
    shares, steps, seen = [], [], (0, time.perf_counter(), 0.0)
    for event in training:
        if not isinstance(event, Stepped):
            continue
        now = (event.step, time.perf_counter(), clock.seconds)
        if seen[0]:  # the first report warms up
            whole, model_part = now[1] - seen[1], now[2] - seen[2]
            steps.append(whole / (now[0] - seen[0]))
            shares.append((whole - model_part) / whole)
        seen = (event.step, time.perf_counter(), clock.seconds)
    torch.Tensor.backward = backward  # type: ignore[method-assign]
    return {
        "step_ms": round(1000 * statistics.median(steps), 2),
        "overhead_ms": round(1000 * statistics.median(s * t for s, t in zip(shares, steps, strict=True)), 3),
        "overhead_share": round(statistics.median(shares), 4),
        "parameters": model.size,
    }


def log() -> dict[str, Any]:
    """Time and memory with the log against without."""
    program = ONE_RUN.format(steps=STEPS, settings=SETTINGS, options=OPTIONS)
    found: dict[str, list[list[float]]] = {"on": [], "off": []}
    for number in range(ROUNDS + 1):
        for side, logs in (("on", ["jsonl"]), ("off", [])):
            with tempfile.TemporaryDirectory() as home:
                words = [sys.executable, "-c", program, f"{home}/run", json.dumps(logs)]
                answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            if number:  # the first warms the disk
                found[side].append(json.loads(answer.splitlines()[-1]))
    pairs = list(zip(found["on"], found["off"], strict=True))
    return {
        "seconds": {side: round(statistics.median(row[0] for row in rows), 3) for side, rows in found.items()},
        "megabytes": {side: round(statistics.median(row[1] for row in rows), 1) for side, rows in found.items()},
        "time_ratio": round(statistics.median(on[0] / off[0] for on, off in pairs), 4),
        "memory_ratio": round(statistics.median(on[1] / off[1] for on, off in pairs), 4),
    }


def main() -> None:
    result = {
        "loop": {name: loop(options) for name, options in NETWORKS.items()},
        "log": log(),
        "protocol": f"VAE, dense, on mnist-binary, batches of 128, {STEPS} steps, float32; log: {ROUNDS} interleaved rounds",
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
