r"""Kullback–Leibler divergences of a model q from a density p that is known, in both directions.

.. math:: \mathrm{KL}(p \| q) = \mathbb{E}_p[\log p(x) - \log q(x)], \qquad
          \mathrm{KL}(q \| p) = \mathbb{E}_q[\log q(x) - \log p(x)]

The first is what the model lacks (it is infinite where the model rules data out), the second what it makes up (infinite where
it puts mass outside the support of p). Both are in nats, and do not change with the units of x.

They are means over data, or over samples; or, on the plane and for a model that scores exactly, sums over the grid on which
the truth is integrated: without sampling error, and the standard error is that of the grid. A lower bound on :math:`\log q`
gives an *upper* bound on the first divergence and a *lower* one on the second. An infinite divergence has no value: how many
points made it so is told instead.

Source:
    Elements of Information Theory (Cover and Thomas, 2006), section 8.5
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from ..data.density import KnownDensity
from ..errors import BadInput, ShapeError
from ..likelihood import Likelihood
from .resampling import binomial_stderr

__all__ = ["Divergence", "KlKind", "NotANumber", "kl_by_quadrature", "kl_data_model", "kl_model_data"]

KlKind = Literal["exact", "upper_bound", "lower_bound", "estimate"]
"""What the value is of the divergence. ``exact`` has no other error than that of the points, which ``stderr`` states."""

BATCH = 2**13
"""Points of a grid that a model is asked for at once: what lies between its layers stays in the processor's cache."""

RESOLVED = 1e-3
"""How far the mass of a model on the grid may be from 1."""


@final
class NotANumber(BadInput):
    """A score is NaN or infinite."""


@final
@dataclass(frozen=True, kw_only=True)
class Divergence:
    """A Kullback–Leibler divergence.

    Args:
        value: In nats; None where it is infinite or not known, and ``flags`` say which.
        stderr: Of the mean over points; for sums over a grid, how much they depend on where the grid lies. None where it is
            not known.
        kind: What the value is of the divergence.
        outside: Points at which the other density is 0.
        outside_share: The probability of such points under the density that the expectation is under.
        outside_stderr: Binomial; 0 for sums over a grid.
        n: Points.
        flags: What makes the number less than it seems.
    """

    value: float | None
    stderr: float | None
    kind: KlKind
    outside: int
    outside_share: float
    outside_stderr: float
    n: int
    flags: tuple[str, ...] = ()


def kl_data_model(log_p: Tensor, model: Likelihood) -> Divergence:
    """KL(data‖model) from data: what the model lacks.

    Args:
        log_p: The true log-density of data that were drawn from it, ``(N,)``.
        model: The model's likelihood of the same data.

    Raises:
        ShapeError: if there are not as many of both.
        BadInput: if a score is not a number, there is none, or data are impossible under the truth.
    """
    _check(log_p, model.values)
    if bool(torch.isneginf(log_p).any()):
        count = int(torch.isneginf(log_p).sum())
        raise BadInput(
            "The data cannot come from this truth.", got=f"{count} of {len(log_p)} data have density 0 under it"
        )
    kind: KlKind = "upper_bound" if model.kind == "lower_bound" else model.kind
    if kind != "exact" and model.impossible:
        return _unbounded(model, kind, model.impossible)
    return _mean(log_p, model.values, kind, "data are impossible under the model")


def kl_model_data(log_p: Tensor, model: Likelihood) -> Divergence:
    """KL(model‖data) from samples of the model: what it makes up.

    Args:
        log_p: The true log-density of samples of the model, ``(N,)``; minus infinity outside the support.
        model: The model's likelihood of its own samples.

    Raises:
        ShapeError: if there are not as many of both.
        BadInput: if a score is not a number, or there is none.
    """
    _check(log_p, model.values)
    ruled_out = int(torch.isneginf(model.values).sum())
    if ruled_out and model.kind == "exact":
        raise BadInput("A model's own samples cannot be impossible under it.", got=f"{ruled_out} of {model.n} samples")
    if ruled_out:
        return _unbounded(model, model.kind, ruled_out)
    return _mean(model.values, log_p, model.kind, "samples lie where the truth has no mass")


