"""``evaluate``: everything that is measured of one model, on one bench that stays the same for all that are compared."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor, nn

from .data import Dataset, load_data, spread
from .data.places import cache
from .errors import BadInput, NotSupported, RangeError, RunError
from .likelihood import Likelihood
from .metrics import Measure, bits_per_dim_json, likelihood_json
from .metrics.features import Columns, Extractor
from .metrics.fidelity import Fidelity
from .metrics.judge import can_judge, judge_for
from .metrics.measure import choose, named
from .model import Model
from .randomness import derive
from .storage import RECORD, load, read_json, write_json, write_tensors
from .train.diagnosis import Diagnosis

__all__ = ["Bench", "Evaluation", "evaluate", "judges_folder", "read_evaluation"]

SCORES = "scores.json"
KEPT = "evaluation.safetensors"
SHOWN = 100
"""Samples kept for the report; of small data, as many as fit into ``SHOWN_ENTRIES``."""
SHOWN_ENTRIES = 8192


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one model.

    Args:
        likelihood: As ``likelihood_json`` gives it, or None.
        metrics: ``bits_per_dim``, ``fid``, ``judge``: those that apply, each self-describing.
        speed: Seconds, samples a second, network calls.
        parameters: The number of learned scalars.
        health: What a reader should know before trusting the numbers, in sentences.
        scored: The likelihoods datum by datum, or None; not part of the JSON.
        samples: Some samples, or None; not part of the JSON.
    """

    likelihood: dict[str, Any] | None
    metrics: dict[str, Any]
    speed: dict[str, Any]
    parameters: int
    health: list[str]
    scored: Likelihood | None = field(default=None, repr=False)
    samples: Tensor | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "likelihood": self.likelihood,
            "metrics": self.metrics,
            "speed": self.speed,
            "parameters": self.parameters,
            "health": self.health,
        }

    def save(self, folder: Path, protocol: Mapping[str, Any]) -> None:
        """Write ``scores.json`` and, for paired differences and pictures, the values and samples beside it."""
        tensors: dict[str, Tensor] = {}
        if self.scored is not None:
            tensors["values"] = self.scored.values
        if self.samples is not None:
            tensors["samples"] = self.samples
        write_tensors(folder / KEPT, tensors)
        write_json(folder / SCORES, {"protocol": dict(protocol), **self.to_json()})


