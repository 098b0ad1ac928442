r"""Several layers of latent variables that share one path from the top down (Sønderby et al. 2016; Kingma et al. 2016).

The model goes down from the topmost variables to the datum, each layer a normal that those above tell where it lies,

.. math:: p(z_1, \dots, z_L) = p(z_1) \prod_{l > 1} N(z_l; \mu_l(h_l), \sigma_l^2(h_l)), \qquad h_l = h(z_1, \dots, z_{l-1}),

with layer 1 on top. Inference is bidirectional: features d of the datum go up, and on the way down the posterior of a layer
sees them and the same state h that the model has there, so that it only has to say where the datum differs from what those
above expect.

Here a layer's variables are written in the units of their own prior, :math:`z_l = \mu_l + \sigma_l \odot \epsilon_l`. Then
all of the code is standard normal before the datum is seen, whatever the layers above say, and

.. math::

    q(\epsilon_l \mid \epsilon_{<l}, x) = N(\epsilon_l; \delta_l, \mathrm{diag}\, s_l^2), \qquad
    \mathrm{KL}_l = \tfrac12 \sum_j (\delta_{lj}^2 + s_{lj}^2 - 1 - \log s_{lj}^2),

the same model, the same posteriors (:math:`\mu_l + \sigma_l \delta_l` and :math:`\sigma_l s_l` in the paper's units) and the
same divergences, as those do not change under a map of the variable. What a layer says of the datum, beyond those above, is
then what its unit says of it: a layer that has collapsed has a code of noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....distribution import Distribution, Normal

__all__ = ["Chained", "Choice", "Ladder", "Walk", "normal"]

QUIET = 0.1
"""What the first weights of a layer's code are multiplied by: until its posterior has learned something, a code is noise. Two
layers on digits after 200 steps: 102.0 nats with it, 108.2 with 1."""

Choice = Callable[[int, Normal], Tensor]
"""What the code of a layer is to be, given its number from the top, 0 on, and its posterior."""


@final
@dataclass(frozen=True, eq=False)
class Walk:
    """What was met on the way down.

    Args:
        state: The features of the decoder below the last layer.
        posteriors: Of each layer, ``(N, channels, *sides)``, given what was chosen above it.
        codes: What was chosen, of the same shapes.
    """

    state: Tensor
    posteriors: Sequence[Normal]
    codes: Sequence[Tensor]

    @property
    def code(self) -> Tensor:
        """All layers side by side, ``(N, latent)``, the top first."""
        return torch.cat([code.flatten(1) for code in self.codes], 1)

    def log_prob(self) -> Tensor:
        """Log q of what was chosen, ``(N,)``."""
        return torch.stack([q.log_prob(z) for q, z in zip(self.posteriors, self.codes, strict=True)]).sum(0)


@final
@dataclass(frozen=True, eq=False)
class Chained(Distribution):
    r"""The posterior of all layers, :math:`\prod_l q(\epsilon_l \mid \epsilon_{<l}, x)`.

    Args:
        walk: The way down under a choice at each layer.
        sizes: Entries of each layer.
    """

    walk: Callable[[Choice], Walk]
    sizes: tuple[int, ...]

    @property
    def mean(self) -> Tensor:
        """The code that takes the mean of each layer given the means above it: of the top layer, the expectation."""
        return self.walk(lambda _, q: q.mu).code

    def log_prob(self, x: Tensor) -> Tensor:
        """The sum of the layers' log-densities, each given the code above it."""
        parts = torch.split(x, [*self.sizes], 1)
        return self.walk(lambda layer, q: parts[layer].reshape(q.mu.shape)).log_prob()

    def sample(self, generator: Generator) -> Tensor:
        """One layer after another."""
        return self.walk(lambda _, q: q.sample(generator)).code


class Ladder(nn.Module):
    """The layers below the topmost.

    Args:
        layers: How many, 0 or more.
        features: Channels of the decoder's state, and of the encoder's features.
        channels: Of a layer's variables, at each position.
        sides: Height and width of the state where it is a picture, else empty.
    """

    def __init__(self, layers: int, features: int, channels: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (channels, *sides)
        self.size = torch.Size(self.shape).numel()
        self.upward = nn.ModuleList(Block(features, sides) for _ in range(layers))
        self.rungs = nn.ModuleList(Rung(features, channels, sides) for _ in range(layers))

    def up(self, d: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The features that the topmost posterior sees, and those of each layer below it, the lowest last."""
        seen: list[Tensor] = []
        for block in self.upward:
            seen.insert(0, d)
            d = block(d)
        return d, seen

    def down(self, h: Tensor, codes: Sequence[Tensor]) -> Tensor:
        """The state below the last layer, from that below the topmost and the codes of the others, flat or not."""
        for rung, code in zip(self.rungs, codes, strict=True):
            h = rung(h, code.reshape(-1, *self.shape))
        return h

    def infer(self, h: Tensor, seen: Sequence[Tensor], choose: Choice) -> tuple[Tensor, list[Normal], list[Tensor]]:
        """The state below the last layer, the posteriors on the way and the codes that were chosen."""
        posteriors, codes = list[Normal](), list[Tensor]()
        for layer, (rung, d) in enumerate(zip(self.rungs, seen, strict=True), start=1):
            q = cast(Rung, rung).posterior(h, d)
            code = choose(layer, q)
            posteriors.append(q)
            codes.append(code)
            h = rung(h, code)
        return h, posteriors, codes


class Rung(nn.Module):
    """One layer: its posterior, and what its code does to the state."""

    def __init__(self, features: int, channels: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.prior = _zeroed(_map(features, 2 * channels, sides, 1))
        self.compare = _map(2 * features, features, sides, 1)
        self.difference = _zeroed(_map(features, 2 * channels, sides, 1))
        self.told = _map(channels, features, sides, 1)
        self.block = Block(features, sides)
        with torch.no_grad():
            self.told.weight.mul_(QUIET)

    def posterior(self, h: Tensor, d: Tensor) -> Normal:
        """Of the code, in units of its prior: the prior itself before training."""
        compared = self.compare(F.relu(torch.cat([h, d], 1)))
        return normal(self.difference(F.relu(compared)))

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        """The state below this layer, from that above it and the code in units of the prior."""
        prior = normal(self.prior(F.relu(h)))
        z = prior.mu + prior.std * code
        return cast(Tensor, self.block(h + self.told(z)))


class Block(nn.Module):
    """h + b(relu(a(relu(h)))), the identity at the start."""

    def __init__(self, features: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.first = _map(features, features, sides, 3)
        self.second = _zeroed(_map(features, features, sides, 1))

    def forward(self, h: Tensor) -> Tensor:
        """The state and what two maps make of it, which is nothing at the start."""
        return h + cast(Tensor, self.second(F.relu(self.first(F.relu(h)))))


def normal(raw: Tensor) -> Normal:
    """Means and log-stds, one after the other along the channels, in float32 or better."""
    mu, log_std = (raw if raw.dtype == torch.float64 else raw.float()).chunk(2, 1)
    return Normal(mu, log_std.clamp(-10, 10).exp())


def _map(inputs: int, outputs: int, sides: tuple[int, ...], kernel: int) -> nn.Linear | nn.Conv2d:
    """A linear map of the channels at each position, or of the neighbourhood too."""
    if not sides:
        return nn.Linear(inputs, outputs)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def _zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer
