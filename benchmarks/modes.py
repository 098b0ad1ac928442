"""Modes of a ring and of a grid that adversarial pairs find: twenty seeds each, by default options.

    python benchmarks/modes.py [ring|grid …] [--seeds 20] [--budget 90]

Each run has so many seconds on one thread, from planning to the last weights. Of 2 500 samples: modes that at least one sample
of high quality (within three standard deviations) belongs to, the share of these samples, and KL of their modes' shares from
equal ones, in nats (``pmodel.metrics.modes``). Beside the default, for the first five seeds: the game of 2014, minimax without
a penalty, as it was played, with momentum, a constant rate and no average of the weights. Results are kept in
``results/modes.json``, row by row.
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
from pmodel.metrics.modes import found_modes, high_quality

N = 2500
OUT = Path(__file__).resolve().parent / "results" / "modes.json"
MOMENTUM = {"betas": (0.9, 0.999), "schedule": "constant", "ema": 0.0}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "default": ({}, {}, 20),
    "minimax": ({"loss": "minimax", "penalty": 0.0}, MOMENTUM, 5),
}
"""Options, settings of the recipe, and seeds at most."""


def measured(name: str, seed: int, budget: float, options: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """One training and its samples."""
    data = pmodel.load_data(name)
    began = time.perf_counter()
    model = pmodel.fit("gan", data, budget=budget, seed=seed, settings=settings, **options)
    seconds = time.perf_counter() - began
    away = data.truth.away(model.sample(N, generator=seed))  # type: ignore[union-attr]
    modes, quality = found_modes(away), high_quality(away)  # type: ignore[arg-type]
    return {
        "seed": seed,
        "modes": modes.found,
        "of": modes.modes,
        "high_quality": round(quality.value, 4),
        "kl": None if modes.value is None else round(modes.value, 4),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure what was asked for, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="*", default=["ring", "grid"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=90.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.data:
        for row, (options, settings, most) in ROWS.items():
            runs = []
            for seed in range(min(asked.seeds, most)):
                runs.append(measured(name, seed, asked.budget, options, settings))
                print(name, row, runs[-1], flush=True)
            kept = json.loads(OUT.read_text()) if OUT.exists() else {"runs": {}}
            said = {"options": options, "settings": settings, "budget": asked.budget}
            kept["runs"].setdefault(name, {})[row] = {**said, "seeds": runs}
            kept |= {"n": N, "protocol": "one thread a run; samples of the run's own seed", "machine": machine()}
            OUT.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
