"""Modes of a ring and of a grid that adversarial pairs find: twenty seeds each, by default options.

    python benchmarks/modes.py [ring|grid …] [--seeds 20] [--budget 30]

Each run has so many seconds on one thread, from planning to the last weights. Of 2 500 samples: modes that at least one sample
of high quality (within three standard deviations) belongs to, the share of these samples, and KL of their modes' shares from
equal ones, in nats (``pmodel.metrics.modes``). Beside the default, for the first five seeds: the minimax game without a
penalty under Adam's usual betas, at the default's rate after its warm-up, and without an average of the weights;
``docs/collapse.md`` takes the two apart. Results are kept in ``results/modes.json``, seed by seed: started again, the script
goes on with those that lack. A trial of another budget is printed, and replaces nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.errors import Diverged
from pmodel.metrics.modes import found_modes, high_quality
from pmodel.storage import write_json

N = 2500
BUDGET = 30.0
OUT = Path(__file__).resolve().parent / "results" / "modes.json"
USUAL = {"betas": (0.9, 0.999), "schedule": "constant", "ema": 0.0}
"""Settings of Adam."""
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "default": ({}, {}, 20),
    "minimax": ({"loss": "minimax", "penalty": 0.0}, USUAL, 5),
}
"""Options, settings of the recipe, and seeds at most."""


def measured(name: str, seed: int, budget: float, options: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """One training and its samples; of one that diverged, that it did."""
    data = pmodel.load_data(name)
    assert data.truth is not None
    began = time.perf_counter()
    try:
        model: Any = pmodel.fit("gan", data, budget=budget, seed=seed, settings=settings, **options)
    except Diverged as error:
        return {"seed": seed, "budget": budget, "ended": error.problem, "modes": 0, "high_quality": 0.0, "kl": None}
    seconds = time.perf_counter() - began
    away = data.truth.away(model.sample(N, generator=seed))
    modes, quality = found_modes(away), high_quality(away)
    return {
        "seed": seed,
        "budget": budget,
        "modes": modes.found,
        "of": modes.modes,
        "high_quality": round(quality.value, 4),
        "kl": None if modes.value is None else round(modes.value, 4),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure what was asked for and is not there, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["ring", "grid"])
    parser.add_argument("--seeds", type=int, default=20, help="how many at most")
    parser.add_argument("--budget", type=float, default=BUDGET)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    protocol = "one thread a run; samples of the run's own seed"
    kept: dict[str, Any] = {"runs": {}, "n": N, "protocol": protocol, "machine": machine()}
    if OUT.exists() and (found := json.loads(OUT.read_text()))["n"] == N:
        kept["runs"] = found["runs"]
    for name in asked.data:
        for row, (options, settings, most) in ROWS.items():
            same = json.loads(json.dumps({"options": options, "settings": settings}))
            of = kept["runs"].setdefault(name, {}).get(row, {})
            if any(of.get(key) != value for key, value in same.items()):  # of another measure: not beside these
                of = {**same, "seeds": []}
            kept["runs"][name][row] = of
            known = {run["seed"] for run in of["seeds"]} if asked.budget == BUDGET else set()
            for seed in sorted(set(range(min(asked.seeds, most))) - known):
                run = measured(name, seed, asked.budget, options, settings)
                print(name, row, run, flush=True)
                if asked.budget == BUDGET:
                    of["seeds"] = sorted([*of["seeds"], run], key=lambda run: int(run["seed"]))
                    write_json(OUT, kept)


if __name__ == "__main__":
    main()
