r"""Are samples copies of training data? How near they come to them, against how near held-out real data come.

With :math:`d_1(x) \le \dots \le d_k(x)` the distances of x to its k nearest training data, the *nearness*

.. math:: r(x) = d_1(x) \Big/ \frac1k \sum_{i=1}^k d_i(x)

is 0 for a copy and near 1 where the nearest training datum is one among equals. The plain distance would call simple data
copies (digits one are near to each other) and blurred ones (an average is near to everything); the ratio does neither. A few
copies of one datum *within* the training set do not hide a copy of it either, as a ratio of d_1 to d_2 would let them.

Held-out data set the scale: the value is the share of samples with a nearness below the 1 % quantile of theirs. Held-out data
that are themselves copies of training data are left out of the quantile, which they would make 0, and stay in the control,
the share that held-out data get by the same rule when either half of them is held against the quantile of the other.

Distances are Euclidean between the data as they are given: pixels, or standardised columns. Not features: to be a copy is a
fact about data, while a judge's features forget what makes two pictures of one class different, so that samples which are
merely typical would look like copies; and what moves or recolours pictures is no copying.

Source:
    Extracting Training Data from Diffusion Models (Carlini et al., 2023), section 5.1, https://arxiv.org/abs/2301.13188
    A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan et al., 2020), https://arxiv.org/abs/2004.05675
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..data.mapped import Mapped
from ..errors import BadInput, RangeError, ShapeError
from ..randomness import generator
from .resampling import binomial_stderr

__all__ = [
    "NEIGHBOURS",
    "QUANTILE",
    "Control",
    "Memorisation",
    "Nearest",
    "control",
    "memorisation",
    "nearest_training",
]

NEIGHBOURS = 50
"""Training data whose distances give the scale: k."""
QUANTILE = 0.01
"""Of the held-out data's nearness."""
LEAST = 20
"""Held-out data that are no copies of training data, at least."""
CHUNK = 2**24
"""Distances, or entries of training data, that are held at a time (64 MiB each)."""


