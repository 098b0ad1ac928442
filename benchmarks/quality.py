"""What a budget buys on MNIST: likelihoods of a VAE and a PixelCNN, samples of DCGANs and of a diffusion model.

    PMODEL_DATA=... python benchmarks/quality.py [TASK]…

Every model has its default options and recipe, and five minutes; the diffusion model has fifteen. ``mnist-binary`` is
binarised once, and its test images are scored: exactly under the PixelCNN, all 10 000; by the importance-weighted bound with
100 draws each under the VAE, and with 1 000 draws for 1 000 of them, drawn at random. The judge of samples is a classifier
of the whole labelled data set that comes with pmodel; a sample is clear if the judge is at least 90 % sure of some class. Runs
stay in ``runs/quality``: started again, the script goes on with one that was stopped and measures one that is whole.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.metrics.measure import choose
from pmodel.storage import read_json

FIVE, FIFTEEN, SEED = 300.0, 900.0, 0
RESULTS = Path(__file__).parent / "results"
RUNS = Path(__file__).resolve().parents[1] / "runs" / "quality"


def fitted(name: str, data: pmodel.Dataset, budget: float) -> tuple[Any, dict[str, Any]]:
    """A model after its budget, and what its run says."""
    folder = RUNS / f"{name}-{data.name.replace(':', '-')}"
    model = pmodel.fit(name, data, budget=budget, seed=SEED, out=folder, resume=True)
    record = read_json(folder / "run.json")
    plan, result = record["plan"], record["result"]
    return model, {
        "images_seen": result["images"],
        "training_seconds": round(result["seconds"]),
        "budget_seconds": budget,
        "arithmetic": f"{plan['precision']}, {plan['layout']}",
        "parameters": model.size,
    }


def vae() -> dict[str, Any]:
    data = pmodel.load_data("mnist-binary")
    model, found = fitted("vae", data, FIVE)
    rows = choose(len(data.test), 1000, SEED, "benchmark")
    found["nats_all"] = scored(model, data.test.x, 100)
    found["nats_1000"] = scored(model, data.test.x[rows], 1000)
    return found


def pixelcnn() -> dict[str, Any]:
    data = pmodel.load_data("mnist-binary")
    model, found = fitted("pixelcnn", data, FIVE)
    return {**found, "nats_all": scored(model, data.test.x, 1)}


def scored(model: Any, x: torch.Tensor, effort: int) -> dict[str, Any]:
    likelihood = model.score(x, effort=effort, generator=SEED)
    return {
        "negative_log_likelihood": round(-likelihood.mean, 3),
        "kind": likelihood.kind,
        "stderr": round(likelihood.stderr, 3),
        "n": likelihood.n,
        "estimator": likelihood.estimator,
    }


def judged(kind: str, name: str, budget: float = FIVE) -> dict[str, Any]:
    data = pmodel.load_data(name)
    model, found = fitted(kind, data, budget)
    evaluation = pmodel.evaluate(model, data, n=2000, seed=SEED)
    return {**found, "judge": evaluation.metrics["judge"], "fid": evaluation.metrics["fid"]}


TASKS = {
    "vae-mnist-binary": vae,
    "pixelcnn-mnist-binary": pixelcnn,
    "dcgan-bags": lambda: judged("dcgan", "fashion-mnist:8"),
    "dcgan-mnist": lambda: judged("dcgan", "mnist"),
    "ddpm-mnist": lambda: judged("ddpm", "mnist", FIFTEEN),
}


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    for task in sys.argv[1:] or TASKS:
        result = {
            **TASKS[task](),
            "protocol": f"default options, seed {SEED}",
            "machine": machine(),
        }
        (RESULTS / f"{task}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(task, json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
