r"""The losses of adversarial pairs, as functions of the discriminator's logits; D(x) below is a logit, not a probability.

============== ================================================= ================================ =====================
name           the discriminator minimises the mean of           the generator                    source
============== ================================================= ================================ =====================
minimax        softplus(-D(x)) + softplus(D(G(z)))               -softplus(D(G(z)))               Goodfellow et al. 2014
nonsaturating  the same                                          softplus(-D(G(z)))               Goodfellow et al. 2014
hinge          max(0, 1 - D(x)) + max(0, 1 + D(G(z)))            -D(G(z))                         Lim & Ye 2017
relativistic   softplus(D(G(z)) - D(x))                          softplus(D(x) - D(G(z)))         Jolicoeur-Martineau 2018
============== ================================================= ================================ =====================

softplus(-l) is -log sigma(l). Where the discriminator is sure of a fake, the minimax generator's gradient vanishes; the
non-saturating one has the same fixed points and does not. The relativistic pair compares each sample with a datum, which has
no bad local minima of dropped modes (Sun et al. 2020), and with both penalties it converges locally (Huang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

__all__ = ["LOSSES", "Adversarial", "gradient_penalty"]


@final
@dataclass(frozen=True)
class Adversarial:
    """Two losses over logits of data and of samples, each ``(N,) -> ()``.

    Args:
        discriminator: What the discriminator minimises.
        generator: What the generator minimises.
        paired: Whether the generator's loss looks at data too.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real).mean() + softplus(fake).mean()


LOSSES: dict[str, Adversarial] = {
    "minimax": Adversarial(_cross_entropy, lambda real, fake: -softplus(fake).mean()),
    "nonsaturating": Adversarial(_cross_entropy, lambda real, fake: softplus(-fake).mean()),
    "hinge": Adversarial(
        lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda real, fake: -fake.mean()
    ),
    "relativistic": Adversarial(
        lambda real, fake: softplus(fake - real).mean(), lambda real, fake: softplus(real - fake).mean(), paired=True
    ),
}


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    r"""The mean squared norm of a discriminator's gradient at its input, :math:`E\|\nabla_x D(x)\|^2` (Mescheder et al. 2018).

    At data it is called R1, at samples R2. It is differentiable in the discriminator's parameters.

    Args:
        logits: D(x), ``(N,)``; each may depend on its own datum only, so no batch normalisation.
        x: The input, ``(N, *shape)``, that requires gradients.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
