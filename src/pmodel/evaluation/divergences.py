"""Both directions of the Kullback–Leibler divergence from a known truth, each by the best way that there is.

An exact likelihood is summed over the truth's grid, and the number has no sampling error. What that grid cannot tell, because
the model is narrower than it or lies beside it, and bounds and estimates, are means over points. The estimator of each number
says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from torch import Tensor

from ..data.density import KnownDensity
from ..likelihood import Likelihood
from ..metrics import Measure
from ..metrics.truth import Divergence, NotANumber, kl_by_quadrature, kl_data_model, kl_model_data
from ..randomness import derive

__all__ = ["Points", "divergences"]


@final
@dataclass(frozen=True, eq=False)
class Points:
    """The points over which means are taken.

    Args:
        x: Data.
        scored: The model's likelihood of them.
        samples: Of the model, or None.
        effort: Draws for each datum where a likelihood is a bound.
        seed: Of the draws.
    """

    x: Tensor
    scored: Likelihood
    samples: Tensor | None
    effort: int
    seed: int


def divergences(truth: KnownDensity, model: Any, points: Points, measure: Measure) -> dict[str, dict[str, Any]]:
    """The divergences that can be had, as JSON by the names of ``metrics.catalogue``."""
    found = _summed(truth, model) if points.scored.kind == "exact" else {}
    for name, mean in _means(truth, model, points).items():
        if name not in found:
            found[name] = mean(), f"mean over points, {points.scored.estimator}"
    return {name: _beside_truth(asdict(kl), estimator, measure) for name, (kl, estimator) in found.items()}


def _summed(truth: KnownDensity, model: Any) -> dict[str, tuple[Divergence, str]]:
    """What the truth's grid tells: a value, or that it is infinite."""
    try:
        both = kl_by_quadrature(truth, lambda x: model.score(x).values)
    except NotANumber:  # far from all data
        return {}
    named = zip(("kl_data_model", "kl_model_data"), both, strict=True)
    return {name: (kl, _how(kl)) for name, kl in named if kl.value is not None or kl.outside}


def _how(kl: Divergence) -> str:
    shifts = "" if kl.stderr is None else "; standard error by shifts of the grid"
    return f"sum over a grid of {kl.n} points{shifts}"


def _means(truth: KnownDensity, model: Any, points: Points) -> dict[str, Callable[[], Divergence]]:
    """How to get the means over points; nothing is computed before it is asked for."""
    samples = points.samples
    found = {"kl_data_model": lambda: kl_data_model(truth.log_prob(points.x.double()), points.scored)}
    if samples is not None:
        found["kl_model_data"] = lambda: kl_model_data(
            truth.log_prob(samples.double()),
            model.score(samples, generator=derive(points.seed, "own"), effort=points.effort),
        )
    return found


def _beside_truth(found: Mapping[str, Any], estimator: str, measure: Measure) -> dict[str, Any]:
    """A perfect model has the divergence 0."""
    known = {"floor": 0.0, "floor_stderr": None, "held_out": None, "measure": measure.to_json()}
    return {**found, **known, "unit": "nats", "estimator": estimator, "flags": list(found["flags"])}
