r"""What a state emits: one component, or a mixture of several of the same kind.

.. math:: p(x_t \mid z_t = k) = \sum_{m=1}^{M} w_{km} \, p_{km}(x_t)

The components are those of ``mixture``, state by state: the m-th of state k is number k M + m. Under the posteriors
:math:`\gamma_t(k)` of the states, a component's responsibility is :math:`\gamma_t(k) \, w_{km} p_{km}(x_t) / p(x_t \mid k)`,
and the M-step is that of a mixture. An element is a row of D entries here. Real ones are standardised first (``inward``): the
components are in units of the data's own scale, likelihoods in those of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..categorical_components import CategoricalComponents
from ..components import Components, Kernel, Sums
from .packing import empty

__all__ = ["LOST", "Emission", "add", "blocks", "scaled"]

LOST = 1e-3
"""A state or component with fewer data than this has lost its data."""
BLOCK = 4096
"""Symbols whose indicators are held at a time."""
LEAST = -700.0
"""e to this is still a normal number, which computes at full speed; below it is zero."""


@final
class Emission(nn.Module):
    """The emissions of K states.

    Args:
        states: K.
        parts: The K M components.
    """

    weights: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(self, states: int, parts: Components) -> None:
        super().__init__()
        self.states = states
        self.each = parts.components // states
        self.parts = parts
        self.register_buffer("weights", torch.full((states, self.each), 1 / self.each, dtype=torch.float64))
        self.register_buffer("loc", torch.zeros(parts.entries, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(parts.entries, dtype=torch.float64))

    @property
    def discrete(self) -> bool:
        """Whether the elements are whole numbers."""
        return isinstance(self.parts, CategoricalComponents)

    @property
    def symbols(self) -> bool:
        """Whether an element is one symbol."""
        return self.discrete and self.parts.entries == 1

    @property
    def single(self) -> bool:
        """Whether a state emits symbols from one table."""
        return self.symbols and self.each == 1

    def expectations(self) -> Tensor:
        """The expected elements, ``(K, D)``."""
        parts = self.parts.expectations().reshape(self.states, self.each, -1)
        return self.outward((self.weights[:, :, None] * parts).sum(1))

    def measure(self, x: Tensor) -> None:
        """Take location and scale from the rows ``x`` (NaN is missing); a constant entry keeps scale 1."""
        if self.discrete:
            return
        x = x.double()
        self.loc.copy_(x.nanmean(0).nan_to_num())
        scale = (x - self.loc).square().nanmean(0).nan_to_num().sqrt()
        self.scale.copy_(torch.where(scale > 1e-12 * (1 + self.loc.abs()), scale, 1.0))

    def inward(self, x: Tensor) -> Tensor:
        """Rows of data on the components' scale."""
        return x if self.discrete else (x - self.loc) / self.scale

    def outward(self, x: Tensor) -> Tensor:
        """And back."""
        return x if self.discrete else x * self.scale + self.loc

    @property
    def _log_volume(self) -> Tensor:
        """The logarithm of what a unit of the components' is in the data's, for each entry."""
        return self.scale.log()

    def likelihood(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The likelihoods ``(P, K)`` of inward rows ``(P, D)``, divided by their largest, and its logarithm ``(P,)``."""
        if self.single:
            return self._looked_up(x[:, 0])
        b = empty(len(x), self.states, like=x)
        peak = torch.empty(len(x), dtype=torch.float64, device=x.device)
        kernel = self.parts.kernel()
        for rows in blocks(len(x), kernel):
            logs = self._over_states(self._joint(kernel, kernel.features(x[rows])))
            peak[rows] = scaled(logs, out=b[rows])
        return b, peak.sub_(self._log_volume.sum())

    def _looked_up(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        b = self._table().log().T.contiguous()
        peak, out = scaled(b, out=b), empty(len(symbols), self.states, like=b)
        return torch.index_select(b, 0, symbols, out=out), peak.index_select(0, symbols)

    def _table(self) -> Tensor:
        """The probabilities of the symbols, ``(K, L)``."""
        return self.parts.table[:, 0]  # type: ignore[index]

    def log_likelihood(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """The same in logarithms, ``(P, K)``; of the observed entries alone where there is a mask."""
        if observed is None:
            return self._log_whole(x).sub_(self._log_volume.sum())
        out = torch.empty(len(x), self.states, dtype=torch.float64, device=x.device)
        whole = observed.all(1)
        out[whole] = self._log_whole(x[whole])
        if not bool(whole.all()):
            out[~whole] = self._over_states(self._marginal(x[~whole], observed[~whole]))
        return out.sub_((observed.double() @ self._log_volume)[:, None])

    def _log_whole(self, x: Tensor) -> Tensor:
        if self.single:
            return self._table().log().T.index_select(0, x[:, 0])
        kernel = self.parts.kernel()
        parts = [self._over_states(self._joint(kernel, kernel.features(x[rows]))) for rows in blocks(len(x), kernel)]
        return torch.cat(parts) if parts else torch.zeros(0, self.states, dtype=torch.float64, device=x.device)

    def sums(self, x: Tensor, gamma: Tensor, observed: Tensor | None = None) -> Sums:
        """Finished statistics of the components under the posteriors ``gamma`` ``(P, K)`` of the states."""
        if observed is None:
            return self._sums_of_whole(x, gamma)
        whole = observed.all(1)
        sums = self._sums_of_whole(x[whole], gamma[whole])
        if not bool(whole.all()):
            holes, seen = x[~whole], observed[~whole]
            shares = self._responsibilities(self._marginal(holes, seen), gamma[~whole])
            add(sums, self.parts.expected_sums(holes, seen, shares.T.contiguous()))
        return sums

    def _sums_of_whole(self, x: Tensor, gamma: Tensor) -> Sums:
        if self.single:
            return _counted(x[:, 0], gamma, self._table().shape[1])
        kernel, sums = self.parts.kernel(), Sums()
        for rows in blocks(len(x), kernel) or [slice(0, 0)]:
            features, shares = kernel.features(x[rows]), gamma[rows]
            if self.each > 1:
                shares = self._responsibilities(self._joint(kernel, features), shares)
            add(sums, kernel.sums(features, shares.T))
        return kernel.finish(sums)

    def _log_weights(self) -> Tensor:
        return self.weights.log().flatten()

    def _joint(self, kernel: Kernel, features: Tensor) -> Tensor:
        """``log w_km p_km(x)``, ``(B, K M)``."""
        log_prob = kernel.by_datum(features)
        return log_prob if self.each == 1 else log_prob.add_(self._log_weights())

    def _marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        """The same of the observed entries alone."""
        return self.parts.log_marginal(x, observed).T + self._log_weights()

    def _over_states(self, joint: Tensor) -> Tensor:
        """``log p(x | k)``, ``(B, K)``."""
        return joint if self.each == 1 else joint.reshape(-1, self.states, self.each).logsumexp(2)

    def _responsibilities(self, joint: Tensor, gamma: Tensor) -> Tensor:
        """The posteriors ``gamma`` ``(B, K)`` shared out among the components of each state, ``(B, K M)``."""
        within = joint.reshape(-1, self.states, self.each).softmax(2)
        within = torch.where(within.isnan(), self.weights, within)  # impossible under the state
        return (gamma[:, :, None] * within).flatten(1)

    def update(self, sums: Mapping[str, Tensor]) -> Tensor:
        """M-step. A component that has lost its data becomes a neighbour of its state's heaviest. Returns counts ``(K,)``."""
        self.parts.update(sums)
        count = sums["count"].reshape(self.states, self.each)
        total = count.sum(1, keepdim=True)
        self.weights.copy_(torch.where(total < LOST, self.weights, count / total.clamp_min(1e-300)))
        lost = (count < LOST) & (total >= LOST)
        for k, m in lost.nonzero().tolist():
            source = int(self.weights[k].argmax())
            self.parts.split(k * self.each + source, k * self.each + m)
            self.weights[k, source] /= 2
            self.weights[k, m] = self.weights[k, source]
        self.weights.div_(self.weights.sum(1, keepdim=True))
        return total[:, 0]

    def split(self, source: int, target: int) -> None:
        """Make state ``target`` a neighbour of ``source``."""
        for m in range(self.each):
            self.parts.split(source * self.each + m, target * self.each + m)
        self.weights[target] = self.weights[source]

    def sample(self, states: Tensor, generator: Generator) -> Tensor:
        """One element from each of ``states`` ``(n,)``, ``(n, D)``."""
        return self.outward(self.parts.sample(self._labelled(states, self.weights[states], generator), generator))

    def complete(self, states: Tensor, x: Tensor, observed: Tensor, generator: Generator) -> Tensor:
        """Draw the unobserved entries of the inward rows ``x`` ``(n, D)``, each under its state; the answer is outward."""
        weights = self.weights[states]
        if self.each > 1:
            joint = self._marginal(x, observed).reshape(-1, self.states, self.each)
            given = joint[torch.arange(len(states), device=x.device), states].softmax(1)
            weights = torch.where(given.isnan(), weights, given)
        return self.outward(self.parts.complete(x, observed, self._labelled(states, weights, generator), generator))

    def _labelled(self, states: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        """A component of each state, drawn by weights ``(n, M)``."""
        if self.each == 1 or len(states) == 0:
            return states * self.each
        return states * self.each + torch.multinomial(weights, 1, generator=generator)[:, 0]


def add(total: Sums, part: Mapping[str, Tensor]) -> None:
    """Add the statistics of a part of the data to those of the others."""
    for name, value in part.items():
        total[name] = total[name].add_(value) if name in total else value


def blocks(rows: int, kernel: Kernel) -> list[slice]:
    """The rows in parts as large as the kernel likes them."""
    return [slice(first, min(first + kernel.block, rows)) for first in range(0, rows, kernel.block)]


def scaled(logs: Tensor, out: Tensor) -> Tensor:
    """``exp(logs)`` ``(B, K)`` over the largest of each row, into ``out``; returns the logarithm of that, ``(B,)``."""
    peak = logs.amax(1).nan_to_num_(neginf=0.0)
    torch.sub(logs, peak[:, None], out=out)
    F.threshold(out, LEAST, -torch.inf, inplace=True).exp_()
    return peak


def _counted(symbols: Tensor, gamma: Tensor, levels: int) -> Sums:
    """The posteriors added up by symbol: by products with indicators where these are few, else by summing sorted rows."""
    if levels > CategoricalComponents.FEW:
        sizes = torch.bincount(symbols, minlength=levels)
        table = F.embedding_bag(symbols.argsort(stable=True), gamma, sizes.cumsum(0) - sizes, mode="sum")
    else:
        table = gamma.new_zeros(levels, gamma.shape[1])
        for first in range(0, len(symbols), BLOCK):
            part, shares = symbols[first : first + BLOCK], gamma[first : first + BLOCK]
            table.addmm_(gamma.new_zeros(len(part), levels).scatter_(1, part[:, None], 1.0).T, shares)
    return {"count": gamma.sum(0), "table": table.T[:, None].contiguous()}
