"""One model of every branch on MNIST, five minutes of training each: the table of docs/measurements.md.

    PMODEL_DATA=... python benchmarks/families.py

It is ``pmodel compare gaussian mixture vae realnvp pixelcnn dcgan ddpm --data mnist --budget 5m --out runs/mnist``, and goes on
where it was stopped. Every model has its default options and recipe. The page to look at is ``runs/mnist/report.html``; the
numbers are kept in ``results/families.json``, the first samples in ``docs/mnist.png`` (by ``scripts/families``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from machine import machine

import pmodel
from pmodel.storage import read_json

MODELS = ("gaussian", "mixture", "vae", "realnvp", "pixelcnn", "dcgan", "ddpm")
BUDGET, N = 300.0, 2000
ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "mnist"
RESULT = Path(__file__).parent / "results" / "families.json"


def row(model: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a model's entry in the report."""
    record = read_json(OUT / model["run"] / "run.json")
    result, plan = record["result"], record["plan"]
    return {
        "likelihood": model["likelihood"],
        "bits_per_dim": model["metrics"].get("bits_per_dim"),
        "samples": {
            name: {key: metric[key] for key in ("value", "stderr", "floor", "held_out")}
            for name, metric in model["metrics"].items()
            if "floor" in metric
        },
        "speed": model["speed"],
        "parameters": model["parameters"],
        "health": model["health"],
        "training_seconds": round(result["seconds"]),
        "images_seen": result.get("images"),
        "arithmetic": f"{plan['precision']}, {plan['layout']}, {plan['threads']} threads",
    }


def main() -> None:
    """Compare, and keep what the table shows."""
    comparison = pmodel.compare(MODELS, "mnist", budget=BUDGET, n=N, out=OUT)
    found = {model["name"]: row(model) for model in comparison.report["models"] if not model.get("error")}
    result = {
        "models": found,
        "protocol": f"default options, budget {BUDGET:.0f} s, seed 0, {N} samples, {N} test images scored",
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