def read_evaluation(folder: str | Path) -> tuple[Evaluation, dict[str, Any]]:
    """An evaluation that was saved in a run folder, and its protocol.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    folder = Path(folder)
    record = read_json(folder / SCORES)
    try:
        kept = from_bytes((folder / KEPT).read_bytes())
        likelihood, values = record["likelihood"], kept.get("values")
        scored = None
        if values is not None:
            scored = Likelihood(values, likelihood["kind"], likelihood["estimator"])
        evaluation = Evaluation(
            likelihood,
            record["metrics"],
            record["speed"],
            record["parameters"],
            record["health"],
            scored,
            kept.get("samples"),
        )
    except (KeyError, TypeError, OSError, SafetensorError) as error:
        raise RunError(f"{folder} holds no whole evaluation.", got=str(error), hint="evaluate the run again") from error
    return evaluation, dict(record["protocol"])


@final
class Bench:
    """The data and settings of a measurement: one bench, one measure a column.

    Args:
        data: The data set.
        n: Samples of each model, and at most so many data that are scored.
        split: The split that is scored.
        effort: Draws for each datum where a likelihood is a bound.
        seed: Of the choice of data and of every draw.
        judges: Where judges are kept.
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
        judges: str | Path | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        for name, value, low in (("n", n, 2), ("effort", effort, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 10**6:
                raise RangeError(f"{name} must be a whole number from {low} to 1000000.", got=value)
        part = data.split(split)
        rows = choose(len(part), n, seed, "score")
        self.data, self.n, self.split, self.effort, self.seed = data, n, split, effort, seed
        self.x = part.x[rows]
        self.measure = Measure(
            data=data.hash, split=split, which=named(rows, len(part)), probability=data.domain.measure
        )
        self.extractor: Extractor = (
            judge_for(data, judges or judges_folder(), progress=progress)
            if can_judge(data)
            else Columns(data.domain, spread(data.train.x))
        )
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
            BadInput: if the model is of another domain.
        """
        if model.domain != self.data.domain:
            raise BadInput(
                f"The model is of other data than {self.data.name}.",
                got=model.domain,
                hint=f"expected {self.data.domain}",
            )
        health = _diagnosed(record or {})
        speed: dict[str, Any] = _training(record or {}, health)
        scored = self._scored(model, speed, health)
        samples = self._sampled(model, speed, health)
        metrics: dict[str, Any] = {}
        likelihood = None if scored is None else likelihood_json(scored, self.measure)
        if likelihood is not None and self.data.domain.measure == "mass":
            metrics["bits_per_dim"] = bits_per_dim_json(likelihood, self.data.domain.entries)
        if samples is not None:
            metrics |= self.fidelity(samples)
        health += _verdicts(likelihood, metrics)
        shown = max(SHOWN, SHOWN_ENTRIES // self.data.domain.entries)
        kept = None if samples is None else samples[:shown]
        return Evaluation(likelihood, metrics, speed, model.size, health, scored, kept)

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

    def _sampled(self, model: Any, speed: dict[str, Any], health: list[str]) -> Tensor | None:
        if not model.can("sample"):
            return None
        with _counted(model) as calls:
            model.sample(1, generator=derive(self.seed, "warm-up"))
        began = time.perf_counter()
        samples: Tensor = model.sample(self.n, generator=derive(self.seed, "sample")).cpu()  # waits for a GPU
        seconds = time.perf_counter() - began
        speed |= {"samples_per_second": self.n / max(seconds, 1e-9), "sample_seconds": seconds, "sampled": self.n}
        speed["network_calls"] = max(calls.values(), default=0)
        if samples.is_floating_point() and bool(samples.isinf().any()):
            health.append("no distance: some samples are infinite")
            return None
        return samples


def evaluate(
    model: Model | str | Path,
    data: Dataset | str | Path | None = None,
    *,
    n: int = 2000,
    split: str = "test",
    effort: int = 16,
    seed: int = 0,
    device: str = "auto",
    judges: str | Path | None = None,
) -> Evaluation:
    """Measure a model: likelihood, distance and judgement of its samples, speed, size, health.

    Args:
        model: A model, or a run folder; the folder then gets ``scores.json`` and ``report.html``.
        data: A data set or what ``load_data`` takes; None takes those that the run was trained on.
        n: Samples, and at most so many data that are scored.
        split: The split that is scored.
        effort: Draws for each datum where the likelihood is a bound.
        seed: Of every draw.
        device: Where the model of a run folder is put: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        judges: Where judges are kept; None is the user's cache.

    Raises:
        PmodelError: if the folder, the data or a setting are not fit.
    """
    folder, record = None, None
    if isinstance(model, Model) and device != "auto":
        raise BadInput("A model is evaluated where it is.", got=f"device={device}", hint="move it with model.to(...)")
    if not isinstance(model, Model):
        folder = Path(model)
        record, model = _finished(folder), load(folder, device=device)
    if data is None:
        data = _data_of(record)
    dataset = data if isinstance(data, Dataset) else load_data(data)
    bench = Bench(dataset, n=n, split=split, effort=effort, seed=seed, judges=judges)
    evaluation = bench.evaluate(model, record)
    if folder is not None:
        from .report import write_run_page  # late: the report is above the evaluation

        evaluation.save(folder, bench.protocol)
        write_run_page(folder, dataset)
    return evaluation


def _finished(folder: Path) -> dict[str, Any]:
    """The record of a run whose model will not change any more: an evaluation stays in its folder."""
    record = read_json(folder / RECORD)
    if record.get("status") == "training":
        raise RunError(
            f"{folder} is a run that has not finished.",
            hint="finish it with pmodel fit … --resume; pmodel score and sample take its last checkpoint",
        )
    return record


def _here(scored: Likelihood) -> Likelihood:
    """A likelihood on the processor: whoever holds it has waited for the GPU."""
    stderr = None if scored.mc_stderr is None else scored.mc_stderr.cpu()
    return Likelihood(scored.values.cpu(), scored.kind, scored.estimator, stderr)


def judges_folder() -> Path:
    """Where judges are kept unless told otherwise: in the user's cache."""
    return cache() / "judges"


def _data_of(record: Mapping[str, Any] | None) -> Dataset:
    known = (record or {}).get("data")
    if not isinstance(known, dict) or "source" not in known:
        raise BadInput("Say which data to evaluate on.", hint="pass data=, or a run folder that fit has written")
    data = load_data(str(known["source"]), **known.get("options", {}))
    if data.hash != known.get("hash"):
        raise RunError(
            f"{data.name} is no longer what the run was trained on: its content has changed.",
            got=f"hash {data.hash[:16]}, the run has {str(known.get('hash'))[:16]}",
            hint="pass data= to evaluate on it all the same",
        )
    return data


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
    if judge is not None and judge["missing"]:
        found.append(f"classes without a clear sample: {', '.join(judge['missing'])}")
    fid = metrics.get("fid")
    if fid is not None and fid["n"] <= fid["dimensions"]:
        found.append(
            f"the distance rests on {fid['n']} samples of {fid['dimensions']} features: too few for a covariance"
        )
    return found


@contextmanager
def _counted(model: nn.Module) -> Iterator[Counter[str]]:
    """Counts how often each layer with weights is run: the most of any is the number of network calls, one after another."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    layers = [(name, m) for name, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(counting(name)) for name, layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
