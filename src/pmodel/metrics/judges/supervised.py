"""Training a judge on labelled pictures.

A network is over-confident, first on what it was trained on: its logits are therefore divided by a temperature that is
fitted on the validation data, and the confidence of held-out *real* data always stands beside that of samples. And second on
what is no class at all: a plain classifier of digits was 82 % sure of uniform noise, and one that knew noise was 94 % sure of
pictures of one level. So a part of every batch is such pictures (noise, clouds, one level, shuffled pixels), and the loss there
pulls all classes to equal probability. They are chosen to resemble no model's samples: a judge trained against one model's
faults would not be fair to it.

Where data come with named factors beside the label (``faces``), the features have to tell these apart too: a judge of glasses
alone looks at the eyes, and a distance of its features would not see a hat.

Source:
    On Calibration of Modern Neural Networks (Guo et al., 2017), https://arxiv.org/abs/1706.04599
    Deep Anomaly Detection with Outlier Exposure (Hendrycks et al., 2019), eq. 1, https://arxiv.org/abs/1812.04606
"""

from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ...data import Dataset, Split
from ...errors import NotSupported
from ...randomness import forked, generator
from .changes import Range, moved, outliers
from .network import Network
from .recipe import Progress, Recipe, optimise

__all__ = ["accuracy", "labels_of", "logits_of", "temperature_of", "train_classifier"]

OUTLIERS = 0.25
"""Pictures of no class in each batch, to each of the others."""
EXPOSURE = 0.5
"""Weight of the loss on them: lambda of Hendrycks et al."""


def labels_of(split: Split) -> Tensor:
    """The labels, ``(N,)``.

    Raises:
        NotSupported: if there are none.
    """
    if split.y is None:
        raise NotSupported("A classifier needs labelled pictures.")
    return split.y.long()


def train_classifier(network: Network, data: Dataset, span: Range, recipe: Recipe, progress: Progress) -> None:
    """Minimise cross-entropy on pictures that are moved, because a digit moved is the same digit, and on outliers."""
    labels = labels_of(data.train)
    with forked(recipe.seed, "judge", "aside"):
        aside = _Aside(data, network.layout.features)

    def loss(rows: Tensor, step: int, noise: Generator) -> Tensor:
        x = _seen(data.train, rows, recipe, noise)
        none = outliers(x[: int(OUTLIERS * len(x))], step, span, noise)
        features = network.features(torch.cat([x, none]))
        logits = network.logits(features)
        even = logits[len(x) :].logsumexp(1) - logits[len(x) :].mean(1)  # cross-entropy to equal probabilities
        found: Tensor = F.cross_entropy(logits[: len(x)], labels[rows])
        if len(even):
            found = found + EXPOSURE * even.mean()
        factors = data.train.factors
        beside: Tensor = aside(features[: len(x)], None if factors is None else factors[rows])
        return found + beside

    parameters = [*network.parameters(), *aside.parameters()]
    optimise(parameters, loss, len(data.train), recipe, generator(recipe.seed, "judge", "batches"), progress)


def _seen(split: Split, rows: Tensor, recipe: Recipe, noise: Generator) -> Tensor:
    """Pictures, moved; binary ones are drawn anew where the grey pictures are known that they were drawn from."""
    pictures = split.x if split.intensities is None else split.intensities
    x = moved(pictures[rows].float(), noise, recipe.shift, recipe.turn, recipe.flip)
    return x if split.intensities is None else (255 * torch.rand(x.shape, generator=noise) < x).float()


@final
class _Aside(nn.Module):
    """What the features must tell apart beside the label: each named factor, by a linear layer of its own."""

    def __init__(self, data: Dataset, features: int) -> None:
        super().__init__()
        self.columns = [data.factor_names.index(name) for name in data.factor_values]
        self.tops = nn.ModuleList(nn.Linear(features, len(values)) for values in data.factor_values.values())

    def forward(self, features: Tensor, factors: Tensor | None) -> Tensor:
        """The mean cross-entropy of the factors; 0 if there are none."""
        if factors is None or not self.columns:
            return features.new_zeros(())
        truth = factors[:, self.columns].long().T
        losses = [F.cross_entropy(top(features), column) for top, column in zip(self.tops, truth, strict=True)]
        return torch.stack(losses).mean()


def logits_of(network: Network, x: Tensor) -> Tensor:
    """Logits of any number of pictures, float64."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return torch.cat([network(part).double() for part in torch.split(x, 500)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share that is right."""
    return float((logits.argmax(1) == labels).double().mean())


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """The temperature, of 400 from 1/16 to 16, under which the labels are likeliest."""
    grid = torch.logspace(-4, 4, 400, base=2.0, dtype=torch.float64)
    losses = [float(F.cross_entropy(logits / t, labels)) for t in grid]
    return float(grid[losses.index(min(losses))])
