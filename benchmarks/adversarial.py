"""What fifteen minutes of training make of adversarial pairs of pictures: distances, classes, and a grid to look at.

    PMODEL_DATA=... python benchmarks/adversarial.py [MODEL:DATA …] [--budget SECONDS] [--seed N] [--threads N]

Default options and recipe, 2 000 samples. FID stands beside its floor, that of as many real pictures; recall beside what they
get; *sure* is the share of samples in which the judge of the data is at least 90 % sure of some class; *shares off* the largest
distance of the share of a class among samples from its share among data, as a part of the latter. ``fashion-mnist:8`` is one
class. Runs stay in ``runs/adversarial``: started again, the script goes on with one that was stopped and measures one that
is whole. ``scripts/implicit`` makes ``docs/implicit.md`` of the results; the grids beside it are drawn here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.pictures import grid, png
from pmodel.storage import read_json

DATA = ("mnist", "fashion-mnist", "fashion-mnist:8", "faces")
ROWS = (*(f"{model}:{data}" for model in ("dcgan", "sagan") for data in DATA), "progan:faces", "transgan:mnist")
N, SHOWN = 2000, 64
ROOT = Path(__file__).resolve().parents[1]
RESULTS, GRIDS, RUNS = (
    ROOT / folder for folder in ("benchmarks/results/adversarial", "docs/implicit", "runs/adversarial")
)


def measured(row: str, budget: float, seed: int) -> tuple[dict[str, Any], bytes]:
    """What is found of a pair after its budget, and a grid of its first samples."""
    kind, _, name = row.partition(":")
    data, folder = pmodel.load_data(name), RUNS / f"{_file(row)}-{budget:.0f}-{seed}"
    model: Any = pmodel.fit(kind, data, budget=budget, seed=seed, out=folder, resume=True)
    record = read_json(folder / "run.json")
    metrics = pmodel.evaluate(model, data, n=N, seed=seed).metrics
    found = {
        "images_seen": record["result"]["images"],
        "training_seconds": round(record["result"]["seconds"]),
        "arithmetic": "{precision}, {layout}, {threads} threads".format(**record["plan"]),
        "parameters": model.size,
        **{key: _beside_floor(metrics[key]) for key in ("fid", "recall", "judge") if key in metrics},
    }
    if "class_shares" in metrics:
        found["classes"] = _classes(metrics["class_shares"])
    return found, png(grid(model.sample(SHOWN, generator=seed), data.domain, columns=16))


def _beside_floor(metric: dict[str, Any]) -> dict[str, Any]:
    return {key: None if metric[key] is None else round(metric[key], 4) for key in ("value", "stderr", "floor")}


def _classes(metric: dict[str, Any]) -> dict[str, Any]:
    shares, wanted = torch.tensor(metric["shares"]).double(), torch.tensor(metric["data"]).double()
    return {
        "of": len(shares),
        "found": int((shares > 0).sum()),
        "off": round(float((shares / wanted - 1).abs().max()), 4),
    }


def _file(row: str) -> str:
    return row.replace(":", "-")


def main() -> None:
    """Measure what was asked for, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--budget", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for folder in (RESULTS, GRIDS):
        folder.mkdir(parents=True, exist_ok=True)
    for row in asked.rows:
        found, picture = measured(row, asked.budget, asked.seed)
        found["protocol"] = f"default options, budget {asked.budget:.0f} s, seed {asked.seed}, {N} samples"
        found["machine"] = machine()
        (RESULTS / f"{_file(row)}.json").write_text(json.dumps(found, indent=2) + "\n")
        (GRIDS / f"{_file(row)}.png").write_bytes(picture)
        print(row, json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
