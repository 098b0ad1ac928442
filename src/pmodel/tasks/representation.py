r"""What a representation is worth: classifiers with few labels, on codes that were learned without any.

A model with a latent has learned from all training data, none of them labelled. Then some are labelled, and from these alone
a classifier is made, in several ways:

====================  ==============================================================================================
way                   classifier
====================  ==============================================================================================
``fine-tuned``        the encoder and a linear layer on its codes, both trained on the labelled data
``from scratch``      the same network, trained in the same way, from fresh weights
``linear probe``      a linear layer on the codes; the encoder stays as it is
``nearest codes``     the labels of the nearest codes
``PCA, linear``       a linear layer on as many principal components of the training data as a code has entries
``PCA, nearest``      the labels of the nearest, by these principal components
====================  ==============================================================================================

Each of the first two is given the number of steps and the learning rate that suit it, by cross-validation within the labelled
data: what fine-tuning has over ``from scratch`` is then what the unlabelled data taught the encoder. What the probes have over
PCA's is what the encoder does and no linear map. Each seed labels other data and begins with other fresh weights, and two ways
are compared seed by seed.

Source:
    | Greedy layer-wise training of deep networks (Bengio, Lamblin, Popovici and Larochelle, 2006)
    | https://papers.nips.cc/paper/3048-greedy-layer-wise-training-of-deep-networks
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, final

import torch
from torch import Tensor

from ..construction import build
from ..data import Dataset, Split
from ..errors import BadInput, DataError, require_whole, unknown
from ..metrics.fid import Moments
from ..model import Model
from ..randomness import forked, generator, some
from .fine_tuning import encoded, fine_tuned, scale_of
from .prediction import Predicted, predicted
from .probes import linear_probe, nearest_probe

__all__ = ["WAYS", "FewLabels", "few_labels", "labelled"]

UNLABELLED = 20_000
"""Training data that principal components and scales are taken from, at most."""


@final
@dataclass(frozen=True, eq=False)
class FewLabels:
    """How good the classifiers are.

    Args:
        found: By the name of the way, one for each seed.
        data: The data set's name.
        labels: How many data were labelled.
        seeds: Of the choice of the labelled data and of fresh weights.
    """

    found: Mapping[str, tuple[Predicted, ...]]
    data: str
    labels: int
    seeds: tuple[int, ...]

    def accuracy(self, way: str) -> tuple[float, float]:
        """The mean over the seeds, and its standard error (NaN for a single seed).

        Raises:
            UnknownName: if that way was not tried.
        """
        return _mean(self.each(way))

    def gain(self, way: str, over: str) -> tuple[float, float]:
        """By how much one way is more accurate than another: the mean of the differences by seed, and its standard error.

        Raises:
            UnknownName: if one of them was not tried.
        """
        return _mean([a - b for a, b in zip(self.each(way), self.each(over), strict=True)])

    def each(self, way: str) -> list[float]:
        """The accuracy for each seed.

        Raises:
            UnknownName: if that way was not tried.
        """
        if way not in self.found:
            raise unknown("way that was tried", way, self.found)
        return [one.accuracy for one in self.found[way]]

    def to_json(self) -> dict[str, Any]:
        """Means, standard errors and each seed's accuracy, as JSON."""
        ways = {}
        for way in self.found:
            mean, stderr = self.accuracy(way)
            ways[way] = {"accuracy": mean, "stderr": None if math.isnan(stderr) else stderr, "each": self.each(way)}
        return {"data": self.data, "labels": self.labels, "seeds": list(self.seeds), "n": self.n, "ways": ways}

    @property
    def n(self) -> int:
        """Test data."""
        return next(iter(self.found.values()))[0].n

    def __str__(self) -> str:
        """The table."""
        lines = [f"{self.data}: {self.labels} labels; accuracy on {self.n} test data, mean of {len(self.seeds)} seeds"]
        for way in self.found:
            mean, stderr = self.accuracy(way)
            lines.append(f"{way:<14}{mean:8.1%}" + ("" if math.isnan(stderr) else f" ± {stderr:.1%}"))
        return "\n".join(lines)


def few_labels(
    model: Model,
    data: Dataset,
    *,
    labels: int = 100,
    seeds: int | Iterable[int] = 5,
    ways: Iterable[str] | None = None,
    steps: int | None = None,
    rate: float | None = None,
) -> FewLabels:
    """Make classifiers from few labels in several ways, and judge them on the test data.

    Args:
        model: A model with a latent and without a condition that has learned from the training data.
        data: The same data, with their labels.
        labels: How many training data are labelled, as many of each class as can be.
        seeds: How many times, or with which seeds.
        ways: Which ways of ``WAYS``; None for all of them.
        steps: Of ``fine-tuned`` and ``from scratch``; None lets each of them choose its own, by cross-validation.
        rate: Their learning rate at the start; likewise.

    Raises:
        NotSupported: if the model has no latent, or discrete codes, which cannot be fine-tuned.
        BadInput: if the model has a condition or is of other data, or there are not as many data to label.
        DataError: if the data have no labels.
        RangeError: if a number is out of range.
        UnknownName: if there is no such way.
    """
    if model.domain != data.domain:
        raise BadInput(
            f"The model is of other data than {data.name}.", got=model.domain, hint=f"expected {data.domain}"
        )
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    names = tuple(WAYS) if ways is None else tuple(ways)
    for name in names:
        if name not in WAYS:
            raise unknown("way", name, WAYS)
    if not chosen or not names:
        raise BadInput("There must be a seed and a way to try.", got=f"seeds {chosen}, ways {names}")
    parts = [labelled(data, labels, seed) for seed in chosen]
    bench, truth = _Bench(model, data, steps, rate), _labels(data.test)
    found = {
        name: tuple(predicted(WAYS[name](bench, part, seed), truth) for part, seed in zip(parts, chosen, strict=True))
        for name in names
    }
    return FewLabels(found, data.name, labels, chosen)


