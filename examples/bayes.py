"""A classifier from a generative model, and one that is nothing else, on the same digits: few labels, missing pixels.

    python examples/bayes.py

Generative: p(x | y) for each digit y, and Bayes' theorem. One product of Bernoullis a digit is naive Bayes; a mixture of eight
knows how pixels go together. Discriminative: logistic regression of p(y | x), with scikit-learn's default penalty and without
any; naive Bayes and logistic regression are the same linear functions of x, fitted to p(x, y) and to p(y | x) (Ng and Jordan
2001). The digits are black or white, so that both sides see the same bits and p(x | y) is exact.

Where pixels are missing, at random, the generative side sums over what they could be: p(y | x_observed) is exact, whatever is
missing. The discriminative side has no p(x) to sum under, and puts the training means in their place.

What one should find: naive Bayes is as accurate with 300 labels as it ever gets, while logistic regression goes on learning;
both are about equally accurate with few labels, and naive Bayes is far too sure of itself, because pixels are not independent.
A mixture is ahead of all of them from 100 labels on, in accuracy; and with missing pixels it is ahead by far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import pmodel
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete
from pmodel.model import Model
from pmodel.tasks import Predicted, posterior, predicted

LABELS = (20, 50, 100, 300, 1437)
MISSING = (0.0, 0.5, 0.75)
SEEDS = 3
PENALTIES = {"logistic regression": 1.0, "… without penalty": math.inf}
COMPONENTS = {"naive Bayes": 1, "mixtures of eight": 8}
GENERATIVE, DISCRIMINATIVE = tuple(COMPONENTS), tuple(PENALTIES)


@dataclass(frozen=True)
class Row:
    """How one classifier did, averaged over the seeds of the labels.

    Args:
        name: Of the classifier.
        labels: How many labelled digits it learned from.
        missing: The share of the test pixels that it did not see.
        accuracy: Mean over the seeds.
        log_loss: Nats.
        calibration_error: Expected.
    """

    name: str
    labels: int
    missing: float
    accuracy: float
    log_loss: float
    calibration_error: float


def digits() -> Dataset:
    """The 8 × 8 digits in black and white; those that were set aside for validation are tested on, too."""
    data = pmodel.load_data("digits")
    train, valid, test = (replace(split, x=(split.x[:] >= 8).to(torch.uint8)) for split in data.splits.values())
    rest = test.joined(valid)
    return replace(
        data, name="digits in black and white", domain=Discrete((1, 8, 8), 2), train=train, valid=rest, test=rest
    )


def labelled(data: Dataset, n: int, seed: int) -> Dataset:
    """The data with ``n`` of the training digits, equally many of each while there are."""
    y = data.train.y
    assert y is not None
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    if n < len(y):
        order = torch.cat([order[y[order] == digit][: n // 10] for digit in range(10)])
    return replace(data, train=data.train.take(order))


def generative(data: Dataset, components: int) -> Model:
    """A mixture of products of Bernoullis for each digit."""
    return pmodel.fit("mixture", data, conditional=True, components=components, steps=30)


def discriminative(train: Split, penalty: float) -> LogisticRegression:
    """Logistic regression on the pixels."""
    assert train.y is not None
    return LogisticRegression(max_iter=3000, C=penalty).fit(flat(train.x[:]), train.y.numpy())


def imputed(train: Split, x: Tensor, observed: Tensor) -> np.ndarray:
    """The pixels, and the training means where they are not observed."""
    return np.where(flat(observed), flat(x), flat(train.x[:]).mean(0))


def flat(x: Tensor) -> np.ndarray:
    return x.flatten(1).double().numpy()


def judged(data: Dataset, shares: Iterable[float]) -> dict[tuple[str, float], Predicted]:
    """All classifiers from these labels, under each share of missing pixels."""
    x, y = data.test.x[:], data.test.y
    assert y is not None
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    models = {name: generative(data, count) for name, count in COMPONENTS.items()}
    rivals = {name: discriminative(data.train, penalty) for name, penalty in PENALTIES.items()}
    found = {}
    for share in shares:
        observed = noise >= share
        for name, model in models.items():
            found[name, share] = predicted(posterior(model, x, observed).log_probs, y)
        pixels = imputed(data.train, x, observed)
        for name, rival in rivals.items():
            found[name, share] = predicted(torch.from_numpy(rival.predict_log_proba(pixels)), y)
    return found


def compared(labels: Iterable[int] = LABELS, missing: Iterable[float] = MISSING, seeds: int = SEEDS) -> list[Row]:
    """The table."""
    data, shares, rows = digits(), tuple(missing), []
    for n in labels:
        runs = [judged(labelled(data, n, seed), shares) for seed in range(seeds)]
        for name, share in runs[0]:
            each = [run[name, share] for run in runs]
            rows.append(
                Row(
                    name,
                    n,
                    share,
                    mean(one.accuracy for one in each),
                    mean(one.log_loss for one in each),
                    mean(one.calibration_error for one in each),
                )
            )
    return rows


def main() -> None:
    print(f"{'labels':>6} {'missing':>8}  {'classifier':<22}{'accuracy':>9}{'log-loss':>10}{'calibration error':>19}")
    for row in compared():
        numbers = f"{row.accuracy:9.1%}{row.log_loss:10.3f}{row.calibration_error:19.3f}"
        print(f"{row.labels:>6} {row.missing:>8.0%}  {row.name:<22}{numbers}")


if __name__ == "__main__":
    main()
