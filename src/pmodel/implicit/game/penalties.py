r"""Penalties on the slopes of a discriminator, by which its game has an equilibrium that gradient steps find.

========= ==================================================================== ======================
where     what is added to the discriminator's loss                            source
========= ==================================================================== ======================
data      :math:`\tfrac\gamma2 E\|\nabla D(x)\|^2`, called R1                  Mescheder et al. 2018
samples   :math:`\tfrac\gamma2 E\|\nabla D(G(z))\|^2`, called R2               the same
both      R1 and R2                                                            Huang et al. 2024
between   :math:`\gamma E (\|\nabla D(\hat x)\| - 1)^2`, with                  Gulrajani et al. 2017
          :math:`\hat x = u x + (1 - u) G(z),\; u \sim U(0, 1)`
========= ==================================================================== ======================

The first three make D flat where data and samples are, and so vanish at the equilibrium. The last keeps a Wasserstein critic
near slope one on the lines from samples to data; with u from a normal distribution, as in some programs, x̂ leaves what lies
between them.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

__all__ = ["PENALISED", "Penalised", "between", "slope_penalty", "squared_slopes"]

Penalised = Literal["both", "data", "samples", "between"]
PENALISED: tuple[str, ...] = get_args(Penalised)


def squared_slopes(logits: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    r"""The squared norm of a discriminator's gradient at each datum, :math:`\|\nabla_x D(x)\|^2`: ``(N,)`` for each input.

    It is differentiable in the discriminator's parameters. R1 and R2 are its means at data and at samples.

    Args:
        logits: D(x) of all inputs; each depends on its own datum only, so no batch normalisation. Where one depends on the
            others too, as with minibatch deviation, they are slopes of the sum of all logits as a function of all the data.
        inputs: Each ``(N, *shape)``, that require gradients.
    """
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return tuple(gradient.float().square().flatten(1).sum(1) for gradient in gradients)


def slope_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """The mean squared difference of slopes from one; where D is flat, which way to go is not known, and nothing is pushed."""
    (squared,) = squared_slopes(logits, x)
    slopes = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
    return (slopes - 1).square().mean()


def between(real: Tensor, fake: Tensor, generator: Generator) -> Tensor:
    """A point on the line from each sample to its datum, equally likely everywhere on it, ``(N, *shape)``."""
    u = torch.rand(len(real), generator=generator, device=real.device, dtype=real.dtype)
    return torch.lerp(fake, real, u.view(-1, *[1] * (real.ndim - 1)))
