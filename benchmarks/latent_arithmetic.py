"""Glasses by arithmetic on codes: what a direction of z does to drawn faces, read by a judge that knows what is on them.

    PMODEL_DATA=... python benchmarks/latent_arithmetic.py [MODEL] [--budget SECONDS] [--seed N] [--threads N]

An adversarial pair learns ``faces`` without labels. The direction of glasses is a difference of means of z, with less without
them, in two ways: of *codes* of training faces, and of draws of z whose *samples* the judge tells apart, which need no search.
Both are given one length, that of the second, whose means are of many more; so is a *random* direction. They are added, once
and twice, to the codes of test faces without glasses, and taken from those with them.

Of each set of pictures: the share that the judge takes for faces with glasses; the shares whose background and whose hat linear
probes of the judge's features read as they read them in the pictures before the change, which should have stayed, and how
often these probes are right on data; and how far levels moved. Beside them the pictures before, each face as its code makes it.
The run is that of ``adversarial.py``: trained here if it is not there, and gone on with if it was stopped.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from budgeted import ROOT, Asked, asked
from machine import machine
from torch import Tensor
from torch.nn.functional import normalize

import pmodel
from pmodel.data import Dataset, Split, in_memory
from pmodel.evaluation import judges_folder
from pmodel.metrics.judge import Judge, judge_for
from pmodel.pictures import grid, png
from pmodel.randomness import generator
from pmodel.tasks.probes import linear_layer

KEPT = ("background", "hat")
"""Factors that glasses have nothing to do with."""
TIMES = (1.0, 2.0)
"""How often the direction is added."""
CODES, PEOPLE, DRAWS, PROBED, SHOWN = 250, 100, 4000, 2000, 12
"""Training faces with glasses, and as many without, whose codes are sought; test faces of each kind; draws of z; faces that
probes learn from, and that they are held to, at most; and pictures of each row that are shown."""
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs" / "implicit"


class Reader:
    """What is on pictures of faces: glasses by the judge, factors by linear probes of its features.

    Args:
        data: Faces and their factors.

    Attributes:
        accuracy: The share of test faces whose factor each probe reads rightly.
    """

    def __init__(self, data: Dataset) -> None:
        judge = judge_for(data, judges_folder())
        assert isinstance(judge, Judge)
        self.judge, columns = judge, {name: data.factor_names.index(name) for name in KEPT}
        train, test = (_features_and_factors(judge, split) for split in (data.train, data.test))
        self.probes = {
            name: linear_layer(train[0], train[1][:, at], len(data.factor_values[name]), penalty=1.0)
            for name, at in columns.items()
        }
        read = self.factors(test[0])
        self.accuracy = {name: _share(read[name] == test[1][:, at]) for name, at in columns.items()}

    def factors(self, features: Tensor) -> dict[str, Tensor]:
        """The values of the factors as the probes read them, ``(N,)`` each."""
        return {name: (features.double() @ w.T + b).argmax(1) for name, (w, b) in self.probes.items()}

    def glasses(self, features: Tensor) -> Tensor:
        """Whether the judge takes each picture for a face with glasses, ``(N,)``."""
        return self.judge.classified(features).argmax(1) > 0

    def read(self, x: Tensor, before: Tensor) -> dict[str, float]:
        """The share with glasses, the shares that are read as before, and the move in levels, of pictures in the same order."""
        features, old = self.judge(x), self.factors(self.judge(before))
        kept = {f"{name} kept": _share(values == old[name]) for name, values in self.factors(features).items()}
        moved = round(float((x - before).abs().double().mean()), 2)
        return {"glasses": _share(self.glasses(features)), **kept, "levels moved": moved}


def _features_and_factors(judge: Judge, split: Split) -> tuple[Tensor, Tensor]:
    part = split.take(torch.arange(min(PROBED, len(split))))
    assert part.factors is not None
    return judge(in_memory(part.x)), part.factors.long()


def _share(found: Tensor) -> float:
    return round(float(found.double().mean()), 4)


def people(split: Split, *, glasses: bool, n: int) -> Tensor:
    """The first so many faces with glasses, or without."""
    assert split.y is not None
    return in_memory(split.x)[((split.y > 0) == glasses).nonzero().flatten()[:n]]


def directions(model: Any, data: Dataset, reader: Reader) -> dict[str, Tensor]:
    """The direction of glasses by either way as it is, and a random one, ``(latent,)``."""
    of_codes = [model.encode(people(data.train, glasses=glasses, n=CODES)).mean.mean(0) for glasses in (True, False)]
    z = torch.randn(DRAWS, model.latent, generator=generator(0, "draws"))
    seen = reader.glasses(reader.judge(model.decode(z).mean))
    other = torch.randn(model.latent, generator=generator(0, "random"))
    return {"codes": of_codes[0] - of_codes[1], "samples": z[seen].mean(0) - z[~seen].mean(0), "random": other}


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


def measured(name: str, data: Dataset, todo: Asked) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What is found of one model, and a picture of each way."""
    model, run = todo.trained(name, data, f"adversarial/{name}-faces")
    reader = Reader(data)
    raw = directions(model, data, reader)
    ways = {way: normalize(direction, dim=0) * raw["samples"].norm() for way, direction in raw.items()}
    found: dict[str, Any] = {
        **run,
        "judge_accuracy": reader.judge.record["accuracy"],
        "probe_accuracy": reader.accuracy,
        "lengths": {way: round(float(raw[way].norm()), 3) for way in ("codes", "samples")},
        "cosine": round(float(torch.cosine_similarity(raw["codes"], raw["samples"], 0)), 3),
    }
    pictures = {}
    for way, glasses in (("put on", False), ("taken off", True)):
        x = people(data.test, glasses=glasses, n=PEOPLE)
        found[way], rows = changed(model, reader, x, ways, -1 if glasses else 1)
        pictures[way] = png(grid(rows, data.domain, columns=SHOWN))
    said = f"{name} by default options, {todo.protocol}, codes of {CODES} training faces and {PEOPLE} test faces of each kind"
    return {**found, "n": PEOPLE, "protocol": said, "machine": machine()}, pictures


def main() -> None:
    """Train, search, add, and read."""
    todo = asked(__doc__, ("dcgan", "sagan", "progan", "transgan"), default=["dcgan"])
    data = pmodel.load_data("faces")
    for name in todo.rows:
        found, pictures = measured(name, data, todo)
        print(json.dumps(found, indent=2), flush=True)
        todo.keep(RESULTS / f"latent-arithmetic-{name}.json", found)
        for way, picture in pictures.items():
            todo.keep(DOCS / f"glasses-{way.replace(' ', '-')}-{name}.png", picture)


if __name__ == "__main__":
    main()
