"""What fifteen minutes of training make of a diffusion model of MNIST: its bound, its samples, its solvers, its labels.

    PMODEL_DATA=... python benchmarks/diffusion_quality.py [unconditional] [conditional] [learned]

Every row is one run of fifteen minutes with the default options and recipe, but for what the row's name says.

``unconditional``: the evidence lower bound of 1 000 test images in bits per dimension; FID of 2 000 samples as ``sample`` draws
them by default, of DPM-Solver++(2M) without noise at 15 and at 100 calls of the network, from the same start, and of other
samplers. ``conditional``: the share of 2 000 label-conditional samples whose likeliest class, by the judge, is the one that was
asked for, and their FID, by guidance. ``learned``: the bound with learned variances.

The floor is the FID of 2 000 training pictures. Runs stay in ``runs/diffusion``: started again, the script goes on with one
that was stopped and measures one that is whole.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.evaluation import Bench
from pmodel.metrics.measure import choose
from pmodel.storage import read_json

BUDGET, SEED, SAMPLES, SCORED, EFFORT = 900.0, 0, 2000, 1000, 64
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "dpm, 15 calls": {"sampler": "dpm", "eta": 0.0, "steps": 15},
    "dpm, 100 calls": {"sampler": "dpm", "eta": 0.0, "steps": 100},
    "dpm with noise, 50 calls": {"sampler": "dpm", "eta": 1.0, "steps": 50},
    "ddim with noise, 50 calls": {"sampler": "ddim", "eta": 1.0, "steps": 50},
    "heun, 50 calls": {"sampler": "heun", "steps": 50},
}
GUIDANCE = (1.0, 1.5, 2.0)
HERE = Path(__file__).resolve().parent
RESULTS, RUNS = HERE / "results", HERE.parent / "runs" / "diffusion"


def fitted(row: str, data: pmodel.Dataset, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A model after its budget, and what its run says."""
    folder = RUNS / row
    model = pmodel.fit("ddpm", data, budget=BUDGET, seed=SEED, out=folder, resume=True, **options)
    record = read_json(folder / "run.json")
    plan, result = record["plan"], record["result"]
    return model, {
        "options": options,
        "images_seen": result["images"],
        "training_seconds": round(result["seconds"]),
        "arithmetic": f"{plan['precision']}, {plan['layout']}, {plan['threads']} threads",
        "parameters": model.size,
    }


def bound(model: Any, data: pmodel.Dataset) -> dict[str, Any]:
    """The bound of some test images, chosen at random, in bits per dimension."""
    found = model.score(data.test.x[choose(len(data.test), SCORED, SEED, "benchmark")], effort=EFFORT, generator=SEED)
    bits = math.log(2) * data.domain.entries
    noise = float(torch.as_tensor(found.mc_stderr).square().sum()) ** 0.5 / found.n
    return {
        "bits_per_dimension": round(-found.mean / bits, 4),
        "stderr": round(found.stderr / bits, 4),
        "of_which_monte_carlo": round(noise / bits, 4),
        "n": found.n,
        "estimator": found.estimator,
    }


def judged(bench: Bench, model: Any, given: torch.Tensor | None = None, **settings: Any) -> dict[str, float]:
    """What the judge says of samples."""
    metrics = bench.fidelity(model.sample(SAMPLES, given=given, generator=SEED, **settings), given)
    wanted = ("fid", "judge", "class_agreement")
    return {name: round(metrics[name]["value"], 4) for name in wanted if name in metrics}


def unconditional() -> dict[str, Any]:
    """The bound, and FID by sampler."""
    data = pmodel.load_data("mnist")
    model, found = fitted("unconditional", data)
    bench = Bench(data, n=SAMPLES, seed=SEED)
    found["bound"] = bound(model, data)
    found["floor"] = round(bench.fidelity.real["fid"]["value"], 3)
    found["samplers"] = {name: judged(bench, model, **settings) for name, settings in SETTINGS.items()}
    few, many = (found["samplers"][f"dpm, {calls} calls"]["fid"] for calls in (15, 100))
    return {**found, "fid_of_15_calls_to_100": round(few / many, 3)}


def conditional() -> dict[str, Any]:
    """Agreement with the judge, by guidance."""
    data = pmodel.load_data("mnist")
    model, found = fitted("conditional", data, conditional=True)
    bench, given = Bench(data, n=SAMPLES, seed=SEED), torch.arange(SAMPLES) % 10
    found["guidance"] = {str(w): judged(bench, model, given, guidance=w) for w in GUIDANCE}
    return found


def learned() -> dict[str, Any]:
    """The bound with learned variances."""
    data = pmodel.load_data("mnist")
    model, found = fitted("learned", data, variance="learned")
    return {**found, "bound": bound(model, data)}


ROWS = {"unconditional": unconditional, "conditional": conditional, "learned": learned}


def main() -> None:
    """Measure the rows that were asked for, or all."""
    RESULTS.mkdir(exist_ok=True)
    for row in sys.argv[1:] or ROWS:
        protocol = f"budget {BUDGET:.0f} s, seed {SEED}, {SAMPLES} samples"
        result = {**ROWS[row](), "protocol": protocol, "machine": machine()}
        (RESULTS / f"diffusion-{row}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(row, json.dumps(result, indent=2), flush=True)


if __name__ == "__main__":
    main()