def kl_by_quadrature(truth: KnownDensity, log_q: Callable[[Tensor], Tensor]) -> tuple[Divergence, Divergence]:
    r"""Both divergences on the plane as sums over the truth's grid, :math:`h^2 \sum_x p(x) (\log p(x) - \log q(x))`.

    The grid is fine enough for the truth, and covers it. Whether it is fine enough for the model, and covers it as well, shows
    in the model's mass on it. More than 1: the grid is too coarse for either divergence. Less: part of the model is not on it,
    and KL(q‖p) is to be had from samples only.

    The grid consists of four of twice the spacing. If it were too coarse, as it is at the edges of boxes and bins, they would
    disagree: their mean is the sum, and its standard error stands for what is left of that.

    Args:
        truth: The density p, with its window.
        log_q: The model's exact log-density of points, ``(N, 2) -> (N,)``; it is asked for ``BATCH`` at a time.

    Returns:
        KL(p‖q) and KL(q‖p).

    Raises:
        ShapeError: if the model's densities are not one for each point.
        NotANumber: if one is NaN or infinite.
    """
    area = truth.spacing**2
    grid, p = _on_grid(truth, truth.spacing)
    q = torch.cat([log_q(part).detach().cpu().double() for part in torch.split(grid, BATCH)])
    _check(p, q)
    mass = float(q.exp().sum()) * area
    flags = () if abs(mass - 1) <= RESOLVED else (f"the model's mass on the grid is {mass:.4f}",)
    known = mass <= 1 + RESOLVED
    shift = ((grid - grid[0]) / truth.spacing).round().long() % 2 @ torch.tensor([2, 1])
    forward = _sum(p, q, area, shift, "the data's mass lies where the model has none", known, flags)
    return forward, _sum(
        q, p, area, shift, "the model's mass lies where the truth has none", known and not flags, flags
    )


@functools.lru_cache(maxsize=1)
def _on_grid(truth: KnownDensity, spacing: float) -> tuple[Tensor, Tensor]:
    """The grid and the truth on it, which are the same for all models that are compared."""
    grid = truth.grid()
    return grid, truth.log_prob(grid)


def _check(log_p: Tensor, log_q: Tensor) -> None:
    if log_p.ndim != 1 or log_p.shape != log_q.shape:
        raise ShapeError(
            "There must be one score of both for each point.", got=(tuple(log_p.shape), tuple(log_q.shape))
        )
    if not len(log_p):
        raise BadInput("A divergence needs points.", got=0)
    for whose, values in (("truth", log_p), ("model", log_q)):
        bad = int((values.isnan() | values.isposinf()).sum())
        if bad:
            raise NotANumber(f"The scores of the {whose} must be numbers below infinity.", got=f"{bad} that are not")


def _mean(own: Tensor, other: Tensor, kind: KlKind, what: str) -> Divergence:
    """The mean difference of log-densities at points drawn from the first."""
    gaps, n = own.double().cpu() - other.double().cpu(), len(own)
    outside = int(gaps.isposinf().sum())
    flags = [f"infinite: {outside} of {n} {what}"] if outside else []
    if n < 2:
        flags.append("one point has no standard error")
    return Divergence(
        value=None if outside else float(gaps.mean()),
        stderr=float(gaps.std()) / math.sqrt(n) if n > 1 and not outside else None,
        kind=kind,
        outside=outside,
        outside_share=outside / n,
        outside_stderr=binomial_stderr(outside, n) or 0.0,
        n=n,
        flags=tuple(flags),
    )


def _unbounded(model: Likelihood, kind: KlKind, count: int) -> Divergence:
    """A bound or an estimate of minus infinity says nothing, not even that a point is outside."""
    why = f"not known: of {count} of {model.n} points the likelihood has no finite {model.kind.replace('_', ' ')}"
    return Divergence(
        value=None, stderr=None, kind=kind, outside=0, outside_share=0.0, outside_stderr=0.0, n=model.n, flags=(why,)
    )


def _sum(
    own: Tensor, other: Tensor, area: float, shift: Tensor, what: str, known: bool, flags: tuple[str, ...]
) -> Divergence:
    """The same over a grid; ``shift`` says which of the four coarser grids a point is of."""
    weights = own.exp() * area
    inside = weights > 0
    ruled_out = inside & torch.isneginf(other)
    share, finite = float(weights[ruled_out].sum()), known and not bool(ruled_out.any())
    if bool(ruled_out.any()):
        flags = (f"infinite: {100 * share:.2g}% of {what}", *flags)
    elif not known:
        flags = ("not known from this grid", *flags)
    terms = torch.where(inside, weights * (own - other), 0)
    return Divergence(
        value=float(terms.sum()) if finite else None,
        stderr=_disagreement(terms, weights, shift) if finite else None,
        kind="exact",
        outside=int(ruled_out.sum()),
        outside_share=share,
        outside_stderr=0.0,
        n=len(own),
        flags=flags,
    )


def _disagreement(terms: Tensor, weights: Tensor, shift: Tensor) -> float:
    """The standard error of the mean of four grids, from their means, each under its own share of the mass."""
    sums, masses = (torch.zeros(4, dtype=torch.float64).index_add(0, shift, each) for each in (terms, weights))
    return float((sums / masses.clamp_min(1e-300)).std()) / 2
