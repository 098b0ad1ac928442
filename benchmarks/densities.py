"""How close flows come to densities of the plane that are known: KL(data‖model), in nats.

    python benchmarks/densities.py --budget 120 --models nsf --sets moons ring [--points 100000]
    python benchmarks/densities.py --steps 2000

Each model is fitted with its defaults to the 10 000 points of a named density, or to as many as are asked for, and scored on
10⁵ fresh points of the truth that no fit or choice has seen: the mean of log p_true(x) - log p_model(x) over the same points,
with its standard error. The same mean over the points it was trained on tells what it lacks from what it made up of too few
points: there a flow that has learned the noise of its data is better than the truth. A result joins those that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from machine import machine

from pmodel import fit, load_data
from pmodel.data import Dataset, Split
from pmodel.randomness import generator

MODELS = ("nice", "realnvp", "maf", "iaf", "nsf", "nsf:coupling=autoregressive")
SETS = ("gaussian2d", "moons", "circles", "ring", "grid", "checkerboard", "swissroll", "pinwheel", "worldmap")
FRESH = 100_000
RESULT = Path(__file__).parent / "results" / "densities.json"


def drawn(name: str, points: int) -> Dataset:
    """A named density with so many training points; its validation and test points are always the same."""
    data = load_data(name)
    if data.truth is None or points == len(data.train):
        return data
    return replace(data, train=Split(data.truth.sample(points, generator(2, name, points)), None))


def measured(
    model: str, name: str, points: int, budget: float | None, steps: int | None
) -> dict[str, float | int | str]:
    """Fit a model, ``name`` or ``name:option=value``, and measure what it lacks."""
    data = drawn(name, points)
    kind, _, settings = model.partition(":")
    options = dict(pair.split("=") for pair in settings.split(",") if pair)
    began, busy = time.perf_counter(), time.process_time()
    fitted = fit(kind, data, budget=budget, steps=steps, seed=0, **options)
    seconds, of_processor = time.perf_counter() - began, time.process_time() - busy
    lacks = {}
    for part, x in (("fresh", data.truth.sample(FRESH, generator(1, name, 7))), ("trained", data.train.x)):
        lost = data.truth.log_prob(x) - fitted.log_prob(x)
        lacks[part] = (float(lost.mean()), float(lost.std()) / len(lost) ** 0.5)
    return {
        "model": model,
        "set": name,
        "training_points": len(data.train),
        "kl": lacks["fresh"][0],
        "stderr": lacks["fresh"][1],
        "kl_on_training_points": lacks["trained"][0],
        "seconds": seconds,
        "processor_seconds": of_processor,
        "asked": f"{steps} steps" if steps else f"{budget:g} seconds",
        "learned_numbers": fitted.size,
        "load_average": os.getloadavg()[0],
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--points", type=int, default=10_000, help="training points")
    parser.add_argument("--budget", type=float, help="seconds of each fit")
    parser.add_argument("--steps", type=int, help="steps of each fit, instead")
    args = parser.parse_args()
    if (args.budget is None) == (args.steps is None):
        parser.error("pass --budget or --steps")
    for model in args.models:
        for name in args.sets:
            row = measured(model, name, args.points, args.budget, args.steps)
            known = json.loads(RESULT.read_text())["fits"] if RESULT.exists() else []
            same = ("model", "set", "training_points", "asked")
            fits = [old for old in known if any(old[key] != row[key] for key in same)] + [row]
            fits.sort(key=lambda one: [one[key] for key in same])
            protocol = f"KL(data||model), nats; {FRESH} fresh points, paired difference"
            RESULT.write_text(json.dumps({"protocol": protocol, "fits": fits}, indent=2) + "\n")
            print(
                f"{model} {name}: {row['kl']:.4f} ± {row['stderr']:.4f}, on training points "
                f"{row['kl_on_training_points']:.4f}, {row['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
