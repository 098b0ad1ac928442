"""An autoencoder against a variational one: what becomes of codes that are made up.

    PMODEL_DATA=... python examples/autoencoders.py --out autoencoders.png
    python examples/autoencoders.py --data digits --out digits.png

Both have the same networks and the same code of 16 numbers, and learn from the same data for as many steps; only the loss
differs. The autoencoder minimises -log p(x | z) with z a function of x. The variational one adds noise to z and pays
KL(q(z | x) ‖ N(0, I)), and so its codes fill the standard normal, and next to each lie others that mean nearly the same.

- *Codes.* The autoencoder's is a point: encoding twice gives the same. The variational one's is a distribution, and draws
  differ.
- *Made-up codes.* The decoder of the autoencoder never learned what a draw from N(0, I) means, nor one from a normal with the
  codes' own means and scales.
- *The cure* (Ghosh et al. 2020): learn a density of the codes afterwards, and draw from that: `WithPrior`, `--set prior=…`.

The figure is the Fréchet distance of the judge's features between pictures and training data (FID): smaller is better, and test
data show what is possible. Pictures are draws from p(x | z), whatever z is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

import pmodel
from pmodel.data import Dataset, Split
from pmodel.evaluation.bench import judges_folder
from pmodel.metrics.fid import Moments, fid_of
from pmodel.metrics.judge import judge_for
from pmodel.model import Model
from pmodel.pictures import grid
from pmodel.randomness import generator, some
from pmodel.tasks import encoded
from pmodel.wrappers import WithPrior

LATENT = 16
NETWORKS: dict[str, Any] = {"latent": LATENT, "architecture": "dense", "width": 256}
MODELS = {"autoencoder": "autoencoder", "variational": "vae"}
PRIORS: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian", {}),
    "mixture": ("mixture", {"components": 50}),
    "maf": ("maf", {"layers": 3, "width": 64, "steps": 1000}),
}
SHOWN = 12
"""Pictures in a row of the sheet."""
MOST = 10_000
"""Training pictures that the distance is taken to, at most."""
INK, PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """Pictures of one origin.

    Args:
        name: Where they come from.
        x: The pictures, ``(N, *shape)``.
        fid: Their distance from training data, with its standard error, or None where it is not asked for.
    """

    name: str
    x: Tensor
    fid: tuple[float, float | None] | None = None

    def __str__(self) -> str:
        if self.fid is None:
            return self.name
        value, stderr = self.fid
        return f"{self.name:<44} FID {value:8.1f}" + ("" if stderr is None else f" ± {stderr:.1f}")


@dataclass(frozen=True)
class Played:
    """What came of it.

    Args:
        rows: Pictures by their origin.
        spread: Of each model, the standard deviation of two draws of one datum's code, over that of codes of different data.
        data: The data set.
    """

    rows: tuple[Row, ...]
    spread: dict[str, float]
    data: Dataset

    def __getitem__(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


def play(data: Dataset, steps: int = 1500, n: int = 2000) -> Played:
    """Fit both models and the densities of their codes, draw, and measure."""
    measure = distance(data)
    real = data.test.x[some(len(data.test), n, generator(0, "test data"))]
    rows = [Row("test data", real, measure(real))]
    spread = {}
    for title, name in MODELS.items():
        model: Any = pmodel.fit(name, data, steps=steps, **NETWORKS)
        spread[title] = wandering(model, data)
        rows.append(Row(f"{title}: the same, restored", shown(model, encoded(model, real[:SHOWN]))))
        for origin, z in made_up(model, data, n):
            pictures = shown(model, z)
            rows.append(Row(f"{title}: {origin}", pictures, measure(pictures)))
    return Played(tuple(rows), spread, data)


def made_up(model: Any, data: Dataset, n: int) -> list[tuple[str, Tensor]]:
    """Codes that belong to no datum, by where they come from."""
    codes = coded(model, data)
    noise = torch.randn(n, LATENT, generator=Generator().manual_seed(0))
    train = codes.train.x[:]
    found = [("z from N(0, I)", noise), ("z from N(mean, std) of its codes", train.mean(0) + train.std(0) * noise)]
    for title, (name, options) in PRIORS.items():
        whole = WithPrior(model, pmodel.fit(name, codes, **options))
        z: Any = whole.prior.sample(n, generator=0)
        found.append((f"z from a {title} of its codes", z))
    return found


def coded(model: Model, data: Dataset) -> Dataset:
    """The data set of the codes."""
    splits = {name: Split(encoded(model, split.x[:]).float()) for name, split in data.splits.items()}
    return replace(
        data,
        name=f"codes of {data.name}",
        domain=model.codes,
        given=None,
        label_names=(),
        **splits,  # type: ignore[attr-defined]
    )


def shown(model: Any, z: Tensor) -> Tensor:
    """A picture for each code."""
    noise = Generator().manual_seed(0)
    return torch.cat([model.decode(part.float()).sample(noise) for part in torch.split(z, 500)])


def wandering(model: Any, data: Dataset) -> float:
    """How far apart two draws of the code of one datum are, beside codes of two data: root mean squares."""
    q = model.encode(data.test.x[:500])
    one, other = (q.sample(Generator().manual_seed(seed)) for seed in (0, 1))
    between = q.mean - q.mean.roll(1, 0)
    return float((one - other).square().mean().sqrt() / between.square().mean().sqrt())


def distance(data: Dataset) -> Callable[[Tensor], tuple[float, float | None]]:
    """From pictures to their FID and its standard error."""
    judge = judge_for(data, judges_folder())
    reference = Moments.of(judge(data.train.x[:MOST]))

    def measure(x: Tensor) -> tuple[float, float | None]:
        found = fid_of(reference, judge(x), Generator().manual_seed(0))
        return found.value, found.stderr

    return measure


def drawn(played: Played) -> Image.Image:
    """A row of pictures for each origin."""
    strips = [grid(row.x[:SHOWN], played.data.domain, columns=SHOWN) for row in played.rows]
    scale = max(1, round(56 / played.data.domain.shape[1]))
    strips = [strip.resize((strip.width * scale, strip.height * scale), Image.Resampling.NEAREST) for strip in strips]
    height = strips[0].height + 24
    sheet = Image.new("RGB", (strips[0].width + 16, height * len(strips) + 8), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (strip, row) in enumerate(zip(strips, played.rows, strict=True)):
        caption = row.name if row.fid is None else f"{row.name}: FID {row.fid[0]:.0f}"
        draw.text((8, number * height + 4), caption, fill=INK, font=ImageFont.load_default(13))
        sheet.paste(strip, (8, number * height + 22))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="mnist-binary", help="mnist-binary, mnist, digits")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("autoencoders.png"))
    asked = parser.parse_args()
    played = play(pmodel.load_data(asked.data), asked.steps)
    for row in played.rows:
        print(row)
    for title, spread in played.spread.items():
        print(f"{title}: two draws of one code are {spread:.3f} times as far apart as codes of two data")
    drawn(played).save(asked.out)
    print(f"the pictures: {asked.out}")


if __name__ == "__main__":
    main()
