r"""Modes that are known: which of them samples come from, how evenly, and how many samples lie at none.

For data from K equally heavy Gaussians, with :math:`d_k` the distance to the centre of the k-th in its standard deviations, a
sample is of *high quality* if :math:`\min_k d_k \le 3`, and belongs to the nearest mode (Metz et al. 2017, Srivastava et al.
2017). Three numbers say together what one of them hides: a model of one mode has samples of high quality only, and one that
spreads samples evenly over the plane finds every mode.

For data whose modes a judge tells apart, and whose true shares are known (``data.stacked``), a sample belongs to the mode that
the judge finds likeliest, clear or not, as in published figures; how many are clear is another number. The judge's mistakes are
on both sides where as many real data are judged as well.

Sources:
    VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning (Srivastava et al., 2017), section 4.1
    PacGAN: The power of two samples in generative adversarial networks (Lin et al., 2018), section 4
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..errors import RangeError, ShapeError
from .resampling import binomial_stderr

__all__ = ["REACH", "FoundModes", "HighQuality", "class_modes", "found_modes", "high_quality"]

REACH = 3.0
"""Standard deviations from a centre within which a sample is of high quality. In the plane 98.9 % of real data are."""
ENOUGH = 5
"""Samples for each mode from which on a correction of the order 1/N holds."""


@final
@dataclass(frozen=True, kw_only=True)
class HighQuality:
    """How many samples lie at a mode.

    Args:
        value: Their share.
        stderr: Binomial.
        floor: What samples of the data get: that of a Gaussian within ``REACH``.
        n: Samples.
    """

    value: float
    stderr: float | None
    floor: float
    n: int
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class FoundModes:
    """How evenly the samples that belong to some mode are spread over the modes.

    Args:
        value: KL(samples‖data) of the shares of the modes in nats, without bias to first order; log K for one of K like modes.
        stderr: To second order: it holds for equal shares too.
        plain: The same without the correction, as published figures are: too large by about (K - 1) / 2N.
        found: Modes at which at least one sample lies.
        expected: The number of modes at which as many data would lie on average.
        modes: How many there are.
        counts: Samples at each.
        n: Samples.
        flags: Which modes have none, and whether samples are few.
    """

    value: float | None
    stderr: float | None
    plain: float | None
    found: int
    expected: float
    modes: int
    counts: tuple[int, ...]
    n: int
    flags: tuple[str, ...] = ()


def high_quality(away: Tensor, dimensions: int = 2) -> HighQuality:
    """The share of samples within ``REACH`` of some mode.

    Args:
        away: Distances to the centres in standard deviations, ``(N, K)``.
        dimensions: Of the data.

    Raises:
        ShapeError: if these are not distances of samples.
    """
    _check(away)
    good, n = int((away.amin(1) <= REACH).sum()), len(away)
    floor = float(torch.special.gammainc(torch.tensor(dimensions / 2).double(), torch.tensor(REACH**2 / 2).double()))
    return HighQuality(value=good / n, stderr=binomial_stderr(good, n), floor=floor, n=n)


def found_modes(away: Tensor) -> FoundModes:
    """The modes that samples of high quality belong to, and how far their shares are from 1/K.

    Args:
        away: Distances to the centres in standard deviations, ``(N, K)``.

    Raises:
        ShapeError: if these are not distances of samples.
    """
    _check(away)
    near, mode = away.min(1)
    counts = torch.bincount(mode[near <= REACH], minlength=away.shape[1])
    return _found(counts, torch.full((len(counts),), 1 / len(counts), dtype=torch.float64), len(away))


def class_modes(probabilities: Tensor, shares: Tensor) -> FoundModes:
    """The modes that a judge sees, every sample at its likeliest, and how far their shares are from the true ones.

    Args:
        probabilities: Of the modes, ``(N, K)``.
        shares: How often each occurs in the data, ``(K,)``.

    Raises:
        ShapeError: if there is not a share for each mode, or there are no samples.
        RangeError: if the shares are not positive and sum to one.
    """
    if probabilities.ndim != 2 or not probabilities.numel() or shares.shape != probabilities.shape[1:]:
        raise ShapeError("There must be a share for each mode.", got=(tuple(probabilities.shape), tuple(shares.shape)))
    if not bool((shares > 0).all()) or abs(float(shares.sum()) - 1) > 1e-6:
        raise RangeError("True shares are positive and sum to one.", got=[float(shares.min()), float(shares.sum())])
    counts = torch.bincount(probabilities.argmax(1).cpu(), minlength=len(shares))
    return _found(counts, shares.double(), len(probabilities))


def _found(counts: Tensor, shares: Tensor, n: int) -> FoundModes:
    r"""How far shares :math:`\hat q_k = c_k / N` of samples are from true ones.

    .. math:: \widehat{\mathrm{KL}} = \sum_k \hat q_k \log \frac{\hat q_k}{p_k} - \frac{S - 1}{2N}

    with S the number of modes that occur (Miller 1955). Its variance is that of ``classes.class_shares`` with
    the shares of data known: :math:`V_1 = \operatorname{Var}_q(\log q/p) / N`, the linear part, and
    :math:`V_2 = (S - 1) / 2N^2`.
    """
    some, found, modes = int(counts.sum()), int((counts > 0).sum()), len(counts)
    value = stderr = plain = None
    if some:
        q, p = (part[counts > 0] for part in (counts.double() / some, shares))
        ratio = (q / p).log()
        plain = float((q * ratio).sum())
        value = plain - (found - 1) / (2 * some)
        spread = float((q * (ratio - plain).square()).sum())
        quadratic = (found - 1) / (2 * some**2)
        stderr = math.sqrt(max(spread / some - quadratic, quadratic))
    expected = float((1 - (1 - shares) ** some).sum())
    flags = [f"no sample at {modes - found} of {modes} modes"] if found < modes else []
    if 0 < some < ENOUGH * modes:
        flags.append(f"{some} samples are few for {modes} modes: the correction for this is rough")
    whole = tuple(int(count) for count in counts.tolist())
    return FoundModes(
        value=value,
        stderr=stderr,
        plain=plain,
        found=found,
        expected=expected,
        modes=modes,
        counts=whole,
        n=n,
        flags=tuple(flags),
    )


def _check(away: Tensor) -> None:
    if away.ndim != 2 or not away.numel():
        raise ShapeError("Distances to modes have one row for each sample.", got=tuple(away.shape))
