r"""The classifier two-sample test: how often a classifier tells samples from real data that it has not seen.

Both sets are cut to one size and halved. A classifier :math:`f` is trained on the first halves; its accuracy on the
:math:`n_\mathrm{te}` rows of the others is the value,

.. math:: \hat t = \frac{1}{n_\mathrm{te}} \sum_{(z_i, l_i) \in D_\mathrm{te}}
          \mathbb{I}\bigl[\mathbb{I}(f(z_i) > \tfrac12) = l_i\bigr] .

Where the distributions are equal, :math:`n_\mathrm{te} \hat t` is at most as variable as a binomial of probability 1/2 (labels
are fixed, half of each), which gives the p-value. Any classifier makes a valid test; it sees only what it can learn. Where a
share s of samples is wrong and all others are right, the best of all gets ½ + s/2.

This one is a logistic regression with a ridge, a convex problem with one solution, so that nothing depends on a start or on
an order. It looks at the standardised columns (means), their squares (variances), their products (correlations) and random
Fourier features of two widths (modes; Rahimi and Recht 2007): of these it takes the ones whose means differ most between both
training halves, by Student's :math:`t`, with penalties :math:`\lambda / t^2`, so that one column of many is found when only
that one differs (the adaptive lasso of Zou 2006 with squares). How strong the ridge is shows on a quarter of the rows.

Source:
    Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017), eq. 2, https://arxiv.org/abs/1610.06545
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ..randomness import generator
from .resampling import binomial_stderr
from .rows import matrix, same_columns

__all__ = ["LEAST", "TwoSample", "two_sample"]

LEAST = 20
"""Rows that each set needs at least."""
MOST = 5_000
"""Rows of each set that are looked at."""
PRODUCTS = 64
"""Columns whose products are features; of more columns, so many principal components."""
CHOSEN = 200
"""Features that the regression takes."""
WAVES = 128
"""Random Fourier features of each width."""
WIDTHS = (1.0, 0.25)
"""Of the Gaussian kernels, as parts of the median distance."""
FAR = 10.0
"""Standard deviations of the reference at which a standardised value is cut off."""
RIDGES = (1e4, 1e3, 100.0, 10.0, 1.0)
"""Strengths that are tried, strong ones first: each start is the solution before."""


@final
@dataclass(frozen=True, kw_only=True)
class TwoSample:
    """The outcome of a classifier two-sample test.

    Args:
        value: Accuracy on held-out rows: 1/2 is chance.
        stderr: Binomial.
        p_value: The probability of such an accuracy or a higher one where the distributions are equal.
        n: Held-out rows, half of them samples.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float
    p_value: float
    n: int
    flags: tuple[str, ...] = ()


def two_sample(samples: Tensor, reference: Tensor, *, seed: int = 0) -> TwoSample:
    """Test whether samples can be told from the reference.

    Args:
        samples: ``(N, D)``.
        reference: ``(M, D)``. The larger set is cut to the size of the smaller one, at random.
        seed: Of the halves and of the features.

    Raises:
        ShapeError: if these are not two matrices with the same columns.
        RangeError: if an entry is not finite.
        BadInput: if either has fewer than ``LEAST`` rows.
    """
    samples, reference = matrix(samples, least=LEAST, what="Samples"), matrix(reference, least=LEAST, what="Real data")
    same_columns(samples.shape[1], reference.shape[1])
    noise = generator(seed, "two_sample")
    n = min(len(samples), len(reference), MOST)
    (fake, fake_held), (real, real_held) = (_halves(rows, n, noise) for rows in (samples, reference))
    score = _trained(fake, real, noise)
    held = score(torch.cat([fake_held, real_held]))
    right = int((held[: len(fake_held)] > 0).sum() + (held[len(fake_held) :] <= 0).sum())
    flags = () if len(held) >= 200 else (f"only {len(held)} held-out rows: a small difference would not be seen",)
    return TwoSample(
        value=right / len(held),
        stderr=binomial_stderr(right, len(held)) or 0.0,
        p_value=_tail(right, len(held)),
        n=len(held),
        flags=flags,
    )


