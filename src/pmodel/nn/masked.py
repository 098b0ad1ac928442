r"""Networks whose outputs for entry i depend on no entry that comes later: masked layers (Germain et al. 2015).

Every unit has a *degree*, the number of entries that it may depend on in an order :math:`o` of the D entries. The entry
:math:`o_i` has degree i; a hidden unit a degree m below D, which it keeps in all layers; the outputs of the entry
:math:`o_i` have degree i too. A weight connects two units where the degrees allow it (eq. 12 and 13),

.. math::

    M_{kj} = 1[m_k \ge m_j] \;\text{ into hidden units}, \qquad M_{kj} = 1[m_k > m_j] \;\text{ into outputs},

    h_1 = (M W_1)\, x + C c + b_1, \qquad h_{l+1} = [h_l +]\, (M W_{l+1})\, f(h_l) + b_{l+1}, \qquad
    y = (M V) f(h_L) + (M A)\, x + B c + a,

with a context c that every unit may depend on, and h_l added where the network is residual. The degrees of hidden units are
spread evenly. An order changes the masks next to x and y alone, so one network serves many orders.

``Incremental`` evaluates the outputs of one entry after another, as the entries become known. A hidden unit of degree m is
computed once, when m entries are known, because none that comes later changes it: the work for all D outputs is that of one
pass, where the plain loop needs D passes.

Source:
    MADE: masked autoencoder for distribution estimation, https://arxiv.org/abs/1502.03509
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Incremental", "MaskedLinear", "MaskedNetwork"]


@final
class MaskedLinear(nn.Linear):
    """A linear map whose weight from unit j to unit k is zero where the degrees do not allow it.

    Args:
        before: Degrees of the inputs under each order, ``(K, inputs)``, or ``(1, inputs)`` where they are the same for all.
        after: Degrees of the outputs, in the same way.
        strict: Whether an output's degree must exceed that of the input, or only reach it.
        bias: Whether there is one.
    """

    before: Tensor
    after: Tensor

    def __init__(self, before: Tensor, after: Tensor, *, strict: bool = False, bias: bool = True) -> None:
        super().__init__(before.shape[1], after.shape[1], bias=bias)
        self.strict = strict
        self.register_buffer("before", before.to(torch.int32))
        self.register_buffer("after", after.to(torch.int32))

    def mask(self, order: int = 0) -> Tensor:
        """What is connected under an order, ``(outputs, inputs)`` boolean."""
        before, after = self.before[order % len(self.before)], self.after[order % len(self.after)].unsqueeze(1)
        return after > before if self.strict else after >= before

    def masked(self, order: int = 0) -> Tensor:
        """The weight with zeros where nothing is connected, ``(outputs, inputs)``."""
        return self.weight * self.mask(order)

    def forward(self, x: Tensor, order: int = 0) -> Tensor:
        """``(N, inputs) -> (N, outputs)`` under an order."""
        return F.linear(x, self.masked(order), self.bias)


@final
class MaskedNetwork(nn.Module):
    """A perceptron whose outputs for an entry depend on the entries before it, in one order or in one of several.

    Args:
        entries: Entries D of a datum.
        outputs: Numbers P wanted for each entry.
        inputs: Numbers by which each entry comes in.
        width: Units of a hidden layer.
        layers: Hidden layers, at least 1.
        orders: The entries in the order in which each may depend on the earlier ones, ``(K, D)`` permutations of
            0 … D - 1, or ``(D,)`` for one; None for their own.
        contexts: Size of the context, or 0.
        residual: Whether a hidden layer adds to the one before it.
        direct: Whether x is also connected to y directly.
        dropout: Probability with which a hidden unit is set to zero in training.
        activation: The function f.
    """

    rank: Tensor

    def __init__(
        self,
        entries: int,
        outputs: int,
        *,
        inputs: int = 1,
        width: int,
        layers: int = 1,
        orders: Tensor | None = None,
        contexts: int = 0,
        residual: bool = False,
        direct: bool = False,
        dropout: float = 0.0,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        super().__init__()
        self.entries, self.outputs, self.inputs = entries, outputs, inputs
        self.residual, self.activation = residual, activation
        rank = torch.arange(entries).unsqueeze(0) if orders is None else orders.reshape(-1, entries).argsort(1)
        self.register_buffer("rank", rank)
        seen, told = (1 + rank).repeat_interleave(inputs, 1), (1 + rank).repeat_interleave(outputs, 1)
        hidden = _degrees(width, entries, 0 if contexts or entries == 1 else 1)
        self.register_buffer("degrees", hidden)
        same = hidden.unsqueeze(0)
        self.first = MaskedLinear(seen, same)
        self.hidden = nn.ModuleList(MaskedLinear(same, same) for _ in range(layers - 1))
        self.last = MaskedLinear(same, told, strict=True)
        self.direct = MaskedLinear(seen, told, strict=True, bias=False) if direct else None
        self.context = nn.Linear(contexts, width + entries * outputs, bias=False) if contexts else None
        self.dropout = nn.Dropout(dropout)

    @property
    def orders(self) -> Tensor:
        """The orders, ``(K, D)``."""
        return self.rank.argsort(1)

    def forward(self, x: Tensor, context: Tensor | None = None, order: int = 0) -> Tensor:
        """Outputs ``(N, D, P)`` from entries ``(N, D)``, or ``(N, D, inputs)``, under the order of this number."""
        h, shift = self._features(x, context, order)
        y = _plus(self.last(h, order), shift)
        if self.direct is not None:
            y = y + self.direct(x.flatten(1), order)
        return y.reshape(len(x), self.entries, self.outputs)

    def columns(self, x: Tensor, context: Tensor | None = None, order: int = 0) -> Tensor:
        """The same outputs as ``(P, D, N)``, contiguous: the last product the other way round."""
        h, shift = self._features(x, context, order)
        bias = cast(Tensor, self.last.bias).reshape(self.entries, self.outputs).T.reshape(-1, 1)
        y = torch.addmm(bias, self._by_output(self.last.masked(order)), h.T)
        if self.direct is not None:
            y = torch.addmm(y, self._by_output(self.direct.masked(order)), x.flatten(1).T)
        y = y.reshape(self.outputs, self.entries, len(x))
        return y if shift is None else y + shift.reshape(-1, self.entries, self.outputs).permute(2, 1, 0)

    def _by_output(self, weight: Tensor) -> Tensor:
        """Rows ``(DP, …)`` in the order ``(PD, …)``."""
        return weight.reshape(self.entries, self.outputs, -1).transpose(0, 1).flatten(0, 1)

    def _features(self, x: Tensor, context: Tensor | None, order: int) -> tuple[Tensor, Tensor | None]:
        """What the last layer sees, and what the context adds to its outputs."""
        x, (told, shift) = x.flatten(1), self._told(context)
        h = _plus(self.first(x, order), told)
        for layer in self.hidden:
            step = layer(self.dropout(self.activation(h)))
            h = h + step if self.residual else step
        return self.dropout(self.activation(h)), shift

    def _told(self, context: Tensor | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """What the context adds to the first hidden layer and to the outputs."""
        if self.context is None or context is None:
            return None, None
        told, shift = self.context(context).split([self.first.out_features, self.last.out_features], 1)
        return told, shift


@final
class Incremental:
    """The network evaluated entry by entry, with nothing computed twice. For evaluation: there is no dropout.

    For each step i from 0: ``outputs(i)``, then ``put(i, x)`` with the entry ``orders[order, i]``.

    Args:
        network: The network.
        n: How many data.
        context: Their contexts ``(n, contexts)``, or None.
        order: The number of the order.
    """

    def __init__(self, network: MaskedNetwork, n: int, context: Tensor | None = None, order: int = 0) -> None:
        self.network = network
        entries, p, q = network.entries, network.outputs, network.inputs
        known = torch.arange(entries, device=network.rank.device)
        self.ends: list[int] = torch.searchsorted(cast(Tensor, network.degrees), known, right=True).tolist()
        by_order = network.orders[order % len(network.rank)]
        columns = (by_order.unsqueeze(1) * q + torch.arange(q, device=by_order.device)).flatten()
        rows = (by_order.unsqueeze(1) * p + torch.arange(p, device=by_order.device)).flatten()
        empty = network.first.weight.new_zeros
        self.x = empty(n, entries * q)
        told, shift = network._told(context)
        self.told = cast(Tensor, network.first.bias).expand(n, -1) if told is None else told + network.first.bias
        last = cast(Tensor, network.last.bias)
        self.shift = (last.expand(n, -1) if shift is None else shift + last)[:, rows]
        layers = [cast(MaskedLinear, layer) for layer in network.hidden]
        self.first = network.first.masked(order)[:, columns]
        self.hidden = [(layer.masked(), cast(Tensor, layer.bias)) for layer in layers]
        self.last = network.last.masked(order)[rows]
        self.direct = None if network.direct is None else network.direct.masked(order)[rows][:, columns]
        self.active = [empty(n, network.first.out_features) for _ in range(1 + len(layers))]

    def outputs(self, i: int) -> Tensor:
        """The outputs ``(n, P)`` of the entry of step i, from the entries of the steps before."""
        seen, end, p = i * self.network.inputs, self.ends[i], self.network.outputs
        self._advance(self.ends[i - 1] if i else 0, end, seen)
        rows = slice(i * p, (i + 1) * p)
        y = torch.addmm(self.shift[:, rows], self.active[-1][:, :end], self.last[rows, :end].T)
        return y if self.direct is None else torch.addmm(y, self.x[:, :seen], self.direct[rows, :seen].T)

    def put(self, i: int, x: Tensor) -> None:
        """Make the entry of step i known: ``(n,)``, or ``(n, inputs)``."""
        self.x[:, i * self.network.inputs : (i + 1) * self.network.inputs] = x.reshape(len(x), self.network.inputs)

    def select(self, rows: Tensor) -> None:
        """Go on with these data: datum n becomes what datum ``rows[n]`` was. Contexts must be the same."""
        self.x, self.active = self.x[rows], [kept[rows] for kept in self.active]

    def _advance(self, start: int, end: int, seen: int) -> None:
        """Compute the hidden units from ``start`` to ``end``, which no entry that comes now will change."""
        if start == end:
            return
        h = torch.addmm(self.told[:, start:end], self.x[:, :seen], self.first[start:end, :seen].T)
        for below, (weight, bias) in zip(self.active[:-1], self.hidden, strict=True):
            below[:, start:end] = self.network.activation(h)
            step = torch.addmm(bias[start:end], below[:, :end], weight[start:end, :end].T)
            h = h + step if self.network.residual else step
        self.active[-1][:, start:end] = self.network.activation(h)


def _degrees(width: int, entries: int, low: int) -> Tensor:
    """Degrees of hidden units in rising order, spread evenly from ``low`` to D - 1."""
    return low + (torch.arange(width) * 2 + 1) * (entries - low) // (2 * width)


def _plus(x: Tensor, more: Tensor | None) -> Tensor:
    return x if more is None else x + more
