r"""What a judge's class probabilities say of samples.

Are they clear? Do all classes occur, and as often as in the data? Is a sample of the class that was asked for?
The probabilities of the *real* data come from the same judge, so that its mistakes are on both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..errors import BadInput, RangeError, ShapeError
from .resampling import binomial_stderr

__all__ = [
    "CONFIDENT",
    "DUE",
    "Agreement",
    "ClassShares",
    "Clear",
    "Modes",
    "class_agreement",
    "class_shares",
    "clear_share",
    "mode_count",
]

CONFIDENT = 0.9
"""The confidence from which on a datum counts as clearly some class."""
DUE = 10
"""A class is missed where so many clear samples of it were expected and none came: by chance once in e^10."""


@final
@dataclass(frozen=True, kw_only=True)
class Clear:
    """How many data are clearly some class.

    Args:
        value: Their share.
        stderr: Binomial.
        counts: How many are clearly which class.
        n: Data.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float
    counts: tuple[int, ...]
    n: int
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Modes:
    r"""How many classes occur among clear samples.

    Args:
        value: Their number.
        stderr: The standard deviation of this number for a perfect model, at most: :math:`\sqrt{\sum_k v_k (1 - v_k)}`, since
            seeing one class makes seeing another less likely.
        expected: The number of classes that as many clear data would show on average, :math:`\sum_k v_k`.
        classes: How many there are.
        due: The classes of which at least ``DUE`` were expected.
        missing: Those of them that did not come.
        n: Samples.
        flags: What makes the number less than it seems.
    """

    value: int
    stderr: float
    expected: float
    classes: int
    due: tuple[int, ...]
    missing: tuple[int, ...]
    n: int
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class ClassShares:
    """How far the classes of samples are from the data's.

    Args:
        value: KL(samples‖data) of the class shares in nats, without bias to first order: it may be a little below 0.
        stderr: To second order: it holds for equal shares too.
        shares: Of each class among samples.
        data: Of each class among data, smoothed.
        n: Samples.
        n_reference: Data.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float
    shares: tuple[float, ...]
    data: tuple[float, ...]
    n: int
    n_reference: int
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether samples are of the class that was asked for.

    Args:
        value: The share of samples whose likeliest class it is.
        stderr: Binomial.
        by_class: The same for each class; None where it was not asked for.
        n: Samples.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float
    by_class: tuple[float | None, ...]
    n: int
    flags: tuple[str, ...] = ()


def clear_share(probabilities: Tensor) -> Clear:
    """The share of data of which the judge is sure.

    Args:
        probabilities: Of the classes, ``(N, K)``.

    Raises:
        ShapeError: if it is not a matrix with rows and columns.
        RangeError: if a row does not hold probabilities.
    """
    probabilities = _checked(probabilities)
    counts = _clear_counts(probabilities)
    n, clear = len(probabilities), int(counts.sum())
    return Clear(value=clear / n, stderr=binomial_stderr(clear, n) or 0.0, counts=tuple(counts.tolist()), n=n)


def mode_count(probabilities: Tensor, real: Tensor) -> Modes:
    r"""How many classes occur, against what is expected.

    With :math:`p_k` the share of real data that are clearly class k, N perfect samples would show class k with probability
    :math:`v_k = 1 - (1 - p_k)^N`.

    Args:
        probabilities: Of samples, ``(N, K)``.
        real: Of real data, ``(M, K)``.

    Raises:
        ShapeError: if these are not two matrices with the same columns.
        RangeError: if a row does not hold probabilities.
    """
    probabilities, real = _both(probabilities, real)
    counts, shares = _clear_counts(probabilities), _clear_counts(real).double() / len(real)
    n = len(probabilities)
    seen = -torch.expm1(n * torch.log1p(-shares))
    due = (n * shares >= DUE).nonzero().flatten()
    flags = () if len(due) else (f"{n} samples are too few to expect {DUE} of any class: none can be called missing",)
    return Modes(
        value=int((counts > 0).sum()),
        stderr=float((seen * (1 - seen)).sum().sqrt()),
        expected=float(seen.sum()),
        classes=len(counts),
        due=tuple(due.tolist()),
        missing=tuple(due[counts[due] == 0].tolist()),
        n=n,
        flags=flags,
    )


def class_shares(probabilities: Tensor, real: Tensor) -> ClassShares:
    r"""The divergence of the samples' classes from the data's, every datum counted as its likeliest class.

    With counts :math:`c_k` of N samples, :math:`\hat q_k = c_k / N`, and counts :math:`r_k` of M data smoothed by Jeffreys'
    prior, :math:`\hat p_k = (r_k + \tfrac12) / (M + K/2)`, so that no class is impossible,

    .. math:: \widehat{\mathrm{KL}} = \sum_k \hat q_k \log \frac{\hat q_k}{\hat p_k} - \frac{S - 1}{2N} - \frac{K - 1}{2M} .

    The first correction is Miller's (1955) for the entropy, with S the number of classes that occur among samples. The second
    is what the estimated :math:`\log \hat p_k` lacks on average, which under this prior is the same for every class. The
    variance is :math:`V_1 + V_2` with the linear part :math:`V_1 = \operatorname{Var}_q(\log q/p) / N + (\sum_k q_k^2/p_k - 1)
    / M` and the quadratic one, which alone is left where the shares are equal, :math:`V_2 = \tfrac{K-1}{2} (1/N + 1/M)^2`.
    Estimated shares make :math:`\hat V_1` too large by :math:`2 V_2`, so that the sum is :math:`\max(\hat V_1 - V_2, V_2)`.

    Args:
        probabilities: Of samples, ``(N, K)``.
        real: Of real data, ``(M, K)``.

    Raises:
        ShapeError: if these are not two matrices with the same columns.
        RangeError: if a row does not hold probabilities.
    """
    probabilities, real = _both(probabilities, real)
    counts, theirs = (torch.bincount(x.argmax(1), minlength=x.shape[1]).double() for x in (probabilities, real))
    n, m, classes = len(probabilities), len(real), len(counts)
    q, p = counts / n, (theirs + 0.5) / (m + classes / 2)
    ratio = torch.where(q > 0, (q / p).log(), 0.0)
    plain = float((q * ratio).sum())
    bias = (int((q > 0).sum()) - 1) / (2 * n) + (classes - 1) / (2 * m)
    linear = float((q * (ratio - plain).square()).sum()) / n + max(0.0, float((q.square() / p).sum()) - 1) / m
    quadratic = (classes - 1) / 2 * (1 / n + 1 / m) ** 2
    return ClassShares(
        value=plain - bias,
        stderr=math.sqrt(max(linear - quadratic, quadratic)),
        shares=tuple(q.tolist()),
        data=tuple(p.tolist()),
        n=n,
        n_reference=m,
        flags=_few(n, m, classes),
    )


def class_agreement(probabilities: Tensor, asked: Tensor) -> Agreement:
    """The share of conditional samples in which the judge sees the class that was asked for.

    The judge errs as well: a perfect model gets the judge's accuracy on real data.

    Args:
        probabilities: Of samples, ``(N, K)``.
        asked: The labels that they were asked for, ``(N,)`` from 0 to K - 1.

    Raises:
        ShapeError: if there are not as many labels as samples.
        RangeError: if a row does not hold probabilities, or a label is none.
    """
    probabilities, asked = _checked(probabilities), asked.cpu()
    classes = probabilities.shape[1]
    if asked.shape != probabilities.shape[:1]:
        raise ShapeError("There must be one label for each sample.", got=(tuple(asked.shape), len(probabilities)))
    if not bool(((asked >= 0) & (asked < classes)).all()):
        raise RangeError(f"Labels are whole numbers from 0 to {classes - 1}.", got=sorted(set(asked.tolist())))
    right = probabilities.argmax(1) == asked
    shares = [right[asked == k] for k in range(classes)]
    n, hits = len(right), int(right.sum())
    unasked = sum(1 for share in shares if not len(share))
    return Agreement(
        value=hits / n,
        stderr=binomial_stderr(hits, n) or 0.0,
        by_class=tuple(float(share.double().mean()) if len(share) else None for share in shares),
        n=n,
        flags=(f"{unasked} of {classes} classes were not asked for",) if unasked else (),
    )


def _clear_counts(probabilities: Tensor) -> Tensor:
    confidence, label = probabilities.max(1)
    return torch.bincount(label[confidence >= CONFIDENT], minlength=probabilities.shape[1])


def _few(n: int, m: int, classes: int) -> tuple[str, ...]:
    """Corrections of the order 1/n hold where there are several data for each class."""
    if min(n, m) >= 5 * classes:
        return ()
    return (f"{n} samples and {m} data are few for {classes} classes: the correction for this is rough",)


def _both(probabilities: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    probabilities, real = _checked(probabilities), _checked(real)
    if probabilities.shape[1] != real.shape[1]:
        raise ShapeError("Both must be of the same classes.", got=(probabilities.shape[1], real.shape[1]))
    return probabilities, real


def _checked(probabilities: Tensor) -> Tensor:
    """The probabilities on the CPU, if they are some."""
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ShapeError("Class probabilities must be of shape (N, K).", got=tuple(probabilities.shape))
    if not len(probabilities):
        raise BadInput("There must be at least one datum.", got=0)
    bad = ~((probabilities >= 0).all(1) & ((probabilities.sum(1) - 1).abs() < 1e-3))  # NaN is neither
    if bool(bad.any()):
        raise RangeError("Rows must be probabilities that sum to one.", got=probabilities[bad][0].tolist())
    return probabilities.detach().cpu()
