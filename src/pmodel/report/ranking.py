"""Which model is nearer to the data by a metric, if the intervals say so, and the places that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ..metrics import Candidate, Verdict, compare_likelihoods
from ..metrics.catalogue import METRICS, Row
from ..metrics.likelihood import NORMAL_99, places, seeds_half

__all__ = ["RANKED", "ranked"]

Model = Mapping[str, Any]

RANKED = tuple(row for row in METRICS if row.better != "real")
"""The metrics of which less, or more, is better. Where real data set the mark, both too little and too much are worse, and
whether 0.97 is better than 1.05 does not follow from the numbers."""


def ranked(models: Sequence[Model], candidates: Sequence[Candidate]) -> dict[str, tuple[list[Verdict], dict[str, Any]]]:
    """For the likelihood and every ranked metric: a verdict for each pair, and the best and worst place of each model."""
    verdicts = [compare_likelihoods(a, b) for a, b in combinations(candidates, 2)]
    names = [c.name for c in candidates if c.kind != "estimate"]
    found = {"likelihood": (verdicts, _places(verdicts, names))}
    for row in RANKED:
        having = [m for m in models if (m["metrics"].get(row.name) or {}).get("value") is not None]
        if having:
            verdicts = [_verdict(row, a, b) for a, b in combinations(having, 2)]
            found[row.name] = verdicts, _places(verdicts, [m["label"] for m in having])
    return found


def _places(verdicts: Sequence[Verdict], names: Sequence[str]) -> dict[str, Any]:
    return {name: {"best": best, "worst": worst} for name, (best, worst) in places(verdicts, names).items()}


def _verdict(row: Row, first: Model, second: Model) -> Verdict:
    """Which of two numbers is the better one. The difference is positive where the first is better."""
    a, b = first["metrics"][row.name], second["metrics"][row.name]
    difference = (b["value"] - a["value"]) * (1 if row.better == "smaller" else -1)
    pair = first["label"], second["label"]
    if a["sample_stderr"] is None or b["sample_stderr"] is None:
        return Verdict(*pair, "undecided", difference, None, "too few samples for a standard error")
    samples = NORMAL_99 * math.hypot(a["sample_stderr"], b["sample_stderr"])
    half = math.hypot(samples, seeds_half((m["seed_stderr"], m["seeds"]) for m in (a, b)))
    interval = (difference - half, difference + half)
    if interval[0] <= 0 <= interval[1]:
        return Verdict(*pair, "undecided", difference, interval, "the interval of the difference holds zero")
    return Verdict(
        *pair,
        "first" if difference > 0 else "second",
        difference,
        interval,
        "the interval of the difference excludes zero",
    )