def labelled(data: Dataset, labels: int, seed: int) -> Split:
    """Training data to be labelled: as many of each class as can be, drawn at random.

    Args:
        data: With labels.
        labels: How many; what does not go round goes to the first classes.
        seed: Of the draw.

    Raises:
        DataError: if the data have no labels.
        RangeError: if the number is out of range.
        BadInput: if some class has too few data.
    """
    if data.given is None:
        raise DataError(f"{data.name} has no labels.", got=data.summary, hint="take data with classes")
    require_whole("labels", labels, data.given.levels, len(data.train))
    rows = []
    for label in range(data.given.levels):
        share = labels // data.given.levels + (label < labels % data.given.levels)
        own = (_labels(data.train) == label).nonzero().flatten()
        if len(own) < share:
            raise BadInput(f"There are not {share} data of every class.", got=f"{len(own)} with label {label}")
        rows.append(own[some(len(own), share, generator(seed, "labelled", label))])
    return data.train.take(torch.cat(rows))


@final
class _Frozen:
    """Features that stay as they are, centred and of overall scale 1 over the unlabelled data.

    Args:
        of: From data to features ``(N, d)``.
        unlabelled: Data that give the scale.
        new: Data to classify.
    """

    def __init__(self, of: Callable[[Any], Tensor], unlabelled: Any, new: Any) -> None:
        self.of = of
        self.mean, self.scale = scale_of(of(unlabelled))
        self.new = self(new)

    def __call__(self, x: Any) -> Tensor:
        """The features of data."""
        return (self.of(x) - self.mean) / self.scale


@final
class _Bench:
    """What the ways share: a model, data, and features that are computed once."""

    def __init__(self, model: Model, data: Dataset, steps: int | None, rate: float | None) -> None:
        self.model, self.data, self.steps, self.rate = model, data, steps, rate
        assert data.given is not None  # noqa: S101 - some data were labelled
        self.classes = data.given.levels

    @cached_property
    def unlabelled(self) -> Tensor:
        """Some training data."""
        return self.data.train.x[some(len(self.data.train), UNLABELLED, generator(0, "unlabelled"))]

    @cached_property
    def codes(self) -> _Frozen:
        """The model's codes."""
        return _Frozen(lambda x: encoded(self.model, x), self.unlabelled, self.data.test.x)

    @cached_property
    def components(self) -> _Frozen:
        """As many principal components as a code has entries."""
        axes = _principal_axes(_flat(self.unlabelled), self.codes.new.shape[1])
        return _Frozen(lambda x: _flat(x) @ axes, self.unlabelled, self.data.test.x)

    def tuned(self, model: Model, part: Split, seed: int) -> Tensor:
        """The test data, classified by an encoder that is trained on the labelled ones."""
        settings: dict[str, Any] = {"steps": self.steps, "rate": self.rate, "seed": seed}
        return fine_tuned(model, part.x, _labels(part), self.data.test.x, self.classes, **settings)

    def fresh(self, seed: int) -> Model:
        """The model before it learned."""
        with forked(seed, "from scratch"):
            model = build(self.model.spec())
        model.prepare(self.data.domain.check(self.unlabelled), None, generator(seed, "from scratch", "prepare"))
        return model.to(self.model.device)

    def linear(self, features: _Frozen, part: Split) -> Tensor:
        """A linear probe."""
        return linear_probe(features(part.x), _labels(part), features.new, self.classes)

    def nearest(self, features: _Frozen, part: Split) -> Tensor:
        """The nearest labelled data."""
        return nearest_probe(features(part.x), _labels(part), features.new, self.classes)


WAYS: Mapping[str, Callable[[_Bench, Split, int], Tensor]] = {
    "fine-tuned": lambda bench, part, seed: bench.tuned(bench.model, part, seed),
    "from scratch": lambda bench, part, seed: bench.tuned(bench.fresh(seed), part, seed),
    "linear probe": lambda bench, part, seed: bench.linear(bench.codes, part),
    "nearest codes": lambda bench, part, seed: bench.nearest(bench.codes, part),
    "PCA, linear": lambda bench, part, seed: bench.linear(bench.components, part),
    "PCA, nearest": lambda bench, part, seed: bench.nearest(bench.components, part),
}
"""From the labelled data and a seed to log-probabilities of the test data."""


def _principal_axes(x: Tensor, count: int) -> Tensor:
    """Orthonormal directions of the largest variances, ``(D, count)``; all of them where there are fewer."""
    vectors: Tensor = torch.linalg.eigh(Moments.of(x).covariance).eigenvectors
    return vectors.flip(1)[:, :count]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1).double()


def _labels(split: Split) -> Tensor:
    assert split.y is not None  # noqa: S101 - only asked of data with labels
    return split.y


def _mean(values: list[float]) -> tuple[float, float]:
    return fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