def _halves(rows: Tensor, n: int, noise: Generator) -> tuple[Tensor, Tensor]:
    """Two halves of ``n`` rows, float64 on the CPU."""
    order = torch.randperm(len(rows), generator=noise)[:n].to(rows.device)
    chosen = rows[order].cpu()
    return chosen[: n // 2], chosen[n // 2 :]


class _Features:
    """What the classifier looks at.

    It is fixed by rows that the classifier is not trained on: rows lie along their own axes more than others do.
    """

    def __init__(self, fake: Tensor, real: Tensor, noise: Generator) -> None:
        self.loc, std = real.mean(0), real.std(0, correction=0)
        self.scale = std.masked_fill(std <= 1e-12 * (1 + self.loc.abs()), 1.0)
        z = self._standardised(torch.cat([fake, real]))
        self.leading = _axes(z, PRODUCTS)
        self.pairs = torch.triu_indices(self.leading.shape[1], self.leading.shape[1])
        widths = _median_distance(z) * torch.tensor(WIDTHS, dtype=torch.float64).repeat_interleave(WAVES)
        self.waves = torch.randn(z.shape[1], len(widths), generator=noise, dtype=torch.float64) / widths
        self.phases = 2 * math.pi * torch.rand(len(widths), generator=noise, dtype=torch.float64)

    def __call__(self, rows: Tensor) -> Tensor:
        z = self._standardised(rows)
        leading = z @ self.leading
        products = leading[:, self.pairs[0]] * leading[:, self.pairs[1]]
        squares = z.square() if z.shape[1] > PRODUCTS else z[:, :0]  # else they are among the products
        return torch.cat([z, squares, products, (z @ self.waves + self.phases).cos()], 1)

    def _standardised(self, rows: Tensor) -> Tensor:
        return ((rows - self.loc) / self.scale).clamp(-FAR, FAR)


def _axes(z: Tensor, most: int) -> Tensor:
    """The columns themselves, ``(D, D)``, or the leading principal components of rows where there are more, ``(D, most)``."""
    if z.shape[1] <= most:
        return torch.eye(z.shape[1], dtype=torch.float64)
    centred = z - z.mean(0)
    if len(z) < z.shape[1]:  # the same axes from the smaller of both Gram matrices
        _, left = torch.linalg.eigh(centred @ centred.T)
        return F.normalize(centred.T @ left.flip(1)[:, :most], dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    axes: Tensor = vectors.flip(1)[:, :most]
    return axes


def _median_distance(z: Tensor) -> float:
    """The median distance between 500 rows of either end, or 1 if these are equal."""
    median = float(F.pdist(torch.cat([z[:250], z[-250:]])).median())
    return median if median > 0 else 1.0


def _trained(fake: Tensor, real: Tensor, noise: Generator) -> Callable[[Tensor], Tensor]:
    """The log-odds of being a sample, learned from three quarters of rows; the others fix features and ridge."""
    quarter = len(fake) // 4
    features = _Features(fake[:quarter], real[:quarter], noise)
    raw = features(torch.cat([fake[quarter:], real[quarter:]]))
    loc, std = raw.mean(0), raw.std(0, correction=0)
    scale = torch.where(std > 1e-9, std, math.inf)  # what does not vary counts nothing

    def seen(rows: Tensor) -> Tensor:
        return F.pad((features(rows) - loc) / scale, (0, 1), value=1.0)

    x, held = F.pad((raw - loc) / scale, (0, 1), value=1.0), seen(torch.cat([fake[:quarter], real[:quarter]]))
    paths = list(_path(x, _labels(len(x))))
    losses = [float(F.binary_cross_entropy_with_logits(held @ weights, _labels(len(held)))) for weights in paths]
    best = paths[losses.index(min(losses))]
    return lambda rows: seen(rows) @ best


def _labels(n: int) -> Tensor:
    """1 for the first half, samples, and 0 for the second."""
    return torch.cat([torch.ones(n // 2), torch.zeros(n // 2)]).double()


def _path(features: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """Weights for each strength of the ridge, of the features that differ most by themselves; all others get 0."""
    t = _differences(features, labels)
    chosen = torch.cat([t.topk(min(CHOSEN, len(t))).indices, torch.tensor([features.shape[1] - 1])])
    penalty = F.pad(t[chosen[:-1]].pow(-2), (0, 1), value=1e-6)  # next to none on the constant: never singular
    x, w = features[:, chosen], torch.zeros(len(chosen), dtype=torch.float64)
    for ridge in RIDGES:
        w = _logistic(x, labels, ridge * penalty, w)
        yield torch.zeros(features.shape[1], dtype=torch.float64).index_copy_(0, chosen, w)


def _differences(features: Tensor, labels: Tensor) -> Tensor:
    """Student's statistic of each feature but the constant one, at least a small number, ``(features - 1,)``."""
    fake, real = features[labels > 0, :-1], features[labels == 0, :-1]
    error = (fake.var(0) / len(fake) + real.var(0) / len(real)).sqrt()
    return ((fake.mean(0) - real.mean(0)).abs() / (error + 1e-12)).clamp(1e-3, 1e3)


def _logistic(features: Tensor, labels: Tensor, penalty: Tensor, start: Tensor) -> Tensor:
    r"""Minimises :math:`\sum_i \log(1 + e^{-\pm w \cdot x_i}) + \tfrac12 \sum_j \lambda_j w_j^2`: Newton, with halved steps."""

    def loss(w: Tensor) -> Tensor:
        logits = features @ w
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") + (penalty * w.square()).sum() / 2

    w, value = start, loss(start)
    for _ in range(30):
        p = torch.sigmoid(features @ w)
        gradient = features.T @ (p - labels) + penalty * w
        curvature = (features.T * (p * (1 - p))) @ features + penalty.diag()
        step = torch.linalg.solve(curvature, gradient)
        gain, size = float(gradient @ step), 1.0
        if gain < 1e-6:
            break
        while float(loss(w - size * step)) > float(value) - 1e-4 * size * gain and size > 1e-6:
            size /= 2
        w = w - size * step
        value = loss(w)
    return w


def _tail(right: int, n: int) -> float:
    """P(B >= right) for B binomial of n and 1/2, exactly."""
    k = torch.arange(right, n + 1, dtype=torch.float64)
    logs = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1) - n * math.log(2)
    return min(1.0, float(logs.logsumexp(0).exp()))
