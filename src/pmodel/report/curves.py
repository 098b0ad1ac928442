"""Training curves as pictures made of lines: one small chart for each model, from the log of its run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from .markup import Markup, element
from .numbers import duration, number

__all__ = ["chart", "curves"]

Curve = list[tuple[float, float]]
WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 20, 22
LARGEST_LOG = 64 * 2**20


def curves(run: Path) -> dict[str, Curve]:
    """Named curves over seconds from a run's log: losses, or the log-likelihood of expectation maximisation.

    Lines that cannot be read are left out: a log may have been cut off.
    """
    found: dict[str, Curve] = {}
    log = run / "events.jsonl"
    if not log.is_file() or log.stat().st_size > LARGEST_LOG:
        return found
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
            seconds = float(event["seconds"])
            values = dict(event.get("losses") or {})
            if event.get("log_prob") is not None:
                values["training log-likelihood"] = event["log_prob"]
            for name, value in values.items():
                if math.isfinite(value):
                    found.setdefault(str(name), []).append((seconds, float(value)))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return {name: curve for name, curve in found.items() if len(curve) > 1}


def chart(named: dict[str, Curve], title: str) -> Markup:
    """A chart of up to four curves on one scale. The vertical range leaves out the steep start."""
    shown = dict(list(named.items())[:4])
    times = [t for curve in shown.values() for t, _ in curve]
    low, high = _range(list(shown.values()))
    x0, x1, y0, y1 = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP

    def point(t: float, value: float) -> str:
        across = (t - min(times)) / (max(times) - min(times) or 1)
        up = (min(max(value, low), high) - low) / (high - low)
        return f"{x0 + across * (x1 - x0):.1f},{y0 + up * (y1 - y0):.1f}"

    lines = [
        element("polyline", points=" ".join(point(*p) for p in curve), class_=f"line s{index}")
        for index, curve in enumerate(shown.values())
    ]
    texts = [
        element("text", number(high), x=x0, y=y1 - 6),
        element("text", number(low), x=x0, y=y0 + 15),
        element("text", duration(max(times)), x=x1, y=y0 + 15, text_anchor="end"),
    ]
    axis = element("line", x1=x0, x2=x1, y1=y0, y2=y0, class_="axis")
    picture = element(
        "svg",
        element("title", title),
        axis,
        *lines,
        *texts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    keys = [element("li", name, class_=f"s{index}") for index, name in enumerate(shown)]
    return element("div", picture, element("ul", *keys, class_="keys"))


def _range(shown: Sequence[Curve]) -> tuple[float, float]:
    """From the least to the greatest value of all curves, without the first tenth of each where it is far off."""
    later = [value for curve in shown for _, value in curve[len(curve) // 10 :]]
    low, high = min(later), max(later)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
