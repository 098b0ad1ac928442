"""The game of points: what a model makes up, and what it leaves out, on a map where the truth is known.

    python examples/point_game.py --out point_game.png

Points fall on the land of a world map, everywhere alike: the mask of the land is p_data. A player sees some of them and says
where others may fall; that is p_model. The simplest answer is a box around the points that were seen. Three kinds of points
tell how good an answer is:

=====  =========================================  ==================================================================
point  p_model > 0, p_data = 0                    **A**, a precision error: the model puts it into the sea
point  p_model = 0, p_data > 0                    **B**, a recall error: land on which the model puts nothing
point  p_model > 0, p_data > 0                    **C**, right: a new point that the data might have had
=====  =========================================  ==================================================================

The *precision error* is the share of the model's mass in the sea, the *recall error* the share of the land that the model rules
out. Both are sums over the grid of the map, and so without sampling error; 1 000 new points of the model show the first by
eye. A model that rules nothing out has no recall error by this count; what it lacks shows in KL(data‖model), and what it
makes up in the precision error.
"""

from __future__ import annotations

import argparse
import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import pmodel
from pmodel.data.density import Cells
from pmodel.explicit.tractable.uniform import Uniform
from pmodel.metrics.truth import Divergence, kl_by_quadrature
from pmodel.model import Model

FEW, NEW = 30, 1000
"""Points that the first box is drawn around, and new points of every model."""
GRID = 0.25
"""Degrees between the points that the errors are summed over."""
SCALE, FINE = 2, 2
"""Pixels a degree of a panel, and how many times finer it is drawn before it is averaged."""
LAND, SEA, PAPER = (226, 226, 220), (255, 255, 255), (255, 255, 255)
RIGHT, WRONG, LACKING, BOX = (32, 110, 180), (214, 90, 30), (90, 60, 150), (240, 150, 30)
"""Colours of points C, A and B, and of the box: told apart by the colour-blind too."""


@dataclass(frozen=True)
class Answer:
    """What a player answered, and how it compares with the truth.

    Args:
        title: The model in words.
        model: The model.
        seen: The points that it learned from, ``(n, 2)``.
        samples: New points of it, ``(NEW, 2)``.
        on_land: Which of these are on land.
        missed: New points of the data that the model rules out, ``(m, 2)``.
        kl: KL(data‖model) and KL(model‖data); their shares outside are the recall and the precision error.
    """

    title: str
    model: Model
    seen: Tensor
    samples: Tensor
    on_land: Tensor
    missed: Tensor
    kl: tuple[Divergence, Divergence]

    @property
    def precision_error(self) -> float:
        """The share of the model's mass in the sea."""
        return self.kl[1].outside_share

    @property
    def recall_error(self) -> float:
        """The share of the land that the model rules out."""
        return self.kl[0].outside_share

    @property
    def marked(self) -> dict[str, Tensor]:
        """The first point of each kind: A, B and C, where there is one."""
        kinds = {"A": self.samples[~self.on_land], "B": self.missed, "C": self.samples[self.on_land]}
        return {name: points[0] for name, points in kinds.items() if len(points)}


def answered(title: str, name: str, data: pmodel.Dataset, **options: object) -> Answer:
    """Fit a model of the catalogue, draw new points, and hold it against the truth."""
    truth = data.truth
    assert isinstance(truth, Cells)
    model = pmodel.fit(name, data, **options)
    samples = model.sample(NEW, generator=0)
    new = data.test.x[:]
    return Answer(
        title,
        model,
        data.train.x[:],
        samples,
        truth.log_prob(samples.double()) > -math.inf,
        new[model.log_prob(new) == -math.inf],
        kl_by_quadrature(finer(truth), model.log_prob),
    )


def finer(truth: Cells) -> Cells:
    """The same density on a grid of a quarter of a degree: edges of boxes and bins cut across the squares of the mask."""
    fine = copy.copy(truth)
    fine.spacing = GRID
    return fine


def play() -> list[Answer]:
    """The box around a few points, the box around all, a histogram, and a mixture of Gaussians."""
    data = pmodel.load_data("worldmap")
    few = replace(data, train=data.train.take(torch.arange(FEW)))
    return [
        answered(f"box around {FEW} points (black)", "uniform", few, margin=0.0),
        answered("box around 10 000 points", "uniform", data, margin=0.0),
        answered("histogram of 40 by 40 bins", "histogram", data, bins=40, margin=0.0),
        answered("mixture of 60 Gaussians", "mixture", data, components=60, steps=40),
    ]


def told(answer: Answer) -> str:
    """The errors in numbers, and the points A, B and C by their place."""
    lines = [
        f"{answer.title}:",
        f"  precision error {answer.precision_error:7.3%} of the model's mass lies in the sea "
        f"({int((~answer.on_land).sum())} of {NEW} new points)",
        f"  recall error    {answer.recall_error:7.3%} of the land is impossible under the model",
        f"  KL(data‖model)  {_nats(answer.kl[0])}   KL(model‖data) {_nats(answer.kl[1])}",
    ]
    for name, what in (("A", "made up: in the sea"), ("B", "left out: land"), ("C", "right: land")):
        point = answer.marked.get(name)
        lines.append(f"  {name}  " + ("none" if point is None else f"{_place(point)}, {what}"))
    return "\n".join(lines)


