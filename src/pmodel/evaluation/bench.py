"""The bench: data and settings of a measurement, which stay the same for all models that are compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ..data import Dataset, conditions, spread
from ..domain import Sequences
from ..errors import BadInput, NotSupported, require_whole
from ..likelihood import Likelihood
from ..metrics import Measure, costs, likelihood_json
from ..metrics.features import Columns, Extractor
from ..metrics.fidelity import Fidelity
from ..metrics.judge import FILE, can_judge, judge_for, judges_folder
from ..metrics.measure import choose, named
from ..metrics.summaries import Summaries
from ..model import Model
from ..randomness import derive, generator
from ..train.diagnosis import Diagnosis
from .cost import counted, memory_watched
from .divergences import Points, divergences
from .known_modes import known_modes
from .record import Evaluation

__all__ = ["Bench"]

SHOWN = 100
"""Samples kept for the report; of small data, as many as fit into ``SHOWN_ENTRIES``."""
SHOWN_ENTRIES = 8192
PAIRS = 10
"""Samples whose nearest training data are kept."""
NAMED = 20
"""Missing classes that a verdict names, at most."""
LACKING = 0.1
"""The part of the modes that as many real data show from which on it is said that samples lack some."""


@final
class Bench:
    """The data and settings of a measurement: one bench, one measure a column.

    Args:
        data: The data set.
        n: Samples of each model, and at most so many data that are scored.
        split: The split that is scored.
        effort: Draws for each datum where a likelihood is a bound.
        seed: Of the choice of data and of every draw.
        judge: The file of a judge, or ``inception``; None takes the one that comes with the data, or makes one.
        judges: Where judges that are made are kept.
        progress: Called with the part of the judge's training that is done.

    Raises:
        BadInput: if a setting is out of range.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        n: int = 2000,
        split: str = "test",
        effort: int = 16,
        seed: int = 0,
        judge: str | Path | None = None,
        judges: str | Path | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        for name, value, low in (("n", n, 2), ("effort", effort, 1)):
            require_whole(name, value, low, 10**6)
        part = data.split(split)
        rows = choose(len(part), n, seed, "score")
        self.data, self.n, self.split, self.effort, self.seed = data, n, split, effort, seed
        self.x = part.x[rows]
        self.measure = Measure(
            data=data.hash, split=split, which=named(rows, len(part)), probability=data.domain.measure
        )
        self.extractor: Extractor = features_of(data)
        if judge is not None or can_judge(data):
            self.extractor = judge_for(data, judges or judges_folder(), judge=judge, progress=progress)
        self.fidelity = Fidelity(data, split, n, seed, self.extractor)

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that the numbers depend on, beside the model."""
        return {
            "measure": self.measure.to_json(),
            "fidelity": self.fidelity.measure.to_json(),
            "n": self.n,
            "effort": self.effort,
            "seed": self.seed,
        }

    def keep_judge(self, folder: Path) -> None:
        """Put the judge beside a report, so that others can use the same one; features of other kinds need no file."""
        self.extractor.save(folder / FILE)

    def truth(self) -> dict[str, Any] | None:
        """The likelihood of the true density where it is known: on average, no model can be above it."""
        if self.data.truth is None:
            return None
        values = self.data.truth.log_prob(self.x.double())
        return likelihood_json(Likelihood(values, "exact", "the true density"), self.measure)

    def evaluate(self, model: Model, record: Mapping[str, Any] | None = None) -> Evaluation:
        """Measure a model.

        Args:
            model: Of the same domain as the data.
            record: What its run folder says of it: the time of training, and the doctor's verdicts.

        Raises:
            BadInput: if the model is of another domain, or translates what is not there.
        """
        if model.translates != (self.data.origin is not None):
            what = "two sets to translate between" if model.translates else "one set of data"
            raise BadInput(f"{type(model).__name__} is measured on {what}.", got=self.data.name)
        if model.domain != self.data.domain:
            raise BadInput(
                f"The model is of other data than {self.data.name}.",
                got=model.domain,
                hint=f"expected {self.data.domain}",
            )
        health = _diagnosed(record or {})
        speed: dict[str, Any] = _training(record or {}, health)
        scored = self._scored(model, speed, health)
        samples, given = self._sampled(model, speed, health)
        metrics: dict[str, Any] = {}
        likelihood = None if scored is None else likelihood_json(scored, self.measure)
        if likelihood is not None and scored is not None:
            metrics |= costs(likelihood, scored.values, self.x, self.data.domain, scored.common_stderr)
        if samples is not None:
            metrics |= self.fidelity(samples, given)
        if samples is not None and self.data.truth is not None:
            metrics |= known_modes(self.data.truth, samples, self.measure)
        if scored is not None and self.data.truth is not None:
            points = Points(self.x, scored, samples, self.effort, self.seed)
            metrics |= divergences(self.data.truth, model, points, self.measure)
        health += _verdicts(likelihood, metrics)
        shown = max(SHOWN, SHOWN_ENTRIES // self.data.domain.entries)
        kept = None if samples is None else samples[:shown]
        near = None if samples is None else self.fidelity.nearest(samples[:PAIRS])
        return Evaluation(likelihood, metrics, speed, model.size, health, scored, kept, near)

    def _scored(self, model: Any, speed: dict[str, Any], health: list[str]) -> Likelihood | None:
        if not model.can("score"):
            return None
        began = time.perf_counter()
        try:
            scored = _here(model.score(self.x, generator=derive(self.seed, "score"), effort=self.effort))
        except NotSupported as error:  # such as missing values under a model that cannot leave them out
            health.append(f"no likelihood: {error.problem}")
            return None
        speed["score_seconds"] = time.perf_counter() - began
        if bool(scored.values.isnan().any()):
            health.append(f"no likelihood: {int(scored.values.isnan().sum())} of {scored.n} scores are not numbers")
            return None
        seeded = "" if scored.kind == "exact" else f", evaluation seed {self.seed}"
        return Likelihood(scored.values, scored.kind, scored.estimator + seeded, scored.mc_stderr)

    def _sampled(self, model: Any, speed: dict[str, Any], health: list[str]) -> tuple[Tensor | None, Tensor | None]:
        """Samples, and the labels that they were asked for by, if the model takes any; of data that it translates, none."""
        if not model.can("sample"):
            return None, None
        with counted(model) as calls:
            one = conditions(self.data, 1, self.split, generator(self.seed, "warm-up"))
            model.sample(1, given=one, generator=derive(self.seed, "warm-up"))
        speed["sequential_calls"] = max(calls.values(), default=0)
        noise = generator(self.seed, "labels")
        given = conditions(self.data, self.n, self.split, noise)
        if model.given is not None and given is None:
            given = torch.multinomial(model.given_frequencies.cpu().double(), self.n, replacement=True, generator=noise)
        if model.translates and (there := len(self.data.origin.split(self.split))) < self.n:  # type: ignore[union-attr]
            health.append(f"the {self.n} samples are translations of {there} data, some more than once")
        began = time.perf_counter()
        with counted(model) as calls, memory_watched(model.device) as memory:
            drawn = model.sample(self.n, given=given, generator=derive(self.seed, "sample"))
            samples: Tensor = drawn.cpu()  # waits for a GPU
        seconds = time.perf_counter() - began
        speed |= {"samples_per_second": self.n / max(seconds, 1e-9), "sample_seconds": seconds, "sampled": self.n}
        speed |= {"network_calls": max(calls.values(), default=0), "sample_memory_bytes": memory.peak}
        if not bool((self.data.domain.sound(samples) | samples.isnan()).all()):
            health.append("no distance: some samples are infinite")
            return None, None
        return samples, None if model.translates else given


def _here(scored: Likelihood) -> Likelihood:
    """A likelihood on the processor: whoever holds it has waited for the GPU."""
    stderr = None if scored.mc_stderr is None else scored.mc_stderr.cpu()
    return Likelihood(scored.values.cpu(), scored.kind, scored.estimator, stderr)


def features_of(data: Dataset) -> Extractor:
    """What distances look at where there is no judge."""
    train = spread(data.train.x)
    return Summaries(data.domain, train) if isinstance(data.domain, Sequences) else Columns(data.domain, train)


def _diagnosed(record: Mapping[str, Any]) -> list[str]:
    """What the doctor said of the model when its training was over."""
    verdicts = record.get("health")
    found = verdicts if isinstance(verdicts, list) else []
    return [str(Diagnosis.from_json(verdict)).rstrip(".") for verdict in found if isinstance(verdict, dict)]


def _training(record: Mapping[str, Any], health: list[str]) -> dict[str, Any]:
    """What the run's record says of its training."""
    result = record.get("result")
    if not isinstance(result, dict):
        return {}
    if result.get("reason") == "cut by the clock":
        health.append("training was cut by the clock before its planned end")
    return {f"training_{name}": result.get(name) for name in ("seconds", "images", "steps", "iterations")}


def _verdicts(likelihood: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> list[str]:
    """What is wrong, in words."""
    found = []
    if likelihood is not None and likelihood["impossible"]:
        found.append(f"{likelihood['impossible']} of {likelihood['n']} held-out data are impossible under the model")
    judge = metrics.get("judge")
    if judge is not None and judge.get("missing"):
        names = judge["missing"]
        rest = f" and {len(names) - NAMED} others" if len(names) > NAMED else ""
        found.append(f"classes without a clear sample: {', '.join(names[:NAMED])}{rest}")
    modes = metrics.get("mode_shares")
    if modes is not None and modes["value"] is not None and modes["found"] < (1 - LACKING) * modes["expected"]:
        found.append(
            f"samples of {modes['found']} of {modes['modes']} modes, where real data have {modes['expected']:.0f}"
        )
    return found
