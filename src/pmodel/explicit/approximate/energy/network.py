"""The networks of energy-based models: smooth functions from data to a number for each label."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ....domain import Domain

__all__ = ["score_network"]

CORNER = 4
"""Pictures are halved until neither side is longer than this."""


def score_network(domain: Domain, outputs: int, *, layers: int, width: int, channels: int) -> nn.Module:
    """A network ``(N, *shape) -> (N, outputs)``: convolutions for pictures, a perceptron for everything else.

    It has no normalisation, which would tie the energies of a batch to one another, and smooth activations, for its gradient
    is what moves the chains.

    Args:
        domain: What one datum is.
        outputs: Numbers that it answers.
        layers: Hidden layers of the perceptron.
        width: Its hidden units; of pictures, those of the last layer.
        channels: Channels of pictures at half their size; twice as many with each halving below.
    """
    if not domain.image:
        sides = [domain.entries, *[width] * layers]
        parts = [part for a, b in pairwise(sides) for part in (nn.Linear(a, b), nn.SiLU())]
        return nn.Sequential(nn.Flatten(), *parts, nn.Linear(sides[-1], outputs))
    return _Convolutions(domain.shape, outputs, width, channels)


class _Convolutions(nn.Module):
    """Convolutions that halve the picture down to a corner, and a dense layer that sees all of it."""

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int, channels: int) -> None:
        super().__init__()
        inputs, height, side = shape
        found: list[nn.Module] = [nn.Conv2d(inputs, channels, 3, 1, 1), nn.SiLU()]
        while max(height, side) > CORNER:
            found += [nn.Conv2d(channels, 2 * channels, 4, 2, 2), nn.SiLU()]
            channels, height, side = 2 * channels, height // 2 + 1, side // 2 + 1
            if max(height, side) <= CORNER + 1:
                break
        self.inward = nn.Sequential(*found, nn.Flatten())
        self.outward = nn.Sequential(nn.Linear(channels * height * side, width), nn.SiLU(), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.outward(self.inward(x))
        return answer