def _place(point: Tensor) -> str:
    east, north = (float(value) for value in point)
    return f"{abs(north):.0f}° {'north' if north >= 0 else 'south'}, {abs(east):.0f}° {'east' if east >= 0 else 'west'}"


def _nats(kl: Divergence) -> str:
    return f"{kl.value:.3f} nats" if kl.value is not None else "infinite"


def drawn(answers: list[Answer]) -> Image.Image:
    """A map for each answer, two in a row."""
    panels = [_panel(answer) for answer in answers]
    width, height = panels[0].size
    sheet = Image.new("RGB", (2 * width + 36, (len(panels) + 1) // 2 * (height + 12) + 12), PAPER)
    for number, panel in enumerate(panels):
        sheet.paste(panel, (12 + number % 2 * (width + 12), 12 + number // 2 * (height + 12)))
    return sheet


def _panel(answer: Answer) -> Image.Image:
    """The land, the model's new points on and off it, the land it leaves out, and A, B and C."""
    land = _land(SCALE * FINE)
    draw = ImageDraw.Draw(land)
    for points, colour in (
        (answer.seen if len(answer.seen) == FEW else answer.seen[:0], (0, 0, 0)),
        (answer.missed[:NEW], LACKING),
        (answer.samples[answer.on_land], RIGHT),
        (answer.samples[~answer.on_land], WRONG),
    ):
        _dots(draw, points, 1.7 * FINE, colour)
    if answer.title.startswith("box"):
        low, high = _corners(answer.model)
        draw.rectangle((*_pixel(low[0], high[1]), *_pixel(high[0], low[1])), outline=BOX, width=3 * FINE)
    for name, colour in (("B", LACKING), ("A", WRONG), ("C", RIGHT)):
        if name in answer.marked:
            _letter(draw, answer.marked[name], name, colour)
    small = land.resize((land.width // FINE, land.height // FINE), Image.Resampling.BOX)
    return _captioned(small, answer)


def _land(scale: int) -> Image.Image:
    """The mask, north above."""
    truth = pmodel.load_data("worldmap").truth
    assert isinstance(truth, Cells)
    inside = truth.inside.T.flip(0).numpy()
    mask = Image.fromarray(inside.astype("uint8") * 255).resize(
        (inside.shape[1] * scale, inside.shape[0] * scale), Image.Resampling.NEAREST
    )
    return Image.composite(Image.new("RGB", mask.size, LAND), Image.new("RGB", mask.size, SEA), mask)


def _pixel(east: float, north: float) -> tuple[float, float]:
    """Where a place is on the fine panel."""
    return (float(east) + 180) * SCALE * FINE, (90 - float(north)) * SCALE * FINE


def _dots(draw: ImageDraw.ImageDraw, points: Tensor, radius: float, colour: tuple[int, int, int]) -> None:
    for east, north in points.tolist():
        x, y = _pixel(east, north)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _letter(draw: ImageDraw.ImageDraw, point: Tensor, name: str, colour: tuple[int, int, int]) -> None:
    """A named point: a disc with its letter."""
    radius = 11 * FINE
    x, y = _pixel(float(point[0]), float(point[1]))
    x, y = (
        min(max(at, radius), side * SCALE * FINE - radius) for at, side in ((x, 360), (y, 180))
    )  # whole in the panel
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=PAPER, width=2 * FINE)
    draw.text((x, y), name, fill=PAPER, font=ImageFont.load_default(15 * FINE), anchor="mm")


def _corners(model: Model) -> tuple[Tensor, Tensor]:
    """South-west and north-east of a box."""
    assert isinstance(model, Uniform)
    return model.low, model.high


def _captioned(panel: Image.Image, answer: Answer) -> Image.Image:
    sheet = Image.new("RGB", (panel.width, panel.height + 46), PAPER)
    sheet.paste(panel, (0, 46))
    draw = ImageDraw.Draw(sheet)
    draw.text((2, 0), answer.title, fill=(20, 20, 20), font=ImageFont.load_default(18))
    errors = (
        f"A in the sea: {answer.precision_error:.1%} of the model    B left out: {answer.recall_error:.1%} of the land"
    )
    draw.text((2, 24), errors, fill=(70, 70, 70), font=ImageFont.load_default(15))
    draw.rectangle((0, 46, panel.width - 1, sheet.height - 1), outline=(200, 200, 200))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("point_game.png"))
    out = parser.parse_args().out
    answers = play()
    for answer in answers:
        print(told(answer))
    drawn(answers).save(out)
    print(f"the maps: {out}")


if __name__ == "__main__":
    main()
