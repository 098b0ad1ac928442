r"""NADE, the neural autoregressive distribution estimator (Larochelle & Murray 2011; Uria et al. 2016), with RNADE for reals.

.. math::

    a_i = a_1 + \sum_{j < i} c(x_j)\, W_j, \qquad h_i = f(a_i), \qquad y_i = V_i h_i + b_i, \qquad
    p(x_i \mid x_{<i}) = p(x_i; y_i),

with the code c of an entry and the distributions of ``conditionals.py``: each entry has a network with one hidden layer, and
all share the weights W, so that the activations are a running sum and the whole costs O(DH). Training evaluates all entries at
once (``running.py``); sampling keeps the running activation, and so costs one evaluation. A label shifts :math:`a_1` and
every :math:`b_i`.

What differs from the papers: the function f is a rectifier, not a sigmoid; reals come in as asinh(x), without a factor for each
entry in front of the activation.

Source:
    The neural autoregressive distribution estimator, https://proceedings.mlr.press/v15/larochelle11a.html
    RNADE: the real-valued neural autoregressive density-estimator, https://arxiv.org/abs/1306.0186
    Neural autoregressive distribution estimation, https://arxiv.org/abs/1605.02226
"""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from .....domain import Domain
from .....learning import Recipe
from .running import running
from .vector import AutoregressiveVector, Steps, check_options, check_weights

__all__ = ["NADE"]


@final
class NADE(AutoregressiveVector):
    """A network with one hidden layer for each entry, and weights that all of them share, in raster order.

    Args:
        domain: Discrete data of at least two levels, or real ones, of any shape.
        given: A class label, which shifts the activation and the outputs; or None.
        width: Hidden units H.
        dropout: Probability with which a hidden unit is set to zero in training.
        mixtures: Components of a factor, where values are real or their levels many.
        particles: Copies of a datum in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data have too few levels, or so many entries that the weights would not fit.
        RangeError: if a number is out of range.
    """

    chunk = 2**18
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 16, "mixtures": 2, "particles": 32},
        "small": {"width": 128},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        width: int = 500,
        dropout: float = 0.0,
        mixtures: int = 5,
        particles: int = 64,
    ) -> None:
        super().__init__(domain, given, mixtures, particles)
        check_options(dropout, width=width)
        entries, p, q = domain.entries, self.factor.outputs, self.factor.inputs
        check_weights("NADE", entries * width * max(p, q))
        self.first = nn.Linear(entries * q, width)
        self.last = nn.Linear(width, entries * p)
        self._idle(self.first.weight)
        labels = len(self.given_frequencies)
        self.told = nn.Linear(labels, width + entries * p, bias=False) if labels else None
        self.dropout = nn.Dropout(dropout)

    def recipe(self) -> Recipe:
        """AdamW on small batches. Binary data are drawn anew from their grey intensities, where these are known."""
        return Recipe(batch=64, rate=8e-3, ema=0.999, retry=2)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start near the entries' own frequencies, given the label."""
        shift = None if self.told is None else self.told.weight[self.first.out_features :]
        self._fit_alone(subset, given, self.last.bias, shift)

    def _activation(self, a: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(F.relu(a)))

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The weights W ``(D, Q, H)`` and V ``(D, P, H)``."""
        entries, width = self.domain.entries, self.first.out_features
        w = self.first.weight.T.reshape(entries, self.factor.inputs, width)
        return w, self.last.weight.reshape(entries, self.factor.outputs, width)

    def _biases(self, n: int, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """The first activation ``(n, H)`` and the biases of the outputs ``(n, D, P)``."""
        a, b = self.first.bias.expand(n, -1), self.last.bias.expand(n, -1)
        if self.told is not None and label is not None:
            told, shift = self.told(label).split([a.shape[1], b.shape[1]], 1)
            a, b = a + told, b + shift
        return a, b.reshape(n, self.domain.entries, self.factor.outputs)

    def _numbers(self, codes: Tensor, label: Tensor | None) -> Tensor:
        a, b = self._biases(len(codes), label)
        return running(codes, a, *self._matrices(), self._activation) + b

    def _steps(self, n: int, label: Tensor | None) -> Steps:
        return _Steps(self, n, label)


@final
class _Steps:
    """The networks one after another, with the running activation."""

    def __init__(self, model: NADE, n: int, label: Tensor | None) -> None:
        w, v = model._matrices()
        a, self.b = model._biases(n, label)
        self.a, self.w, self.v = a.clone(), w.contiguous(), v
        self.activation = model._activation

    def outputs(self, i: int) -> Tensor:
        return torch.addmm(self.b[:, i], self.activation(self.a), self.v[i].T)

    def put(self, i: int, x: Tensor) -> None:
        self.a.addmm_(x, self.w[i])

    def select(self, rows: Tensor) -> None:
        self.a = self.a[rows]
