"""``fit``: one model, one data set, one run folder."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, final

import typer

from .. import catalogue
from ..errors import BadInput, RunError, unknown
from ..settings import parse_duration, parse_settings, typed
from .console import duration_words, say
from .failures import FAILED
from .options import (
    Budget,
    Data,
    Device,
    Log,
    Precision,
    Resume,
    SaveEvery,
    Seed,
    Shards,
    Size,
    Steps,
    To,
    WarmStart,
)

if TYPE_CHECKING:
    from ..catalogue import Row
    from ..data import Dataset
    from ..train import Diagnosis, Event, Finished

__all__ = [
    "budget_seconds",
    "data_settings",
    "fit",
    "fitted_options",
    "free_folder",
    "load",
    "load_sets",
    "require_first",
    "stopped_folder",
]


def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `pmodel models`.", show_default=False)],
    data: Data,
    to: To = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045 (typer reads it)
        typer.Option(
            "--out", metavar="RUN", help="The run folder, with nothing in it yet.", show_default="runs/MODEL-DATA"
        ),
    ] = None,
    budget: Budget = None,
    steps: Steps = None,
    size: Size = "base",
    seed: Seed = 0,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the model, train.KEY of its training, conditional=true, or data.KEY of how to read"
            " --data. Repeatable.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    resume: Resume = False,
    warm_start: WarmStart = None,
    save_every: SaveEvery = "60s",
    log: Log = None,
    shards: Shards = None,
) -> None:
    """Fit a model to data and leave a run folder behind."""
    seconds, between = budget_seconds(budget, steps), _between(save_every)
    row = catalogue.find(model)
    asked = parse_settings(settings or [], data=True)
    options = fitted_options(row, asked.options)
    logs = _logs(log or ["jsonl"])
    dataset = load_sets(data, to, asked.data)
    folder = _folder(out, f"{model}-{dataset.name}", resume=resume)

    from ..storage import RECORD, read_json
    from ..train import Diagnosis
    from ..train import fit as fit_model
    from .progress import Progress

    heard = _Heard()
    with Progress(f"{model} on {dataset.name}", dataset.domain) as progress:

        def follow(event: Event) -> None:
            heard.take(event)
            progress.show(event)

        fitted = fit_model(
            model,
            dataset,
            out=folder,
            steps=steps,
            budget=seconds,
            size=size,
            seed=seed,
            conditional=asked.conditional,
            settings=asked.train,
            precision=precision,
            device=device,
            shards=shards,
            resume=resume,
            warm_start=warm_start,
            save_every=between,
            logs=logs,
            on_event=follow,
            **options,
        )
    if heard.last is None:  # one of several processes: the first of them speaks
        return
    verdicts = [Diagnosis.from_json(verdict) for verdict in read_json(folder / RECORD)["health"]]
    say(_summary(dataset.summary, heard.last, fitted.size), *heard.lines(verdicts), f"run: {folder}")
    if any(verdict.fatal for verdict in verdicts):
        say("This model is of no use as it is; the run is kept, to be looked at.")
        raise typer.Exit(FAILED)


def _summary(data: str, last: Finished, parameters: int) -> str:
    done = " and ".join(
        f"{count} {what}" for count, what in ((last.steps, "steps"), (last.iterations, "passes")) if count
    )
    return (
        f"{data}; {last.reason} after {done or 'no steps'} in {duration_words(last.seconds)}; {parameters} parameters"
    )


@final
class _Heard:
    """What a run has told that is still to be said when it is over."""

    def __init__(self) -> None:
        self.last: Finished | None = None
        self.rescues = 0
        self.verdicts: dict[str, Diagnosis] = {}

    def take(self, event: Event) -> None:
        """Take the next event."""
        from ..train import events

        match event:
            case events.Diagnosed():
                self.verdicts[event.diagnosis.name] = event.diagnosis
            case events.Rescued():
                self.rescues += 1
            case events.Finished():
                self.last = event

    def lines(self, last: Sequence[Diagnosis]) -> Iterator[str]:
        """What is wrong at the end, and what was before."""
        for verdict in last:
            yield from (f"{verdict.name}: {verdict.words}", f"  remedy: {verdict.remedy}")
        for name in self.verdicts.keys() - {verdict.name for verdict in last}:
            yield f"while it trained: {self.verdicts[name]}"
        if self.rescues:
            times = "once" if self.rescues == 1 else f"{self.rescues} times"
            yield f"It diverged and went on from its last good state, {times}."


def _logs(names: Sequence[str]) -> tuple[str, ...]:
    """The logs that ``--log`` names.

    Raises:
        UnknownName: if there is no such log.
        BadInput: if there are none and some.
    """
    known = ("jsonl", "tensorboard", "none")
    for name in names:
        if name not in known:
            raise unknown("log", name, known)
    if "none" in names and len(names) > 1:
        raise BadInput("--log none stands alone.", got=" ".join(names))
    return tuple(name for name in dict.fromkeys(names) if name != "none")


def _between(save_every: str) -> float:
    """Seconds between checkpoints."""
    return 0.0 if save_every in ("0", "0s") else parse_duration(save_every)


def budget_seconds(budget: str | None, steps: int | None) -> float | None:
    """The budget in seconds.

    Raises:
        BadInput: if it is malformed, or there are steps too.
    """
    seconds = None if budget is None else parse_duration(budget)
    if seconds is not None and steps is not None:
        raise BadInput("A run has --steps or a --budget, not both.", got=f"--steps {steps} --budget {budget}")
    return seconds


def data_settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """What ``--set data.KEY=VALUE`` says, where nothing else can be set.

    Raises:
        BadInput: if a key does not start with ``data.``.
    """
    asked = parse_settings(pairs or [], data=True)
    if asked.options or asked.train or asked.conditional:
        raise BadInput(
            "Only data.KEY can be set for all models together.", got=" ".join(pairs or []), hint="such as data.size=32"
        )
    return asked.data


def fitted_options(row: Row, options: Mapping[str, Any]) -> dict[str, Any]:
    """A model's options, checked against its signature; without any, the model is not imported."""
    from ..options import types_of

    return typed(row.name, options, types_of(row.load(), options)) if options else {}


