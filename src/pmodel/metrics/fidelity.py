"""How like the real data samples are: every measurement that applies, beside what real data get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from ..data import Dataset, Split, in_memory
from ..randomness import generator, some
from .catalogue import row
from .features import Extractor
from .measure import Measure, named
from .panel import Panel, Seen

__all__ = ["Fidelity"]

MOST_REFERENCE = 10_000
"""Real data in the reference of a distance, at most."""
MOST_TRAINING = 60_000
"""Training data that are looked through for copies, at most."""
ENOUGH = 200
"""Data of the other side that are worth a control with as few samples."""
LEAST = 20
"""Samples that a measurement needs at least."""


@final
class Fidelity:
    """The real side of every comparison of samples: prepared once, then asked about each model's samples.

    The real data are the split, if it holds twice as many as are sampled, else the training split. ``n`` of them, drawn at
    random, stand in for the samples of a perfect model: what they get against the rest is the *floor*. As many data of the
    other side (training data, or held-out data where the reference is of training data) are the *held-out control*: where it
    is at the floor, a model that has learned training data by heart would be there too.

    Args:
        data: The data set.
        split: The split that is reported.
        n: Samples of each model.
        seed: Of the choice of real data, and of every draw.
        extractor: Features.
    """

    def __init__(self, data: Dataset, split: str, n: int, seed: int, extractor: Extractor) -> None:
        self.data, self.extractor = data, extractor
        self.split = _roomy(data, split, n)
        pool = data.split(self.split)
        other = _other(data, self.split)
        self.n = min(n, len(pool) // 2, n if other is None else len(other))
        order = torch.randperm(len(pool), generator=generator(seed, "fidelity"))
        held, rest = order[: self.n], order[self.n : self.n + MOST_REFERENCE]
        self.measure = Measure(data=data.hash, split=self.split, which=named(rest, len(pool))).of(
            extractor.name, self.n
        )
        self.references = len(rest)
        self.real: dict[str, dict[str, Any]] = {}
        self.control: dict[str, dict[str, Any]] = {}
        if self.n < LEAST:
            return
        self.panel = self._panel(data, self._seen(pool, rest), seed)
        self.real = self.panel(self._seen(pool, held))
        if other is not None:
            rows = torch.randperm(len(other), generator=generator(seed, "control"))[: self.n]
            self.control = self.panel(self._seen(other, rows))

    def __call__(self, samples: Tensor, given: Tensor | None = None) -> dict[str, dict[str, Any]]:
        """What is found of samples, as JSON by the names of ``metrics.catalogue``.

        Args:
            samples: ``(N, *shape)`` with N at least ``n``.
            given: The labels that they were asked for by, ``(N,)``, or None.
        """
        if self.n < LEAST or len(samples) < self.n:
            return {}
        seen = Seen.by(self.extractor, samples[: self.n], None if given is None else given[: self.n])
        return {name: self._beside_real(name, found) for name, found in self.panel(seen).items()}

    def _panel(self, data: Dataset, reference: Seen, seed: int) -> Panel:
        """Beside the reference: training data that samples may be copies of, and data that cannot be copied."""
        rows = some(len(data.train), MOST_TRAINING, generator(seed, "copies")).sort().values
        self.rows, held = rows, None if data.test is data.train else data.test.x[:MOST_REFERENCE]
        train = data.train.x[rows]
        if not data.domain.image:
            train, held = self.extractor(train), None if held is None else self.extractor(held)
        labelled = data.given is not None and self.extractor.class_names == tuple(data.label_names)
        shares = data.shares if data.shares is not None and len(data.shares) == self.extractor.classes else None
        return Panel(
            self.extractor,
            reference,
            near=self.n,
            train=train,
            held=held,
            labelled=labelled,
            shares=shares,
            seed=seed,
        )

    def nearest(self, samples: Tensor) -> Tensor | None:
        """The training datum that is nearest to each sample, ``(N, *shape)``; None where there is nothing to compare."""
        if self.n < LEAST:
            return None
        return self.data.train.x[self.rows[self.panel.nearest(Seen.by(self.extractor, samples))]]

    def _seen(self, split: Split, rows: Tensor) -> Seen:
        """Real data; their own labels are what they would have been asked for by."""
        return Seen.by(self.extractor, split.x[rows], None if split.y is None else split.y[rows])

    def _beside_real(self, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        real, control = self.real.get(name, {}), self.control.get(name, {})
        return {
            "floor": real.get("value"),
            "floor_stderr": real.get("stderr"),
            "held_out": control.get("value"),
            "n_reference": self.references,
            **found,
            "unit": row(name).unit,
            "estimator": row(name).estimator,
            "n": self.n,
            "measure": self.measure.to_json(),
        }


def _roomy(data: Dataset, split: str, n: int) -> str:
    """The split, or the training split where the other has no room for samples' stand-ins and a reference."""
    enough = len(data.split(split)) >= 2 * n or len(data.train) <= len(data.split(split))
    return split if enough else "train"


def _other(data: Dataset, split: str) -> Split | None:
    """Data of the other side of learning: training data, or all others; None where there are none, or too few."""
    if data.test is data.train:
        return None
    other = data.train if split != "train" else _held_out(data)
    return other if len(other) >= ENOUGH else None


def _held_out(data: Dataset) -> Split:
    x, y = torch.cat([in_memory(data.valid.x), in_memory(data.test.x)]), None
    if data.valid.y is not None and data.test.y is not None:
        y = torch.cat([data.valid.y, data.test.y])
    return Split(x, y)
