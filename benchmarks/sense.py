"""Do the measurements say what they are meant to say? Sets of MNIST pictures with known faults, and claims that can fail.

    PMODEL_DATA=... python benchmarks/sense.py [--out FILE]

Every set has 2000 pictures and is measured against 6000 test pictures with the shipped judge's features, as ``evaluate`` does.
2000 other test pictures are the *floor*: what a perfect model would get. A measurement *falls* or *rises* where it does so by
more than four standard errors of the difference, and *stays* where it is within three. Exits with 1 if a claim fails.

Neighbours are looked for among the *directions* of features, as ``evaluate`` does. Their lengths tell how sure the judge is,
and unclear pictures have short ones: among features as they are, blurred pictures gather near the middle, in the large
neighbourhoods of the few unclear real ones, and precision rises. What noise does to density is of the size of density's own
error, which comes from the draw of the real data; so it is the mean over several draws of what the same pictures lose by it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import torch
from machine import machine
from torch import Tensor
from torch.nn import functional as F

from pmodel.data import Dataset, load_data
from pmodel.evaluation import judges_folder
from pmodel.metrics.fid import Moments, frechet_distance
from pmodel.metrics.judge import judge_for
from pmodel.metrics.kid import kid_of
from pmodel.metrics.neighbours import Neighbourhoods, overlaps_of
from pmodel.metrics.panel import Panel, Seen
from pmodel.randomness import generator

N, SURE, NEAR = 2000, 4.0, 3.0
DRAWS = 8
SIZES, REPEATS = (100, 200, 500, 1000, 2000), 12
RESULT = Path(__file__).parent / "results" / "sense.json"

Values = dict[str, tuple[float, float]]
"""By measurement: the value and its standard error."""


class Bench:
    """The real side: a reference, and pictures that no set is measured against."""

    def __init__(self, data: Dataset, n: int) -> None:
        self.data, self.n = data, n
        self.judge = judge_for(data, judges_folder())
        order = torch.randperm(len(data.test), generator=generator(0, "sense", "test"))
        self.floor, self.held, self.rest = data.test.x[order].split([n, n, len(order) - 2 * n])
        reference = Seen.by(self.judge, self.rest)
        train, held = data.train.x, self.rest
        self.panel = Panel(self.judge, reference, near=n, train=train, held=held, labelled=True, seed=0)

    def measure(self, x: Tensor) -> Values:
        """Everything that ``evaluate`` measures of samples."""
        found = self.panel(Seen.by(self.judge, x))
        return {name: (one["value"], one["stderr"] or 0.0) for name, one in found.items()}

    def losses(self, change: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """By how much a change of pictures lowers their density: mean over draws of reference and pictures, and its error."""
        order = torch.randperm(len(self.data.train), generator=generator(0, "sense", "draws"))
        found = []
        for rows in order[: 2 * DRAWS * self.n].split(2 * self.n):
            real, x = self.data.train.x[rows].split(self.n)
            sides = [
                Neighbourhoods(F.normalize(self.judge(one)), generator(0, "sense")) for one in (real, x, change(x))
            ]
            before, after = (overlaps_of(sides[0], side).density.value for side in sides[1:])
            found.append(before - after)
        return mean(found), stdev(found) / DRAWS**0.5

    def sizes(self) -> dict[int, dict[str, tuple[float, float]]]:
        """FID and KID of real data by their number: means over random sets, with the error of the mean."""
        pool = torch.cat([self.floor, self.held, self.data.valid.x])
        features, found = self.judge(pool), {}
        moments, kernels = self.panel.moments, self.panel.kernels
        for n in SIZES:
            rows = [torch.randperm(len(pool), generator=generator(k, "sense", n))[:n] for k in range(REPEATS)]
            values = torch.tensor(
                [[frechet_distance(moments, Moments.of(features[r])), kid_of(kernels, features[r]).value] for r in rows]
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
    *("judge", "inception_score", "class_shares", "sharpness", "memorisation"),
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
        "precision": "falls",
        "sharpness": "falls",
        "density": "falls",
        "coverage": "falls",
        "fid": "rises",
        "two_sample": "rises",
        "memorisation": "does not rise",
    },
    "copy of training data": {"memorisation": "rises", "fid": "stays", "kid": "stays", "two_sample": "stays"},
    "a tenth is noise": {
        "precision": "falls",
        "fid": "rises",
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


def claims_of(measured: dict[str, Values], sizes: dict[int, Values], lost: tuple[float, float]) -> list[Claim]:
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
    numbers = f"by {lost[0]:.4g} ± {lost[1]:.2g}, the mean over {DRAWS} draws"
    claims.check("a tenth is noise: density falls", lost[0] > SURE * lost[1], numbers)
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
    for name, x in sets(bench).items():
        start = time.perf_counter()
        measured[name] = bench.measure(x)
        seconds[name] = round(time.perf_counter() - start, 1)
    sizes, lost = bench.sizes(), bench.losses(with_noise)
    claims = claims_of(measured, sizes, lost)
    failed = [claim.text for claim in claims if not claim.holds]
    result = {
        "claims": [claim.__dict__ for claim in claims],
        "failed": failed,
        "measured": measured,
        "by_number_of_real_data": sizes,
        "density_lost_by_noise": lost,
        "judge": bench.judge.name,
        "seconds": {**seconds, "all": round(time.perf_counter() - began, 1)},
        "protocol": f"sets of {N}; {len(bench.rest)} test pictures as reference, {N} of them for neighbourhoods; "
        f"falls or rises: {SURE:g} standard errors of the difference; stays: {NEAR:g}; "
        f"by number: means over {REPEATS} random sets",
        "machine": machine(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(claims) - len(failed)} of {len(claims)} claims hold; {result['seconds']['all']} seconds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
