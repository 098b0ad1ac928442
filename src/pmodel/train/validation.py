"""Scores on validation data while a model trains: which weights to keep, and when to stop.

Nothing is ever chosen on the data that are reported, so a set that is too small to be split has no validation.
"""

from __future__ import annotations

import math
import time
from typing import Any, final

from ..data import Dataset
from ..likelihood import Likelihood
from ..model import Model
from ..randomness import derive, generator, some

__all__ = ["Validation", "planned"]

POINTS = 20
"""Validations in a run."""
MOST = 1000
"""Validation data that are scored each time: with 2 % of the data's spread as error, differences of interest show."""
FEWEST = 50
SHARE = 0.05
"""The part of a budget that validation may take."""


@final
class Validation:
    """The score of a model on validation data, with the same noise each time.

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

    def score(self, model: Model) -> Likelihood:
        """One draw for each datum."""
        scorer: Any = model
        score: Likelihood = scorer.score(
            self.x, given=self.given, generator=derive(self.seed, "validation noise"), effort=1
        )
        return score


def planned(model: Model, data: Dataset, seed: int, budget: float | None) -> tuple[int, int, float]:
    """How often to validate, on how many data, and the seconds that it takes each time.

    Args:
        model: Prepared.
        data: With validation data of their own, or validation is left out.
        seed: Of the choice.
        budget: Of the run: validation takes at most its share of it.
    """
    own = data.valid.x is not data.train.x and data.valid.x is not data.test.x
    if not model.can("score") or not own or not len(data.valid):
        return 0, 0, 0.0
    conditional = model.given is not None
    Validation(data, 2, seed, conditional=conditional).score(model)  # the first call is slower
    trial = Validation(data, FEWEST, seed, conditional=conditional)
    began = time.perf_counter()
    trial.score(model)
    each = (time.perf_counter() - began) / len(trial.x)
    affordable = math.inf if budget is None else SHARE * budget / each
    n = int(min(MOST, len(data.valid), max(FEWEST, affordable / POINTS)))
    points = int(min(POINTS, affordable / n))
    return points, n, each * n
