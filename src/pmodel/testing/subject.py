"""The model under test: how to make it, its toy data, and what is learned and computed once for all laws."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from ..catalogue import Row
from ..data import Dataset, Split, conditions, unpaired
from ..domain import Discrete, Domain, Sequences, Table
from ..learning import Batch
from ..model import RECORDED, Model
from ..randomness import forked, generator
from ..wrappers import Dequantised, WithPrior
from .cases import Case, toy
from .fitting import learn
from .measure import Masses, Nodes, grid, has_states, is_small, whole_grid

__all__ = ["Subject", "sampler_of"]

TRAINING = 1024
"""Toy data that a model learns from."""
HELD_OUT = 64
"""Further data."""
SAMPLES = 65_536
"""Samples in a statistical test."""
NODES = {"exact": {1: 20_000, 2: 501}, "lower_bound": {1: 2000, 2: 181}, "estimate": {1: 2000, 2: 181}}
"""Cells on a real axis, by the kind of likelihood and the number of entries."""
DRAWS = 600_000
"""Draws that one sum over a bound may take."""
MOST_DRAWS = {True: 1024, False: 16_384}
"""Draws for one node, by whether they are weights: the exponential of a mean needs more of them than a mean of exponentials."""
EFFORT = 16
"""Draws that are taken one after another."""


@final
class Subject:
    """A model in one case.

    Laws may do with ``fresh()`` and ``copied()`` what they like; ``blank`` and ``fitted`` are shared and must not change.

    Args:
        case: The domain and condition.
        create: Makes the untrained model.
        row: Its row of the catalogue, if that is where it came from.
    """

    def __init__(self, case: Case, create: Callable[[], Model], row: Row | None = None) -> None:
        self.case = case
        self.create = create
        self.row = row
        self._masses: dict[int | None, Masses] = {}

    @property
    def domain(self) -> Domain:
        """What one datum is."""
        return self.case.domain

    def fresh(self) -> Any:
        """An untrained instance, the same each time."""
        with forked(0, "conformance"):
            return self.create()

    def copied(self) -> Any:
        """A copy of the trained instance."""
        return copy.deepcopy(self.fitted)

    @cached_property
    def blank(self) -> Any:
        """The untrained instance."""
        return self.fresh()

    @cached_property
    def data(self) -> Batch:
        """Toy training data; with missing values where the domain and the model allow them."""
        complete = not self.blank.can("marginalise")
        return toy(self._told, TRAINING, generator(0, "conformance"), complete=complete)

    @cached_property
    def held_out(self) -> Batch:
        """A few more, complete; fewer where each code takes a search."""
        n = HELD_OUT // 8 if getattr(self.blank, "searched", False) else HELD_OUT
        return toy(self._told, n, generator(1, "conformance"), complete=True)

    @cached_property
    def dataset(self) -> Dataset:
        """The toy data as a data set; their conditions are another one where the model translates."""
        data = self.data
        if not self.blank.translates or data.given is None:
            return _unsplit(self.domain, Split(data.x, data.given), self.case.given)
        return unpaired(_unsplit(self.blank.given, Split(data.given)), _unsplit(self.domain, Split(data.x)))

    @property
    def _told(self) -> Case:
        """The case with the condition of the model: one that translates has one where the case has none."""
        return replace(self.case, given=self.blank.given)

    def asked(self, n: int, seed: int = 0) -> Tensor | None:
        """What ``n`` samples must be asked for by, drawn by a seed; None where the model itself draws its labels."""
        return conditions(self.dataset, n, "train", generator(seed, "asked"))

    @cached_property
    def fitted(self) -> Any:
        """The instance after a little training."""
        return learn(self.fresh(), self.data)

    @property
    def labels(self) -> tuple[int | None, ...]:
        """Every label, or None alone."""
        return tuple(range(len(self.blank.given_frequencies))) or (None,)

    @property
    def exact(self) -> bool:
        """Whether its likelihood is exact."""
        return bool(self.blank.can("log_prob"))

    @property
    def weighted(self) -> bool:
        """Whether the draws of its likelihood are weights, whose mean is the probability itself."""
        return bool(self.blank.weighted)

    @property
    def dequantised(self) -> bool:
        """Whether a wrapper adds noise to the data."""
        return any(isinstance(part, Dequantised) for part in self.blank.nested)

    @property
    def clamped(self) -> bool:
        """Whether its samples are clamped into a range that its density leaves: the sum over the range is then below one."""
        columns = self.domain.columns if isinstance(self.domain, Table) else ()
        bounded = isinstance(self.domain, Discrete) or any(column.kind == "category" for column in columns)
        return self.dequantised and bounded

    @cached_property
    def nodes(self) -> Nodes:
        """Nodes over the whole domain, where it is small: around the data and the model's own samples."""
        return whole_grid(self.domain, self.around, NODES[self.fitted.kind], generator(2, "conformance"))

    @cached_property
    def around(self) -> Tensor:
        """Data and the model's own samples: where its probability is."""
        samples = self.fitted.sample(4096, given=self.asked(4096), generator=0)
        return torch.cat([self.held_out.x, samples.to(self.held_out.x.dtype)])

    def along(self, datum: Tensor, entry: int, cells: int) -> Nodes:
        """Nodes along one entry through one datum, ``(1, *shape)``."""
        around = torch.cat([datum.to(self.around.dtype), self.around])
        return grid(self.domain, around, (entry,), cells, generator(3, "conformance", entry))

    @property
    def learned(self) -> bool:
        """Whether there was anything to learn: a uniform box of discrete data has neither statistics nor tensors that move."""
        if self.blank.learns != ("statistics",):
            return True
        names = {name.rpartition(".")[2] for name in self.fitted.statistics(self.data, generator(0, "statistics"))}
        before = self.fresh().state_dict()
        after = self.fitted.state_dict().items()
        moved = [name for name, t in after if not name.endswith(RECORDED) and not torch.equal(t, before[name])]
        return bool(moved) or names != {"n"}

    @property
    def summable(self) -> bool:
        """Whether its probability can be summed or integrated over its domain."""
        if not (is_small(self.domain) and self.blank.can("score") and self.blank.can("sample")):
            return False
        return self.weighted or has_states(self.domain)

    def masses(self, label: int | None) -> Masses:
        """The probability of every node under a label; under the mixture of all for a conditional model without one.

        Where the likelihood of a sequence is given its length, the probability of the length is a factor here.
        """
        if label not in self._masses:
            mixed = label is None and self.blank.given is not None
            self._masses[label] = self._mixed() if mixed else self._under(label)
        return self._masses[label]

    def _under(self, label: int | None) -> Masses:
        p, stderr = self.weigh(self.nodes.x, label, min(MOST_DRAWS[self.weighted], DRAWS // len(self.nodes.x)))
        length = self.of_lengths(self.nodes.x, label)
        return Masses(self.nodes, p * length, stderr * length)

    def of_lengths(self, x: Tensor, label: int | None) -> Tensor:
        """The probability of each datum's length in samples under a label; one where the model itself says where data end."""
        if not isinstance(self.domain, Sequences) or self.domain.ends:
            return torch.ones(len(x), dtype=torch.float64)
        rows: Tensor = self.fitted.length_frequencies[label or 0]
        return rows[self.domain.lengths(x) - 1]

    def last_entry(self, datum: Tensor) -> int:
        """The last entry of a datum ``(1, *shape)`` that is there; the first of an empty text."""
        return max(0, int(self.domain.sizes(datum)) - 1)

    def weigh(self, x: Tensor, label: int | None, draws: int, observed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The probability of each datum and its Monte Carlo error: the mean weight over many draws, or the exact value.

        Where draws are no weights, it is the exponential of the bound: less than the probability.

        Args:
            x: Data, ``(M, *shape)``.
            label: Of all of them.
            draws: Draws for each; they are had from copies of the data, which is faster than one after another.
            observed: The mask of one datum, or None.
        """
        if self.exact:
            p = self.fitted.score(x, given=label, observed=observed).values.exp()
            return p, torch.zeros_like(p)
        copies = max(1, draws // EFFORT)
        many = x.repeat(copies, *[1] * len(self.domain.shape))
        scores = self.fitted.score(many, given=label, observed=observed, effort=EFFORT, generator=3)
        if not self.weighted:
            bounds = scores.values.reshape(copies, len(x))
            p = bounds.mean(0).exp()
            return p, p * bounds.std(0) / copies**0.5
        weights = scores.values.exp().reshape(copies, len(x))
        errors = (weights.flatten() * torch.as_tensor(scores.mc_stderr)).reshape(copies, len(x))
        return weights.mean(0), torch.linalg.vector_norm(errors, dim=0) / copies

    def _mixed(self) -> Masses:
        frequencies = self.fitted.given_frequencies
        parts = [self.masses(label) for label in self.labels]
        p = torch.stack([part.p for part in parts])
        stderr = torch.stack([part.stderr for part in parts])
        return Masses(self.nodes, frequencies @ p, (frequencies.unsqueeze(1) * stderr).square().sum(0).sqrt())

    def sample(self, label: int | None, n: int = SAMPLES) -> Tensor:
        """Samples under a label."""
        return self.fitted.sample(n, given=label, generator=4)  # type: ignore[no-any-return]


def _unsplit(domain: Domain, split: Split, given: Domain | None = None) -> Dataset:
    return Dataset("toy", domain, split, split, split, given=given if isinstance(given, Discrete) else None)


def sampler_of(model: Model) -> Model:
    """The model inside all wrappers whose settings change how data are drawn: the prior, where codes have one."""
    joined = next((part for part in model.nested if isinstance(part, WithPrior)), None)
    return model.nested[-1] if joined is None else sampler_of(joined.prior)
