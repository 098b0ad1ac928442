r"""Simple classifiers on top of features: what is easy to read off a representation.

A *probe* is so weak that it can only use what the features show plainly: a linear map, or the nearest labelled neighbours.

.. math::

    q(y \mid z) = \mathrm{softmax}(W z + b)_y, \qquad
    q(y \mid z) = \frac{1 + \#\{\text{neighbours labelled } y\}}{K + k}

The penalty of the linear probe is chosen by cross-validation within the labelled data; nothing else is looked at.

Source:
    | Understanding intermediate layers using linear classifier probes (Alain and Bengio, 2016)
    | https://arxiv.org/abs/1610.01644
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadInput, RangeError, ShapeError

__all__ = ["folds_of", "linear_layer", "linear_probe", "nearest_probe"]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The inverse weights of the linear probe's penalty that are tried."""
FOLDS = 5
ITERATIONS = 5000
NEIGHBOURS = 3
TIE = 1e-3
"""By so much at most the vote of a nearer neighbour counts for more."""
BLOCK = 4096
"""Data whose neighbours are looked for at a time."""


def linear_probe(z: Tensor, y: Tensor, new: Tensor, classes: int, *, penalty: float | None = None) -> Tensor:
    """Logistic regression with a squared penalty, learned from labelled features and applied to new ones.

    Args:
        z: Features of the labelled data, ``(n, d)``; their scale matters, since the penalty is on the weights.
        y: Their labels, int64 ``(n,)``.
        new: Features of the data to classify, ``(N, d)``.
        classes: The number K of labels.
        penalty: The inverse weight of the penalty; None chooses it by cross-validation, for the least log-loss.

    Returns:
        Log-probabilities ``(N, K)``, float64; minus infinity for a label that none of the labelled data has.

    Raises:
        ShapeError: if features and labels do not fit each other.
        RangeError: if a label is none of the K.
        BadInput: if fewer than two different labels are known.
    """
    _require_labelled(z, y, new, classes)
    weight, bias = linear_layer(z, y, classes, penalty=penalty)
    return torch.addmm(bias, new.double(), weight.T).log_softmax(1)


def linear_layer(z: Tensor, y: Tensor, classes: int, *, penalty: float | None = None) -> tuple[Tensor, Tensor]:
    """The weights ``(K, d)`` and offsets ``(K,)`` of the linear probe, float64; arguments and errors are the probe's."""
    _require_labelled(z, y, z, classes)
    if len(known := set(y.tolist())) < 2:
        raise BadInput("A linear probe needs data of two labels at least.", got=sorted(known))
    inputs, labels = z.double().numpy(), y.numpy()
    fitted = _regression(_cross_validated(inputs, y) if penalty is None else penalty).fit(inputs, labels)
    rows = torch.from_numpy(fitted.classes_)
    weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    if len(rows) == 2:  # one logit, that of the second: half of it each way
        weight, bias = (torch.cat([-part, part]) / 2 for part in (weight, bias))
    whole = torch.zeros(classes, z.shape[1], dtype=torch.float64), torch.full((classes,), -torch.inf).double()
    whole[0][rows], whole[1][rows] = weight, bias
    return whole


def _regression(penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, max_iter=ITERATIONS)


def folds_of(y: Tensor, most: int = FOLDS) -> list[tuple[Tensor, Tensor]]:
    """Rows to learn from and rows to leave out, for each fold of a cross-validation; none if a label is too rare for it.

    Args:
        y: Labels ``(n,)``, which are spread evenly over the folds.
        most: How many folds; fewer where a label does not occur as often.
    """
    from sklearn.model_selection import StratifiedKFold

    count = min(most, *Counter(y.tolist()).values())
    if count < 2:
        return []
    split = StratifiedKFold(count, shuffle=True, random_state=0).split(y, y)
    return [(torch.from_numpy(kept), torch.from_numpy(left)) for kept, left in split]


def _cross_validated(inputs: Any, y: Tensor) -> float:
    """The penalty with the least held-out log-loss; 1 where some label is too rare to be left out."""
    from sklearn.model_selection import cross_val_score

    folds = [(kept.numpy(), left.numpy()) for kept, left in folds_of(y)]
    if not folds:
        return 1.0

    def held_out(penalty: float) -> float:
        return float(cross_val_score(_regression(penalty), inputs, y.numpy(), cv=folds, scoring="neg_log_loss").mean())

    return max(PENALTIES, key=held_out)


def nearest_probe(z: Tensor, y: Tensor, new: Tensor, classes: int, *, neighbours: int = NEIGHBOURS) -> Tensor:
    """The labels of the nearest labelled features, by the votes of several.

    Args:
        z: Features of the labelled data, ``(n, d)``.
        y: Their labels, int64 ``(n,)``.
        new: Features of the data to classify, ``(N, d)``.
        classes: The number K of labels.
        neighbours: How many vote, at most n; of labels with as many votes the one with the nearer voters wins.

    Returns:
        Log-probabilities ``(N, K)``, float64.

    Raises:
        ShapeError: if features and labels do not fit each other.
        RangeError: if a label is none of the K, or there are not so many neighbours.
    """
    _require_labelled(z, y, new, classes)
    if not 1 <= neighbours <= len(z):
        raise RangeError(f"neighbours must be from 1 to the number of labelled data, {len(z)}.", got=neighbours)
    known = z.double()
    near = torch.cat(
        [torch.cdist(part, known).topk(neighbours, largest=False).indices for part in torch.split(new.double(), BLOCK)]
    )
    weights = 1 + torch.linspace(TIE, 0, neighbours, dtype=torch.float64)
    counts = 1 + (F.one_hot(y[near], classes) * weights[:, None]).sum(1)
    return (counts / counts.sum(1, keepdim=True)).log()


def _require_labelled(z: Tensor, y: Tensor, new: Tensor, classes: int) -> None:
    if z.ndim != 2 or new.ndim != 2 or z.shape[1] != new.shape[1] or y.shape != z.shape[:1]:
        raise ShapeError(
            "There must be one label for each labelled datum, and as many features of the new ones.",
            got=(tuple(z.shape), tuple(y.shape), tuple(new.shape)),
        )
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise RangeError(f"A label is a number from 0 to {classes - 1}.", got=int(wrong[0]))
