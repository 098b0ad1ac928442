"""Pictures and curves made of characters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.segment import Segment
    from rich.style import Style
    from torch import Tensor

    from ..domain import Domain

__all__ = ["Blocks", "coloured", "contact_sheet", "half_blocks", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*%#"
LARGEST = 28
"""Pixels of a sample's longer side, at most."""


def sparkline(values: Sequence[float], width: int, bars: str = BARS) -> str:
    """The course of values in one line, the lowest and the highest shown as the lowest and the highest bar.

    Values beyond what fits are averaged in groups. The range leaves out the first tenth, where losses fall steeply, and what
    is not finite is left blank.
    """
    groups = min(len(values), width)
    edges = [k * len(values) // max(groups, 1) for k in range(groups + 1)]
    points = [_mean(values[a:b]) for a, b in itertools.pairwise(edges)]
    later = [point for point in points[len(points) // 10 :] if math.isfinite(point)]
    if not later:
        return " " * groups
    low, high = min(later), max(later)
    flat = high - low <= 1e-9 * max(abs(low), abs(high))
    scale = 0.0 if flat else (len(bars) - 1) / (high - low)
    return "".join(
        bars[round(min(max(point - low, 0.0) * scale, len(bars) - 1))] if math.isfinite(point) else " "
        for point in points
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def coloured(console: Console) -> bool:
    """Whether the terminal can show a picture."""
    return (
        console.is_terminal
        and console.color_system in ("256", "truecolor")
        and not console.no_color
        and not console.options.ascii_only
    )


@final
class Blocks:
    """Characters that are two pixels each: an upper half block over its background.

    Args:
        lines: Of segments, all of the same width.
        width: In characters.
    """

    def __init__(self, lines: Sequence[Sequence[Segment]], width: int) -> None:
        self.lines = lines
        self.width = width

    @property
    def plain(self) -> str:
        """The characters without their colours."""
        return "\n".join("".join(segment.text for segment in line) for line in self.lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, for rich."""
        from rich.segment import Segment

        for line in self.lines:
            yield from line
            yield Segment.line()


def half_blocks(image: Image) -> Blocks:
    """An image as characters, one for two pixels below each other; neighbours of the same colours are one segment."""
    from rich.segment import Segment

    image = image.convert("RGB")
    pixels: Any = image.load()
    lines = []
    for y in range(0, image.height, 2):
        pairs = [(pixels[x, y], pixels[x, y + 1] if y + 1 < image.height else None) for x in range(image.width)]
        lines.append([Segment("▀" * len(list(run)), _style(*pair)) for pair, run in itertools.groupby(pairs)])
    return Blocks(lines, image.width)


def _style(above: tuple[int, int, int], below: tuple[int, int, int] | None) -> Style:
    from rich.color import Color
    from rich.style import Style

    return Style(color=Color.from_rgb(*above), bgcolor=None if below is None else Color.from_rgb(*below))


def contact_sheet(x: Tensor, domain: Domain, width: int, height: int) -> Blocks | None:
    """As many samples as fit beside and below each other, a character apart; None if not one does.

    Args:
        x: Images, ``(N, C, H, W)``.
        domain: Their domain.
        width: Characters in a line.
        height: Lines.
    """
    from ..pictures import grid

    first = half_blocks(shrunk(grid(x[:1], domain, gap=0)))
    columns, rows = (width + 1) // (first.width + 1), (height + 1) // (len(first.lines) + 1)
    if columns < 1 or rows < 1:
        return None
    rest = range(1, min(len(x), columns * rows))
    return beside([first, *(half_blocks(shrunk(grid(x[k : k + 1], domain, gap=0))) for k in rest)], columns)


def shrunk(image: Image) -> Image:
    """The image, no larger than fits a terminal."""
    from PIL.Image import Resampling

    image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST), Resampling.BOX)
    return image


def beside(parts: Sequence[Blocks], columns: int) -> Blocks:
    """Blocks of one size in rows, a character apart."""
    from rich.segment import Segment

    lines: list[list[Segment]] = []
    for start in range(0, len(parts), columns):
        lines += [[]] if lines else []
        for pieces in zip(*(part.lines for part in parts[start : start + columns]), strict=True):
            line = list(pieces[0])
            for piece in pieces[1:]:
                line += [Segment(" "), *piece]
            lines.append(line)
    return Blocks(lines, min(columns, len(parts)) * (parts[0].width + 1) - 1)
