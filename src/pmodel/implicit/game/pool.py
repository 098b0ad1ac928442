r"""A pool of earlier samples, from which a discriminator is shown some (Shrivastava et al. 2017, section 2.3).

While the pool is not full, it keeps every new sample and passes it on. Then each new one is passed on as it is with probability
one half; else it takes the place of a stored one, drawn at random, which is passed on instead. So half of what the
discriminator sees is older, a sample in a pool of m stays for 2 m new ones on average, and the generator cannot win by going
round in circles.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor, nn

__all__ = ["Pool"]


@final
class Pool(nn.Module):
    """At most ``size`` samples.

    Args:
        size: How many; 0 passes everything on.
        shape: Of one sample.
    """

    stored: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("stored", torch.zeros(size, *shape), persistent=False)
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def state(self) -> dict[str, Tensor]:
        """What training carries: the samples, and how many there are; nothing where none are kept."""
        return {"stored": self.stored, "filled": self.filled} if len(self.stored) else {}

    @torch.no_grad()
    def exchanged(self, fresh: Tensor, generator: Generator) -> Tensor:
        """New samples ``(N, *shape)``, or stored ones in their places."""
        size = len(self.stored)
        if not size:
            return fresh
        return torch.cat([self._exchanged(part, generator) for part in torch.split(fresh, size)])

    def _exchanged(self, fresh: Tensor, generator: Generator) -> Tensor:
        """Of at most as many as there is room for, so that all of them can have places of their own."""
        size, before, device = len(self.stored), int(self.filled), fresh.device
        kept = min(len(fresh), size - before)
        self.stored[before : before + kept] = fresh[:kept]
        self.filled += kept
        rest = fresh[kept:]
        places = torch.randperm(size, generator=generator, device=device)[: len(rest)]
        swapped = torch.rand(len(rest), generator=generator, device=device) < 0.5
        mask = swapped.view(-1, *[1] * (fresh.ndim - 1))
        older = self.stored[places]
        self.stored[places] = torch.where(mask, rest, older)
        return torch.cat([fresh[:kept], torch.where(mask, older, rest)])
