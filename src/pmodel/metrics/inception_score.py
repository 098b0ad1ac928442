r"""The Inception Score: how clear the class of each sample is, and how evenly classes occur.

.. math:: \mathrm{IS} = \exp \frac1n \sum_i \mathrm{KL} \bigl( p(y \mid x_i) \,\Vert\, p(y) \bigr), \qquad
          p(y) = \frac1n \sum_i p(y \mid x_i) .

It lies between 1 and the number of classes. The samples are cut into splits, each scored by itself, and the scores averaged. No
real data enter: one picture of each class gets nearly all of it.

Source:
    Improved Techniques for Training GANs (Salimans et al., 2016), section 4, https://arxiv.org/abs/1606.03498
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..errors import BadInput, RangeError
from .rows import matrix

__all__ = ["InceptionScore", "inception_score_of"]

SPLITS = 10
"""As in the paper."""
LEAST = 2
"""Samples in a split: one alone scores 1 whatever it is."""
ENOUGH = 10
"""Samples in a split for each class, below which the score is noticeably too small."""
ROUNDING = 1e-5
"""Probabilities of a sample add up to 1 but for this, in float32 too."""


@final
@dataclass(frozen=True)
class InceptionScore:
    """The score of samples.

    Args:
        value: The mean over splits.
        stderr: Of that mean, from the splits' spread; None for a single split.
        spread: The standard deviation over splits, which papers give after ±: it does not shrink with more splits.
        flags: Sentences on what makes the score less than it seems.
    """

    value: float
    stderr: float | None
    spread: float
    flags: tuple[str, ...] = ()


def inception_score_of(probabilities: Tensor, *, splits: int = SPLITS) -> InceptionScore:
    """The score of samples.

    Args:
        probabilities: Of each class for each sample, ``(N, classes)``, in an order that has nothing to do with the class:
            split k holds the rows from ``k N // splits``.
        splits: In how many the samples are cut.

    Raises:
        ShapeError: if it is not a matrix.
        RangeError: if these are no probabilities.
        BadInput: if there are fewer than two samples in a split.
    """
    p = matrix(probabilities, what="Class probabilities")
    _check(p, splits)
    n = len(p)
    scores = torch.stack([_score(p[k * n // splits : (k + 1) * n // splits]) for k in range(splits)])
    stderr = float(scores.std()) / math.sqrt(splits) if splits > 1 else None
    return InceptionScore(float(scores.mean()), stderr, float(scores.std(correction=0)), _flags(p, splits))


def _score(p: Tensor) -> Tensor:
    """Of one split; classes of probability 0 add nothing."""
    divergences = (torch.xlogy(p, p) - torch.xlogy(p, p.mean(0))).sum(1)
    return divergences.mean().exp()


def _check(p: Tensor, splits: int) -> None:
    if splits < 1:
        raise RangeError("Samples are cut into at least one split.", got=splits)
    if len(p) < LEAST * splits:
        raise BadInput(
            f"An Inception Score over {splits} splits needs at least {LEAST} samples in each.",
            got=len(p),
            hint=f"draw at least {LEAST * splits} samples, or take fewer splits",
        )
    if bool((p < 0).any()):
        raise RangeError("Probabilities are not negative.", got=float(p.min()))
    sums = p.sum(1)
    if bool(((sums - 1).abs() > ROUNDING).any()):
        raise RangeError("Probabilities of a sample add up to 1.", got=float(sums[(sums - 1).abs().argmax()]))


def _flags(p: Tensor, splits: int) -> tuple[str, ...]:
    each, classes = len(p) // splits, p.shape[1]
    if each >= ENOUGH * classes:
        return ()
    return (f"{each} samples in a split are few for {classes} classes: the score is too small by that",)
