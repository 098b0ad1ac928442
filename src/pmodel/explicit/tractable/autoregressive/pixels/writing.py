"""Pictures written in raster order: all entries drawn, or some forced to what was observed.

Drawing is ancestral sampling. Forcing is what p(missing | observed) needs: a particle filter (``particles.py``) that writes K
copies of each picture, which is exact as K grows, and for any K where nothing observed comes after something missing.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..categories import scaled
from ..particles import Weights
from .network import Network
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

    The numbers that decide the entries are drawn before anything else, so an entry's are the same whatever the others become.

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
    x = x.repeat_interleave(particles, 0)
    labels = None if given is None else given.repeat_interleave(particles)
    forced = None if observed is None else observed.repeat_interleave(particles, 0)
    sides = (height, width, n * particles, colours, output.uniforms)
    u = torch.rand(sides, generator=generator, device=x.device, dtype=network.place.dtype)
    cache, weights = network.cache(n * particles, labels), Weights(n, particles, generator, network.place)
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
            cache.put(j, scaled(levels, output.levels, network.place.dtype))
            weights.multiply(log_p)
    return x if particles == 1 else x[weights.chosen()]


def _pixels(observed: Tensor | None, height: int, width: int) -> tuple[list[list[bool]], list[list[bool]]]:
    """For each pixel, whether an entry of some picture is observed there, and whether all are."""
    if observed is None:
        return ([[False] * width] * height,) * 2
    return observed.any(1).any(0).tolist(), observed.all(1).all(0).tolist()
