"""Which of the modes of a known truth samples come from: how evenly, and how many of them lie at none."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from ..data.density import KnownDensity
from ..metrics import Measure
from ..metrics.catalogue import row
from ..metrics.modes import found_modes, high_quality

__all__ = ["known_modes"]


def known_modes(truth: KnownDensity, samples: Tensor, measure: Measure) -> dict[str, dict[str, Any]]:
    """The measurements as JSON by the names of ``metrics.catalogue``; none where the truth has no modes to count."""
    away = truth.away(samples.cpu())
    if away is None:
        return {}
    found = {"high_quality": asdict(high_quality(away)), "mode_shares": {"floor": 0.0, **asdict(found_modes(away))}}
    return {name: _described(name, value, measure) for name, value in found.items()}


def _described(name: str, found: dict[str, Any], measure: Measure) -> dict[str, Any]:
    of = row(name)
    known = {"floor_stderr": None, "held_out": None, "measure": measure.to_json()}
    return {**found, **known, "unit": of.unit, "estimator": of.estimator, "flags": list(found["flags"])}
