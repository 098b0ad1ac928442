"""Do the measurements say what they are meant to say? Sets of MNIST pictures with known faults, and claims that can fail.

    PMODEL_DATA=... python benchmarks/sense.py [--out FILE]

Every set has 2000 pictures and is measured against 6000 test pictures with the shipped judge's features, as ``evaluate`` does.
2000 other test pictures are the *floor*: what a perfect model would get. A measurement *falls* or *rises* where it does so by
more than four standard errors of the difference, and *stays* where it is within three. Exits with 1 if a claim fails.

The precision of blurred pictures is a mean over twenty references: they lie close together, so that one outlier of the real
data, whose neighbourhood is large, may hold them all or none. Its standard error from a single reference says so.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from machine import machine
from torch import Tensor
from torch.nn import functional as F

from pmodel.data import Dataset, load_data
from pmodel.evaluation import judges_folder
from pmodel.metrics.classes import class_shares, clear_share, mode_count
from pmodel.metrics.fid import Moments, fid_of
from pmodel.metrics.inception_score import inception_score_of
from pmodel.metrics.judge import judge_for
from pmodel.metrics.kid import KernelSet, kid_of
from pmodel.metrics.memorisation import control, memorisation
from pmodel.metrics.neighbours import Neighbourhoods, overlaps_of
from pmodel.metrics.sharpness import details, sharpness
from pmodel.metrics.two_sample import two_sample
from pmodel.randomness import generator

N, SURE, NEAR = 2000, 4.0, 3.0
REFERENCES = 20
SIZES, REPEATS = (100, 200, 500, 1000, 2000), 12
RESULT = Path(__file__).parent / "results" / "sense.json"

Values = dict[str, tuple[float, float]]
"""By measurement: the value and its standard error."""


Precisions = dict[str, tuple[float, float, float, float]]
"""By set: mean over references, its standard error, least and largest."""


class Bench:
    """The real side: a reference, and pictures that no set is measured against."""

    def __init__(self, data: Dataset, n: int) -> None:
        self.data, self.n = data, n
        self.judge = judge_for(data, judges_folder())
        order = torch.randperm(len(data.test), generator=generator(0, "sense", "test"))
        self.floor, self.held = data.test.x[order[:n]], data.test.x[order[n : 2 * n]]
        self.rest = data.test.x[order[2 * n :]]
        self.features = self.judge(self.rest)
        self.moments, self.kernels = Moments.of(self.features), KernelSet(self.features)
        self.neighbourhoods = Neighbourhoods(self.judge(self.rest[:n]), generator(0, "sense", "real"))
        self.probabilities = self.judge.classified(self.features)
        self.details = details(self.rest)

    @cached_property
    def usual(self) -> Any:
        """How near held-out data come to training data."""
        return control(self.data.train.x, self.rest)

    def measure(self, x: Tensor) -> Values:
        """Everything that features and pixels tell."""
        features = self.judge(x)
        p = self.judge.classified(features)
        overlaps = overlaps_of(self.neighbourhoods, Neighbourhoods(features, generator(0, "sense", "samples")))
        found = {
            "fid": fid_of(self.moments, features, generator(0, "sense", "fid")),
            "kid": kid_of(self.kernels, features),
            "precision": overlaps.precision,
            "recall": overlaps.recall,
            "density": overlaps.density,
            "coverage": overlaps.coverage,
            "two_sample": two_sample(features, self.features),
            "judge": clear_share(p),
            "inception_score": inception_score_of(p),
            "modes": mode_count(p, self.probabilities),
            "class_shares": class_shares(p, self.probabilities),
            "sharpness": sharpness(x, self.details),
            "memorisation": memorisation(x, self.data.train.x, self.usual),
        }
        return {name: (float(one.value), float(one.stderr or 0)) for name, one in found.items()}

    def precisions(self, of: dict[str, Tensor]) -> Precisions:
        """The precision of sets by the reference: mean, its standard error, least and largest."""
        order = torch.randperm(len(self.data.train), generator=generator(0, "sense", "references"))
        pool = torch.cat([self.rest, self.data.valid.x, self.data.train.x[order]])[: REFERENCES * self.n]
        samples = {k: Neighbourhoods(self.judge(x), generator(0, "sense", "samples")) for k, x in of.items()}
        values: dict[str, list[float]] = {name: [] for name in of}
        for part in pool.split(self.n):
            real = Neighbourhoods(self.judge(part), generator(0, "sense", "real"))
            for name, one in samples.items():
                values[name].append(overlaps_of(real, one).precision.value)
        return {k: (mean(v), stdev(v) / len(v) ** 0.5, min(v), max(v)) for k, v in values.items()}

    def sizes(self) -> dict[int, dict[str, tuple[float, float]]]:
        """FID and KID of real data by their number: means over random sets, with the error of the mean."""
        pool = torch.cat([self.floor, self.held, self.data.valid.x])
        features, found = self.judge(pool), {}
        for n in SIZES:
            rows = [torch.randperm(len(pool), generator=generator(k, "sense", n))[:n] for k in range(REPEATS)]
            values = torch.tensor(
                [
                    [fid_of(self.moments, features[r], generator(0)).value, kid_of(self.kernels, features[r]).value]
                    for r in rows
                ]
            )
            means, errors = values.mean(0).tolist(), (values.std(0) / REPEATS**0.5).tolist()
            found[n] = dict(zip(("fid", "kid"), zip(means, errors, strict=True), strict=True))
        return found


def blurred(x: Tensor, std: float = 1.5) -> Tensor:
    """Pictures under a Gaussian blur."""
    radius = math.ceil(3 * std)
    line = torch.exp(-(torch.arange(-radius, radius + 1) / std).square() / 2)
    line /= line.sum()
    padded = F.pad(x.float(), (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1)).round().to(x.dtype)


def with_noise(x: Tensor, share: float = 0.1) -> Tensor:
    """Pictures of which some are replaced by uniform noise."""
    count = round(share * len(x))
    noise = torch.randint(256, (count, *x.shape[1:]), generator=generator(0, "sense", "noise"), dtype=x.dtype)
    return torch.cat([x[count:], noise])[torch.randperm(len(x), generator=generator(0, "sense", "order"))]


def one_each(bench: Bench, n: int) -> Tensor:
    """The clearest picture of every class, repeated."""
    best = bench.judge.probabilities(bench.held).argmax(0)
    return bench.held[best].repeat(n // len(best), 1, 1, 1)[torch.randperm(n, generator=generator(0, "sense", "each"))]


def sets(bench: Bench) -> dict[str, Tensor]:
    """The pictures to be measured, each set with a fault that it is named by."""
    train, n = bench.data.train, bench.n
    order = torch.randperm(len(train), generator=generator(0, "sense", "train"))
    few = order[torch.isin(train.y[order], torch.tensor([1, 7]))]
    return {
        "floor": bench.floor,
        "held-out": bench.held,
        "copy of training data": train.x[order[:n]],
        "ones and sevens": train.x[few[:n]],
        "blurred": blurred(bench.held),
        "a tenth is noise": with_noise(bench.held),
        "one picture a class": one_each(bench, n),
    }


@dataclass(frozen=True)
class Claim:
    """What is said of a set, whether it holds, and by which numbers."""

    text: str
    holds: bool
    numbers: str


class Claims:
    """Collects what holds and what does not, against the floor."""

    def __init__(self, measured: dict[str, Values]) -> None:
        self.measured, self.floor = measured, measured["floor"]
        self.found: list[Claim] = []

    def check(self, text: str, holds: bool, numbers: str) -> None:
        """Keep a claim, and say it."""
        self.found.append(Claim(text, holds, numbers))
        print(f"{'holds' if holds else 'FAILS':6} {text}: {numbers}", flush=True)

    def moves(self, of: str, name: str, way: str) -> None:
        """A measurement of a set falls, rises or stays, or does not fall or rise."""
        (value, error), (floor, floor_error) = self.measured[of][name], self.floor[name]
        z = (value - floor) / max(math.hypot(error, floor_error), 1e-12)
        tests: dict[str, Callable[[], bool]] = {
            "falls": lambda: z < -SURE,
            "rises": lambda: z > SURE,
            "stays": lambda: abs(z) < NEAR,
            "does not fall": lambda: z > -NEAR,
            "does not rise": lambda: z < NEAR,
        }
        numbers = f"{value:.4g} ± {error:.2g}, floor {floor:.4g} ± {floor_error:.2g}, {z:+.1f} standard errors"
        self.check(f"{of}: {name} {way}", tests[way](), numbers)

    def above(self, of: str, name: str, least: float) -> None:
        """A measurement of a set is above a number, by three standard errors."""
        value, error = self.measured[of][name]
        self.check(f"{of}: {name} is above {least:g}", value - NEAR * error > least, f"{value:.4g} ± {error:.2g}")


UNCHANGED = (
    *("fid", "kid", "precision", "recall", "density", "coverage", "two_sample"),
    *("judge", "modes", "inception_score", "class_shares", "sharpness", "memorisation"),
)
EXPECTED = {
    "held-out": dict.fromkeys(UNCHANGED, "stays"),
    "ones and sevens": {
        "recall": "falls",
        "coverage": "falls",
        "precision": "does not fall",
        "fid": "rises",
        "kid": "rises",
        "two_sample": "rises",
        "class_shares": "rises",
        "inception_score": "falls",
    },
    "blurred": {
        "sharpness": "falls",
        "density": "falls",
        "coverage": "falls",
        "fid": "rises",
        "two_sample": "rises",
        "memorisation": "does not rise",
    },
    "copy of training data": {"memorisation": "rises", "fid": "stays", "kid": "stays", "two_sample": "stays"},
    "a tenth is noise": {
        "density": "falls",
        "precision": "falls",
        "fid": "rises",
        "kid": "rises",
        "sharpness": "rises",
    },
    "one picture a class": {
        "fid": "rises",
        "kid": "rises",
        "recall": "falls",
        "coverage": "falls",
        "inception_score": "rises",
        "two_sample": "rises",
    },
}
"""By set and measurement: where it must go from the floor."""


def claims_of(measured: dict[str, Values], sizes: dict[int, Values], precisions: Precisions) -> list[Claim]:
    """All claims, printed as they are found."""
    claims = Claims(measured)
    for of, expected in EXPECTED.items():
        for name, way in expected.items():
            claims.moves(of, name, way)
    claims.above("copy of training data", "memorisation", 0.99)
    claims.above("one picture a class", "inception_score", 9.5)
    for few, many in pairwise(SIZES):
        (a, a_error), (b, b_error) = sizes[few]["fid"], sizes[many]["fid"]
        numbers = f"{a:.4g} ± {a_error:.2g} to {b:.4g} ± {b_error:.2g}"
        claims.check(f"FID falls from {few} to {many} real data", a - b > NEAR * math.hypot(a_error, b_error), numbers)
    for n in SIZES:
        value, error = sizes[n]["kid"]
        claims.check(f"mean KID of {n} real data is 0", abs(value) < NEAR * error, f"{value:.2g} ± {error:.2g}")
    (floor, floor_error, *_), (value, error, least, most) = precisions["floor"], precisions["blurred"]
    numbers = f"{value:.4g} ± {error:.2g}, from {least:.2g} to {most:.2g}; floor {floor:.4g} ± {floor_error:.2g}"
    claims.check("blurred: mean precision falls", floor - value > SURE * math.hypot(error, floor_error), numbers)
    worst = measured["one picture a class"]["kid"][0]
    claims.check(
        "errors of mean KID are small enough to see a fault",
        all(NEAR * sizes[n]["kid"][1] < worst / 20 for n in SIZES),
        f"{max(sizes[n]['kid'][1] for n in SIZES):.2g} against {worst:.2g} of one picture a class",
    )
    return claims.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULT)
    out: Path = parser.parse_args().out
    began = time.perf_counter()
    bench = Bench(load_data("mnist"), N)
    measured, seconds = {}, {}
    pictures = sets(bench)
    for name, x in pictures.items():
        start = time.perf_counter()
        measured[name] = bench.measure(x)
        seconds[name] = round(time.perf_counter() - start, 1)
    sizes = bench.sizes()
    precisions = bench.precisions({name: pictures[name] for name in ("floor", "blurred")})
    claims = claims_of(measured, sizes, precisions)
    failed = [claim.text for claim in claims if not claim.holds]
    result = {
        "claims": [claim.__dict__ for claim in claims],
        "failed": failed,
        "measured": measured,
        "by_number_of_real_data": sizes,
        "precision_by_reference": precisions,
        "judge": bench.judge.name,
        "seconds": {**seconds, "all": round(time.perf_counter() - began, 1)},
        "protocol": f"sets of {N}; {len(bench.rest)} test pictures as reference, {N} of them for neighbourhoods; "
        f"falls or rises: {SURE:g} standard errors of the difference; stays: {NEAR:g}; "
        f"by number: means over {REPEATS} random sets; precision by reference: {REFERENCES} of them",
        "machine": machine(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(claims) - len(failed)} of {len(claims)} claims hold; {result['seconds']['all']} seconds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
