"""``show``: a run at a glance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .console import console, duration_words, say
from .course import RELATION
from .drawing import coloured, contact_sheet
from .options import Run

__all__ = ["show"]

SHOWN = 36
"""Samples in the picture, at most."""
TALLEST = 29
"""Lines of it."""


def show(run: Run) -> None:
    """Say what a run is, and draw a few samples if they are images and this is a terminal."""
    from ..storage import RECORD, load, read_json

    model = load(run)
    record = read_json(run / RECORD)
    for name, value in [*_lines(record, model), *_state(run, record)]:
        say(f"{name:<10} {value}")
    if model.domain.image and model.can("sample") and not model.translates and coloured(console()):
        samples: Any = model
        x = samples.sample(SHOWN, generator=0)
        picture = contact_sheet(x, model.domain, console().width, TALLEST)
        if picture is not None:
            console().print(picture)


def _lines(record: Mapping[str, Any], model: Any) -> Iterator[tuple[str, object]]:
    """What is known of the run; a model that was saved by itself has no history."""
    yield "model", f"{record.get('name', '')} {_spelt(record.get('options'))}".strip() or type(model).__name__
    yield "class", _nesting(model.spec())
    data = _mapping(record, "data")
    if data:
        note = f" ({data['note']})" if data.get("note") else ""
        yield "data", f"{data.get('name')}, {data.get('n')} to learn from{note}"
    yield "can", ", ".join(model.capabilities)
    yield "size", f"{model.size} parameters"
    plan, result = _mapping(record, "plan"), _mapping(record, "result")
    if isinstance(seconds := result.get("seconds"), int | float):
        counts = [f"{result[what]} {what}" for what in ("steps", "iterations") if result.get(what)]
        yield "training", f"{', '.join([*counts, duration_words(seconds)])}: {result.get('reason')}"
    if "from" in record:
        yield "from", _mapping(record, "from").get("run")
    if plan:
        keys = ("seed", "precision", "device", "threads")
        yield "plan", ", ".join(f"{key} {plan[key]}" for key in keys if key in plan)
    if "written" in record:
        yield "written", record["written"]


def _state(run: Path, record: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """How training went, as far as it has come, and how a run that was stopped goes on."""
    from ..storage import read_manifest
    from ..train.diagnosis import Diagnosis
    from ..train.folder import resume_command

    result, best = _mapping(record, "result"), _mapping(record, "validation")
    if record.get("status") == "training":
        at, plan = _mapping(read_manifest(run) or {}, "position"), _mapping(record, "plan")
        step = f"step {at.get('step')} of {plan.get('steps')}"
        where = step if plan.get("steps") else f"pass {at.get('iteration')} of at most {plan.get('iterations')}"
        yield "unfinished", f"saved at {where}"
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # a record that somebody has written
            if not record.get("health"):  # else it has diverged, and would again
                yield "go on with", resume_command(run, record)
    if isinstance(value := best.get("value"), int | float):
        relation, kind = RELATION.get(str(best.get("kind")), ""), str(best.get("kind")).replace("_", " ")
        what = "energy distance of samples" if kind == "distance" else f"nats per datum at best ({kind})"
        yield "validation", f"{relation}{value:.6g} {what}, at step {best.get('step')}"
    if result.get("rescues"):
        yield "rescues", f"{result['rescues']}: training diverged and went on from its last good state"
    verdicts = record.get("health")
    for verdict in verdicts if isinstance(verdicts, list) else []:
        yield "health", Diagnosis.from_json(verdict if isinstance(verdict, dict) else {})


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _spelt(options: object) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items()) if isinstance(options, dict) else ""


def _nesting(spec: Mapping[str, Any]) -> str:
    """``Dequantised(Standardised(Gaussian))``."""
    inner = [_nesting(spec[part]) for part in ("inner", "autoencoder", "prior") if part in spec]
    return f"{spec['model']}({', '.join(inner)})" if inner else str(spec["model"])
