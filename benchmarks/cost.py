"""What an iteration of expectation maximisation costs, against the number of data, of components and of entries.

    python benchmarks/cost.py

One full pass (E-step, sums, M-step) of a mixture with full covariances, in *processor* seconds on one thread, so that other
work on the machine does not count; the least of five. The mathematics says: proportional to n; and, where the matrix products
with the D (D + 3) / 2 + 1 monomials take the time, to K and to D². (The monomials themselves cost D² whatever K is, which shows
where K is small; Cholesky factors cost K D³ / 3, whatever n is.) The slopes of the last halves of the curves, in logarithms,
stand above them; the dashed lines have those of the mathematics, which are approached from below, because products of small
matrices are less efficient and the rest of a pass weighs more. The plot is docs/mixture-cost.png; --draw only draws it again.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from PIL import Image, ImageDraw, ImageFont

from pmodel.domain import Real
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Batch

ROOT = Path(__file__).resolve().parents[1]
RESULT, PLOT = ROOT / "benchmarks" / "results" / "cost.json", ROOT / "docs" / "mixture-cost.png"
BASES = {"n": {"K": 8, "D": 16}, "K": {"n": 20_000, "D": 16}, "D": {"n": 10_000, "K": 128}}
AXES = {
    "n": [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000],
    "K": [4, 8, 16, 32, 64, 128, 256, 512],
    "D": [8, 16, 24, 32, 48, 64],
}
EXPECTED = {"n": 1.0, "K": 1.0, "D": 2.0}
WORDS = {"n": "data n", "K": "components K", "D": "entries D"}
ROUNDS = 5
WIDTH, HEIGHT, FINE = 400, 330, 2
LEFT, TOP, RIGHT, BOTTOM = 62, 34, 14, 46
INK, GREY, LINE = (58, 110, 165), (120, 120, 120), (222, 222, 222)


def seconds(n: int, K: int, D: int) -> float:
    """Processor seconds of a pass."""
    g = np.random.default_rng(0)
    x = torch.from_numpy(g.normal(size=(n, D)) + 3 * g.normal(size=(K, D))[g.integers(K, size=n)])
    model = Mixture(Real((D,)), components=K, covariance="full", shrinkage=1.0, restarts=1)
    model.initialise(Batch(x[:2000]), torch.Generator().manual_seed(0))
    times = []
    with torch.no_grad():
        for _ in range(ROUNDS):
            began = time.process_time()
            model.maximise(model.statistics(Batch(x), torch.Generator()))
            times.append(time.process_time() - began)
    return min(times)


def slope(values: list[int], times: list[float]) -> float:
    """Of the last half of a curve, by least squares in logarithms."""
    half = len(values) // 2
    return float(np.polyfit(np.log(values[half:]), np.log(times[half:]), 1)[0])


def drawn(result: dict[str, Any]) -> Image.Image:
    """A panel for each axis, both axes logarithmic."""
    sheet = Image.new("RGB", (len(AXES) * WIDTH * FINE, HEIGHT * FINE), (255, 255, 255))
    low = min(min(row["seconds"]) for row in result["axes"].values())
    high = max(max(row["seconds"]) for row in result["axes"].values())
    span = (math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for number, (name, row) in enumerate(result["axes"].items()):
        _panel(ImageDraw.Draw(sheet), number * WIDTH, name, row, span)
    return sheet.resize((len(AXES) * WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _panel(draw: ImageDraw.ImageDraw, left: int, name: str, row: dict[str, Any], span: tuple[int, int]) -> None:
    first, last = math.log10(row["values"][0]), math.log10(row["values"][-1])

    def at(value: float, spent: float) -> tuple[float, float]:
        right = (math.log10(value) - first) / (last - first)
        up = (math.log10(spent) - span[0]) / (span[1] - span[0])
        x = left + LEFT + right * (WIDTH - LEFT - RIGHT)
        return x * FINE, (HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)) * FINE

    values, times = row["values"], row["seconds"]
    for power in range(span[0], span[1] + 1):
        start, end = at(values[0], 10.0**power), at(values[-1], 10.0**power)
        draw.line((*start, *end), fill=LINE, width=FINE)
        draw.text((start[0] - 6 * FINE, start[1]), f"{10.0**power:g} s", fill=GREY, font=_font(12), anchor="rm")
    for value in values:
        x, y = at(value, 10.0 ** span[0])
        text = f"{value // 1000}k" if value >= 1000 else str(value)
        draw.text((x, y + 6 * FINE), text, fill=GREY, font=_font(12), anchor="mt")
    ends = [times[-1] * (value / values[-1]) ** EXPECTED[name] for value in values]
    for one, two in zip(range(len(values) - 1), range(1, len(values)), strict=True):
        draw.line((*at(values[one], times[one]), *at(values[two], times[two])), fill=INK, width=2 * FINE)
        if ends[one] >= 10.0 ** span[0]:
            _dashed(draw, at(values[one], ends[one]), at(values[two], ends[two]))
    for value, spent in zip(values, times, strict=True):
        x, y = at(value, spent)
        draw.ellipse((x - 3 * FINE, y - 3 * FINE, x + 3 * FINE, y + 3 * FINE), fill=INK)
    middle = (left + LEFT + (WIDTH - LEFT - RIGHT) / 2) * FINE
    title = f"slope {row['slope']:.2f}, at most {EXPECTED[name]:g}"
    draw.text((middle, 8 * FINE), title, fill=(30, 30, 30), font=_font(14), anchor="mt")
    fixed = ", ".join(f"{key} = {value:,}" for key, value in row["at"].items())
    draw.text(
        (middle, (HEIGHT - 8) * FINE), f"{WORDS[name]}   ({fixed})", fill=(30, 30, 30), font=_font(14), anchor="mb"
    )


def _dashed(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
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
    seconds(5_000, 8, 16)  # warm up
    axes = {}
    for name, values in AXES.items():
        times = [seconds(**BASES[name], **{name: value}) for value in values]
        axes[name] = {
            "values": values,
            "seconds": [round(s, 5) for s in times],
            "slope": slope(values, times),
            "at": BASES[name],
        }
        print(name, axes[name], flush=True)
    result = {
        "protocol": f"one pass with full covariances, processor seconds on one thread, least of {ROUNDS}",
        "expected_slopes": EXPECTED,
        "axes": axes,
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    drawn(result).save(PLOT, optimize=True)


if __name__ == "__main__":
    main()
