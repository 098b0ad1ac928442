"""The arithmetic that a plan measures against plain float32: steps of both, interleaved in one process.

    PMODEL_DATA=... python benchmarks/arithmetic.py

For each model the plan is made as ``fit`` makes it (precision, memory layout, threads). Then steps of a copy in float32, in
contiguous memory and with all threads, alternate with steps under the plan; medians of the rounds, and the median of their
ratios. A plan must never be slower than float32 by more than 3 %.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.train import Plan, plan
from pmodel.train.precision import Arithmetic
from pmodel.train.preparation import batches_of, prepare, threads_set
from pmodel.train.stepper import Stepper

ROUNDS, SECONDS = 15, 0.6
NOTES: dict[str, Any] = {"architecture": "conv", "latent": 32, "channels": 32, "layers": 0}
CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("the study notes' VAE", "vae", "mnist-binary", NOTES),
    ("VAE", "vae", "mnist", {}),
    ("dense VAE", "vae", "digits", {"architecture": "dense"}),
    ("smallest VAE", "vae", "moons", {"latent": 2, "width": 16}),
    ("DCGAN", "dcgan", "mnist", {}),
    ("smallest DCGAN", "dcgan", "digits", {"latent": 8, "channels": 4, "width": 12}),
)
RESULT = Path(__file__).parent / "results" / "arithmetic.json"


class Side:
    """A stepper, and the threads that it computes with."""

    def __init__(
        self, model: pmodel.model.Model, data: pmodel.Dataset, chosen: Plan, arithmetic: Arithmetic, threads: int
    ) -> None:
        batches = batches_of(data, chosen, conditional=False)
        self.model = copy.deepcopy(model)
        prepare(self.model, data, batches, 0)
        self.stepper = Stepper(self.model, batches, chosen.recipe, 0, arithmetic)
        self.stepper.caution = 0.0
        self.threads, self.steps = threads, 0

    def seconds(self, count: int) -> float:
        """The mean time of a step, over so many."""
        with threads_set(self.threads):
            began = time.perf_counter()
            for _ in range(count):
                self.stepper.step(self.steps, 0.5)
                self.steps += 1
            return (time.perf_counter() - began) / count


def compared(name: str, source: str, options: dict[str, Any]) -> dict[str, Any]:
    """One row: both sides in milliseconds, and their ratio."""
    data = pmodel.load_data(source)
    model = pmodel.make(name, data.domain, **options)
    chosen = plan(model, data, budget=60.0)
    sides = [
        Side(model, data, chosen, Arithmetic(), torch.get_num_threads()),
        Side(model, data, chosen, chosen.arithmetic, chosen.threads),
    ]
    counts = [max(1, int(SECONDS / side.seconds(2))) for side in sides]
    rounds = [[side.seconds(count) for side, count in zip(sides, counts, strict=True)] for _ in range(ROUNDS)]
    usual, planned = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    return {
        "float32_ms": round(1000 * usual, 3),
        "plan_ms": round(1000 * planned, 3),
        "ratio": round(statistics.median(a / b for a, b in rounds), 3),
        "plan": f"{chosen.precision}, {chosen.layout}, {chosen.threads} of {torch.get_num_threads()} threads",
    }


def main() -> None:
    rows = {}
    for title, name, source, options in CASES:
        rows[title] = {"data": source, **compared(name, source, options)}
        print(title, rows[title])
    result = {
        "rows": rows,
        "protocol": f"{ROUNDS} interleaved rounds of about {SECONDS} s a side, medians; batches of the models' own recipes",
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
