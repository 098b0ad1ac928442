r"""Modes that are known: which of them samples come from, how evenly, and how many samples lie at none.

For data from K equally heavy Gaussians, with :math:`d_k` the distance to the centre of the k-th in its standard deviations, a
sample is of *high quality* if :math:`\min_k d_k \le 3`, and belongs to the nearest mode (Metz et al. 2017, Srivastava et al.
2017). Three numbers say together what one of them hides: a model of one mode has samples of high quality only, and one that
spreads samples evenly over the plane finds every mode.

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

from ..errors import ShapeError
from .resampling import binomial_stderr

__all__ = ["REACH", "FoundModes", "HighQuality", "found_modes", "high_quality"]

REACH = 3.0
"""Standard deviations from a centre within which a sample is of high quality. In the plane 98.9 % of real data are."""


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
    """How evenly the samples of high quality are spread over the modes.

    Args:
        value: KL(samples‖data) of the shares of the modes in nats, without bias to first order; log K for one of K.
        stderr: To second order: it holds for equal shares too.
        found: Modes at which at least one sample lies.
        modes: How many there are.
        counts: Samples of high quality at each.
        n: Samples.
        flags: Which modes have none.
    """

    value: float | None
    stderr: float | None
    found: int
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
    r"""The modes that samples of high quality belong to, and how far their shares :math:`\hat q_k = c_k / N` are from 1/K.

    .. math:: \widehat{\mathrm{KL}} = \log K + \sum_k \hat q_k \log \hat q_k - \frac{S - 1}{2N}

    with S the number of modes that occur (Miller 1955). Its variance is that of ``classes.class_shares`` with
    the shares of data known: :math:`V_1 = \operatorname{Var}_q(\log q) / N`, the linear part, and :math:`V_2 = (S - 1) / 2N^2`.

    Args:
        away: Distances to the centres in standard deviations, ``(N, K)``.

    Raises:
        ShapeError: if these are not distances of samples.
    """
    _check(away)
    near, mode = away.min(1)
    counts = torch.bincount(mode[near <= REACH], minlength=away.shape[1]).double()
    n, found = int(counts.sum()), int((counts > 0).sum())
    missing = [str(k) for k in (counts == 0).nonzero()[:, 0].tolist()]
    flags = (f"no sample at {len(missing)} of {len(counts)} modes",) if missing else ()
    value = stderr = None
    if n:
        q = counts[counts > 0] / n
        plain = float((q * q.log()).sum())
        value = math.log(len(counts)) + plain - (found - 1) / (2 * n)
        spread = float((q * (q.log() - plain).square()).sum())
        quadratic = (found - 1) / (2 * n**2)
        stderr = math.sqrt(max(spread / n - quadratic, quadratic))
    whole = tuple(int(count) for count in counts.tolist())
    return FoundModes(value=value, stderr=stderr, found=found, modes=len(whole), counts=whole, n=len(away), flags=flags)


def _check(away: Tensor) -> None:
    if away.ndim != 2 or not away.numel():
        raise ShapeError("Distances to modes have one row for each sample.", got=tuple(away.shape))
