"""Pictures of data for the page: grids of images, points of the plane, bars of frequencies, rows of a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import final

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..domain import Discrete, Domain, Real, Sequences, Table
from ..pictures import grid, png
from .markup import Markup, element, image_uri, joined
from .numbers import number
from .sequences import of_sequences

__all__ = ["Gallery"]

COLUMNS, ROWS_OF_IMAGES = 6, 5
"""Images in a row of a grid, at most, and rows of it, or as many as columns."""
FILLED = 0.85
"""A grid fills so much of a figure's width, where that can be."""
WIDTH = 350
"""CSS pixels of a figure; image grids are magnified by whole numbers up to it."""
LEGIBLE = 44
"""CSS pixels of an image's side that make it more than a postage stamp."""
PAIR = 64
"""CSS pixels of an image in a pair, at most where it is not larger itself: five pairs stand in a row."""
PAIRS = 10
"""Samples that are shown beside their nearest training data."""
STATES = 64
"""Discrete data of at most so many states are shown as frequencies."""
NAMED = 16
"""States that have their names under their bars, at most."""
BINS = 32
ROWS, FIELDS = 8, 8
"""Of a table."""
POINTS = 2000
FINE = 4
"""Points are drawn so many times finer than the picture, then averaged."""
INK = (58, 110, 165)
"""Of points: readable on white and on black."""


