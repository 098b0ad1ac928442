r"""Learning an energy from its gradient, at every level of noise (Vincent 2011; Song & Ermon 2019; Li, Chen & Sommer 2019).

Chains do not find their way between the modes of pictures; at much noise there is one mode, and where noise falls slowly they
are led. So the model is an energy for every level :math:`\sigma` of noise on data, :math:`\tilde x = x + \sigma \epsilon`,

.. math:: E_\sigma(\tilde x) = \frac{\|u\|^2}{2} + \frac{g_\theta(u, \sigma)}{\sigma}, \qquad
    u = \frac{\tilde x}{\sqrt{1 + \sigma^2}},

a normal as wide as standardised data with the noise, tilted. Its gradient says where the datum was (Robbins 1956),

.. math:: D_\sigma(\tilde x) = \tilde x - \sigma^2 \nabla E_\sigma(\tilde x)
    = \frac{\tilde x}{1 + \sigma^2} - \frac{\sigma}{\sqrt{1 + \sigma^2}} \nabla_u g_\theta(u, \sigma),

and is learned by saying it well,

.. math:: L = E_{x, \epsilon, \sigma} \left[\frac{1 + \sigma^2}{\sigma^2} \| D_\sigma(\tilde x) - x \|^2\right] / D
    = E_{x, \epsilon, \sigma} \left\| \nabla_u g_\theta(u, \sigma)
    - \frac{\epsilon - \sigma x}{\sqrt{1 + \sigma^2}} \right\|^2 / D,

where the weight makes what :math:`\nabla_u g` has to answer equally large at all levels (Karras et al. 2022). At the minimum
:math:`D_\sigma(\tilde x) = E[x \mid \tilde x]`, and so :math:`e^{-E_\sigma}` is the density :math:`p_\sigma` of noisy data, up
to its constant: the same that maximum likelihood would find, without a chain.

Samples are Langevin chains whose target narrows as they run. From the normal at the highest level, over levels
:math:`\sigma_0 > \dots > \sigma_K = \tau` in equal ratios,

.. math:: x_{k+1} = x_k - (\sigma_k^2 - \sigma_{k+1}^2) \nabla E_{\sigma_k}(x_k)
    + \frac{\sigma_{k+1}}{\sigma_k} \sqrt{\sigma_k^2 - \sigma_{k+1}^2}\; \xi_k .

That is a step of :math:`\epsilon^2 = 2 (\sigma_k^2 - \sigma_{k+1}^2)` with half the noise of a chain that would stay at its
level: the other half is the noise that has to go. With small steps the chains have the law :math:`p_{\sigma_k}` all the way, if
they begin with it (Anderson 1982; Song et al. 2021), and no time to mix is asked for. The last act is :math:`D_\tau`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Generator, Tensor

from ....distribution import summed
from ....learning import Batch, Loss
from .mcmc import Energy, Langevin, potential
from .tilted import Tilted, normal

__all__ = ["Denoising"]

FIRST = 1e-3
"""The time of the highest level; that of the lowest is 1."""


@final
@dataclass(frozen=True, eq=False)
class Denoising(Tilted):
    r"""A tilted normal at every level of noise, that learns to denoise. As a density it is that of the lowest level.

    Args:
        loud: The highest level of noise; the lowest is :math:`\tau`.
    """

    loud: float

    def tilt(self, x: Tensor, given: Tensor | None) -> Tensor:
        """That of the lowest level."""
        return self._tilt_at(x / self.std, torch.full((1,), self.tau, device=x.device), given)

    def loss(self, batch: Batch, generator: Generator) -> Loss:
        """The squared error of the denoised datum, at levels in equal ratios that are spread evenly over the batch."""
        x = batch.x.float()
        shared = torch.rand(1, generator=generator, device=x.device)
        place = (shared + torch.arange(len(x), device=x.device) / max(1, len(x))) % 1
        sigma = self.loud * (self.tau / self.loud) ** place
        s = sigma.reshape(-1, *[1] * (x.ndim - 1))
        eps, width = normal(x, generator), (1 + s.square()).sqrt()
        with torch.enable_grad():
            u = ((x + s * eps) / width).requires_grad_()
            g = sigma * self._tilt_at(u, sigma, batch.given)
            (slope,) = torch.autograd.grad(g.sum(), u, create_graph=True)
        return Loss((slope - (eps - s * x) / width).square().mean())

    def sample(self, x: Tensor, given: Tensor | None, steps: int, generator: Generator) -> Tensor:
        """A chain through so many levels, and the datum that its end is a noisy version of."""
        levels = [self.loud * (self.tau / self.loud) ** (step / steps) for step in range(steps + 1)]
        x = math.sqrt(1 + self.loud**2) * x
        for here, there in pairwise(levels):
            fall = here**2 - there**2
            kernel = Langevin(self._at(here, given), math.sqrt(2 * fall), there / here * math.sqrt(fall))
            x, _ = kernel.step(x, generator)
        return x - self.tau**2 * potential(self._at(self.tau, given), x)[1]

    def _at(self, level: float, given: Tensor | None) -> Energy:
        """The energy at a level."""

        def energy(x: Tensor) -> Tensor:
            u = x / math.sqrt(1 + level**2)
            return 0.5 * summed(u.square()) + self._tilt_at(u, torch.full((1,), level, device=x.device), given)

        return energy

    def _tilt_at(self, u: Tensor, sigma: Tensor, given: Tensor | None) -> Tensor:
        r""":math:`g(u, \sigma) / \sigma`, at levels ``(N,)`` or ``(1,)``."""
        passed = torch.log(self.loud / sigma) / math.log(self.loud / self.tau)
        found: Tensor = self.network(u, FIRST + (1 - FIRST) * passed, given) / sigma
        return found
