"""``compare``: several models, one data set, one bench, one page.

Each model and seed gets a run folder, so that an interrupted comparison goes on where it stopped, and a model that fails is
a row that says why.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from . import __version__, catalogue
from .construction import options_of
from .data import Dataset, load_data
from .errors import BadInput, LostProcess, NotSupported, PmodelError, RangeError, RunError, Stopped, unknown
from .evaluation import Bench, Evaluation, read_evaluation
from .settings import parse_settings, spelt
from .storage import RECORD, load, read_json, write_json
from .train import Event, fit

__all__ = ["Comparison", "Entry", "Progress", "compare"]

SPECIFICATION = "specification.json"
"""What a run of a comparison was asked to be: it is used again only for the same."""
TAKEN = set(inspect.signature(fit).parameters) - {"conditional", "size", "options"}
"""Words of ``fit`` that are the same for all models of a comparison, and so are no options of one."""


@final
@dataclass(frozen=True)
class Entry:
    """One model to compare.

    Args:
        name: Of the catalogue.
        options: Its own options.
        settings: Changes to its training recipe.
        conditional: Whether it learns p(x | label); it is scored as the mixture over labels.
        size: ``tiny``, ``small`` or ``base``; None is the comparison's.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    conditional: bool = False
    size: str | None = None

    @classmethod
    def of(cls, model: str | tuple[str, Mapping[str, Any]]) -> Entry:
        """From ``"mixture"``, ``"vae:latent=2,train.batch=64"``, or ``("vae", {"latent": 2})``.

        Raises:
            UnknownName: if there is no such model or option.
            BadInput: if an option is malformed, or is one that all models of a comparison share.
        """
        if isinstance(model, str):
            name, _, text = model.partition(":")
            parsed = parse_settings(re.split(r",(?=\s*[A-Za-z_][\w.]*\s*=)", text) if text else [])
            options = {**parsed.options, **{f"train.{k}": v for k, v in parsed.train.items()}}
            options |= {"conditional": True} if parsed.conditional else {}
        else:
            name, options = model[0], dict(model[1])
        known = [*options_of(catalogue.find(name).load()), "conditional", "size", "train.batch"]
        for word in TAKEN:
            if word in options:
                raise BadInput(
                    f"{word} is the same for all models of a comparison.", got=f"{name}:{word}={options[word]}"
                )
        for word in options:
            if word not in known and not word.startswith("train."):
                raise unknown(f"option of {name}", word, known)
        settings = {k.removeprefix("train."): options.pop(k) for k in list(options) if k.startswith("train.")}
        return cls(
            name,
            {k: v for k, v in options.items() if k not in ("conditional", "size")},
            settings,
            bool(options.get("conditional", False)),
            options.get("size"),
        )

    @property
    def spelling(self) -> dict[str, Any]:
        """Everything that differs from the catalogue's defaults, by the word that sets it."""
        trained = {f"train.{name}": value for name, value in self.settings.items()}
        rest = {"conditional": True} if self.conditional else {}
        return {**self.options, **trained, **rest, **({} if self.size is None else {"size": self.size})}

    @property
    def label(self) -> str:
        """The entry as it is written on the command line."""
        written = ",".join(f"{name}={spelt(value)}" for name, value in self.spelling.items())
        return f"{self.name}:{written}" if written else self.name


@final
@dataclass(frozen=True)
class Progress:
    """Where a comparison is.

    Args:
        stage: What is being done, or has just happened.
        label: The model, or the data's name.
        seed: Of its training.
        number: Which run this is, from 1.
        runs: How many there are.
        event: Of the training, in the stage ``fit``.
        share: The part that is done, in the stage ``judge``.
        words: Why, in the stage ``failed``.
    """

    stage: Literal["judge", "fit", "evaluate", "reused", "failed", "done", "report"]
    label: str
    seed: int = 0
    number: int = 0
    runs: int = 0
    event: Event | None = None
    share: float = 0.0
    words: str = ""


