r"""A codebook that follows what is near it: moving averages in the place of gradients (van den Oord et al. 2017, A.1).

Code k stands at :math:`e_k = m_k / N_k`, where N is how often it was the nearest to a vector z of a batch and m the sum of
those vectors, both as moving averages over the steps,

.. math::

    N_k \leftarrow \gamma N_k + (1 - \gamma)\, n_k, \qquad
    m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i:\, k(i) = k} z_i .

So e_k is the mean of what it stands for: the online form of the k-means step that minimises :math:`\|z - e_{k(z)}\|^2`. Counts
are kept in units of the average count of a batch, so that 1 is the mean over the codes whatever the batch. N and m are linear
in the batch: their averages over the shards of a batch are those of the whole batch. The ratio would not be, and is never
stored.

*Dead codes.* A code that is far from all vectors is never the nearest, and so never moves again: N and m shrink together, and
no further than to a least N, below which the ratio of two such numbers would be lost. One whose N has fallen below a threshold
starts anew at a vector of the batch, chosen at random, with the N of an average code.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor, nn

__all__ = ["Codebook"]

LEAST = 1e-6
"""The count at which that of a dead code stops shrinking: far above the smallest numbers, far below any that is used."""


@final
class Codebook(nn.Module):
    """The codes, and how they follow.

    Args:
        codes: How many, K.
        features: Entries D of a code.
        decay: How much of the averages stays at each step.
        restart: The count below which a code starts anew, as a part of the average; 0 for never.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, features: int, decay: float, restart: float) -> None:
        super().__init__()
        self.decay, self.restart = decay, restart
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", nn.init.normal_(torch.empty(codes, features)))

    @property
    def vectors(self) -> Tensor:
        """Where the codes stand, ``(K, D)``."""
        return self.sums / self.counts.unsqueeze(1)

    @property
    def used(self) -> Tensor:
        """The part of the codes that is not dead."""
        return (self.counts >= self.restart).float().mean()

    def nearest(self, z: Tensor) -> Tensor:
        """The number of the code nearest to each vector, ``(…, D) -> (…)``."""
        e = self.vectors
        with torch.autocast(z.device.type, enabled=False):  # codes lie closer together than bfloat16 can tell
            distances = e.square().sum(1) - 2 * (z.flatten(0, -2).to(e.dtype) @ e.T)
        return distances.argmin(1).reshape(z.shape[:-1])

    @torch.no_grad()
    def begin(self, z: Tensor, generator: Generator) -> None:
        """Put the codes on vectors ``(M, D)`` chosen at random."""
        rows = torch.randperm(len(z), generator=generator, device=z.device)
        rows = rows.repeat(-(-len(self.counts) // len(rows)))[: len(self.counts)]
        self.counts.fill_(1.0)
        self.sums.copy_(z[rows])

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor, generator: Generator, *, restart: bool) -> None:
        """Take in the vectors ``(M, D)`` of a batch and the codes ``(M,)`` that they got; dead ones may start anew."""
        z, size = z.to(self.sums.dtype), len(self.counts) / len(z)
        # what follows is by what was known before the batch, which all its shards agree on
        dead = (self.counts < self.restart) & restart
        stays = (LEAST / self.counts).clamp(self.decay, 1.0)
        n = torch.zeros_like(self.counts).index_add_(0, codes, torch.ones_like(z[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, codes, z)
        self.counts.mul_(stays).add_(n, alpha=(1 - self.decay) * size)
        self.sums.mul_(stays.unsqueeze(1)).add_(sums, alpha=(1 - self.decay) * size)
        chosen = torch.randint(len(z), (len(dead),), generator=generator, device=z.device)
        self.counts.copy_(torch.where(dead, 1.0, self.counts))
        self.sums.copy_(torch.where(dead.unsqueeze(1), z[chosen], self.sums))
