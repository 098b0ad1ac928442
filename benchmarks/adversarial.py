"""What fifteen minutes of training make of adversarial pairs of pictures: distances, classes, and a grid to look at.

    PMODEL_DATA=... python benchmarks/adversarial.py [MODEL:DATA …] [--budget SECONDS] [--seed N] [--threads N]

Default options and recipe, 2 000 samples. FID stands beside its floor, that of as many real pictures; recall beside what they
get; *sure* is the share of samples in which the judge of the data is at least 90 % sure of some class; *shares off* the largest
distance of the share of a class among samples from its share among data, as a part of the latter. ``fashion-mnist:8`` is one
class. Runs stay in ``runs/adversarial``: started again, the script goes on with one that was stopped and measures one that
is whole. ``scripts/implicit`` makes ``docs/implicit.md`` of the results; the grids beside it are drawn here.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from budgeted import ROOT, Asked, asked
from machine import machine

import pmodel
from pmodel.pictures import grid, png

DATA = ("mnist", "fashion-mnist", "fashion-mnist:8", "faces")
ROWS = (*(f"{model}:{data}" for model in ("dcgan", "sagan") for data in DATA), "progan:faces", "transgan:mnist")
N, SHOWN = 2000, 64
RESULTS, GRIDS = (ROOT / folder for folder in ("benchmarks/results/adversarial", "docs/implicit"))


def measured(row: str, todo: Asked) -> tuple[dict[str, Any], bytes]:
    """What is found of a pair after its budget, and a grid of its first samples."""
    kind, _, name = row.partition(":")
    data = pmodel.load_data(name)
    model, run = todo.trained(kind, data, f"adversarial/{_file(row)}")
    metrics = pmodel.evaluate(model, data, n=N, seed=todo.seed).metrics
    found = {**run, **{key: _beside_floor(metrics[key]) for key in ("fid", "recall", "judge") if key in metrics}}
    if "class_shares" in metrics and len(data.label_names) > 1:  # of one class there is nothing to share
        found["classes"] = _classes(metrics["class_shares"])
    return found, png(grid(model.sample(SHOWN, generator=todo.seed), data.domain, columns=16))


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
    todo = asked(__doc__, ROWS)
    for row in todo.rows:
        found, picture = measured(row, todo)
        found |= {"protocol": f"default options, {todo.protocol}, {N} samples", "machine": machine()}
        print(row, json.dumps(found, indent=2), flush=True)
        todo.keep(RESULTS / f"{_file(row)}.json", found)
        todo.keep(GRIDS / f"{_file(row)}.png", picture)


if __name__ == "__main__":
    main()
