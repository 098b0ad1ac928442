"""Biscuit tins: two numbers that a network found by itself are height and width, and adding to one of them makes a tin higher.

    python examples/tins.py --out tins.png [--seed 1]

5 000 pictures of tins differ in nothing but height and width. An autoencoder with a code of two numbers learns them without
being told of either. Its codes are then read by a linear map that is fitted to the true factors of training tins:

- R² on test tins says how plainly a code shows each factor.
- The direction of height is that in which the height that is read grows by one pixel and the width by none: one for all tins,
  since the map is linear. A code goes that way, is decoded, and the *drawn* tin is measured with a ruler: pictures are judged,
  not codes.

Nothing in a likelihood says how codes are to be laid out: any smooth and invertible map of them does as well, and codes mostly
come out bent. What lays them out straight is a decoder for which straight is simple. This one (``architecture="broadcast"``)
paints every pixel by the same small perceptron, from the code and the pixel's place. Its units max(0, a·z + b·u + c·v + d) bend
along planes, and so do the pictures of tins: a wall is where 2|u| = width, a plane as long as the width is linear in z.

Noise on the codes (``jitter``) is another force, and pulls elsewhere: it spreads codes so that equal steps change equally many
pixels. One pixel of height changes more of them on a wide tin, so that such a layout cannot be straight in both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import pmodel
from pmodel.data import Dataset, measure_tins
from pmodel.data.drawn import FACTORS
from pmodel.pictures import grid
from pmodel.tasks import encoded

OPTIONS: dict[str, Any] = {"latent": 2, "architecture": "broadcast", "channels": 16}
SETTINGS = {"rate": 8e-3, "batch": 16, "warmup": 0.05, "ema": 0.99}
STEPS, STEP = 2500, 3.0
"""Of training; pixels of an edit."""
NAMES = tuple(FACTORS)
TINS, REACH = 3, 4
"""Tins that are shown, and edits of one pixel each way."""
INK, PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class Reading:
    """An affine map from codes to factors, (height, width) = z W + b.

    Args:
        slope: W, ``(2, 2)``.
        offset: b, ``(2,)``.
    """

    slope: Tensor
    offset: Tensor

    @classmethod
    def fitted(cls, z: Tensor, factors: Tensor) -> Reading:
        """The least squares."""
        solution = torch.linalg.lstsq(torch.cat([z, torch.ones_like(z[:, :1])], 1), factors).solution
        return cls(solution[:2], solution[2])

    def __call__(self, z: Tensor) -> Tensor:
        """Height and width as they are read, ``(N, 2)``."""
        return z @ self.slope + self.offset

    def explained(self, z: Tensor, factors: Tensor) -> Tensor:
        """R² of each factor."""
        left = (self(z) - factors).square().sum(0)
        return 1 - left / (factors - factors.mean(0)).square().sum(0)

    def direction(self, factor: int) -> Tensor:
        """What to add to a code for one pixel more of a factor, ``(2,)``."""
        return torch.linalg.inv(self.slope)[factor]


@dataclass(frozen=True)
class Edit:
    """What becomes of drawn tins when a factor is to grow.

    Args:
        factor: Which.
        change: By how much height and width of the drawn tins change for each pixel that is asked for: means over the tins.
        spread: Standard deviations over the tins.
        n: Tins.
    """

    factor: int
    change: Tensor
    spread: Tensor
    n: int

    def __str__(self) -> str:
        each = [f"{n} {c:+.3f} (± {s:.3f})" for n, c, s in zip(NAMES, self.change, self.spread, strict=True)]
        return f"one pixel of {NAMES[self.factor]}: {', '.join(each)}, of {self.n} drawn tins"


def learned(data: Dataset, seed: int = 0, steps: int = STEPS, **options: Any) -> Any:
    """The autoencoder, which is told of no factor; options of a model stand in for the example's."""
    chosen = OPTIONS | options
    return pmodel.fit("autoencoder", data, seed=seed, steps=steps, precision="float32", settings=SETTINGS, **chosen)


def read(model: Any, data: Dataset) -> Reading:
    """The reading of a model's codes that fits the training tins best."""
    assert data.train.factors is not None
    return Reading.fitted(encoded(model, data.train.x), data.train.factors)


def shown(model: Any, reading: Reading, data: Dataset) -> Tensor:
    """R² of each factor on the test tins."""
    assert data.test.factors is not None
    return reading.explained(encoded(model, data.test.x), data.test.factors)


def edited(model: Any, reading: Reading, z: Tensor, factor: int, pixels: float) -> Tensor:
    """The pictures of codes that went so far in the direction of a factor."""
    found: Tensor = model.decode((z + pixels * reading.direction(factor)).float()).mean
    return found


def judged(model: Any, reading: Reading, data: Dataset, factor: int, step: float = STEP) -> Edit:
    """Edit the test tins of which there could be such a one in the data, and measure what is drawn."""
    factors = data.test.factors
    assert factors is not None
    wanted = factors.clone()
    wanted[:, factor] += step
    low, high = torch.tensor(list(FACTORS.values()), dtype=torch.float64).T
    possible = ((wanted >= low) & (wanted <= high)).all(1) & (wanted[:, 0] >= 0.6 * wanted[:, 1])
    z = encoded(model, data.test.x[possible])
    before, after = (measure_tins(edited(model, reading, z, factor, by)) for by in (0.0, step))
    change = (after - before) / step
    return Edit(factor, change.mean(0), change.std(0), len(z))


def drawn(model: Any, reading: Reading, data: Dataset) -> Image.Image:
    """Some tins, lower and higher and then narrower and wider."""
    assert data.test.factors is not None
    middle = (data.test.factors - torch.tensor([21.0, 16.0])).abs().amax(1).argsort()[: 40 * TINS : 40]
    z, strips = encoded(model, data.test.x[middle]), []
    for factor in range(2):
        steps = [edited(model, reading, z, factor, float(by)) for by in range(-REACH, REACH + 1)]  # (2 REACH + 1, TINS)
        pictures = torch.stack(steps, 1).flatten(0, 1)
        strips.append(grid(pictures.round().long(), data.domain, columns=2 * REACH + 1))
    strips = [strip.resize((2 * strip.width, 2 * strip.height), Image.Resampling.NEAREST) for strip in strips]
    sheet = Image.new("RGB", (strips[0].width + 16, sum(strip.height + 28 for strip in strips) + 8), PAPER)
    draw, top = ImageDraw.Draw(sheet), 4
    for name, strip in zip(NAMES, strips, strict=True):
        draw.text((8, top), f"{name}, from -{REACH} to +{REACH} pixels", fill=INK, font=ImageFont.load_default(15))
        sheet.paste(strip, (8, top + 22))
        top += strip.height + 28
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("tins.png"))
    asked = parser.parse_args()
    data = pmodel.load_data("tins")
    model = learned(data, asked.seed, asked.steps)
    reading = read(model, data)
    shares = zip(NAMES, shown(model, reading, data).tolist(), strict=True)
    print("a linear reading:", ", ".join(f"{name} R² {share:.4f}" for name, share in shares))
    for factor in range(2):
        print(judged(model, reading, data, factor))
    drawn(model, reading, data).save(asked.out)
    print(f"the pictures: {asked.out}")


if __name__ == "__main__":
    main()
