r"""Pictures written in raster order: all entries drawn, or some forced to what was observed.

Drawing is ancestral sampling. Forcing is what p(missing | observed) needs, which a fixed order makes hard: only conditionals on
*earlier* entries are known. So it is a particle filter (Gordon et al. 1993): K copies of each picture are written; a missing
entry is drawn from its conditional; an observed one is forced and multiplies the weight w of its copy by its conditional
probability. Where the effective number of copies :math:`(\sum w)^2 / \sum w^2` is below K/2, they are drawn anew by their
weights before anything more is drawn. Last, one copy is drawn by its weight. This is exact as K grows, and for any K where
nothing observed comes after something missing, for then all weights are equal.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor

from .cache import Cache
from .gated import GatedStacks
from .outputs import Output, cumulative, inverse_cdf, scaled

__all__ = ["in_order", "write"]


@torch.no_grad()
def write(
    stacks: GatedStacks,
    output: Output,
    x: Tensor,
    given: Tensor | None,
    observed: Tensor | None,
    generator: Generator,
    particles: int = 1,
) -> Tensor:
    """Pictures ``(N, C, H, W)`` drawn from the model.

    The numbers that decide the entries are drawn before anything else, so an entry's are the same whatever the others become.

    Args:
        stacks: The network.
        output: The distributions.
        x: Levels, ``(N, C, H, W)``; read only where they are observed.
        given: Labels, or None.
        observed: A mask of the entries to keep, or None for none.
        generator: Of the noise.
        particles: Copies K of each picture.
    """
    n, colours, height, width = x.shape
    x = x.repeat_interleave(particles, 0)
    labels = None if given is None else given.repeat_interleave(particles)
    forced = None if observed is None else observed.repeat_interleave(particles, 0)
    sides = (height, width, n * particles, colours, output.uniforms)
    u = torch.rand(sides, generator=generator, device=x.device, dtype=stacks.place.dtype)
    cache, weights = Cache(stacks, n * particles, labels), _Weights(n, particles, generator, stacks.place)
    some, every = _pixels(observed, height, width)
    for i in range(height):
        cache.start_row(i)
        for j in range(width):
            rows = None if every[i][j] else weights.resampled()
            if rows is not None:
                x = x[rows]
                cache.select(rows)
            keep = forced[:, :, i, j] if forced is not None and some[i][j] else None
            levels, log_p = output.draw(cache.features(j), u[i, j], x[:, :, i, j], keep)
            x[:, :, i, j] = levels
            cache.put(j, scaled(levels, output.levels, stacks.place.dtype))
            weights.multiply(log_p)
    return x if particles == 1 else x[weights.chosen()]


def in_order(observed: Tensor) -> Tensor:
    """For which pictures ``(N,)`` of a mask ``(N, C, H, W)`` nothing observed comes after something missing."""
    ordered = observed.permute(0, 2, 3, 1).flatten(1).byte()
    return (ordered == ordered.cummin(1).values).all(1)


def _pixels(observed: Tensor | None, height: int, width: int) -> tuple[list[list[bool]], list[list[bool]]]:
    """For each pixel, whether an entry of some picture is observed there, and whether all are."""
    if observed is None:
        return ([[False] * width] * height,) * 2
    return observed.any(1).any(0).tolist(), observed.all(1).all(0).tolist()


@final
class _Weights:
    """The weights of K copies of each of n pictures; the copies of a picture are rows that follow each other."""

    def __init__(self, n: int, particles: int, generator: Generator, like: Tensor) -> None:
        self.generator = generator
        self.log_w = like.new_zeros(n, particles)
        self.changed = False

    def multiply(self, log_p: Tensor | None) -> None:
        """Multiply the weights by probabilities, if there are any and another copy to compare with."""
        if log_p is not None and self.log_w.shape[1] > 1:
            self.log_w = self.log_w + log_p.reshape(self.log_w.shape)
            self.changed = True

    def resampled(self) -> Tensor | None:
        """The rows to go on with, or None for all: where few copies bear the weight, systematic draws by it."""
        if not self.changed:
            return None
        self.changed, k = False, self.log_w.shape[1]
        w = self.log_w.softmax(1)
        few = w.square().sum(1, keepdim=True) * k > 2
        if not bool(few.any()):
            return None
        every = torch.arange(k, device=w.device)
        at = (self._uniform() + every) / k  # the last may be rounded to 1, which no category is beyond
        drawn = torch.searchsorted(cumulative(self.log_w), at, right=True).clamp_max(k - 1)
        self.log_w = self.log_w.masked_fill(few, 0)
        return self._rows(torch.where(few, drawn, every))

    def chosen(self) -> Tensor:
        """One row for each picture, drawn by its weight."""
        return self._rows(inverse_cdf(self.log_w, self._uniform()).unsqueeze(1))

    def _uniform(self) -> Tensor:
        like = self.log_w
        return torch.rand(len(like), 1, generator=self.generator, device=like.device, dtype=like.dtype)

    def _rows(self, copies: Tensor) -> Tensor:
        n, k = self.log_w.shape
        return (torch.arange(n, device=copies.device).unsqueeze(1) * k + copies).flatten()
