r"""How good predicted probabilities of labels are: how often right, how surprised, and whether their confidence is true.

.. math:: \text{log-loss} = -\frac1N \sum_i \log q(y_i \mid x_i), \qquad
          \text{calibration error} = \sum_b \frac{n_b}{N} \, \bigl| \mathrm{acc}_b - \mathrm{conf}_b \bigr|

The log-loss is a proper score: no other prediction than the true p(y | x) has a lower expectation. The calibration error (Guo
et al. 2017) bins the data by the confidence in the predicted label and compares it with how often that label was right; it
says nothing of how sharp the predictions are, and is biased upwards where bins hold few data.

Source:
    | On calibration of modern neural networks (Guo, Pleiss, Sun and Weinberger, 2017)
    | https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..errors import BadInput, RangeError, ShapeError

__all__ = ["Predicted", "predicted"]

BINS = 15


@final
@dataclass(frozen=True)
class Predicted:
    """How good predictions are.

    Args:
        accuracy: The share of data whose most probable label is right.
        accuracy_stderr: Binomial.
        log_loss: Nats per datum; infinite where a true label was held for impossible.
        log_loss_stderr: Of the mean over the data; NaN where it is infinite.
        calibration_error: Expected, over equal-width bins of confidence.
        n: Data.
    """

    accuracy: float
    accuracy_stderr: float
    log_loss: float
    log_loss_stderr: float
    calibration_error: float
    n: int


def predicted(log_probs: Tensor, y: Tensor, *, bins: int = BINS) -> Predicted:
    """Hold predictions against the truth.

    Args:
        log_probs: Normalised log-probabilities, ``(N, K)``.
        y: The true labels, int64 ``(N,)``.
        bins: Of confidence, for the calibration error.

    Raises:
        ShapeError: if there is not one label for each prediction.
        BadInput: if there are none, or the probabilities do not sum to one.
        RangeError: if a label is none of the K, or there is no bin.
    """
    if log_probs.ndim != 2 or y.shape != log_probs.shape[:1]:
        raise ShapeError(
            "There must be one true label for each prediction.", got=(tuple(log_probs.shape), tuple(y.shape))
        )
    if not len(y):
        raise BadInput("Predictions of nothing cannot be judged.", got=0)
    wrong = y[(y < 0) | (y >= log_probs.shape[1])]
    if len(wrong):
        raise RangeError(f"A label is a number from 0 to {log_probs.shape[1] - 1}.", got=int(wrong[0]))
    probs = log_probs.double().exp()
    sums = probs.sum(1)
    off = sums[~((sums - 1).abs() < 1e-6)]
    if len(off):
        raise BadInput("The probabilities of a prediction sum to one.", got=float(off[0]))
    if bins < 1:
        raise RangeError("There must be at least one bin.", got=bins)
    confidence, chosen = probs.max(1)
    right = (chosen == y).double()
    losses = -log_probs.double().gather(1, y[:, None])[:, 0]
    n = len(y)
    accuracy = float(right.mean())
    return Predicted(
        accuracy,
        math.sqrt(accuracy * (1 - accuracy) / n),
        float(losses.mean()),
        float(losses.std()) / math.sqrt(n) if n > 1 else math.nan,
        _calibration_error(confidence, right, bins),
        n,
    )


def _calibration_error(confidence: Tensor, right: Tensor, bins: int) -> float:
    """Each datum adds what its confidence is above its success; a bin's sum counts by its absolute value."""
    place = (confidence * bins).long().clamp_max(bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, right - confidence)
    return float(gaps.abs().sum()) / len(right)
