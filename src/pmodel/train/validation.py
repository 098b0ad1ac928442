r"""Scores on validation data while a model trains: which weights to keep, and when to stop.

A model with a likelihood is scored by it. One that only draws samples is scored by the energy distance
(``metrics.energy_distance``) between validation data and as many samples, from the same noise each time and given the same
labels, or data of the other set. Rows are those that the doctor compares (``neighbours``): pictures are averaged down, so that
textures are not seen. Labels are columns too, so that a model that ignores its label is as far away as it is wrong.

*Which weights are kept.* Those of the highest likelihood: it is what is wanted, and the best guess whatever its noise. A
distance is a coarse look, and what it does not tell apart, more training is trusted to have made better. So the weights that
are kept are the latest that are not worse than the best by more than ``ERRORS`` standard errors of the *difference*. Every
look is at the same data from the same noise, and so the error of a difference is that of the mean difference of values v, of
which each belongs to one datum and one draw:

.. math:: \Delta = \frac1n \sum_i (v_i - v'_i), \qquad \operatorname{se}(\Delta) = \operatorname{std}(v - v') / \sqrt n .

Nothing is ever chosen on the data that are reported, so a set that is too small to be split has no validation.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Dataset, conditions, in_memory
from ..errors import BadInput
from ..learning import Recipe
from ..metrics.energy_distance import LEAST, pseudo_values
from ..model import Model
from ..randomness import derive, generator, some
from .events import ScoreKind
from .neighbours import Columns

__all__ = ["Distances", "Likelihoods", "Score", "Validation", "planned", "require_possible", "validation_of"]

POINTS = 20
"""Validations in a run."""
MOST = 1000
"""Validation data that are scored each time: with 2 % of the data's spread as error, differences of interest show."""
FEWEST = 50
SHARE = 0.05
"""The part of a budget that validation may take."""
GLANCE = 0.01
"""The part of it where nothing is chosen and nothing stops: losses of a game do not tell whether samples become better."""
SCALED = 4096
"""Training data that distances take their scales from."""
ERRORS = 3.0
"""Standard errors of a difference beyond which weights are worse. Of 20 equal looks, the last is worse than one
before by chance in at most 2.6 % of runs."""


@final
@dataclass(frozen=True, eq=False)
class Score:
    """How good a model is on validation data: higher is better.

    Args:
        values: Those whose mean it is, ``(N,)`` float64, one for each datum: log-likelihoods, or the pseudo-values of a
            distance with their sign changed.
        stderr: Standard error of the mean.
        kind: Of the likelihood, or ``distance``.
    """

    values: Tensor
    stderr: float
    kind: ScoreKind

    @property
    def value(self) -> float:
        """The mean; -inf where a datum is impossible, or a sample is not finite."""
        return float(self.values.mean())

    @property
    def n(self) -> int:
        """How many data."""
        return len(self.values)

    @property
    def told(self) -> float:
        """The likelihood, or the distance with its own sign."""
        return -self.value if self.kind == "distance" else self.value

    def leads(self, best: Tensor | None) -> bool:
        """Whether it is higher than the highest before, of which these are the values."""
        return self.value > (-math.inf if best is None else float(best.mean()))

    def stands(self, best: Tensor | None) -> bool:
        """Whether its weights are to be kept, and not those before them."""
        if self.kind != "distance" or best is None or self.leads(best):
            return self.leads(best)
        lost = best - self.values
        return float(lost.mean()) <= ERRORS * float(lost.std()) / math.sqrt(len(lost))


class Validation(Protocol):
    """What scores a model, with the same data and the same noise each time."""

    def score(self, model: Model) -> Score:
        """The score of the model as it is."""


@final
class Likelihoods:
    """Log-likelihoods of validation data, by one draw for each where they are bounds or estimates.

    Args:
        data: Where they come from.
        n: How many.
        seed: Of the choice and of the noise.
        conditional: Whether data are scored given their labels.
    """

    def __init__(self, data: Dataset, n: int, seed: int, *, conditional: bool) -> None:
        rows = some(len(data.valid), n, generator(seed, "validation"))
        self.x = data.valid.x[rows]
        self.given = data.valid.y[rows] if conditional and data.valid.y is not None else None
        self.seed = seed

    def score(self, model: Model) -> Score:
        """Their mean."""
        scorer: Any = model
        found = scorer.score(self.x, given=self.given, generator=derive(self.seed, "validation noise"), effort=1)
        return Score(found.values, found.stderr, found.kind)


