"""Glasses by arithmetic on codes: what a direction of z does to drawn faces, read by a judge that knows what is on them.

    PMODEL_DATA=... python benchmarks/latent_arithmetic.py [MODEL] [--budget SECONDS] [--seed N] [--people N]

An adversarial pair learns ``faces`` without labels. The direction of glasses is a difference of means of z, with less without
them, in two ways: of *codes* of training faces, and of draws of z whose *samples* the judge tells apart, which need no search.
It is added, once and twice, to the codes of test faces without glasses, and taken from those with them.

Three numbers of each set of pictures: the share that the judge takes for faces with glasses, and the shares whose background
and whose hat linear probes of the judge's features read as they read them in the pictures before the change: what should have
stayed. Beside them the pictures before (each face as its code makes it) and a random direction of the same length.
The run is that of ``adversarial.py``: trained here if it is not there, and gone on with if it was stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

import pmodel
from pmodel.data import Dataset, Split, in_memory
from pmodel.evaluation import judges_folder
from pmodel.metrics.judge import Judge, judge_for
from pmodel.pictures import grid, png
from pmodel.randomness import generator
from pmodel.storage import read_json
from pmodel.tasks import linear_probe

KEPT = ("background", "hat")
"""Factors that glasses have nothing to do with."""
TIMES = (1.0, 2.0)
"""How often the direction is added."""
DRAWS, PROBED, SHOWN = 4000, 2000, 12
HERE = Path(__file__).resolve().parent
RESULTS, RUNS, DOCS = HERE / "results", HERE.parent / "runs" / "adversarial", HERE.parent / "docs"


class Reader:
    """What is on pictures of faces: glasses by the judge, factors by linear probes of its features."""

    def __init__(self, data: Dataset) -> None:
        judge = judge_for(data, judges_folder())
        assert isinstance(judge, Judge)
        self.judge, self.data = judge, data
        part = data.train.take(torch.arange(PROBED))
        self.features, self.factors = judge(in_memory(part.x)), part.factors

    def glasses(self, x: Tensor) -> Tensor:
        """Whether the judge takes each picture for a face with glasses, ``(N,)``."""
        return self.judge.classified(self.judge(x)).argmax(1) > 0

    def factor(self, x: Tensor, name: str) -> Tensor:
        """The value of a named factor as the probe reads it, ``(N,)``."""
        assert self.factors is not None
        y = self.factors[:, self.data.factor_names.index(name)].long()
        return linear_probe(self.features, y, self.judge(x), len(self.data.factor_values[name]), penalty=1.0).argmax(1)

    def read(self, x: Tensor, before: Tensor) -> dict[str, float]:
        """The share with glasses, and the shares that are read as before, of pictures in the same order."""
        same = {name: self.factor(x, name) == self.factor(before, name) for name in KEPT}
        return {
            "glasses": _share(self.glasses(x)),
            **{f"{name} kept": _share(stayed) for name, stayed in same.items()},
            "levels_moved": round(float((x - before).abs().double().mean()), 2),
        }


def _share(found: Tensor) -> float:
    return round(float(found.double().mean()), 4)


def people(split: Split, *, glasses: bool, n: int) -> Tensor:
    """The first so many faces with glasses, or without."""
    assert split.y is not None
    return in_memory(split.x)[((split.y > 0) == glasses).nonzero().flatten()[:n]]


def directions(model: Any, data: Dataset, reader: Reader, n: int) -> dict[str, Tensor]:
    """The direction of glasses by either way, ``(latent,)``, and a random one as long as the first."""
    of_codes = [model.encode(people(data.train, glasses=glasses, n=n)).mean.mean(0) for glasses in (True, False)]
    z = torch.randn(DRAWS, model.latent, generator=generator(0, "draws"))
    seen = reader.glasses(model.decode(z).mean)
    found = {"codes": of_codes[0] - of_codes[1], "samples": z[seen].mean(0) - z[~seen].mean(0)}
    other = torch.randn(model.latent, generator=generator(0, "random"))
    return {**found, "random": other * (found["codes"].norm() / other.norm())}


def changed(model: Any, reader: Reader, x: Tensor, ways: dict[str, Tensor], sign: int) -> tuple[dict[str, Any], Tensor]:
    """What is found of faces whose codes were moved, and some of the pictures, a row each."""
    z = model.encode(x).mean
    before = model.decode(z).mean
    found, shown = {"data": reader.read(x.long(), before), "before": reader.read(before, before)}, [x.long(), before]
    for way, direction in ways.items():
        for times in TIMES:
            pictures = model.decode(z + sign * times * direction).mean
            found[f"{times:g} × {way}"] = reader.read(pictures, before)
            if way != "random":
                shown.append(pictures)
    return found, torch.cat([row[:SHOWN] for row in shown])


def main() -> None:
    """Train, search, add, and read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="dcgan")
    parser.add_argument("--budget", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--people", type=int, default=100, help="faces with glasses, and as many without, in each split"
    )
    asked = parser.parse_args()
    data = pmodel.load_data("faces")
    folder = RUNS / f"{asked.model}-faces-{asked.budget:.0f}-{asked.seed}"
    model: Any = pmodel.fit(asked.model, data, budget=asked.budget, seed=asked.seed, out=folder, resume=True)
    reader = Reader(data)
    ways = directions(model, data, reader, asked.people)
    found: dict[str, Any] = {
        "protocol": f"{asked.model}, budget {asked.budget:.0f} s, seed {asked.seed}, {asked.people} faces of each kind",
        "machine": machine(),
        "images_seen": read_json(folder / "run.json")["result"]["images"],
        "judge_accuracy": reader.judge.record["accuracy"],
        "cosine": round(float(torch.cosine_similarity(ways["codes"], ways["samples"], 0)), 3),
    }
    for name, glasses in (("put on", False), ("taken off", True)):
        x = people(data.test, glasses=glasses, n=asked.people)
        found[name], pictures = changed(model, reader, x, ways, -1 if glasses else 1)
        drawn = png(grid(pictures, data.domain, columns=SHOWN))
        (DOCS / f"latent-arithmetic-{name.replace(' ', '-')}.png").write_bytes(drawn)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"latent-arithmetic-{asked.model}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
