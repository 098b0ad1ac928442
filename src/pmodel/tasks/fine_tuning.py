"""The codes of a model as features, and its encoder as the beginning of a classifier.

Source:
    | Fine-tuning can distort pretrained features and underperform out-of-distribution (Kumar et al., 2022)
    | https://arxiv.org/abs/2202.10054
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..capability import evaluating
from ..domain import Discrete
from ..errors import BadInput, NotSupported, RangeError, require_whole
from ..model import Model
from ..randomness import forked, generator, some
from .probes import folds_of, linear_layer

__all__ = ["encoded", "fine_tuned", "scale_of"]

BLOCK = 2048
"""Data that are encoded together."""
BATCH = 128
"""Labelled data in a step, at most."""
LOWEST = -30.0
"""The offset in nats of a label that none of the labelled data has, where training starts: its gradient is finite."""
STEPS, RATES = (30, 100), (3e-4, 1e-3, 3e-3)
"""Of training: what is tried, unless told otherwise."""
FOLDS = 3
"""Of the cross-validation that chooses among them: each is a training of every way."""


def encoded(model: Model, x: object) -> Tensor:
    """Codes as features: the means of q(z | x), flat, and indicators of discrete codes. ``(N, d)`` float64.

    Args:
        model: A model with a latent and without a condition.
        x: Data, ``(N, *shape)``.

    Raises:
        NotSupported: if the model has no latent.
        BadInput: if it has a condition, or the data do not fit.
    """
    encoder, data = _encoder(model), model.domain.check(x)
    with evaluating(model):
        return torch.cat([_features(encoder, part).double().cpu() for part in torch.split(data, BLOCK)])


def fine_tuned(
    model: Model,
    x: object,
    y: Tensor,
    new: object,
    classes: int,
    *,
    steps: int | None = None,
    rate: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Train a copy of the encoder, and a linear layer on its codes, on labelled data; then classify new ones.

    The linear layer begins as the linear probe of the codes, so that it does not first pull them out of place (Kumar et al.
    2022). Both learn by Adam, in batches of at most 128, while the rate falls to zero along a cosine. How long and how fast
    is chosen by cross-validation within the labelled data, for the most right answers, and of ways that are equal in these
    for the least log-loss: pre-trained and fresh weights do not want the same.

    Args:
        model: A model with a latent of real codes and without a condition; it is left as it is.
        x: Labelled data, ``(n, *shape)``.
        y: Their labels, int64 ``(n,)``.
        new: Data to classify, ``(N, *shape)``.
        classes: The number K of labels.
        steps: Of training; None chooses among ``STEPS``.
        rate: The learning rate at the start; None chooses among ``RATES``.
        seed: Of the order of the data, and of dropout.

    Returns:
        Log-probabilities ``(N, K)``, float64.

    Raises:
        NotSupported: if the model has no latent, or codes that no gradient passes through: discrete or searched ones.
        BadInput: if it has a condition, or the data do not fit.
        RangeError: if a number is out of range.
    """
    known, unknown = model.domain.check(x).to(model.device), model.domain.check(new)
    ways = [
        _Training(each, pace, seed)
        for pace in (RATES if rate is None else (rate,))
        for each in (STEPS if steps is None else (steps,))
    ]
    way = ways[0] if len(ways) == 1 else _chosen(ways, model, known, y, classes)
    return way(_Classifier(model, known, y, classes), known, y).log_probs(unknown)


