r"""Long sequences cut into segments that are treated side by side, with the same answer.

A recursion over T times has T steps, one after another, however small they are. But a segment acts on the distribution of its
first state as a matrix,

.. math:: M_{ij} = p(\mathrm{segment}, z_\mathrm{last} = j \mid z_\mathrm{first} = i),

and the matrices of all segments can be had at the same time, by the forward recursion from every state. A pass over the
matrices gives what comes into each segment from its past, and another one backwards what its future says; then the recursions
of ``forward_backward`` run over all segments at a time. That is K times the arithmetic, in 7 √T steps instead of 2 T: with
segments of length 2 √T, as many for the matrices and for each of the two recursions, and √T for the two passes over the
matrices. Worth it where states are few and sequences are few and long.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import forward_backward
from .forward_backward import RESCALE, Chain, Filtered, Smoothed, backward, faint, pairs, unsound
from .packing import Packing

__all__ = ["filtered", "smoothed"]

STEP, ROW = 1e-5, 2e-7
"""Seconds that a time costs beside its arithmetic, both recursions together, and that putting a row in its place costs."""
ENTRY, PRODUCT = 1.5e-9, 7e-11
"""Seconds for an entry of a matrix, and for a product within one: the cost of M is ``P K² (ENTRY + K PRODUCT)``."""


def filtered(chain: Chain, likelihood: Tensor, packing: Packing) -> Filtered:
    """As ``forward_backward.filtered``, but alpha and scale are in the order of the segments where there are any.

    Whoever asks for the past alone gets the ``faint`` reported as lost, too.
    """
    length = segment_length(packing, likelihood.shape[1])
    if length is None:
        forward = forward_backward.filtered(chain, likelihood, packing)
        return replace(forward, lost=forward.lost | faint(forward.alpha, packing))
    cut = Cut(packing, length)
    forward = cut.forward(chain, likelihood[cut.rows])
    log_prob = cut.of_sequences(forward.log_prob)
    return replace(forward, log_prob=log_prob, lost=cut.any(forward.lost | faint(forward.alpha, cut.packing)))


def smoothed(chain: Chain, likelihood: Tensor, packing: Packing) -> Smoothed:
    """As ``forward_backward.smoothed``."""
    length = segment_length(packing, likelihood.shape[1])
    if length is None:
        return forward_backward.smoothed(chain, likelihood, packing)
    return Cut(packing, length).smoothed(chain, likelihood)


def segment_length(packing: Packing, states: int) -> int | None:
    """How long segments should be, or None where they do not pay."""
    times = len(packing.sizes)
    length = max(2 * RESCALE, round(2 * times**0.5))
    rows = len(packing.time) * (ROW + states**2 * (ENTRY + states * PRODUCT))
    steps = STEP * (2 * length + 4 * times / length)  # those of the passes are twice as long
    return length if rows + steps < times * STEP / 1.5 else None


class Cut:
    """Sequences cut into segments.

    Args:
        packing: Where the sequences are.
        length: Of every segment but the last of a sequence.
    """

    def __init__(self, packing: Packing, length: int) -> None:
        N = len(packing.order)
        lengths = packing.summed(torch.ones_like(packing.time))
        self.counts = -(-lengths // length)
        self.first = self.counts.cumsum(0) - self.counts
        self.sequence = torch.arange(N, device=lengths.device).repeat_interleave(self.counts)
        number = torch.arange(len(self.sequence), device=lengths.device) - self.first[self.sequence]
        self.packing = Packing.of((lengths[self.sequence] - number * length).clamp_max(length))
        rank = torch.empty_like(packing.order)
        rank[packing.order] = torch.arange(N, device=rank.device)
        time = number[self.packing.sequence] * length + self.packing.time
        starts = torch.tensor(packing.starts, device=rank.device)
        self.rows = starts[time] + rank[self.sequence[self.packing.sequence]]

    def of_sequences(self, values: Tensor) -> Tensor:
        """The sum over the segments of each sequence."""
        return values.new_zeros(len(self.counts)).index_add_(0, self.sequence, values)

    def any(self, flags: Tensor) -> Tensor:
        """Whether a segment of a sequence has the flag."""
        return self.of_sequences(flags.double()) > 0

    def forward(self, chain: Chain, likelihood: Tensor) -> Filtered:
        """The forward recursion over all segments."""
        into = self._into(chain, *self._matrices(chain, likelihood))
        return forward_backward.filtered(chain, likelihood, self.packing, into)

    def smoothed(self, chain: Chain, likelihood: Tensor) -> Smoothed:
        """Both recursions over all segments, and the transitions between neighbours among them."""
        h, packing = likelihood[self.rows], self.packing
        matrices, logs = self._matrices(chain, h)
        forward = forward_backward.filtered(chain, h, packing, self._into(chain, matrices, logs))
        last = self._last_rows()
        onward = self._onward(chain, matrices, logs)
        onward /= (forward.alpha[last] * onward).sum(1, keepdim=True)
        within = backward(chain, h, packing, forward, onward)
        lost = self.any(forward.lost | unsound(within, packing))
        gone = lost[self.sequence][packing.sequence]
        if bool(gone.any()):
            forward.alpha[gone], h[gone], within[gone] = 0.0, 0.0, 0.0
        first = torch.empty_like(last)
        first[packing.sequence[: packing.sizes[0]]] = torch.arange(packing.sizes[0], device=first.device)
        inner = (self.sequence[1:] == self.sequence[:-1]).nonzero()[:, 0]
        transitions = pairs(forward.alpha, h, packing)
        transitions.addmm_(forward.alpha[last[inner]].T, h[first[inner + 1]])
        likelihood[self.rows] = within
        log_prob = self.of_sequences(forward.log_prob).masked_fill(lost, -torch.inf)
        return Smoothed(log_prob, likelihood, transitions * chain.transition, lost)

    def _matrices(self, chain: Chain, likelihood: Tensor) -> tuple[Tensor, Tensor]:
        """M of each segment with rows that sum to one ``(S, K, K)``, and the logarithms of what they summed to ``(S, K)``."""
        K, sizes = likelihood.shape[1], self.packing.sizes
        found = torch.diag_embed(likelihood[: sizes[0]])
        logs = torch.zeros_like(likelihood[: sizes[0]])
        for t, b in enumerate(self.packing.steps(likelihood)):
            now, total = found[: len(b)], logs[: len(b)]
            if t:
                now.copy_((now.reshape(-1, K) @ chain.transition).reshape(now.shape).mul_(b[:, None]))
            if t % RESCALE == RESCALE - 1:
                _normalise(now, total)
        _normalise(found, logs)
        back = torch.empty_like(self.packing.order)
        back[self.packing.order] = torch.arange(len(back), device=back.device)
        return found[back], logs[back]

    def _into(self, chain: Chain, matrices: Tensor, logs: Tensor) -> Tensor:
        """The distribution of each segment's first state given the segments before, ``(S, K)``."""
        into = chain.initial.expand(len(self.sequence), -1).clone()
        for j in range(1, int(self.counts.max())):
            here = self.first[self.counts > j] + j
            weights = (into[here - 1].log() + logs[here - 1]).softmax(1)
            into[here] = (weights[:, None] @ matrices[here - 1])[:, 0] @ chain.transition
        return into

    def _onward(self, chain: Chain, matrices: Tensor, logs: Tensor) -> Tensor:
        """What the segments after say of each segment's last state, up to a factor, ``(S, K)``."""
        onward = torch.ones_like(logs)
        for j in range(int(self.counts.max()) - 1, 0, -1):
            here = self.first[self.counts > j] + j
            after = logs[here] + (matrices[here] @ onward[here][:, :, None])[:, :, 0].log()
            onward[here - 1] = (after - after.amax(1, keepdim=True)).exp() @ chain.transition.T
        return onward

    def _last_rows(self) -> Tensor:
        """The row of each segment's last element, ``(S,)``."""
        rows = self.packing.last
        return rows[self.packing.sequence[rows].argsort()]  # every segment has an element


def _normalise(matrices: Tensor, logs: Tensor) -> None:
    """Divide rows by their sums, in place; a row of zeros stays one, with -inf."""
    total = matrices.sum(2)
    matrices.div_(torch.where(total > 0, total, 1.0)[:, :, None])
    logs.add_(total.log())
