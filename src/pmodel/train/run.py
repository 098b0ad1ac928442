"""``fit``: plan, train, and leave a run folder behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

from .. import catalogue
from ..construction import make
from ..data import Dataset, condition, load_data
from ..errors import BadInput, Diverged, NotSupported, RunError, Stopped, TrainingError
from ..model import Model
from ..storage import digest, load
from .checkpoint import clear_checkpoint, read_checkpoint
from .events import Event, Finished
from .folder import RunFolder, found, new_record
from .logs import require_logs
from .loop import Training
from .planning import Plan
from .planning import plan as make_plan
from .processes import Processes, joined
from .signals import asked_to_stop

__all__ = ["fit", "warmed"]

SIZES = ("tiny", "small", "base")


def fit(
    name: str,
    data: Dataset | str | Path,
    *,
    out: str | Path | None = None,
    steps: int | None = None,
    budget: float | None = None,
    size: str = "base",
    seed: int = 0,
    conditional: bool = False,
    settings: Mapping[str, Any] | None = None,
    precision: str = "auto",
    device: str = "auto",
    shards: int | None = None,
    resume: bool = False,
    warm_start: str | Path | None = None,
    save_every: float = 60.0,
    logs: Sequence[str] = ("jsonl",),
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Model:
    """Make a model of the catalogue and fit it to data.

    With ``out``, SIGINT and SIGTERM end the run after the step under way, and ``resume=True`` goes on with it: the result
    has the same bits as that of a run that was never stopped. Under torchrun the work is shared out.

    Args:
        name: A name of the catalogue.
        data: A data set, or what ``load_data`` takes.
        out: Where the run folder goes; None leaves none behind.
        steps: Gradient steps, or passes of expectation maximisation.
        budget: Seconds of training, instead of steps.
        size: ``tiny``, ``small`` or ``base``: a name for a set of options, where the model has one.
        seed: Of everything random in the run.
        conditional: Whether to learn p(x | label).
        settings: Changes to the model's recipe, such as ``{"batch": 64}``.
        precision: ``auto`` (the fastest that agrees with float32), ``float32`` or ``bfloat16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        shards: Parts of a batch with noise of their own: a multiple of the processes.
        resume: Go on with the stopped run in ``out``, by its recorded plan; begin it if there is none.
        warm_start: A run whose weights to start from, with a new plan.
        save_every: Seconds between checkpoints, at least; 0 for one after every report.
        logs: ``jsonl`` and ``tensorboard``, or nothing.
        on_event: Called with each event of the loop, for progress.
        **options: The model's own options.

    Returns:
        The fitted model, in evaluation mode.

    Raises:
        Stopped: if a signal ended the run; it can be resumed.
        Diverged: if training has stopped making sense; the last good state is kept.
        LostProcess: if another process of the run is gone; it can be resumed.
        PmodelError: if a name, an option, the data or the folder are not fit; nothing is left behind then.
    """
    asked = Asked(name, options, settings or {}, conditional, size, seed, steps, budget, precision, shards)
    if resume and out is None:
        raise BadInput("A run is resumed in its folder.", hint="pass out=, or --out")
    if not 0 <= save_every < float("inf"):
        raise BadInput("save_every is seconds, 0 or more.", got=save_every)
    require_logs(logs)
    folder = None if out is None else Path(out)
    with joined(device) as processes:
        record = processes.agreed(found(folder, resume=resume) if folder and processes.leader else None)
        data = data if isinstance(data, Dataset) else load_data(data)
        start = None if warm_start is None else Path(warm_start)
        tell = on_event if on_event is not None and processes.leader else lambda event: None
        if record is not None:
            asked.require_same(record, data, start)
            if record.get("status") == "finished":
                return _finished(folder, record, tell)
        position: int | None = None
        if folder is None or record is None:
            training, record = _begun(asked, data, start, device, processes)
        else:
            training, position = _resumed(folder, record, data, processes)
        keeper = None
        if folder is not None and processes.leader:
            keeper = RunFolder(folder, record, training, logs, position, save_every)
        return _followed(training, keeper, tell) if folder is not None else _run(training, tell)


@final
@dataclass(frozen=True)
class Asked:
    """What a run was asked to be."""

    name: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    conditional: bool
    size: str
    seed: int
    steps: int | None
    budget: float | None
    precision: str
    shards: int | None

    @property
    def all_options(self) -> dict[str, Any]:
        """The model's options: those that its size stands for, changed by those that were named."""
        return {**_size_options(self.name, self.size), **self.options}

    def require_same(self, record: Mapping[str, Any], data: Dataset, start: Path | None) -> None:
        """Refuse to resume a run as another one. What is left out is as it was.

        Raises:
            RunError: if anything that is asked for differs from the record.
        """
        before = record.get("asked")
        if not isinstance(before, dict) or before.keys() != {field.name for field in fields(Asked)}:
            raise RunError("This run holds no record of what it was asked to be.", hint="fit it anew")
        defaults = Asked(self.name, {}, {}, False, "base", 0, None, None, "auto", None).__dict__
        pairs = {k: (v, before[k]) for k, v in self.__dict__.items() if k == "name" or v != defaults[k]}
        for group, prefix in (("options", ""), ("settings", "train.")):
            own = getattr(self, group)
            pairs |= {f"{prefix}{k}": (v, before[group].get(k)) for k, v in own.items()}
            pairs.pop(group, None)
        pairs["data"] = (data.hash[:12], record["data"]["hash"][:12])
        if start is not None:
            pairs["from"] = (str(start), record.get("from", {}).get("run"))
        for what, (new, old) in pairs.items():
            if _plain(new) != _plain(old):
                raise RunError(
                    f"The run to resume differs from what is asked: its {what} is another.",
                    got=f"{what} {new}, recorded {old}",
                    hint="a resumed run completes its recorded plan: leave this out, or choose another --out",
                )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _model(asked: Asked, data: Dataset) -> Model:
    """The model before it learns."""
    given = condition(data, labels=asked.conditional)
    return make(asked.name, data.domain, given, seed=asked.seed, **asked.all_options)


