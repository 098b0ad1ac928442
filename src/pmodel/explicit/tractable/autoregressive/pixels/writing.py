"""Pictures written in raster order, a pixel a step."""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor

from .. import writing
from ..categories import scaled
from ..particles import Weights
from .network import Cache, Network
from .outputs import Output

__all__ = ["write"]


@torch.no_grad()
def write(
    network: Network,
    output: Output,
    x: Tensor,
    given: Tensor | None,
    observed: Tensor | None,
    generator: Generator,
    particles: int = 1,
) -> Tensor:
    """Pictures ``(N, C, H, W)`` drawn from the model.

    Args:
        network: The features.
        output: The distributions.
        x: Levels, ``(N, C, H, W)``; read only where they are observed.
        given: Labels, or None.
        observed: A mask of the entries to keep, or None for none.
        generator: Of the noise.
        particles: Copies K of each picture.
    """
    n, colours, height, width = x.shape
    labels = None if given is None else given.repeat_interleave(particles)
    forced = None if observed is None else _pixels(observed).repeat_interleave(particles, 0)
    sides = (height * width, n * particles, colours, output.uniforms)
    u = torch.rand(sides, generator=generator, device=x.device, dtype=network.place.dtype)
    writer = _Raster(network.cache(n * particles, labels), output, (height, width), u.dtype)
    weights = Weights(n, particles, generator, network.place)
    pixels = writing.write(writer, _pixels(x).repeat_interleave(particles, 0), forced, u, weights)
    return pixels.mT.reshape(x.shape)


@final
class _Raster(writing.Writer):
    """Pixel after pixel, row after row.

    Args:
        cache: The network's.
        output: The distributions.
        sides: Rows and pixels of a row.
        dtype: Of the network.
    """

    def __init__(self, cache: Cache, output: Output, sides: tuple[int, int], dtype: torch.dtype) -> None:
        self.cache, self.output, self.sides, self.dtype = cache, output, sides, dtype
        self.cache.start_row(0)

    def step(self, t: int, x: Tensor, u: Tensor, held: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A pixel; after the last of a row, what the rows say to the next."""
        (height, width), (i, j) = self.sides, divmod(t, self.sides[1])
        levels, log_p = self.output.draw(self.cache.features(j), u, x[:, t], held)
        self.cache.put(j, scaled(levels, self.output.levels, self.dtype))
        if j == width - 1 and i < height - 1:
            self.cache.start_row(i + 1)
        return levels, log_p

    def select(self, rows: Tensor) -> None:
        """In the cache."""
        self.cache.select(rows)


def _pixels(x: Tensor) -> Tensor:
    """Pictures, or masks of them, as ``(N, HW, C)`` in raster order."""
    return x.flatten(2).mT
