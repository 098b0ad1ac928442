r"""The losses of adversarial pairs, as functions of the discriminator's logits; D(x) below is a logit, not a probability.

============== ================================================= ================================ =====================
name           the discriminator minimises the mean of           the generator                    source
============== ================================================= ================================ =====================
minimax        softplus(-D(x)) + softplus(D(G(z)))               -softplus(D(G(z)))               Goodfellow et al. 2014
nonsaturating  the same                                          softplus(-D(G(z)))               Goodfellow et al. 2014
hinge          max(0, 1 - D(x)) + max(0, 1 + D(G(z)))            -D(G(z))                         Lim & Ye 2017
relativistic   softplus(D(G(z)) - D(x))                          softplus(D(x) - D(G(z)))         Jolicoeur-Martineau 2018
wasserstein    D(G(z)) - D(x)                                    -D(G(z))                         Arjovsky et al. 2017
squares        (D(x) - 1)² / 2 + D(G(z))² / 2                    (D(G(z)) - 1)² / 2               Mao et al. 2017
============== ================================================= ================================ =====================

softplus(-l) is -log sigma(l). Where the discriminator is sure of a fake, the minimax generator's gradient vanishes; the
non-saturating one has the same fixed points and does not. The relativistic pair compares each sample with a datum, which has
no bad local minima of dropped modes (Sun et al. 2020), and with a zero-centred penalty it converges locally (Huang et al.
2024, who find that in practice it takes both, on data and on samples).
Squares pull at samples that are far on the wrong side as strongly as they are far; the best D is p_data / (p_data + p_G).
The Wasserstein game is bounded only where D is: it needs a penalty, best that of slopes other than one (``penalties``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor
from torch.nn.functional import relu, softplus

__all__ = ["LOSSES", "LossName", "Losses"]

LossName = Literal["relativistic", "nonsaturating", "minimax", "hinge", "wasserstein", "squares"]


@final
@dataclass(frozen=True)
class Losses:
    """Two losses over logits of data and of samples, each ``(N,) -> ()``.

    Args:
        discriminator: What the discriminator minimises.
        generator: What the generator minimises.
        paired: Whether the generator's loss looks at data too.
        shiftless: Whether it is of differences D(x) - D(G(z)), to which a constant in D is nothing.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False
    shiftless: bool = False


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real).mean() + softplus(fake).mean()


LOSSES: dict[str, Losses] = {
    "minimax": Losses(_cross_entropy, lambda real, fake: -softplus(fake).mean()),
    "nonsaturating": Losses(_cross_entropy, lambda real, fake: softplus(-fake).mean()),
    "hinge": Losses(lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda real, fake: -fake.mean()),
    "relativistic": Losses(
        lambda real, fake: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
        paired=True,
        shiftless=True,
    ),
    "wasserstein": Losses(
        lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean(), shiftless=True
    ),
    "squares": Losses(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda real, fake: (fake - 1).square().mean() / 2,
    ),
}
