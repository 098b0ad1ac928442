"""Training curves as pictures made of lines, from the logs of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..train.events import curve_of
from .axes import Scale, plain, times
from .markup import Markup, element

__all__ = ["chart", "curves", "validation"]

Curve = list[tuple[float, float]]
WIDTH, HEIGHT = 350, 190
LEFT, RIGHT, TOP, BOTTOM = 50, 8, 10, 24
LINES = 8
"""Curves on a chart, at most: four colours, full and broken."""
LARGEST_LOG = 64 * 2**20


def curves(run: Path) -> dict[str, Curve]:
    """Named curves over seconds from a run's log: losses, or the log-likelihood of expectation maximisation."""
    found: dict[str, Curve] = {}
    for event in _events(run):
        values = event.get("losses")
        values = dict(values) if isinstance(values, dict) else {}
        if event.get("log_prob") is not None:
            values["training log-likelihood"] = event["log_prob"]
        for name, value in values.items():
            _add(found.setdefault(curve_of(str(name)), []), event, value)
    return {name: curve for name, curve in found.items() if len(curve) > 1}


def validation(run: Path, *, distance: bool = False) -> Curve:
    """The log-likelihood of held-out data over seconds, from a run's log, or the distance of samples from them."""
    curve: Curve = []
    for event in _events(run):
        if event.get("event") == "validated" and (event.get("kind") == "distance") == distance:
            _add(curve, event, event.get("value"))
    return curve


def _events(run: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log. One that cannot be read is left out: the log may have been cut off."""
    log = run / "events.jsonl"
    if not log.is_file() or log.stat().st_size > LARGEST_LOG:
        return
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _add(curve: Curve, event: dict[str, Any], value: object) -> None:
    seconds = event.get("seconds")
    if (
        isinstance(seconds, int | float)
        and isinstance(value, int | float)
        and math.isfinite(seconds)
        and math.isfinite(value)
    ):
        curve.append((float(seconds), float(value)))


def chart(named: dict[str, Curve], title: str) -> Markup:
    """A chart of up to eight curves on one scale. The vertical range leaves out the steep start."""
    shown = dict(list(named.items())[:LINES])
    x = Scale.of([t for curve in shown.values() for t, _ in curve], LEFT, WIDTH - RIGHT, times, log=False)
    y = Scale.of(_later(list(shown.values())), HEIGHT - BOTTOM, TOP, plain, log=False)
    lines = [
        element(
            "polyline", points=" ".join(f"{x(t):.1f},{y(value):.1f}" for t, value in curve), class_=f"line s{index}"
        )
        for index, curve in enumerate(shown.values())
    ]
    picture = element(
        "svg",
        element("title", title),
        *_frame(x, y),
        *lines,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    swatch = [
        element(
            "svg",
            element("line", x1=0, x2=22, y1=5, y2=5, class_=f"line s{index}"),
            viewBox="0 0 22 10",
            aria_hidden="true",
        )
        for index in range(len(shown))
    ]
    keys = [element("li", mark, name) for mark, name in zip(swatch, shown, strict=True)]
    return element("div", picture, element("ul", *keys, class_="keys"))


def _frame(x: Scale, y: Scale) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    parts = [element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis")]
    for at, name in y.ticks():
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{at:.1f}", y2=f"{at:.1f}", class_="rule"))
        parts.append(element("text", name, x=LEFT - 6, y=f"{at + 4:.1f}", text_anchor="end"))
    words = [
        element("text", name, x=f"{at:.1f}", y=HEIGHT - 7, text_anchor="middle") for at, name in x.apart(WIDTH) if name
    ]
    return parts + words


def _later(shown: Sequence[Curve]) -> list[float]:
    """The values of all curves without the first tenth of each, where it is far off."""
    return [value for curve in shown for _, value in curve[len(curve) // 10 :]]
