"""``fit``: plan, train, and leave a run folder behind."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__, catalogue
from ..construction import make
from ..data import Dataset, load_data
from ..errors import BadInput, NotSupported, RunError
from ..model import Model
from ..pictures import grid, png
from ..storage import RECORD, save, write_atomic
from . import events
from .events import Event, Sampled
from .loop import train
from .planning import Plan
from .planning import plan as make_plan

__all__ = ["fit"]

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
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Model:
    """Make a model of the catalogue and fit it to data.

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
        on_event: Called with each event of the loop, for progress.
        **options: The model's own options.

    Returns:
        The fitted model, in evaluation mode.

    Raises:
        PmodelError: if a name, an option, the data or the folder are not fit; nothing is left behind then.
    """
    data = data if isinstance(data, Dataset) else load_data(data)
    folder = None if out is None else _fresh(Path(out))
    if conditional and data.given is None:
        raise BadInput(f"{data.name} has no labels to condition on.", hint="leave out conditional=true")
    options = {**_size_options(name, size), **options}
    model = make(name, data.domain, data.given if conditional else None, seed=seed, **options)
    chosen = make_plan(
        model, data, seed=seed, steps=steps, budget=budget, settings=settings, precision=precision, device=device
    )
    log: list[Event] = []
    for event in train(model, data, chosen):
        log.append(event)
        if on_event is not None:
            on_event(event)
    if folder is not None:
        _write(folder, model, _record(name, options, data, chosen, log[-1]), log)
    return model


def _fresh(folder: Path) -> Path:
    """A folder that holds nothing yet."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds a run already" if (folder / RECORD).exists() else "is not empty"
        raise RunError(f"{folder} {what}.", hint="choose another --out, or remove it first")
    return folder


def _write(folder: Path, model: Model, record: Mapping[str, Any], log: list[Event]) -> None:
    """Write the run folder once training is over, its record last: a folder with a record is whole."""
    for event in log:
        if isinstance(event, Sampled) and model.domain.image:
            picture = png(grid(event.x, model.domain))
            write_atomic(folder / "samples" / f"{round(1000 * event.progress):04d}.png", picture)
    lines = (json.dumps(events.to_json(event)) + "\n" for event in log)
    write_atomic(folder / "events.jsonl", "".join(lines).encode())
    save(model, folder, record)


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


def _record(name: str, options: Mapping[str, Any], data: Dataset, plan: Plan, last: Event) -> dict[str, Any]:
    """Everything that is known of a finished run, but the model's specification."""
    return {
        "name": name,
        "options": dict(options),
        "seed": plan.seed,
        "data": {
            "name": data.name,
            "source": data.source,
            "options": dict(data.options),
            "hash": data.hash,
            "n": len(data.train),
            "note": data.note,
            "labels": list(data.label_names),
        },
        "plan": plan.to_json(),
        "result": events.to_json(last),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"pmodel": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"system": sys.platform, "processor": platform.machine(), "device": plan.device},
    }
