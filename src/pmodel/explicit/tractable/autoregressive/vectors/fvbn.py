r"""FVBN, the fully visible belief network (Neal 1992; Frey et al. 1996): a regression for each entry on those before.

.. math:: y_i = b_i + \sum_{j < i} A_{ij}\, c(x_j) + B_i\, \ell, \qquad p(x_i \mid x_{<i}, \ell) = p(x_i; y_i),

with the code c of an entry and the distributions of ``conditionals.py``, and a label one-hot. For bits these are D logistic
regressions, in one product with a strictly triangular matrix. Entries may be levels, by softmax
regression, or reals, by mixtures of Gaussians.

Source:
    Connectionist learning of belief networks, https://doi.org/10.1016/0004-3702(92)90065-6
    Does the wake-sleep algorithm produce good density estimators?, NIPS 1996
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor, nn

from .....domain import Domain
from .....learning import Recipe
from .....nn.masked import MaskedLinear
from .vector import AutoregressiveVector, Steps, check_weights

__all__ = ["FVBN"]


@final
class FVBN(AutoregressiveVector):
    """A logistic or softmax regression, or one with Gaussian mixtures, of each entry on those before it in raster order.

    Args:
        domain: Discrete data of at least two levels, or real ones, of any shape.
        given: A class label, which shifts every regression; or None.
        mixtures: Components of a factor, where values are real or their levels many.
        particles: Copies of a datum in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data have too few levels, or so many entries that the regressions would not fit.
        RangeError: if a number is out of range.
    """

    chunk = 2**19
    sizes: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {"mixtures": 2, "particles": 32}, "small": {"mixtures": 2}}

    def __init__(self, domain: Domain, given: Domain | None = None, *, mixtures: int = 3, particles: int = 64) -> None:
        super().__init__(domain, given, mixtures, particles)
        entries, p, q = domain.entries, self.factor.outputs, self.factor.inputs
        check_weights("FVBN", entries**2 * p * q)
        rank = torch.arange(entries).unsqueeze(0)
        self.weights = MaskedLinear(rank.repeat_interleave(q, 1), rank.repeat_interleave(p, 1), strict=True)
        nn.init.zeros_(self.weights.weight)
        self._idle(self.weights.weight)
        labels = len(self.given_frequencies)
        self.told = nn.Linear(labels, entries * p, bias=False) if labels else None

    def recipe(self) -> Recipe:
        """AdamW at a high rate: the loss is convex for binary data."""
        return Recipe(batch=128, rate=1e-2, ema=0.999)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start at the entries' own frequencies, given the label."""
        self._fit_alone(subset, given, self.weights.bias, None if self.told is None else self.told.weight)

    def _numbers(self, codes: Tensor, label: Tensor | None) -> Tensor:
        y: Tensor = self.weights(codes.flatten(1))
        if self.told is not None and label is not None:
            y = y + self.told(label)
        return y.reshape(*codes.shape[:2], self.factor.outputs)

    def _steps(self, n: int, label: Tensor | None) -> Steps:
        return _Steps(self, n, label)


@final
class _Steps:
    """The regressions one after another: each is one product with the entries before it."""

    def __init__(self, model: FVBN, n: int, label: Tensor | None) -> None:
        self.p, self.q = model.factor.outputs, model.factor.inputs
        self.weight, bias = model.weights.masked(), model.weights.bias
        self.shift = bias.expand(n, -1) if model.told is None or label is None else bias + model.told(label)
        self.codes = bias.new_zeros(n, model.weights.in_features)

    def outputs(self, i: int) -> Tensor:
        rows, seen = slice(i * self.p, (i + 1) * self.p), i * self.q
        return torch.addmm(self.shift[:, rows], self.codes[:, :seen], self.weight[rows, :seen].T)

    def put(self, i: int, x: Tensor) -> None:
        self.codes[:, i * self.q : (i + 1) * self.q] = x

    def select(self, rows: Tensor) -> None:
        self.codes = self.codes[rows]
