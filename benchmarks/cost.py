"""What an iteration of expectation maximisation costs, of the mixture and of the hidden Markov model.

    python benchmarks/cost.py

One full pass (E-step, sums, M-step) with full covariances, in *processor* seconds on one thread, so that other work on the
machine does not count; the least of five. It is timed against the number of data n, of components K and of entries D; for the
hidden Markov model against the number of sequences, of states and of entries of an element.

The mathematics says of the mixture: proportional to n; and, where the matrix products with the D (D + 3) / 2 + 1 monomials take
the time, to K and to D². (The monomials themselves cost D² whatever K is, which shows where K is small; Cholesky factors cost
K D³ / 3, whatever n is.) The emissions of the hidden Markov model cost the same, K D² an element, and its recursions K²:
together at most K² and at most D².

The slopes of the last halves of the curves, in logarithms, stand above them; the dashed lines have those of the mathematics,
which are approached from below, because products of small matrices are less efficient and the rest of a pass weighs more. The
plot is docs/cost.png; --draw only draws it again.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pmodel.domain import Real, Sequences
from pmodel.explicit.tractable.hmm.hmm import HMM
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Batch

ROOT = Path(__file__).resolve().parents[1]
RESULT, PLOT = ROOT / "benchmarks" / "results" / "cost.json", ROOT / "docs" / "cost.png"
LONGEST = 100
"""Sequences have half as many elements to so many."""
STARTED = 2000
"""Data that a model starts from."""
ROUNDS = 5
WIDTH, HEIGHT, FINE = 400, 330, 2
LEFT, TOP, RIGHT, BOTTOM = 62, 34, 14, 46
INK, GREY, LINE, BLACK = (58, 110, 165), (120, 120, 120), (222, 222, 222), (30, 30, 30)

Point = tuple[float, float]
Place = Callable[[float, float], Point]
"""From a value and its seconds to where they stand in a panel."""


def clusters(g: np.random.Generator, shape: tuple[int, ...], K: int, D: int) -> Tensor:
    """Elements from K clusters, ``(*shape, D)``."""
    return torch.from_numpy(g.normal(size=(*shape, D)) + 3 * g.normal(size=(K, D))[g.integers(K, size=shape)])


def mixture(n: int, K: int, D: int) -> tuple[Mixture, Tensor]:
    """A model and its data."""
    x = clusters(np.random.default_rng(0), (n,), K, D)
    return Mixture(Real((D,)), components=K, covariance="full", shrinkage=1.0, restarts=1), x


def hmm(n: int, K: int, D: int) -> tuple[HMM, Tensor]:
    """The same of sequences."""
    g, domain = np.random.default_rng(0), Sequences(Real((D,)), LONGEST)
    x = clusters(g, (n, LONGEST), K, D)
    lengths = torch.from_numpy(g.integers(LONGEST // 2, LONGEST + 1, size=n))
    return HMM(domain, states=K, covariance="full", shrinkage=1.0), domain.cut(x, lengths)


@dataclass(frozen=True)
class Subject:
    """A model whose cost is measured.

    Args:
        title: What the plot calls it.
        make: From n, K and D to a model and its data.
        words: What n, K and D are.
        expected: The slopes that the mathematics says.
        axes: The values of each of them.
        bases: What the others are meanwhile.
    """

    title: str
    make: Callable[..., tuple[Mixture | HMM, Tensor]]
    words: Mapping[str, str]
    expected: Mapping[str, float]
    axes: Mapping[str, list[int]]
    bases: Mapping[str, Mapping[str, int]]


SUBJECTS = {
    "mixture": Subject(
        "mixture",
        mixture,
        words={"n": "data n", "K": "components K", "D": "entries D"},
        expected={"n": 1.0, "K": 1.0, "D": 2.0},
        axes={
            "n": [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000],
            "K": [4, 8, 16, 32, 64, 128, 256, 512],
            "D": [8, 16, 24, 32, 48, 64],
        },
        bases={"n": {"K": 8, "D": 16}, "K": {"n": 20_000, "D": 16}, "D": {"n": 10_000, "K": 128}},
    ),
    "hmm": Subject(
        "HMM",
        hmm,
        words={"n": "sequences n", "K": "states K", "D": "entries D"},
        expected={"n": 1.0, "K": 2.0, "D": 2.0},
        axes={
            "n": [100, 200, 400, 800, 1600, 3200, 6400],
            "K": [4, 8, 16, 32, 64, 128, 256, 512],
            "D": [4, 8, 16, 24, 32, 48, 64],
        },
        bases={"n": {"K": 16, "D": 8}, "K": {"n": 400, "D": 4}, "D": {"n": 400, "K": 64}},
    ),
}


def seconds(subject: Subject, sizes: Mapping[str, int]) -> float:
    """Processor seconds of a pass."""
    model, x = subject.make(**sizes)
    noise, times = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        model.prepare(x[:STARTED], None, noise)
        model.initialise(Batch(x[:STARTED]), noise)
        for _ in range(ROUNDS):
            began = time.process_time()
            model.maximise(model.statistics(Batch(x), noise))
            times.append(time.process_time() - began)
    return min(times)


def measured(subject: Subject) -> dict[str, Any]:
    """The curves of a model."""
    curves: dict[str, Any] = {}
    for name, values in subject.axes.items():
        base = dict(subject.bases[name])
        times = [seconds(subject, base | {name: value}) for value in values]
        rounded = [round(spent, 5) for spent in times]
        curves[name] = {"values": values, "seconds": rounded, "slope": slope(values, times), "at": base}
        print(subject.title, name, curves[name], flush=True)
    return {"expected_slopes": dict(subject.expected), "axes": curves}


def slope(values: list[int], times: list[float]) -> float:
    """Of the last half of a curve, by least squares in logarithms."""
    half = len(values) // 2
    return float(np.polyfit(np.log(values[half:]), np.log(times[half:]), 1)[0])


def drawn(result: dict[str, Any]) -> Image.Image:
    """A row of panels for each model, a panel for each axis, both axes logarithmic."""
    models = result["models"]
    width, height = WIDTH * max(len(model["axes"]) for model in models.values()), HEIGHT * len(models)
    sheet = Image.new("RGB", (width * FINE, height * FINE), (255, 255, 255))
    for down, (name, model) in enumerate(models.items()):
        times = [spent for curve in model["axes"].values() for spent in curve["seconds"]]
        span = (math.floor(math.log10(min(times))), math.ceil(math.log10(max(times))))
        for across, (axis, curve) in enumerate(model["axes"].items()):
            panel = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), (255, 255, 255))
            _panel(ImageDraw.Draw(panel), SUBJECTS[name], axis, curve, span)
            sheet.paste(panel, (across * WIDTH * FINE, down * HEIGHT * FINE))
    return sheet.resize((width, height), Image.Resampling.LANCZOS)


def _panel(draw: ImageDraw.ImageDraw, subject: Subject, name: str, row: dict[str, Any], span: tuple[int, int]) -> None:
    first, last = math.log10(row["values"][0]), math.log10(row["values"][-1])

    def at(value: float, spent: float) -> Point:
        right = (math.log10(value) - first) / (last - first)
        up = (math.log10(spent) - span[0]) / (span[1] - span[0])
        x = LEFT + right * (WIDTH - LEFT - RIGHT)
        return x * FINE, (HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)) * FINE

    _grid(draw, at, row["values"], span)
    _curve(draw, at, row, subject.expected[name], floor=10.0 ** span[0])
    middle = (LEFT + (WIDTH - LEFT - RIGHT) / 2) * FINE
    title = f"{subject.title}: slope {row['slope']:.2f}, at most {subject.expected[name]:g}"
    draw.text((middle, 8 * FINE), title, fill=BLACK, font=_font(14), anchor="mt")
    fixed = ", ".join(f"{key} = {value:,}" for key, value in row["at"].items())
    below = f"{subject.words[name]}   ({fixed})"
    draw.text((middle, (HEIGHT - 8) * FINE), below, fill=BLACK, font=_font(14), anchor="mb")


def _grid(draw: ImageDraw.ImageDraw, at: Place, values: list[int], span: tuple[int, int]) -> None:
    """A line for each power of ten, and the values measured."""
    for power in range(span[0], span[1] + 1):
        start, end = at(values[0], 10.0**power), at(values[-1], 10.0**power)
        draw.line((*start, *end), fill=LINE, width=FINE)
        draw.text((start[0] - 6 * FINE, start[1]), f"{10.0**power:g} s", fill=GREY, font=_font(12), anchor="rm")
    for value in values:
        x, y = at(value, 10.0 ** span[0])
        text = f"{value / 1000:g}k" if value >= 1000 else str(value)
        draw.text((x, y + 6 * FINE), text, fill=GREY, font=_font(12), anchor="mt")


def _curve(draw: ImageDraw.ImageDraw, at: Place, row: dict[str, Any], expected: float, floor: float) -> None:
    """What was measured, and the expected slope through its end."""
    values, times = row["values"], row["seconds"]
    ends = [times[-1] * (value / values[-1]) ** expected for value in values]
    for one, two in itertools.pairwise(range(len(values))):
        draw.line((*at(values[one], times[one]), *at(values[two], times[two])), fill=INK, width=2 * FINE)
        if ends[one] >= floor:
            _dashed(draw, at(values[one], ends[one]), at(values[two], ends[two]))
    for value, spent in zip(values, times, strict=True):
        x, y = at(value, spent)
        draw.ellipse((x - 3 * FINE, y - 3 * FINE, x + 3 * FINE, y + 3 * FINE), fill=INK)


def _dashed(draw: ImageDraw.ImageDraw, start: Point, end: Point) -> None:
    pieces = max(1, int(math.dist(start, end) / (5 * FINE)))
    for piece in range(0, pieces, 2):
        one, two = ([a + (b - a) * k / pieces for a, b in zip(start, end, strict=True)] for k in (piece, piece + 1))
        draw.line((*one, *two), fill=GREY, width=FINE)


def _font(size: int) -> Any:
    return ImageFont.load_default(size * FINE)


def main() -> None:
    if "--draw" in sys.argv:
        drawn(json.loads(RESULT.read_text())).save(PLOT, optimize=True)
        return
    torch.set_num_threads(1)
    for subject in SUBJECTS.values():
        seconds(subject, {"n": 1000, "K": 8, "D": 16})  # warm up
    result = {
        "protocol": f"one pass with full covariances, processor seconds on one thread, least of {ROUNDS}; "
        f"sequences of {LONGEST // 2} to {LONGEST} elements",
        "models": {name: measured(subject) for name, subject in SUBJECTS.items()},
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    drawn(result).save(PLOT, optimize=True)


if __name__ == "__main__":
    main()
