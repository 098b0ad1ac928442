"""Pictures of sequences: texts as they are read, symbols as rows of colours, real ones as curves."""

from __future__ import annotations

import torch
from torch import Tensor

from ..domain import Discrete, Sequences
from .markup import Markup, element
from .numbers import number

__all__ = ["of_sequences"]

TEXTS = 6
"""Texts in a figure."""
CHARACTERS = 400
"""Of a text: the rest is an ellipsis."""
CURVES, ROWS = 6, 24
"""Curves of a figure, and rows of symbols."""
WIDTH, HEIGHT = 350.0, 150.0
"""Of a panel of curves, in CSS pixels."""
PANELS = 2
"""Features of an element that have a panel, the first ones."""
POSITIONS = 120
"""Positions of a sequence that are drawn."""


def of_sequences(x: Tensor, real: Tensor, domain: Sequences, description: str) -> Markup:
    """The figure of some sequences.

    Args:
        x: Sequences, ``(n, longest, ...)``.
        real: Real ones, whose values set the scale.
        domain: Theirs.
        description: For those who cannot see it.
    """
    if domain.alphabet is not None:
        return _texts(domain.texts(x[:TEXTS]))
    if isinstance(domain.element, Discrete):
        return _symbols(x[:ROWS].flatten(2)[:, :, 0] if x.ndim > 2 else x[:ROWS], domain, description)
    parts = [_panel(x[:CURVES], real, feature, description) for feature in range(min(PANELS, domain.element.entries))]
    more = domain.element.entries - len(parts)
    note = element("p", f"and {more} more features", class_="aside") if more > 0 else None
    return element("div", *parts, note)


def _texts(texts: list[str]) -> Markup:
    shown = [text if len(text) <= CHARACTERS else text[:CHARACTERS] + "…" for text in texts]
    return element("div", *(element("p", text or "(nothing)", class_="text") for text in shown), class_="texts")


def _symbols(x: Tensor, domain: Sequences, description: str) -> Markup:
    """A row of cells for each sequence; the darker, the higher the level."""
    columns = min(x.shape[1], POSITIONS)
    side = WIDTH / columns
    tall = min(side, 12.0)
    top = max(1, int(domain.end) - 1)
    cells = [
        element(
            "rect",
            x=f"{t * side:.1f}",
            y=f"{row * tall:.1f}",
            width=f"{0.92 * side:.1f}",
            height=f"{0.84 * tall:.1f}",
            fill_opacity=f"{0.12 + 0.88 * level / top:.2f}",
            class_="bar",
        )
        for row, levels in enumerate(x[:, :columns].tolist())
        for t, level in enumerate(levels)
        if level < domain.end
    ]
    box = f"0 0 {WIDTH:.0f} {max(1, len(x)) * tall:.0f}"
    return element("svg", element("title", description), *cells, viewBox=box, role="img", class_="bars")


def _panel(x: Tensor, real: Tensor, feature: int, description: str) -> Markup:
    """Curves of one feature; a gap where a value is missing, and nothing after the end."""
    known = real.flatten(2)[:, :, feature].double()
    known = known[known.isfinite()]
    low, high = (float(known.quantile(q)) for q in (0.005, 0.995)) if len(known) < 2**24 else (-1.0, 1.0)
    low, high = low - 0.15 * (high - low or 1.0), high + 0.15 * (high - low or 1.0)
    positions = min(x.shape[1], POSITIONS)
    step = WIDTH / max(1, positions - 1)
    lines = [
        element("polyline", points=points, class_="curve", stroke_opacity=f"{1 - 0.7 * k / len(x):.2f}")
        for k, row in enumerate(x.flatten(2)[:, :positions, feature].double())
        for points in _runs(row, low, high, step)
    ]
    scale = [
        element("text", number(value), x="2", y=f"{y:.0f}", class_="scale")
        for value, y in ((high, 10), (low, HEIGHT - 2))
    ]
    title = element("title", f"{description}, feature {feature + 1}")
    return element("svg", title, *lines, *scale, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", role="img", class_="curves")


def _runs(row: Tensor, low: float, high: float, step: float) -> list[str]:
    """The points of each part of a curve that has no gap in it."""
    y = HEIGHT * (1 - (row.clamp(low, high) - low) / (high - low))
    found: list[list[str]] = [[]]
    for t, (value, height) in enumerate(zip(row.tolist(), y.tolist(), strict=True)):
        if value != value or value in (torch.inf, -torch.inf):
            found.append([])
        else:
            found[-1].append(f"{t * step:.1f},{height:.1f}")
    single = [[*points, points[0]] if len(points) == 1 else points for points in found]
    return [" ".join(points) for points in single if points]
