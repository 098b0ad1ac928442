r"""What training minimises: the squared error of the network's answer at a random time of each datum.

.. math:: E_{x_0, \epsilon, t}\; w_t\, \| \mathrm{answer}_\theta(x_t, t) - \mathrm{target}(x_0, \epsilon) \|^2
    \;[\, + \lambda \cdot \text{bound} \,]

The bound is added where the network says variances too, of which the squared error knows nothing; and to them alone it teaches,
for the guess is held fixed in it (Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from ....learning import Loss
from .bound import Terms
from .guesser import Guesser
from .prediction import WeightingName
from .sampler import Guess

__all__ = ["Objective", "evenly"]

HYBRID = 1e-3
"""Lambda: what the bound in nats per entry counts beside the squared error."""


def evenly(n: int, generator: Generator, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1) that are evenly spread over the batch: each is uniform, their mean is less noisy."""
    shared = torch.rand(1, generator=generator, device=device, dtype=torch.float64)
    return (shared + torch.arange(n, device=device, dtype=torch.float64) / max(1, n)) % 1


@final
@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a chain.

    Args:
        terms: Of the chain.
        guesser: The network, and what it answers.
        weighting: Of its squared error.
    """

    terms: Terms
    guesser: Guesser
    weighting: WeightingName

    def loss(self, x_0: Tensor, given: Tensor | None, generator: Generator) -> Loss:
        """Of data ``x_0`` on the scale of the chain; in other units it is that of the noise (L_simple) and of the datum."""
        chain, prediction = self.terms.levels, self.guesser.prediction
        t = 1 + (evenly(len(x_0), generator, x_0.device) * len(chain)).long()
        eps = torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)
        alpha, sigma = chain.signal_and_noise(t, x_0)
        x_t = alpha * x_0 + sigma * eps
        found, fraction = self.guesser.answer(x_t, chain.times[t], given)
        squared = (found - prediction.target(x_0, eps, alpha, sigma)).square().flatten(1).mean(1)
        a, s = chain.alpha[t], chain.sigma[t]
        total = (squared * prediction.weight(self.weighting, a, s)).mean()
        of_eps = squared.detach() * (prediction.ratio(a, s) * a / s).square()
        if fraction is None:
            return Loss(total, {"noise": of_eps.mean()})
        mean = prediction.clean(found.detach(), x_t, alpha, sigma)
        bound = self._bound(x_0, t, Guess(mean, fraction))
        return Loss(total + HYBRID * bound, {"noise": of_eps.mean(), "bound": bound})

    def _bound(self, x_0: Tensor, t: Tensor, guess: Guess) -> Tensor:
        """An estimate of the bound in nats per entry, but for what no network can change."""
        entries = x_0[0:1].numel()
        return self.terms.of(x_0, t, guess).mean() * len(self.terms.levels) / max(1, entries)