def _begun(
    asked: Asked, data: Dataset, start: Path | None, device: str, processes: Processes
) -> tuple[Training, dict[str, Any]]:
    """A new training, and its record."""
    model = _model(asked, data)
    source = {} if start is None else {"from": {"run": str(start), "sha256": warmed(model, start)}}
    plan = make_plan(
        model,
        data,
        seed=asked.seed,
        steps=asked.steps,
        budget=asked.budget,
        settings=asked.settings,
        precision=asked.precision,
        device=device,
        shards=asked.shards,
        warm=start is not None,
        processes=processes,
    )
    record = new_record(asked.name, asked.all_options, asked.__dict__, model, data, plan)
    return Training(model, data, plan, processes), record | source


def _resumed(folder: Path, record: Mapping[str, Any], data: Dataset, processes: Processes) -> tuple[Training, int]:
    """A training as its last checkpoint has it, or as it began; and how long its log was then."""
    model, checkpoint = _model(Asked(**record["asked"]), data), read_checkpoint(folder)
    if checkpoint is None and "from" in record:
        start = record["from"]
        if warmed(model, Path(start["run"])) != start["sha256"]:
            raise RunError(f"{start['run']} is not the run any more that this one started from.", hint="fit it anew")
    training = Training(model, data, Plan.from_json(record["plan"]), processes)
    if checkpoint is None:
        return training, 0
    state, position = checkpoint
    training.restore(state)
    return training, position


def warmed(model: Model, start: Path) -> str:
    """Put the weights of another run into a model, and return their hash.

    Raises:
        RunError: if that run is of another model.
    """
    source = load(start)
    mine, other = model.spec(), source.spec()
    if mine != other:
        what = next(key for key in {**mine, **other} if mine.get(key) != other.get(key))
        raise RunError(
            f"{start} is a run of another model: its {what} differs.",
            got=f"{other.get(what)}, asked for {mine.get(what)}",
            hint="start from a run of the same model, options and kind of data",
        )
    model.load_state_dict(source.state_dict())
    return digest(source)


def _run(training: Training, tell: Callable[[Event], None]) -> Model:
    """Train, and write nothing."""
    for event in training:
        tell(event)
    return training.model  # type: ignore[no-any-return]


def _followed(training: Training, keeper: RunFolder | None, tell: Callable[[Event], None]) -> Model:
    """Train, writing what is to be written, until the end or a signal."""
    last: Event | None = None
    try:
        with asked_to_stop(training.halt) as signals:
            for event in training:
                last = event
                tell(event)
                saved = keeper.take(event) if keeper is not None else None
                if saved is not None:
                    tell(saved)
            if not isinstance(last, Finished):
                raise _stopped(training, keeper, signals)
            if keeper is not None:
                keeper.finish(last)
    except Diverged as error:
        if keeper is not None:
            keeper.diverged(error)
        raise
    finally:
        if keeper is not None:
            keeper.close()
    return training.model  # type: ignore[no-any-return]


def _stopped(training: Training, keeper: RunFolder | None, signals: Sequence[str]) -> TrainingError:
    at, plan = training.position, training.plan
    where = f"step {at.step} of {plan.steps}" if plan.steps else f"pass {at.iteration} of at most {plan.iterations}"
    by = signals[0] if signals else "a signal to another process"
    if keeper is None:
        return Stopped(f"Stopped by {by} after {where}.")
    saved = "everything is saved"
    if training.sound:
        keeper.save()
    else:
        saved = "its last step went wrong, and the checkpoint before stays"
    return Stopped(f"Stopped by {by} after {where}; {saved}.", hint=f"go on with: {keeper.command}")


def _finished(folder: Path | None, record: Mapping[str, Any], tell: Callable[[Event], None]) -> Model:
    """The model of a run that has finished already; a checkpoint that is still there is in the way."""
    assert folder is not None  # noqa: S101 - only a folder holds a record
    model = load(folder)
    clear_checkpoint(folder)
    tell(Finished(**{field.name: record["result"][field.name] for field in fields(Finished)}))
    return model


def _size_options(name: str, size: str) -> dict[str, Any]:
    """The options that a size stands for."""
    if size not in SIZES:
        raise BadInput(f"size is one of {', '.join(SIZES)}.", got=size)
    if size == "base":
        return {}
    sizes = catalogue.find(name).load().sizes
    if size not in sizes:
        raise NotSupported(f"{name} comes in one size.", got=size, hint="leave out --size, or set its options")
    return dict(sizes[size])
