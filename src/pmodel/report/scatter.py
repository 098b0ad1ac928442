"""Quality against cost: one point for each model, with its error, its name, and the floor as a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from .axes import Scale, amounts, plain, times
from .columns import Column
from .labels import Box, Label, placed, width
from .markup import Markup, element
from .numbers import duration, number, rate

__all__ = ["Point", "charts", "scatter"]

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 40
RADIUS = 4.5
ERRORS = 2
"""Standard errors to either side of a bar."""
SPREAD = 8.0
"""Costs that differ by more than this are on a logarithmic scale."""
LONGEST = 26
"""Characters of a name, at most; the table has it whole."""
FEWEST = 2
"""Points of a chart, at least."""
COSTS: tuple[tuple[str, str, Callable[[float], str], Callable[[float], str]], ...] = (
    ("training_seconds", "training time", times, duration),
    ("samples_per_second", "samples a second", amounts, rate),
)


@final
@dataclass(frozen=True)
class Point:
    """A model on a chart: what it costs, how good it is, and what else its mark says.

    Args:
        name: Of the model.
        cost: On the horizontal axis.
        quality: On the vertical axis.
        stderr: Of the quality, or None.
        bound: Whether the quality is a lower bound.
        words: The numbers, for whoever points at it.
    """

    name: str
    cost: float
    quality: float
    stderr: float | None
    bound: bool
    words: str


def charts(models: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[tuple[str, str, Markup]]:
    """A title, a note and a chart for each pair of a quality column and a cost, where two models or more have both."""
    found = []
    for column in columns:
        for key, cost, ticks, words in COSTS:
            points = [p for model in models if (p := _point(model, column, key, words)) is not None]
            if len(points) < FEWEST:
                continue
            better = {"smaller": "lower is better", "larger": "higher is better"}.get(column.better, "")
            title = f"{column.title} against {cost}"
            found.append((title, better, scatter(points, _floor(column), title, f"{cost} {_hint(key)}", ticks)))
    return found


def _hint(key: str) -> str:
    return "→ faster" if key == "samples_per_second" else "→ slower"


def _point(model: Mapping[str, Any], column: Column, key: str, words: Callable[[float], str]) -> Point | None:
    written, cost = column.number(model), model["speed"].get(key)
    if written is None or written.get("value") is None or not cost:
        return None
    cell = column.cell(model)
    text = f"{model['label']}: {cell.text if cell else ''}, {words(cost)}"
    return Point(
        model["label"], cost, written["value"], written.get("stderr"), written.get("kind") == "lower_bound", text
    )


def _floor(column: Column) -> tuple[str, float] | None:
    """The best that can be expected: of real data, or of the true density."""
    found = column.references.get("truth") or column.references.get("floor")
    return (
        None
        if found is None or found.value is None
        else ("truth" if "truth" in column.references else "floor", found.value)
    )


def scatter(
    points: Sequence[Point],
    floor: tuple[str, float] | None,
    title: str,
    across: str,
    ticks: Callable[[float], str],
) -> Markup:
    """The chart.

    Args:
        points: At least one.
        floor: The name and the value of a line, or None.
        title: For those who cannot see it.
        across: The name of the horizontal axis.
        ticks: How a cost is written there.
    """
    costs = [p.cost for p in points]
    x = Scale.of(costs, LEFT, WIDTH - RIGHT, ticks, log=max(costs) > SPREAD * min(costs))
    y = _vertical(points, floor)
    at = [(x(p.cost), y(p.quality)) for p in points]
    bars = [_bar(p, place, y) for p, place in zip(points, at, strict=True)]
    taken = [Box(cx - RADIUS - 1, cy - RADIUS - 1, cx + RADIUS + 1, cy + RADIUS + 1) for cx, cy in at]
    taken += [Box(cx - 1, top, cx + 1, bottom) for (cx, _), (top, bottom) in zip(at, bars, strict=True)]
    line, covered = _line(floor, y, taken)
    taken += covered
    names = [_short(p.name) for p in points]
    labels = placed(at, names, taken, Box(LEFT + 2, TOP - 8, WIDTH - 2, HEIGHT - BOTTOM - 2))
    marks = [_mark(p, place, bar) for p, place, bar in zip(points, at, bars, strict=True)]
    words = [_label(n, place, label) for n, place, label in zip(names, at, labels, strict=True)]
    parts = [element("title", title), *_frame(x, y, across), *line, *marks, *words]
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="chart")


def _vertical(points: Sequence[Point], floor: tuple[str, float] | None) -> Scale:
    """All values, their errors where they fit, and the floor; the logarithm only for positive values that are far apart."""
    values = [p.quality for p in points] + ([] if floor is None else [floor[1]])
    log = min(values) > 0 and max(values) > 30 * min(values)
    ends = [p.quality + sign * ERRORS * (p.stderr or 0) for p in points for sign in (-1, 1)]
    shown = values + [end for end in ends if not log or end > 0.5 * min(values)]
    return Scale.of(shown, HEIGHT - BOTTOM, TOP, plain, log=log)


def _bar(point: Point, place: tuple[float, float], y: Scale) -> tuple[float, float]:
    """Top and bottom of the error bar."""
    half = ERRORS * (point.stderr or 0)
    ends = sorted((y(point.quality - half), y(point.quality + half))) if half else [place[1], place[1]]
    return ends[0], ends[1]


def _line(floor: tuple[str, float] | None, y: Scale, taken: Sequence[Box]) -> tuple[list[Markup], list[Box]]:
    """The line of the floor and its name, above or below it where there is room, and what they cover."""
    if floor is None:
        return [], []
    text, at, right = f"{floor[0]} {number(floor[1])}", y(floor[1]), WIDTH - RIGHT
    room = right - width(text) - LEFT - 4
    places = [
        (right - width(text) - room * k / 8, base) for k in (0, 8, 4, 2, 6, 1, 7, 3, 5) for base in (at - 5, at + 13)
    ]
    boxes = [Box(left, base - 11, left + width(text), base + 3) for left, base in places]
    inside = [box.top > 0 and box.bottom < HEIGHT - BOTTOM for box in boxes]
    free = [k for k, box in enumerate(boxes) if inside[k] and not any(box.meets(other) for other in taken)]
    best = next(iter(free), inside.index(True))
    line = element("line", x1=LEFT, x2=right, y1=f"{at:.1f}", y2=f"{at:.1f}", class_="floor")
    word = element("text", text, x=f"{places[best][0]:.1f}", y=f"{places[best][1]:.1f}")
    return [line, word], [boxes[best], Box(LEFT, at - 0.5, right, at + 0.5)]


def _frame(x: Scale, y: Scale, across: str) -> list[Markup]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis")]
    for at, name in y.ticks():
        parts.append(element("line", x1=LEFT, x2=right, y1=f"{at:.1f}", y2=f"{at:.1f}", class_="rule"))
        parts.append(element("text", name, x=LEFT - 7, y=f"{at + 4:.1f}", text_anchor="end"))
    for at, name in x.apart(WIDTH):
        parts.append(element("line", x1=f"{at:.1f}", x2=f"{at:.1f}", y1=bottom, y2=bottom + 4, class_="axis"))
        if name:
            parts.append(element("text", name, x=f"{at:.1f}", y=bottom + 17, text_anchor="middle"))
    return [*parts, element("text", across, x=right, y=HEIGHT - 4, text_anchor="end")]


def _mark(point: Point, place: tuple[float, float], bar: tuple[float, float]) -> Markup:
    """The error bar and the point: a disc, or a triangle that points upwards where the value is a lower bound."""
    cx, cy = place
    title = element("title", point.words)
    parts = []
    if bar[1] - bar[0] > 1:
        parts.append(
            element("line", x1=f"{cx:.1f}", x2=f"{cx:.1f}", y1=f"{bar[0]:.1f}", y2=f"{bar[1]:.1f}", class_="error")
        )
    if point.bound:
        r = RADIUS + 1
        corners = f"M{cx:.1f} {cy - r:.1f}L{cx + r:.1f} {cy + 0.8 * r:.1f}H{cx - r:.1f}Z"
        parts.append(element("path", d=corners, class_="dot"))
    else:
        parts.append(element("circle", cx=f"{cx:.1f}", cy=f"{cy:.1f}", r=RADIUS, class_="dot"))
    return element("g", title, *parts)


def _label(name: str, place: tuple[float, float], label: Label | None) -> Markup | None:
    if label is None:
        return None
    text = element("text", name, x=f"{label.x:.1f}", y=f"{label.y:.1f}", class_="name")
    if not label.tied:
        return text
    box = label.box
    near = min(max(place[0], box.left), box.right), min(max(place[1], box.top), box.bottom)
    ends = {"x1": f"{place[0]:.1f}", "y1": f"{place[1]:.1f}", "x2": f"{near[0]:.1f}", "y2": f"{near[1]:.1f}"}
    return element("g", element("line", **ends, class_="tie"), text)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