@final
@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Args:
        report: What ``report.json`` holds.
        folder: Where it is, with ``report.html`` and the runs.
    """

    report: dict[str, Any]
    folder: Path

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.folder / "report.html"


@final
@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    entry: Entry
    seed: int
    folder: Path
    specification: dict[str, Any]

    @property
    def partial(self) -> Path:
        """Where it is until it is whole: the specification, and the run in a folder of its own."""
        return self.folder.with_name(f".{self.folder.name}.partial")


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a job: an evaluation, or the reason why there is none."""

    job: Job
    evaluation: Evaluation | None
    record: dict[str, Any]
    error: str = ""


def compare(
    models: Sequence[str | tuple[str, Mapping[str, Any]]],
    data: Dataset | str | Path,
    *,
    out: str | Path,
    budget: float | None = None,
    steps: int | None = None,
    size: str = "base",
    seeds: int = 1,
    seed: int = 0,
    n: int = 2000,
    split: str = "test",
    effort: int = 16,
    precision: str = "auto",
    device: str = "auto",
    judges: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Comparison:
    """Fit models to the same data, measure them on the same bench, and write the report.

    Args:
        models: Names of the catalogue, each with its own options if any: ``"vae:latent=2,train.batch=64"``, or a pair of
            name and options.
        data: A data set, or what ``load_data`` takes.
        out: The folder of the comparison. An interrupted one goes on when it is asked for again, and so does the run that
            was being trained, to the same bits.
        budget: Seconds of training for each run.
        steps: Steps of training for each run, instead.
        size: ``tiny``, ``small`` or ``base``.
        seeds: Runs of each model, which differ in the seed of their training.
        seed: Of the first run.
        n: Samples of each model, and at most so many data that are scored.
        split: The split that is scored.
        effort: Draws for each datum where a likelihood is a bound.
        precision: Of training.
        device: Of training and of sampling.
        judges: Where judges are kept; None is the user's cache.
        on_progress: Called as the comparison goes on.

    Raises:
        UnknownName: if a model or an option does not exist.
        BadInput: if a setting is out of range, or two models are the same.
        RunError: if the folder holds runs of another comparison.
        Stopped: if a signal ended it; everything is saved.
        NotSupported: if it is one of several processes.
    """
    _require_possible(seeds)
    tell = on_progress or (lambda progress: None)
    dataset = data if isinstance(data, Dataset) else load_data(data)
    out = Path(out)
    entries = _entries(models)
    shared = {
        "data": dataset.hash,
        "budget": budget,
        "steps": steps,
        "size": size,
        "precision": precision,
        "device": device,
    }
    jobs = [_job(entry, seed + k, out, shared) for entry in entries for k in range(seeds)]
    for job in jobs:
        _require_same(job)
    bench = Bench(
        dataset,
        n=n,
        split=split,
        effort=effort,
        seed=0,
        judges=judges,
        progress=lambda share: tell(Progress("judge", dataset.name, share=share)),
    )
    outcomes = []
    for number, job in enumerate(jobs, 1):
        outcomes.append(_outcome(job, dataset, bench, _telling(tell, job, number, len(jobs))))
        if number < len(jobs):
            _write(out, dataset, bench, shared, outcomes)  # an interrupted comparison has a report too
    tell(Progress("report", dataset.name))
    return Comparison(_write(out, dataset, bench, shared, outcomes), out)


def _require_possible(seeds: int) -> None:
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= 1000:
        raise RangeError("seeds must be a whole number from 1 to 1000.", got=seeds)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NotSupported(
            "A comparison runs in one process.", hint="fit each model under torchrun, and evaluate the runs"
        )


def _entries(models: Sequence[str | tuple[str, Mapping[str, Any]]]) -> list[Entry]:
    if isinstance(models, str) or not models:
        raise BadInput(
            "compare takes a list of models.", got=models, hint='such as ["gaussian", "mixture:components=20"]'
        )
    entries = [Entry.of(model) for model in models]
    labels = [entry.label for entry in entries]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise BadInput("The same model stands twice in a comparison.", got=twice, hint="use seeds= for repetitions")
    return entries


def _job(entry: Entry, seed: int, out: Path, shared: Mapping[str, Any]) -> Job:
    specification = {**shared, "model": entry.name, "set": entry.spelling, "seed": seed, "version": __version__}
    specification["size"] = entry.size or shared["size"]
    return Job(entry, seed, out / "runs" / f"{_safe(entry.label)}-s{seed}", json.loads(json.dumps(specification)))


def _safe(label: str) -> str:
    """The label as a plain file name; what had to be left out is told apart by a hash."""
    plain = re.sub(r"[^A-Za-z0-9=.,_-]+", "-", label)[:80]
    if plain == label.replace(":", "-", 1):
        return plain
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _require_same(job: Job) -> None:
    """A run that is there, whole or in part, must be the one that is asked for: it is never replaced."""
    if job.folder.exists():
        folder = job.folder
    elif (job.partial / "run" / RECORD).exists():
        folder = job.partial
    else:
        return
    found = read_json(folder / SPECIFICATION)
    odd = [name for name in {**found, **job.specification} if found.get(name) != job.specification.get(name)]
    if odd:
        name = odd[0]
        raise RunError(
            f"{folder} is a run of another comparison: its {name} differs.",
            got=f"{found.get(name)}, asked for {job.specification.get(name)}",
            hint="choose another folder for this comparison, or remove this one",
        )


def _telling(tell: Callable[[Progress], None], job: Job, number: int, runs: int) -> Callable[..., None]:
    def told(stage: Any, **more: Any) -> None:
        tell(Progress(stage, job.entry.label, job.seed, number, runs, **more))

    return told


def _outcome(job: Job, data: Dataset, bench: Bench, tell: Callable[..., None]) -> Outcome:
    """Fit and measure, or read what an earlier call has done; whatever goes wrong becomes words."""
    try:
        if (job.folder / SPECIFICATION).exists():
            tell("reused")
        else:
            _fit(job, data, tell)
        evaluation = _evaluated(job, bench, tell)
    except Stopped as stop:
        raise Stopped(stop.problem, hint="make the same comparison again, in the same folder, and it goes on") from stop
    except Exception as error:  # one model's failure, of any kind, must not cost the others
        words = error.problem if isinstance(error, PmodelError) else f"{type(error).__name__}: {error}"
        if isinstance(error, PmodelError) and error.got is not None:
            words = f"{words} got: {error.got}"
        tell("failed", words=words)
        return Outcome(job, None, {}, words)
    tell("done")
    return Outcome(job, evaluation, read_json(job.folder / RECORD))


def _fit(job: Job, data: Dataset, tell: Callable[..., None]) -> None:
    """Fit into a folder beside, and move the run in place when it is whole; one that was interrupted goes on."""
    entry, asked = job.entry, job.specification
    write_json(job.partial / SPECIFICATION, asked)
    run = job.partial / "run"
    try:
        fit(
            entry.name,
            data,
            out=run,
            steps=asked["steps"],
            budget=asked["budget"],
            size=asked["size"],
            seed=job.seed,
            conditional=entry.conditional,
            settings=entry.settings,
            precision=asked["precision"],
            device=asked["device"],
            resume=True,
            on_event=lambda event: tell("fit", event=event),
            **entry.options,
        )
    except (Stopped, LostProcess, RunError):  # what has been learned so far is still good
        if not (run / RECORD).exists():
            shutil.rmtree(job.partial, ignore_errors=True)
        raise
    except Exception:
        shutil.rmtree(job.partial, ignore_errors=True)
        raise
    write_json(run / SPECIFICATION, asked)
    run.rename(job.folder)
    shutil.rmtree(job.partial, ignore_errors=True)


def _evaluated(job: Job, bench: Bench, tell: Callable[..., None]) -> Evaluation:
    """The evaluation in the run folder if it was made on this bench, else a new one, kept there."""
    try:
        evaluation, protocol = read_evaluation(job.folder)
        if protocol == bench.protocol:
            return evaluation
    except RunError:
        pass  # none yet, or not a whole one
    tell("evaluate")
    evaluation = bench.evaluate(load(job.folder, device=job.specification["device"]), read_json(job.folder / RECORD))
    evaluation.save(job.folder, bench.protocol)
    return evaluation


def _write(
    out: Path, data: Dataset, bench: Bench, shared: Mapping[str, Any], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    from .report import summary, write_comparison_page  # late: the report is above

    report = summary(data, bench, shared, outcomes)
    write_json(out / "report.json", report)
    write_comparison_page(out, data, report)
    return report