@final
class Gallery:
    """Figures of one kind for real data and for every model, on the same scale.

    Args:
        domain: What one datum is.
        real: Real data, ``(N, *shape)``.
    """

    def __init__(self, domain: Domain, real: Tensor) -> None:
        self.domain, self.real = domain, real
        self.plane = isinstance(domain, Real) and domain.shape == (2,)
        if self.plane:
            low, high = real.double().amin(0), real.double().amax(0)
            middle, half = (low + high) / 2, float((high - low).amax()) * 0.56 or 1.0
            self.box = (float(middle[0]) - half, float(middle[1]) - half, 2 * half)

    @property
    def wide(self) -> bool:
        """Whether a figure takes the whole width: rows of a table do."""
        small = self.plane or self._states or self.domain.entries == 1
        return not (self.domain.image or small or isinstance(self.domain, Sequences))

    @property
    def _states(self) -> int:
        """The number of states of small discrete data; 0 for others."""
        if not isinstance(self.domain, Discrete) or self.domain.image:
            return 0
        states = self.domain.levels ** min(self.domain.entries, 7)
        return states if states <= STATES else 0

    def figure(self, x: Tensor, description: str) -> Markup:
        """The picture of some data.

        Args:
            x: Data, ``(n, *shape)``.
            description: For those who cannot see it.
        """
        if self.domain.image:
            return _images(x, self.domain, description)
        if isinstance(self.domain, Sequences):
            return of_sequences(x, self.real, self.domain, description)
        if self.plane:
            return self._points(x[:POINTS], description)
        if self._states:
            return self._frequencies(x, description)
        if self.domain.entries == 1 and not isinstance(self.domain, Table):
            return self._histogram(x, description)
        return self._rows(x[:ROWS])

    def pairs(self, x: Tensor, near: Tensor, description: str) -> Markup | None:
        """Samples, each with its nearest training datum under it; None for data whose nearness is no picture.

        Args:
            x: Samples, ``(n, *shape)``.
            near: The nearest training data of the first of them, ``(m, *shape)``.
            description: For those who cannot see it.
        """
        shown = min(len(x), len(near), PAIRS)
        if self.domain.image:
            return _image_pairs(x[:shown], near[:shown], self.domain, description)
        if not self.wide or not shown:
            return None
        both = torch.stack([x[:shown].double(), near[:shown].double()], 1).flatten(0, 1)
        return self._rows(both, ["sample", "nearest"] * shown)

    def _points(self, x: Tensor, description: str) -> Markup:
        left, bottom, side = self.box
        size = WIDTH * FINE
        sheet = Image.new("L", (size, size), 0)
        draw = ImageDraw.Draw(sheet)
        radius = 1.5 * FINE
        for u, v in ((x.double() - torch.tensor([left, bottom])) / side * size).tolist():
            if -size < u < 2 * size and -size < v < 2 * size:
                draw.ellipse((u - radius, size - v - radius, u + radius, size - v + radius), fill=205)
        mask = sheet.resize((2 * WIDTH, 2 * WIDTH), Image.Resampling.BOX)
        picture = Image.new("RGBA", mask.size, (*INK, 0))
        picture.putalpha(mask)
        inside = (
            (x.double() >= torch.tensor([left, bottom])) & (x.double() <= torch.tensor([left + side, bottom + side]))
        ).all(1)
        outside = len(x) - int(inside.sum())
        note = (
            element("p", f"{outside} of {len(x)} points lie outside the picture", class_="aside") if outside else None
        )
        image = element("img", src=image_uri(png(picture)), alt=description, width=WIDTH, height=WIDTH, class_="plane")
        return joined(image, note)

    def _frequencies(self, x: Tensor, description: str) -> Markup:
        """Frequencies of all states beside those of the real data."""
        assert isinstance(self.domain, Discrete)  # noqa: S101 - only called for states
        levels, entries = self.domain.levels, self.domain.entries
        weights = levels ** torch.arange(entries - 1, -1, -1)
        both = [torch.bincount(d.flatten(1).long() @ weights, minlength=self._states) / len(d) for d in (x, self.real)]
        states = itertools.product(range(levels), repeat=entries)
        names = ["".join(map(str, state)) if self._states <= NAMED else "" for state in states]
        return _bars(both[0].tolist(), both[1].tolist(), names, description)

    def _histogram(self, x: Tensor, description: str) -> Markup:
        real, own = self.real.double().flatten(), x.double().flatten()
        low, high = float(real.min()), float(real.max())
        margin = 0.15 * (high - low) or 1.0
        edges = torch.linspace(low - margin, high + margin, BINS + 1, dtype=torch.float64)
        both = [torch.histogram(d.clamp(edges[0], edges[-1]), edges).hist / len(d) for d in (own, real)]
        names = [number(float(edges[k])) if k in (0, BINS // 2, BINS - 1) else "" for k in range(BINS)]
        return _bars(both[0].tolist(), both[1].tolist(), names, description)

    def _rows(self, x: Tensor, names: Sequence[str] = ()) -> Markup:
        flat = x.flatten(1)
        table = self.domain if isinstance(self.domain, Table) else None
        shown = min(FIELDS, flat.shape[1])
        heads = [table.columns[k].name if table else f"x{k + 1}" for k in range(shown)]
        more = flat.shape[1] - shown
        heads = [*([""] if names else []), *heads, *([f"… {more} more"] if more else [])]
        body = [[_cell(float(row[k]), table, k) for k in range(shown)] + [""] * bool(more) for row in flat]
        body = [[name, *cells] for name, cells in zip(names, body, strict=True)] if names else body
        return element(
            "div",
            element(
                "table",
                element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
                element("tbody", *(element("tr", *(element("td", cell) for cell in cells)) for cells in body)),
                class_="rows",
            ),
            class_="scroll",
        )


def _images(x: Tensor, domain: Domain, description: str) -> Markup:
    """A grid at the images' own resolution, which the page magnifies by a whole number."""
    columns, scale = _layout(domain.shape[2] + 1)
    sheet = _sheet(x[: columns * max(columns, ROWS_OF_IMAGES)], domain, columns)
    return _picture(sheet, scale, description)


def _layout(side: int) -> tuple[int, int]:
    """How many images stand in a row, and their magnification: as many as are legible and fill the figure's width."""
    choices = [(columns, WIDTH // (columns * side - 1)) for columns in range(COLUMNS, 0, -1)]
    fitting = [(c, scale) for c, scale in choices if scale and scale * side >= LEGIBLE]
    filling = [(c, scale) for c, scale in fitting if c * scale * side >= FILLED * WIDTH]
    return (filling or fitting or [(1, 1)])[0]


def _sheet(x: Tensor, domain: Domain, columns: int) -> Image.Image:
    """A grid of images with nothing between them: the page shines through."""
    sheet = grid(x, domain, columns=columns)
    height, width = domain.shape[1:]
    mask = Image.new("L", sheet.size, 0)
    for k in range(len(x)):
        mask.paste(
            255,
            (box := (1 + k % columns * (width + 1), 1 + k // columns * (height + 1)))
            + (box[0] + width, box[1] + height),
        )
    sheet.putalpha(mask)
    return sheet.crop((1, 1, sheet.width - 1, sheet.height - 1))


def _picture(sheet: Image.Image, scale: int, description: str) -> Markup:
    size = {"width": sheet.width * scale, "height": sheet.height * scale}
    return element(
        "img", src=image_uri(png(sheet)), alt=description, **size, class_="grid" if scale > 1 else "grid fine"
    )


def _image_pairs(x: Tensor, near: Tensor, domain: Domain, description: str) -> Markup:
    scale = max(1, PAIR // domain.shape[2])
    sheets = [_sheet(torch.stack(pair), domain, 1) for pair in zip(x, near, strict=True)]
    described = (
        f"{description}, {k}: above the sample, below its nearest training datum" for k in range(1, len(x) + 1)
    )
    return element(
        "div", *(_picture(sheet, scale, words) for sheet, words in zip(sheets, described, strict=True)), class_="pairs"
    )


def _cell(value: float, table: Table | None, index: int) -> str:
    if math.isnan(value):
        return "missing"
    column = None if table is None else table.columns[index]
    if column is None or column.kind == "real":
        return number(value)
    if column.kind == "category":
        return column.categories[int(value)] if 0 <= value < len(column.categories) else number(value)
    return f"{value:.{max(0, -math.floor(math.log10(column.step)))}f}"


def _bars(own: Sequence[float], real: Sequence[float], names: Sequence[str], description: str) -> Markup:
    """Filled bars, and lines across them where the real data are."""
    top, bottom, width, height = 8.0, 18.0, float(WIDTH), 190.0
    step, most = width / len(own), max([*own, *real]) or 1.0

    def y(share: float) -> float:
        return top + (height - top - bottom) * (1 - share / most)

    parts: list[Markup] = []
    for k, (mine, theirs) in enumerate(zip(own, real, strict=True)):
        left = k * step
        box = {"x": f"{left + 0.12 * step:.1f}", "width": f"{0.76 * step:.1f}"}
        parts.append(
            element("rect", **box, y=f"{y(mine):.1f}", height=f"{height - bottom - y(mine):.1f}", class_="bar")
        )
        line = {"x1": f"{left + 0.04 * step:.1f}", "x2": f"{left + 0.96 * step:.1f}"}
        parts.append(element("line", **line, y1=f"{y(theirs):.1f}", y2=f"{y(theirs):.1f}", class_="truth"))
        if names[k]:
            middle = f"{left + step / 2:.1f}"
            parts.append(element("text", names[k], x=middle, y=f"{height - 4:.0f}", text_anchor="middle"))
    return element(
        "svg", element("title", description), *parts, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", class_="bars"
    )