def load(source: str, **options: Any) -> Dataset:
    """The data set of a name or path.

    Raises:
        UnknownName: if there is no such data set, option or label.
        DataError: if the data cannot be read, or are not what they should be.
    """
    from ..data import load_data
    from .failures import reading

    known = [name for name in inspect.signature(load_data).parameters if name != "source"]
    for option in options:
        if option not in known:
            raise unknown("option of data", f"data.{option}", [f"data.{name}" for name in known])
    if options:
        return load_data(source, **options)
    with reading(source):
        return load_data(source)


def load_sets(source: str, to: str | None, options: Mapping[str, Any]) -> Dataset:
    """The data set of a name or path; with ``to``, two unpaired sets, both read in the same way. Raises as ``load`` does."""
    from ..data import unpaired

    first = load(source, **options)
    return first if to is None else unpaired(first, load(to, **options))


def require_first(source: str | None, to: str | None) -> None:
    """Refuse a second set without a first.

    Raises:
        BadInput: if ``to`` is named and the source is not.
    """
    if source is None and to is not None:
        raise BadInput("--to names the second of two sets.", got=f"--to {to}", hint="name the first with --data")


def free_folder(parent: Path, name: str) -> Path:
    """``parent/name``, or with -2, -3 … the first that is not taken."""
    return next(folder for folder in _folders(parent, name) if not folder.exists())


def stopped_folder(parent: Path, name: str) -> Path:
    """The last of ``parent/name``, ``parent/name-2`` … whose run has not finished; or the last of all.

    Raises:
        RunError: if there is none.
    """
    taken = list(itertools.takewhile(Path.exists, _folders(parent, name)))
    if not taken:
        raise RunError(f"There is no run of that name in {parent} to resume.", got=name, hint="name it with --out")
    return next((folder for folder in reversed(taken) if _status(folder) == "training"), taken[-1])


def _status(folder: Path) -> object:
    """``training``, ``finished``, or None where there is no run."""
    from ..storage import RECORD, read_json

    return read_json(folder / RECORD).get("status") if (folder / RECORD).exists() else None


def _folder(out: Path | None, name: str, *, resume: bool) -> Path:
    """Where the run goes, or is; with a word where there is no stopped run to be resumed."""
    if not resume:
        return out if out is not None else free_folder(Path("runs"), name)
    folder = out if out is not None else stopped_folder(Path("runs"), name)
    if (status := _status(folder)) == "finished":
        say(f"{folder} has finished already: nothing is left to be done.")
    elif status is None:
        say(f"There is no run in {folder} yet: it begins.")
    return folder


def _folders(parent: Path, name: str) -> Iterator[Path]:
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-")
    return map(parent.joinpath, itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))))