@final
@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training data of some rows.

    Args:
        indices: Their positions in the training data, nearest first, int64 ``(N, k)``.
        distances: Euclidean, float64 ``(N, k)``.
    """

    indices: Tensor
    distances: Tensor

    @property
    def nearness(self) -> Tensor:
        """The distance to the nearest over the mean distance to all k, ``(N,)``: 0 for a copy."""
        mean = self.distances.mean(1)
        return torch.where(mean > 0, self.distances[:, 0] / mean, 0.0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Control:
    """What held-out data tell of the nearness that is usual.

    Args:
        threshold: The nearness that a share of ``expected`` of new data is below.
        expected: ``QUANTILE``, or the smallest share that so few held-out data can tell.
        expected_stderr: Of the share below the threshold, which comes from the draw of the held-out data.
        value: The share of held-out data below the threshold that the other half of them gives, copies included.
        stderr: Binomial, of ``value``.
        copies: Held-out data that are copies of training data.
        n: Held-out data.
    """

    threshold: float
    expected: float
    expected_stderr: float
    value: float
    stderr: float
    copies: int
    n: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Memorisation:
    """How many samples are too near to training data.

    Args:
        value: The share of samples with a nearness below the held-out data's quantile.
        stderr: Binomial.
        expected: The share that new real data would get.
        expected_stderr: See ``Control``.
        control: What held-out data get, which the value stands beside.
        control_stderr: Binomial.
        copies: Samples that are equal to a training datum.
        nearness: Of each sample, ``(N,)``.
        indices: The nearest training datum of each sample, int64 ``(N,)``.
        n: Samples.
        n_reference: Training data.
        flags: What makes the number less than it seems.
    """

    value: float
    stderr: float
    expected: float
    expected_stderr: float
    control: float
    control_stderr: float
    copies: int
    nearness: Tensor
    indices: Tensor
    n: int
    n_reference: int
    flags: tuple[str, ...] = ()

    def nearest_pairs(self, count: int) -> list[tuple[int, int]]:
        """The samples that come nearest to training data: (sample, training datum), the most suspect first."""
        order = self.nearness.argsort(stable=True)[:count]
        return [(int(k), int(self.indices[k])) for k in order]


def nearest_training(rows: Tensor, train: Tensor | Mapped, k: int = NEIGHBOURS) -> Nearest:
    """The k nearest training data of each row, or all of them if there are no more.

    Candidates are found by products of matrices in single precision and then measured exactly, so that copies have a distance
    of exactly 0. Training data are read once, a part at a time.

    Args:
        rows: ``(N, *shape)`` of any type.
        train: ``(M, *shape)``, in memory or mapped.
        k: How many.

    Raises:
        ShapeError: if the shapes differ.
        BadInput: if there are no rows or no training data.
        RangeError: if k is not positive, or an entry is not finite.
    """
    if rows.shape[1:] != train.shape[1:]:
        raise ShapeError("Rows and training data need one shape.", got=(tuple(rows.shape), tuple(train.shape)))
    if not len(rows) or not len(train):
        raise BadInput("There must be rows, and training data.", got=(len(rows), len(train)))
    if k < 1:
        raise RangeError("k must be at least 1.", got=k)
    k = min(k, len(train))
    loc = _flat(train[:1000]).mean(0)
    return _measured(rows, train, _candidates(_finite(_flat(rows) - loc), train, loc, k))


def control(train: Tensor | Mapped, held_out: Tensor, *, seed: int = 0) -> Control:
    """What is usual, from held-out data; computed once for all samples that are held against it.

    Args:
        train: ``(M, *shape)``, in memory or mapped.
        held_out: ``(N, *shape)``, from the same source but not in the training data.
        seed: Of the halves of the control.

    Raises:
        BadInput: if fewer than ``LEAST`` held-out data are no copies: then a copy is nothing unusual.
        ShapeError: if the shapes differ.
        RangeError: if an entry is not finite.
    """
    found = nearest_training(held_out, train)
    scores, copied = found.nearness, found.distances[:, 0] == 0
    copies, n = int(copied.sum()), len(scores)
    if n - copies < LEAST:
        raise BadInput(
            "Whether samples are copies can only be told where held-out data are none.",
            got=f"{copies} of {n} held-out data are equal to training data",
            hint=f"at least {LEAST} held-out data that are not in the training data are needed",
        )
    threshold, expected = _quantile(scores[~copied])
    fresh = n - copies
    halves = torch.randperm(n, generator=generator(seed, "memorisation")).tensor_split(2)
    near = sum(_below(scores[a], scores[b][~copied[b]]) for a, b in (halves, halves[::-1]))
    return Control(
        threshold=threshold,
        expected=expected,
        expected_stderr=math.sqrt(expected * (1 - expected) / (fresh + 2)),
        value=near / n,
        stderr=binomial_stderr(near, n) or 0.0,
        copies=copies,
        n=n,
    )


def memorisation(samples: Tensor, train: Tensor | Mapped, usual: Control) -> Memorisation:
    """The share of samples that are nearer to training data than nearly all held-out data are.

    Args:
        samples: ``(N, *shape)``.
        train: ``(M, *shape)``, in memory or mapped.
        usual: What ``control`` says of the same training data.

    Raises:
        ShapeError: if the shapes differ.
        BadInput: if there are no samples.
        RangeError: if an entry is not finite.
    """
    found = nearest_training(samples, train)
    scores, n = found.nearness, len(samples)
    near = int((scores < usual.threshold).sum())
    return Memorisation(
        value=near / n,
        stderr=binomial_stderr(near, n) or 0.0,
        expected=usual.expected,
        expected_stderr=usual.expected_stderr,
        control=usual.value,
        control_stderr=usual.stderr,
        copies=int((found.distances[:, 0] == 0).sum()),
        nearness=scores,
        indices=found.indices[:, 0],
        n=n,
        n_reference=len(train),
        flags=_flags(usual),
    )


def _quantile(scores: Tensor) -> tuple[float, float]:
    """The j-th smallest of m scores, and the share j / (m + 1) of new ones that is below it on average."""
    m = len(scores)
    j = max(1, math.floor(QUANTILE * (m + 1)))
    return float(scores.kthvalue(j).values), j / (m + 1)


def _below(scores: Tensor, others: Tensor) -> int:
    return int((scores < _quantile(others)[0]).sum()) if len(others) else 0


def _flat(x: Tensor) -> Tensor:
    return x.detach().flatten(1).to("cpu", torch.float32)


def _finite(x: Tensor) -> Tensor:
    if not bool(x.isfinite().all()):
        raise RangeError("All entries must be finite.", got=f"{int((~x.isfinite()).sum())} that are not")
    return x


def _candidates(rows: Tensor, train: Tensor | Mapped, loc: Tensor, k: int) -> Tensor:
    """The positions of the k nearest to single precision, ``(N, k)``; everything is moved by ``loc`` to lose few digits."""
    size = max(1, min(len(train), CHUNK // max(1, rows.shape[1])))
    best = torch.full((len(rows), k), math.inf)
    found = torch.zeros(len(rows), k, dtype=torch.int64)
    for start in range(0, len(train), size):
        part = _finite(_flat(train[start : start + size]) - loc)
        squares = part.square().sum(1)
        for at in torch.split(torch.arange(len(rows)), max(1, CHUNK // len(part))):
            near = torch.addmm(squares, rows[at], part.T, alpha=-2).topk(min(k, len(part)), 1, largest=False)
            values, places = torch.cat([best[at], near.values], 1), torch.cat([found[at], near.indices + start], 1)
            order = values.topk(k, 1, largest=False).indices
            best[at], found[at] = values.gather(1, order), places.gather(1, order)
    return found


def _measured(rows: Tensor, train: Tensor | Mapped, found: Tensor) -> Nearest:
    """The candidates with exact distances, nearest first; of equally near ones the first in the training data."""
    n, k = found.shape
    found = found.sort(1).values
    parts = []
    for at in torch.split(torch.arange(n), max(1, CHUNK // (4 * k * max(1, math.prod(rows.shape[1:]))))):
        others = train[found[at].flatten()].flatten(1).double().cpu()
        away = rows[at].detach().flatten(1).double().cpu()[:, None] - others.view(len(at), k, -1)
        parts.append(torch.linalg.vector_norm(away, dim=2))
    distances, order = torch.cat(parts).sort(stable=True, dim=1)
    return Nearest(found.gather(1, order), distances)


def _flags(usual: Control) -> tuple[str, ...]:
    flags = []
    if usual.copies:
        flags.append(f"{usual.copies} of {usual.n} held-out data are equal to training data")
    if usual.expected > 1.5 * QUANTILE:
        flags.append(f"{usual.n - usual.copies} held-out data are few: {usual.expected:.1%} of real data are expected")
    return tuple(flags)