def _chosen(ways: Sequence[_Training], model: Model, x: Tensor, y: Tensor, classes: int) -> _Training:
    """The way that is best on data that are left out; the longer one of the middle rate if a label is too rare for that."""
    folds = folds_of(y, FOLDS)
    if not folds:
        return ways[len(ways) // 2]
    starts = [_Classifier(model, x[kept], y[kept], classes) for kept, _ in folds]

    def held_out(way: _Training) -> tuple[int, float]:
        trained = [way(copy.deepcopy(start), x[kept], y[kept]) for start, (kept, _) in zip(starts, folds, strict=True)]
        log_probs = torch.cat([network.log_probs(x[left]) for network, (_, left) in zip(trained, folds, strict=True)])
        truth = torch.cat([y[left] for _, left in folds])
        return int((log_probs.argmax(1) == truth).sum()), -float(F.nll_loss(log_probs, truth))

    return max(ways, key=held_out)


@final
class _Classifier(nn.Module):
    """A copy of an encoder, and a linear layer on its codes.

    Args:
        model: Whose encoder.
        x: The labelled data: the layer begins as the linear probe of their codes.
        y: Their labels.
        classes: The number of labels.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: Model, x: Tensor, y: Tensor, classes: int) -> None:
        super().__init__()
        encoder = _encoder(model)
        if encoder.searched or isinstance(encoder.codes, Discrete):
            hint = "probe them: ways=('linear probe', 'nearest codes')"
            kind = "codes that are searched for" if encoder.searched else "discrete codes"
            raise NotSupported(f"No gradient passes through {kind}.", got=type(model).__name__, hint=hint)
        z = encoded(model, x)
        self.encoder: Any = copy.deepcopy(model)
        mean, scale = scale_of(z)
        weight, bias = linear_layer((z - mean) / scale, y.cpu(), classes)
        self.top = nn.Linear(z.shape[1], classes)
        self.top.load_state_dict({"weight": weight, "bias": bias.clamp_min(LOWEST)})
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())
        self.to(model.device)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(N, K)``."""
        z = (_features(self.encoder, x) - self.mean) / self.scale
        return self.top(z.float())  # type: ignore[no-any-return]

    def log_probs(self, x: Tensor) -> Tensor:
        """Log-probabilities of the labels, ``(N, K)`` float64."""
        with evaluating(self):
            return torch.cat([self(part).double().cpu() for part in torch.split(x, BLOCK)]).log_softmax(1)


@final
@dataclass(frozen=True)
class _Training:
    """How a classifier is trained.

    Args:
        steps: How long.
        rate: The learning rate at the start, from where it falls to zero along a cosine.
        seed: Of the order of the data, and of dropout.

    Raises:
        RangeError: if a number is out of range.
    """

    steps: int
    rate: float
    seed: int

    def __post_init__(self) -> None:
        require_whole("steps", self.steps, 1, 10**6)
        if not 0 < self.rate < 1:
            raise RangeError("rate is between 0 and 1.", got=self.rate)

    def __call__(self, network: _Classifier, x: Tensor, y: Tensor) -> _Classifier:
        """The network, trained on labelled data."""
        labels = y.to(x.device)
        adam = torch.optim.Adam(network.parameters(), lr=self.rate)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.steps)
        network.train()
        for step in range(self.steps):
            rows = some(len(labels), BATCH, generator(self.seed, "fine-tuning", step)).to(x.device)
            with forked(self.seed, "fine-tuning layers", step):
                loss = F.cross_entropy(network(x[rows]), labels[rows])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            fall.step()
        return network


def _encoder(model: Any) -> Any:
    """The model, if it encodes without being told a label."""
    model._require("encode")
    if model.given is not None:
        hint = "fit it without conditional=true"
        raise BadInput(
            "A representation is made without labels: the model has a condition.", got=model.given, hint=hint
        )
    return model


def _features(encoder: Any, x: Tensor) -> Tensor:
    """Codes as a matrix, ``(N, d)``, through which gradients pass."""
    q, codes = encoder._encode(x.to(encoder.device), None), encoder.codes
    if isinstance(codes, Discrete):
        return F.one_hot(q.mode, codes.levels).flatten(1)
    return q.mean.flatten(1)  # type: ignore[no-any-return]


def scale_of(z: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of features, ``(d,)``, and one scale for all: entries of which a code makes no use stay small."""
    centred = z - z.mean(0)
    return z.mean(0), centred.square().mean().sqrt().clamp_min(1e-12)