@final
class Distances:
    """The energy distance of samples from validation data, together with the labels that both are given.

    A label is as many columns as there are, scaled so that two different ones are as far apart as two data are.

    Args:
        data: Where the data come from; of two sets, samples are given validation data of the other.
        n: How many data, and samples.
        seed: Of the choice and of the noise.
        conditional: Whether samples are given labels: those of the data.
    """

    def __init__(self, data: Dataset, n: int, seed: int, *, conditional: bool) -> None:
        rows = some(len(data.valid), n, generator(seed, "validation"))
        scaled = data.train.take(some(len(data.train), SCALED, generator(seed, "validation", "scales")))
        self.columns = Columns(data.domain, in_memory(scaled.x))
        self.given = conditions(data, n, "valid", generator(seed, "validation", "conditions"))
        self.labels: Tensor | None = None
        if self.given is None and conditional and data.given is not None and data.valid.y is not None:
            self.given = data.valid.y[rows]
            self.labels = F.one_hot(self.given.long(), data.given.levels)
        self.seed, self.n = seed, n
        self.rows = self._labelled(self.columns(data.valid.x[rows]))

    def _labelled(self, rows: Tensor) -> Tensor:
        return rows if self.labels is None else torch.cat([rows, math.sqrt(rows.shape[1]) * self.labels], 1)

    def score(self, model: Model) -> Score:
        """Less the distance; minus infinity where a sample is not finite."""
        sampler: Any = model
        noise = generator(self.seed, "validation noise", device=model.device)
        size, parts = max(1, model.chunk // model.domain.entries), list[Tensor]()
        for start in range(0, self.n, size):  # large pictures are not held all at once
            stop = min(start + size, self.n)
            given = None if self.given is None else self.given[start:stop]
            x = sampler.sample(stop - start, given=given, generator=noise)
            if not bool(model.domain.sound(x).all()):
                return Score(torch.full((self.n,), -math.inf, dtype=torch.float64), math.nan, "distance")
            parts.append(self.columns(x))
        values = -pseudo_values(self._labelled(torch.cat(parts)), self.rows)
        return Score(values, float(values.std()) / math.sqrt(self.n), "distance")


def validation_of(model: Model, data: Dataset, n: int, seed: int) -> Validation:
    """What scores this model on so many validation data: by its likelihood if it has one, else by its samples.

    Args:
        model: A model that scores or samples.
        data: With validation data of their own.
        n: How many.
        seed: Of the choice and of the noise.
    """
    kind = Likelihoods if model.can("score") else Distances
    return kind(data, n, seed, conditional=model.given is not None)


def obstacle(model: Model, data: Dataset) -> str:
    """Why there is nothing to validate this model by, in words; nothing if there is something."""
    if "statistics" in model.learns:
        return f"{type(model).__name__} has no density until its passes over the data, after its gradient steps"
    if not model.can("score") and not model.can("sample"):
        return f"{type(model).__name__} can neither score nor sample"
    if data.valid.x is data.train.x or data.valid.x is data.test.x:
        return f"{data.name} has no validation data of its own"
    least, there = (1 if model.can("score") else LEAST), _most(data)
    return "" if there >= least else f"{data.name} has {there} validation data, of at least {least}"


def _most(data: Dataset) -> int:
    """As many as there are, on either side of a translation."""
    return min(MOST, len(data.valid), MOST if data.origin is None else len(data.origin.valid))


def require_possible(model: Model, data: Dataset, wish: str) -> None:
    """Refuse to choose weights, or to stop, by a validation that there is not.

    Args:
        model: What would be validated.
        data: On what.
        wish: What somebody asked for, such as ``train.select=best``.

    Raises:
        BadInput: if there is none.
    """
    if words := obstacle(model, data):
        raise BadInput(f"There is nothing to validate the weights by: {words}.", got=wish, hint="leave it out")


def planned(model: Model, data: Dataset, recipe: Recipe, seed: int, budget: float | None) -> tuple[int, int, float]:
    """How often to validate, on how many data, and the seconds that it takes each time.

    A model that has a likelihood is validated where that decides something. One that has none is looked at under any budget, as
    little as ``GLANCE`` of it; where only steps were asked for, their time is not known, and neither what a part of it is.

    Args:
        model: Prepared.
        data: With validation data of their own, or validation is left out.
        recipe: Whether weights are chosen or training may stop.
        seed: Of the choice.
        budget: Of the run: validation takes at most its share of it.
    """
    decides = recipe.select == "best" or recipe.patience > 0
    if obstacle(model, data) or not (decides or (budget is not None and not model.can("score"))):
        return 0, 0, 0.0
    affordable = math.inf if budget is None else (SHARE if decides else GLANCE) * budget
    most = _most(data)
    few = min(FEWEST, most)
    first = _seconds(model, data, min(LEAST, most), seed)  # the first call is slower
    if not decides and first > affordable / 2:
        return 0, 0, 0.0
    each = _seconds(model, data, few, seed) / few
    n = int(min(most, max(FEWEST, affordable / POINTS / each)))
    known = budget is None or n == few or model.can("score")
    took = each * n if known else _seconds(model, data, n, seed)  # pairs of data are more than as many
    points = int(min(POINTS, affordable / took))
    return (points, n, took) if decides or points > 1 else (0, 0, 0.0)


def _seconds(model: Model, data: Dataset, n: int, seed: int) -> float:
    trial = validation_of(model, data, n, seed)
    began = time.perf_counter()
    trial.score(model)
    return time.perf_counter() - began
