r"""Training a judge on pictures without labels: features that tell each picture from others and from its own corruptions.

A distance of features sees what the features see, and what they are made blind to it can never see. Contrastive methods
(SimCLR, VICReg) teach exactly the wrong blindness: there a picture and its blurred, noisy or recoloured copies are to have
equal features, and blur, noise and colours are what samples get wrong. An autoencoder's code, for its part, leaves out what
is hard to code, noise and fine detail. So here the corruptions are *different* pictures, as Tack et al. have it for the
detection of novelty, which is a judge's task too. In a batch each picture comes plain and under every treatment of
``changes.TREATMENTS``, and each of these twice, moved by a pixel or two. Only the two moved copies are to be alike;
everything else is to be told apart from them: other pictures (so the features hold content, and miss a missing mode) and
the same picture under other treatments (so they hold sharpness, noise, colour, position and the arrangement of parts).

With ``z`` the normalised projections of M treated pictures' two copies, the loss is

.. math:: L = -\frac{1}{2M} \sum_{i} \log \frac{\exp(z_i \cdot z_{i'} / \tau)}{\sum_{j \ne i} \exp(z_i \cdot z_j / \tau)}
              \; + \; \text{cross-entropy of the treatment, by a linear layer on the features}

Both layers on the features, the projection and that for the treatments, are left out of the judge.

Source:
    CSI: Novelty Detection via Contrastive Learning on Distributionally Shifted Instances (Tack et al., 2020), eqs. 3 to 6,
    https://arxiv.org/abs/2007.08176
"""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ...data import Dataset
from ...data.mapped import Mapped
from ...domain import Domain
from ...randomness import forked, generator
from .changes import TREATMENTS, Range, moved, treatments_for
from .network import Network
from .recipe import Progress, Recipe, optimise

__all__ = ["contrast", "recipe_without_labels", "train_features"]

PROJECTED = 32
HEAT = 0.5
"""The temperature tau of the contrast."""
TESTED = 500
"""Held-out pictures whose treatments are guessed, for the record."""


def recipe_without_labels(domain: Domain) -> Recipe:
    """A batch of few pictures, as each comes up to eight times treated and each of these twice, moved by a 14th of a side."""
    return Recipe(steps=700, batch=16, shift=max(1, round(min(domain.shape[1:]) / 14)))


@final
class _Heads(nn.Module):
    """What is left out of the judge: the projection, and the logits of the treatments."""

    def __init__(self, features: int, treatments: int) -> None:
        super().__init__()
        self.project, self.tell = nn.Linear(features, PROJECTED), nn.Linear(features, treatments)


def train_features(network: Network, data: Dataset, span: Range, recipe: Recipe, progress: Progress) -> float:
    """Train on the pictures of the training split.

    Returns:
        The share of treatments that are told right, on pictures of the test split.
    """
    names = treatments_for(data.domain)
    with forked(recipe.seed, "judge", "heads"):
        heads = _Heads(network.layout.features, 1 + len(names))

    def loss(rows: Tensor, _: int, noise: Generator) -> Tensor:
        rows = rows.unique()  # type: ignore[no-untyped-call]
        x, kind = treated(data.train.x[rows].float(), names, span, noise)
        copies = torch.cat([moved(x, noise, recipe.shift), moved(x, noise, recipe.shift)])
        features = network.features(copies)
        alike = contrast(F.normalize(heads.project(features), dim=1))
        found: Tensor = alike + F.cross_entropy(heads.tell(features), kind.repeat(2))
        return found

    parameters = [*network.parameters(), *heads.parameters()]
    optimise(parameters, loss, len(data.train), recipe, generator(recipe.seed, "judge", "batches"), progress)
    return _told(network, heads, data.test.x, names, span, generator(recipe.seed, "judge", "told"))


def treated(x: Tensor, names: tuple[str, ...], span: Range, noise: Generator) -> tuple[Tensor, Tensor]:
    """The pictures plain, then under each treatment, and the number of each one's treatment, 0 if plain."""
    changed = [span.snap(TREATMENTS[name](x, span, noise)) for name in names]
    return torch.cat([x, *changed]), torch.arange(1 + len(names)).repeat_interleave(len(x))


def contrast(z: Tensor) -> Tensor:
    """The first term of the loss, of unit vectors ``(2M, D)`` whose row i and row i + M belong together."""
    similar = (z @ z.T / HEAT).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    return F.cross_entropy(similar, torch.arange(len(z)).roll(len(z) // 2))


def _told(
    network: Network, heads: _Heads, x: Tensor | Mapped, names: tuple[str, ...], span: Range, noise: Generator
) -> float:
    right, total = 0, 0
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for part in torch.split(x[: min(len(x), TESTED)].float(), 50):
            pictures, kind = treated(part, names, span, noise)
            right += int((heads.tell(network.features(pictures)).argmax(1) == kind).sum())
            total += len(kind)
    return right / total
