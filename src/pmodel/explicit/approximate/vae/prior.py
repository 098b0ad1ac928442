r"""p(z): standard normal, or a flow that is learned with encoder and decoder (Chen et al. 2017; Xu et al. 2019).

The codes of all data together, the aggregate posterior :math:`q(z) = E_x\, q(z \mid x)`, are the best prior there is: the KL
of the bound is the information of the code about the datum and :math:`\mathrm{KL}(q(z) \| p(z))`. A standard normal prior makes
the encoder pay for the latter; one that follows the codes does not. With f from couplings (``flow/coupling.py``),

.. math:: \log p(z) = \log N(f(z); 0, I) + \log |\det f'(z)|, \qquad
    \mathrm{KL}(q \| p) = -\tfrac12 \sum_j (1 + \log 2 \pi \sigma_j^2) - E_q[\log p(z)],

the entropy of q in closed form, and the rest from the draw of z that is decoded. (Read the other way round, f is an inverse
autoregressive or coupling map of the *posterior* of a standard normal code: Chen et al., section 3.)
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from ....distribution import Normal
from ...tractable.flow.conditioner import Perceptron
from ...tractable.flow.coupling import Coupling, alternating, bit_masks
from ...tractable.flow.transform import Composition, Diagonal

__all__ = ["Prior"]


class Prior(nn.Module):
    """The prior of a code ``(N, latent)``, under a one-hot label where there is one.

    Args:
        latent: Entries of the code.
        couplings: Coupling layers of its flow; 0 for a standard normal.
        contexts: Labels, or 0: a flow is told, a standard normal is the same for all.
        width: Hidden units of the couplings' networks.
    """

    def __init__(self, latent: int, couplings: int, contexts: int, width: int) -> None:
        super().__init__()
        self.latent = latent
        masks = alternating([*bit_masks(latent)], couplings)
        maps = [Coupling(m, Perceptron(latent, 2 * latent, contexts, width=width, blocks=1)) for m in masks]
        self.flow = Composition([*maps, Diagonal((latent,), contexts)]) if couplings else None

    def log_prob(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Log p(z), ``(N,)``."""
        if self.flow is None:
            return _standard(z).log_prob(z)
        found: tuple[Tensor, Tensor] = self.flow(z, context)
        return _standard(found[0]).log_prob(found[0]) + found[1]

    def sample(self, n: int, context: Tensor | None, generator: Generator, device: torch.device) -> Tensor:
        """Draws, ``(n, latent)``."""
        z = torch.randn(n, self.latent, generator=generator, device=device)
        return z if self.flow is None else self.flow.inverse(z, context)

    def divergence(self, q: Normal, z: Tensor, context: Tensor | None) -> Tensor:
        """KL(q || p) in nats, ``(N, units)``; under a flow an estimate from the draw z of q, of all units: ``(N, 1)``."""
        if self.flow is None:
            return divergence(q)
        entropy = (q.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(1)
        return (-entropy - self.log_prob(z, context)).unsqueeze(1)


def divergence(q: Normal) -> Tensor:
    """KL(q || N(0, I)) in nats of each channel, summed over its positions: ``(N, channels, *sides) -> (N, channels)``."""
    entries = 0.5 * (q.mu.square() + q.std.square() - 1) - q.std.log()
    return entries.reshape(*entries.shape[:2], -1).sum(2)


def _standard(z: Tensor) -> Normal:
    return Normal(torch.zeros_like(z), torch.ones_like(z))
