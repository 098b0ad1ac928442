"""Modes of Stacked MNIST that DCGANs find in a stated time: of 1 000, on 26 000 samples.

    PMODEL_DATA=... python benchmarks/stacked.py [ROW]… [--budget 10800] [--seed 0] [--threads 1]

``default`` has the model's own options. ``unstabilised`` is the game of the first DCGAN (``loss=nonsaturating penalty=0``),
``minimax`` that of 2014, and ``packed`` the unstabilised one whose discriminator judges two pictures at once, which is what
PacGAN cures it by. All share the networks, the optimiser and the budget, in seconds of the clock from planning to the last
weights; ``cpu_seconds`` are those of all threads, of a run that was not stopped.

Modes are read by the judge of MNIST, channel by channel: ``modes`` with at least one sample, clear or not, as in published
figures; ``clear_modes`` with at least one of which the judge is 90 % sure. ``kl`` is that of their shares from the true ones
without bias, ``kl_plain`` with it, and ``kl_plain_uniform`` the same from equal shares, as papers report it. ``floor`` is
what as many real test pictures get.

Runs stay in ``runs/stacked``: started again, the script goes on with one that was stopped and measures one that is whole. Rows
are kept in ``results/stacked.json`` one by one, and samples in ``docs/implicit``.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

import pmodel
from pmodel.data import in_memory
from pmodel.errors import Diverged
from pmodel.evaluation import judges_folder
from pmodel.metrics.classes import clear_share
from pmodel.metrics.features import Extractor
from pmodel.metrics.judge import judge_for
from pmodel.metrics.modes import class_modes
from pmodel.pictures import grid, png
from pmodel.randomness import generator
from pmodel.storage import load, read_json

N, SHOWN, PART = 26_000, 96, 2_000
"""Samples that are judged, those that are shown, and those that are drawn at a time."""
HERE = Path(__file__).resolve().parent
OUT, RUNS, DOCS = HERE / "results" / "stacked.json", HERE.parent / "runs" / "stacked", HERE.parent / "docs" / "implicit"
ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "unstabilised": {"loss": "nonsaturating", "penalty": 0.0},
    "minimax": {"loss": "minimax", "penalty": 0.0},
    "packed": {"loss": "nonsaturating", "penalty": 0.0, "packing": 2},
}
"""The options of each row."""


def fitted(row: str, data: pmodel.Dataset, budget: float, seed: int) -> tuple[Any, dict[str, Any]]:
    """A model after its budget, or as it last was well, and what its run says."""
    folder = RUNS / f"{row}-{budget:.0f}-{seed}"
    new, began = not folder.exists(), time.process_time()
    try:
        model = pmodel.fit("dcgan", data, budget=budget, seed=seed, out=folder, resume=True, **ROWS[row])
        ended = "at its end"
    except Diverged as error:
        model, ended = load(folder), error.problem
    spent = time.process_time() - began
    record = read_json(folder / "run.json")
    result = record.get("result", {})
    return model, {
        "ended": ended,
        "images_seen": result.get("images"),
        "steps": result.get("steps"),
        "training_seconds": round(result.get("seconds", 0.0)),
        "cpu_seconds": round(spent) if new else None,
        "arithmetic": f"{record['plan']['precision']}, {record['plan']['layout']}",
        "parameters": model.size,
        "health": [verdict["name"] for verdict in record.get("health", [])],
    }


def sampled(model: Any, seed: int) -> Tensor:
    """Samples in the memory of the data, not of whole numbers: uint8 ``(N, 3, 28, 28)``."""
    noise = generator(seed, "stacked")
    parts = [model.sample(PART, generator=noise).to(torch.uint8) for _ in range(N // PART)]
    return torch.cat(parts)


def judged(judge: Extractor, x: Tensor, shares: Tensor) -> dict[str, Any]:
    """Modes, their divergences, and how many pictures are clear."""
    p = judge.probabilities(x)
    clear, modes = clear_share(p), class_modes(p, shares)
    uniform = class_modes(p, torch.full_like(shares, 1 / len(shares)))
    numbers = {"kl": modes.value, "kl_stderr": modes.stderr, "kl_plain": modes.plain, "kl_plain_uniform": uniform.plain}
    return {
        "modes": modes.found,
        "clear_modes": sum(1 for count in clear.counts if count),
        "of": modes.modes,
        "clear": round(clear.value, 4),
        **{name: None if value is None else round(value, 4) for name, value in numbers.items()},
    }


def measured(row: str, data: pmodel.Dataset, judge: Extractor, budget: float, seed: int) -> dict[str, Any]:
    """One training and its samples."""
    assert data.shares is not None
    model, found = fitted(row, data, budget, seed)
    began = time.perf_counter()
    x = sampled(model, seed)
    drawn = time.perf_counter()
    modes = judged(judge, x, data.shares)
    cost = {"sampling_seconds": round(drawn - began, 1), "judging_seconds": round(time.perf_counter() - drawn, 1)}
    (DOCS / f"stacked-{row}.png").write_bytes(png(grid(x[:SHOWN].long(), data.domain, columns=16)))
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {"options": ROWS[row], "budget": budget, "seed": seed, **found, **modes, **cost, "peak_memory_mib": peak}


def main() -> None:
    """Measure the rows that were asked for, or all, and keep each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS])
    parser.add_argument("--budget", type=float, default=10_800.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 is as many as there are")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    data = pmodel.load_data("stacked-mnist")
    judge = judge_for(data, judges_folder())
    assert data.shares is not None
    for folder in (OUT.parent, DOCS):
        folder.mkdir(exist_ok=True)
    kept: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"rows": {}}
    same = {"data": data.hash, "judge": judge.name, "n": N}
    if any(kept.get(name) != value for name, value in same.items()):  # of another measure: not beside these
        kept = {**same, "floor": judged(judge, in_memory(data.test.x)[:N], data.shares), "rows": {}}
    for row in asked.rows or ROWS:
        kept["rows"][row] = {**measured(row, data, judge, asked.budget, asked.seed), "machine": machine()}
        OUT.write_text(json.dumps(kept, indent=2) + "\n")
        print(row, json.dumps(kept["rows"][row], indent=2), flush=True)


if __name__ == "__main__":
    main()
