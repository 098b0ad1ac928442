"""``score`` and ``evaluate``: what a run is worth on data that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, DataError, RunError, UnknownName
from .console import duration_words, emit, say
from .failures import reading
from .fitting import data_settings, load_sets, require_first
from .options import AsJson, DataSettings, Device, Effort, JudgeFile, Number, OtherData, OtherTo, Run, SplitName

if TYPE_CHECKING:
    from ..data import Dataset
    from ..domain import Domain
    from ..metrics.catalogue import Row
    from ..model import Model

__all__ = ["data_of", "evaluate", "likelihood_words", "score"]


def score(
    run: Run,
    data: OtherData = None,
    split: SplitName = "test",
    effort: Effort = 16,
    settings: DataSettings = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """The likelihood of data under a run."""
    from ..data import in_memory
    from ..data.dataset import SPLITS
    from ..errors import unknown
    from ..metrics import Measure, costs, likelihood_json
    from ..storage import load

    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    model: Any = load(run, device=device)
    dataset = data_of(run, model, data, None, data_settings(settings))
    x: Any = dataset.split(split).x
    with reading(f"{dataset.name}, {split}"):
        likelihood = model.score(x, effort=effort)
    measure = Measure(data=dataset.hash, split=split, probability=model.domain.measure)
    result = likelihood_json(likelihood, measure)
    found = {}
    if model.domain.measure == "mass":
        found = costs(result, likelihood.values, in_memory(x), model.domain, likelihood.common_stderr)
    if as_json:
        emit(result | {name: cost["value"] for name, cost in found.items() if name == "bits_per_character"})
    else:
        say(f"{dataset.name}, {split}: {likelihood_words(result, found)}")


def evaluate(
    run: Run,
    data: OtherData = None,
    to: OtherTo = None,
    n: Number = 2000,
    settings: DataSettings = None,
    device: Device = "auto",
    judge: JudgeFile = None,
    as_json: AsJson = False,
) -> None:
    """Everything that is measured of a run; the run folder gets ``scores.json`` and ``report.html``."""
    from .. import evaluation
    from ..storage import load

    dataset = data_of(run, load(run), data, to, data_settings(settings))
    result = evaluation.evaluate(run, dataset, n=n, device=device, judge=judge).to_json()
    if as_json:
        emit(result)
        return
    say(f"{run} on {dataset.name}", "")
    lines = list(evaluation_lines(result))
    widest = max(len(name) for name, _ in lines)
    for name, words in lines:
        say(f"{name:<{widest}}  {words}")
    say("", f"report: {run / 'report.html'}")


def evaluation_lines(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """An evaluation as people read it: what is measured, and the number."""
    from ..metrics.catalogue import METRICS

    likelihood = result["likelihood"]
    yield "likelihood", "none" if likelihood is None else likelihood_words(likelihood, result["metrics"])
    measured = [(row, result["metrics"][row.name]) for row in METRICS if row.name in result["metrics"]]
    for row, metric in measured:
        yield row.title, metric_words(row, metric)
    speed = result["speed"]
    if "sample_seconds" in speed:
        rate, calls = speed["samples_per_second"], speed["sequential_calls"]
        yield "sampling", f"{rate:,.0f} a second, {calls} network calls one after another"
    if isinstance(speed.get("training_seconds"), int | float):
        yield "training", duration_words(speed["training_seconds"])
    yield "size", f"{result['parameters']} parameters"
    for sentence in result["health"]:
        yield "note", sentence
    for row, metric in measured:
        for sentence in metric["flags"]:
            yield "note", f"{row.title}: {sentence}"


def metric_words(row: Row, metric: Mapping[str, Any]) -> str:
    """A measurement as people read it, beside what it is for real data."""
    value, stderr, floor = metric["value"], metric["stderr"], metric.get("floor")
    if value is None:
        return "not to be had"
    spread = "" if stderr is None else f" ± {_number(row, stderr)}"
    real = "" if floor is None else f"; real data have {_number(row, floor)}"
    unit = f" {row.unit}" if row.unit == "nats" else ""
    found = f"; {metric['found']} of {metric['modes']} have samples" if "found" in metric else ""
    return f"{_number(row, value)}{spread}{unit}{real}{found}"


def _number(row: Row, value: float) -> str:
    return f"{value:.1%}" if row.share else f"{value:.4g}"


def data_of(run: Path, model: Model, source: str | None, to: str | None, options: Mapping[str, Any]) -> Dataset:
    """The data to measure a run on: those that were named, one set or two, else those it was fitted to.

    Raises:
        RunError: if the run does not say what it was fitted to.
        DataError: if the data are not of the model's kind, or no longer what the run was fitted to.
    """
    from ..data import load_described
    from ..storage import RECORD, read_json

    if source is not None:
        return _fitting(model, load_sets(source, to, options))
    require_first(source, to)
    if options:
        raise BadInput("How to read data is said of --data.", got=dict(options), hint="add --data")
    record = read_json(run / RECORD).get("data")
    known = record if isinstance(record, dict) else {}
    name = known.get("source")
    if not isinstance(name, str) or not name:
        raise RunError(f"{run} does not say which data it was fitted to.", hint="name them with --data")
    try:
        with reading(name):
            dataset = load_described(known)
    except UnknownName as error:
        raise DataError(
            "The data of this run cannot be found again.", got=name, hint="name them with --data"
        ) from error
    if dataset.hash != known.get("hash"):
        raise DataError(
            "The data have changed since this run was fitted to them.", got=name, hint="to use them anyway, pass --data"
        )
    return _fitting(model, dataset)


def _fitting(model: Model, dataset: Dataset) -> Dataset:
    sides: list[tuple[Dataset, Domain | None]] = [(dataset, model.domain)]
    if dataset.origin is not None and model.translates:
        sides.append((dataset.origin, model.given))
    for side, domain in sides:
        if side.domain != domain:
            raise DataError(f"{side.name} is not the kind of data of this run.", got=side.domain, hint=str(domain))
    return dataset


def likelihood_words(likelihood: dict[str, Any], found: Mapping[str, Any]) -> str:
    """A likelihood as people read it, in nats and, of those that are found, in bits per dimension and per character."""
    kind = likelihood["kind"].replace("_", " ")
    n, impossible = likelihood["n"], likelihood["impossible"]
    if impossible:
        return f"impossible: {impossible} of {n} data have probability zero ({kind})"
    value, stderr = likelihood["value"], likelihood["stderr"]
    spread = "" if stderr is None else f" ± {stderr:.3g}"
    units = [found[name] for name in ("bits_per_dim", "bits_per_character") if name in found]
    bits = "".join(f", {cost['value']:.4g} {cost['unit']}" for cost in units if cost["value"] is not None)
    how = "" if likelihood["estimator"] == kind else f"; {likelihood['estimator']}"
    return f"{value:.6g}{spread} nats per datum{bits} ({kind}, n = {n}{how})"
