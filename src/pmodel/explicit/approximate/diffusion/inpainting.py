r"""Completion by a diffusion model: RePaint (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865).

Every step back draws all entries and then puts the observed ones, noised to the level that is reached, in their place,

.. math::

    x_s = \text{observed} \odot (\alpha_s x_0 + \sigma_s \epsilon)
    + (1 - \text{observed}) \odot \tilde x_s, \qquad \tilde x_s \sim p(x_s \mid x_t).

The entries that were drawn did not yet know those that are put beside them. So each step is taken several times: after
all rounds but the last, noise leads from :math:`x_s` back to :math:`x_t`, and the step is drawn again, as in Gibbs sampling.
The result is near p(missing | observed), and not exact: each level is given finitely many rounds.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .sampler import Denoise, ddim
from .schedule import Levels

__all__ = ["repaint"]


def repaint(
    denoise: Denoise, levels: Levels, x_0: Tensor, observed: Tensor, rounds: int, generator: Generator
) -> Tensor:
    """Data whose observed entries are those of ``x_0``, ``(N, *shape)``.

    Args:
        denoise: From x_t and its level to a guess.
        levels: The levels to pass through.
        x_0: Data on the scale of the chain; what is not observed does not matter, but must be finite.
        observed: A mask of their shape.
        rounds: How often each step but the last is taken.
        generator: Of all noise.
    """

    def noise() -> Tensor:
        return torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)

    def beside(x: Tensor, level: int) -> Tensor:
        return torch.where(observed, levels.alpha[level] * x_0 + levels.sigma[level] * noise(), x)

    last = len(levels)
    x = beside(noise(), last)
    for t in range(last, 0, -1):
        step = levels.step(t)
        for again in range(rounds if t > 1 else 1, 0, -1):
            ahead = beside(ddim(step, x, denoise(x, t), noise(), eta=1.0), t - 1)
            x = ahead if again == 1 else step.alpha * ahead + step.beta.sqrt() * noise()
    return x
