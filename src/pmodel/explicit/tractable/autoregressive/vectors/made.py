r"""MADE, the masked autoencoder for distribution estimation (Germain et al. 2015), with several orders as a mixture of joints.

A perceptron with masked weights (``nn/masked.py``) computes the numbers y of all factors in one pass,

.. math:: p_o(x) = \prod_{i=1}^{D} p\big(x_{o_i};\, y_{o_i}(x_{o_1}, \dots, x_{o_{i-1}})\big),

for an order o of the entries, with the distributions of ``conditionals.py``. One network serves K orders, since only the masks
next to x and y change. Each order has a joint distribution of its own, and the model is their mixture,

.. math:: p(x) = \frac1K \sum_{k=1}^{K} p_{o_k}(x).

The mean of the logits or of the conditionals over orders would be no distribution: entry i would know of j in one order and j
of i in another. Training draws an order for each step: the mean over steps bounds log p(x) from below.

The first order is that of the data (raster order for pictures), and the others are random.

Source:
    MADE: masked autoencoder for distribution estimation, https://arxiv.org/abs/1502.03509
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor, nn

from .....domain import Domain
from .....learning import Batch, Loss, Recipe
from .....nn.masked import Incremental, MaskedNetwork
from ..categories import inverse_cdf
from ..completing import in_order
from .vector import AutoregressiveVector, Steps, check_options, check_weights, write

__all__ = ["MADE"]


@final
class MADE(AutoregressiveVector):
    """A masked perceptron.

    Args:
        domain: Discrete data of at least two levels, or real ones, of any shape.
        given: A class label, which shifts the first hidden layer and the outputs; or None.
        width: Hidden units of a layer.
        layers: Hidden layers.
        orderings: Orders K of the entries. More cost a pass each in scoring, and K times the work in ``complete``.
        direct: Whether entries are also connected to the outputs directly.
        dropout: Probability with which a hidden unit is set to zero in training.
        mixtures: Components of a factor, where values are real or their levels many.
        particles: Copies of a datum in ``complete``, where it is not exact, for each order.

    Raises:
        BadInput: if the data have too few levels, or so many entries that the weights would not fit.
        RangeError: if a number is out of range.
    """

    chunk = 2**18
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 32, "layers": 2, "mixtures": 2, "particles": 32},
        "small": {"width": 256},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        width: int = 1000,
        layers: int = 2,
        orderings: int = 1,
        direct: bool = True,
        dropout: float = 0.0,
        mixtures: int = 5,
        particles: int = 64,
    ) -> None:
        super().__init__(domain, given, mixtures, particles)
        check_options(dropout, width=width, layers=layers, orderings=orderings)
        entries, p, q = domain.entries, self.factor.outputs, self.factor.inputs
        check_weights("MADE", max(entries * width * max(p, q), entries**2 * p * q if direct else 0))
        others = [nn.init.uniform_(torch.empty(entries)).argsort() for _ in range(orderings - 1)]
        self.network = MaskedNetwork(
            entries,
            p,
            inputs=q,
            width=width,
            layers=layers,
            orders=torch.stack([torch.arange(entries), *others]),
            contexts=len(self.given_frequencies),
            direct=direct and entries > 1,
            dropout=dropout,
        )
        self._idle(self.network.first.weight)

    def recipe(self) -> Recipe:
        """AdamW. Binary data are drawn anew from their grey intensities for every batch, where these are known."""
        return Recipe(batch=128, rate=4e-3, ema=0.999, retry=2)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start near the entries' own frequencies, given the label."""
        context, width = self.network.context, self.network.first.out_features
        self._fit_alone(subset, given, self.network.last.bias, None if context is None else context.weight[width:])

    @property
    def orderings(self) -> int:
        """The number K of orders."""
        return len(self.network.rank)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        device = generator.device
        order = 0 if self.orderings == 1 else int(torch.randint(self.orderings, (), generator=generator, device=device))
        log_prob = self._in(order, batch.x, batch.given).mean()
        return Loss(-log_prob, {"log_prob": log_prob})

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        parts = torch.stack([self._in(order, x, given) for order in range(self.orderings)])
        return parts.logsumexp(0) - math.log(self.orderings)

    def _in(self, order: int, x: Tensor, given: Tensor | None) -> Tensor:
        """The log-probability ``(N,)`` in one order."""
        x = x.flatten(1)
        numbers = self._numbers(self.factor.code(x, self._dtype), self._label(given), order)
        return self.factor.log_prob(numbers, x).sum(1)

    def _numbers(self, codes: Tensor, label: Tensor | None, order: int = 0) -> Tensor:
        y: Tensor = self.network(codes, label, order)
        return y

    def _steps(self, n: int, label: Tensor | None, order: int = 0) -> Steps:
        return Incremental(self.network, n, label, order)

    def _order(self, order: int = 0) -> list[int]:
        entries: list[int] = self.network.orders[order].tolist()
        return entries

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        label, x = self._label(given), self._blank(n)
        orders = torch.randint(self.orderings, (n,), generator=generator, device=x.device)
        for order in range(self.orderings):
            rows = (orders == order).nonzero()[:, 0]
            steps = self._steps(len(rows), None if label is None else label[rows], order)
            x[rows], _ = write(steps, self.factor, x[rows], self._order(order), None, generator)
        return x.reshape(-1, *self.domain.shape)

    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        """In every order; then one of the answers, by the probability of what is observed in its order."""
        label = self._label(None if given is None else given.repeat_interleave(particles))
        flat, mask, found = x.flatten(1), observed.flatten(1), []
        for order in range(self.orderings):
            steps = self._steps(len(x) * particles, label, order)
            found.append(write(steps, self.factor, flat, self._order(order), mask, generator, particles))
        answers, evidence = (torch.stack(parts, 1) for parts in zip(*found, strict=True))
        u = torch.rand(len(x), 1, generator=generator, device=x.device, dtype=evidence.dtype)
        chosen = inverse_cdf(evidence, u)
        return answers[torch.arange(len(x), device=x.device), chosen].reshape(x.shape)

    def _in_order(self, observed: Tensor) -> Tensor:
        flat = observed.flatten(1)
        every = [in_order(flat[:, self._order(order)]) for order in range(self.orderings)]
        return torch.stack(every).all(0)
