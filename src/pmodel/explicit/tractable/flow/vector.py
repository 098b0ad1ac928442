r"""The two ways in which a vector tells its own entries how to move: one part the other, or each the next.

.. math::

    \text{coupling: } z_A = \tau(x_A; \theta), \; z_B = \tau(x_B; \theta(x_A)), \qquad
    \text{autoregressive: } z_i = \tau(x_i; \theta_i(x_{<i})),

with a monotone map tau of one entry (``element.py``). Either Jacobian is triangular. A coupling inverts at the cost of a map.
An autoregressive map is told more, and inverts one entry after another: D small steps, which cost as many products as one map
in all, because a masked network computes every unit once (``nn.masked.Incremental``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....nn.masked import Incremental, MaskedNetwork
from . import splines
from .conditioner import SHARPNESS, Perceptron
from .coupling import alternating, bit_masks
from .element import Element, Spline
from .marginal import quantiles
from .transform import Transform

__all__ = ["Autoregressive", "Elementwise", "VectorCoupling", "orders", "tellers"]


def tellers(entries: int, layers: int) -> list[list[int]]:
    """For so many couplings the indices of the entries that tell: by the binary digits of an index, and the complements.

    Any two entries are apart in some of the first 2 log2(entries). Empty where there is one entry, and so nobody to tell.
    """
    with torch.device("cpu"):  # numbers, even where a model is built without its weights
        return [mask.nonzero()[:, 0].tolist() for mask in alternating([*bit_masks(entries)], layers)]


def orders(entries: int, layers: int) -> list[Sequence[int]]:
    """For so many autoregressive maps their orders, each the reverse of the one before; none for a single entry."""
    forth, back = list(range(entries)), list(range(entries))[::-1]
    return [back if layer % 2 else forth for layer in range(layers)] if entries > 1 else []


class Elementwise(Transform):
    r"""A spline of its own for each entry, and for each label. It starts where it makes the marginals normal.

    The inner knots go through the points :math:`(F^{-1}(\Phi(\zeta_k)), \zeta_k)` with equidistant zeta and the quantiles of
    the data, like the lines of ``marginal.py``; but the density has no steps there, and the knots learn.

    Args:
        entries: Of a vector.
        bins: Of the splines, at least 3.
        contexts: Size K of a one-hot context, or 0 for none.
    """

    def __init__(self, entries: int, bins: int, contexts: int = 0) -> None:
        super().__init__()
        self.element, self.bins, self.contexts = Spline(bins), bins, contexts
        self.raw = nn.Parameter(torch.zeros(self.element.numbers, entries, max(1, contexts)))

    def _of(self, context: Tensor | None, n: int) -> Tensor:
        """The numbers for each datum."""
        if context is None or not self.contexts:
            return self.raw.expand(-1, -1, n)
        return self.raw[:, :, context.argmax(1)]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-slopes."""
        z, ladj = self.element(x.T.contiguous(), self._of(context, len(x)))
        return z.T, ladj.sum(0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The root in each bin."""
        return self.element.inverse(z.T.contiguous(), self._of(context, len(z))).T

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Take the box and the quantiles from the data, and from as many more as there are bins, of a normal variable."""
        self.element.prepare(x)
        if len(x) > 1:
            zeta, points = quantiles(x, self.bins - 1, self.bins)
            raw = splines.through(points.T, zeta.unsqueeze(1).expand_as(points.T), self.element.box)
            self.raw.copy_(raw.unsqueeze(2).expand_as(self.raw))
        return cast(Tensor, self(x, context)[0])


class VectorCoupling(Transform):
    """Some entries, kept or moved each by a map of its own, tell the others how to move.

    Args:
        entries: Of a vector.
        telling: The indices of those that tell; some, and not all.
        element: The map of one entry.
        contexts: Size of the context, or 0.
        width: Hidden units of the conditioner.
        blocks: Residual blocks of the conditioner.
        own: Whether the entries that tell are moved too, each by a map of its own.
    """

    telling: Tensor
    told: Tensor
    back: Tensor

    def __init__(
        self,
        entries: int,
        telling: Sequence[int],
        element: Element,
        contexts: int,
        *,
        width: int,
        blocks: int,
        own: bool = False,
    ) -> None:
        super().__init__()
        told = [index for index in range(entries) if index not in set(telling)]
        self.register_buffer("telling", torch.tensor(telling))
        self.register_buffer("told", torch.tensor(told))
        self.register_buffer("back", torch.tensor([*telling, *told]).argsort())
        self.element = element
        self.conditioner = Perceptron(len(telling), element.numbers * len(told), contexts, width=width, blocks=blocks)
        self.own = nn.Parameter(torch.zeros(element.numbers, len(telling), 1)) if own else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-slopes."""
        kept, moved = x[:, self.telling], x.T[self.told]
        raw = self._raw(kept, context)
        if self.own is None:
            z, ladj = self.element(moved, raw)
            return torch.cat([kept.T, z])[self.back].T, ladj.sum(0)
        own = self.own.expand(-1, -1, len(x))
        z, ladj = self.element(torch.cat([kept.T, moved]), torch.cat([own, raw], 1))
        return z[self.back].T, ladj.sum(0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The entries that tell, and then those that are told."""
        kept = z.T[self.telling]
        if self.own is not None:
            kept = self.element.inverse(kept, self.own.expand(-1, -1, len(z)))
        x = self.element.inverse(z.T[self.told], self._raw(kept.T, context))
        return torch.cat([kept, x])[self.back].T

    def _raw(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """What the entries that tell say, ``(numbers, entries that are told, N)``."""
        raw = self.conditioner.columns(kept, context).to(kept.dtype)
        return raw.reshape(self.element.numbers, len(self.told), len(kept))

    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The untrained map is the identity."""
        self.element.prepare(x)
        return x


class Autoregressive(Transform):
    """Every entry is told by those before it.

    Args:
        order: A permutation of the entries.
        element: The map of one entry.
        contexts: Size of the context, or 0.
        width: Hidden units of a layer.
        layers: Hidden layers; each adds to the one before it.
    """

    back: Tensor

    def __init__(self, order: Sequence[int], element: Element, contexts: int, *, width: int, layers: int) -> None:
        super().__init__()
        self.element, self.order = element, list(order)
        self.register_buffer("back", torch.tensor(self.order).argsort())
        self.network = MaskedNetwork(
            len(order),
            element.numbers,
            width=width,
            layers=layers,
            orders=torch.tensor(self.order),
            contexts=contexts,
            residual=True,
            activation=F.silu,
        )
        nn.init.zeros_(self.network.last.weight)
        nn.init.zeros_(self.network.last.bias)
        with torch.no_grad():
            for parameter in self.network.first.parameters():
                parameter.mul_(SHARPNESS)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-slopes."""
        raw = self.network.columns(x.asinh(), context).to(x.dtype)
        z, ladj = self.element(x.T.contiguous(), raw)
        return z.T, ladj.sum(0)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """One entry after another."""
        if len(z) == 0:
            return z
        kind = _Unrolled if torch.is_grad_enabled() else Incremental
        network, entries = kind(self.network, len(z), context), z.T.contiguous()
        found: list[Tensor] = []
        for step, entry in enumerate(self.order):
            raw = network.outputs(step).to(z.dtype).T.unsqueeze(1).contiguous()
            found.append(self.element.inverse(entries[entry : entry + 1], raw))
            network.put(step, found[-1].squeeze(0).asinh())
        return torch.cat(found)[self.back].T

    def prepare(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The untrained map is the identity."""
        self.element.prepare(x)
        return x


class _Unrolled:
    """``Incremental`` without writing in place, so that gradients go through all steps."""

    def __init__(self, network: MaskedNetwork, n: int, context: Tensor | None) -> None:
        self.parts = Incremental(network, n, context)
        self.seen = self.parts.x[:, :0]
        self.active = [units[:, :0] for units in self.parts.active]

    def outputs(self, i: int) -> Tensor:
        """The outputs ``(n, P)`` of the entry of step i, from the entries of the steps before."""
        parts, p = self.parts, self.parts.network.outputs
        start, end = parts.ends[i - 1] if i else 0, parts.ends[i]
        if start < end:
            self._advance(start, end)
        rows = slice(i * p, (i + 1) * p)
        y = torch.addmm(parts.shift[:, rows], self.active[-1], parts.last[rows, :end].T)
        return y if parts.direct is None else torch.addmm(y, self.seen, parts.direct[rows, : self.seen.shape[1]].T)

    def put(self, i: int, x: Tensor) -> None:
        """Make the entry of step i known: ``(n,)``."""
        self.seen = torch.cat([self.seen, x.unsqueeze(1)], 1)

    def _advance(self, start: int, end: int) -> None:
        parts, f = self.parts, self.parts.network.activation
        h = torch.addmm(parts.told[:, start:end], self.seen, parts.first[start:end, : self.seen.shape[1]].T)
        for layer, (weight, bias) in enumerate(parts.hidden):
            self.active[layer] = torch.cat([self.active[layer], f(h)], 1)
            step = torch.addmm(bias[start:end], self.active[layer], weight[start:end, :end].T)
            h = h + step if parts.network.residual else step
        self.active[-1] = torch.cat([self.active[-1], f(h)], 1)
