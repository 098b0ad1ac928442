"""``replay``: train a finished run once more from its record, and see whether the same bits come out."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from .. import __version__
from ..construction import make
from ..data import Dataset, condition, load_described
from ..errors import RunError
from ..storage import RECORD, digest, read_json
from .events import Event
from .loop import Training
from .planning import Plan
from .processes import joined
from .run import warmed

__all__ = ["Replay", "replay"]


@final
@dataclass(frozen=True)
class Replay:
    """What a repeat of a run has shown.

    Args:
        same: Whether its model is the recorded one, bit for bit.
        hash: SHA-256 of the repeat's model.
        recorded: SHA-256 of the run's model.
        differences: What is not as it was when the run was made: versions, the machine. They may explain other bits.
    """

    same: bool
    hash: str
    recorded: str
    differences: tuple[str, ...]


def replay(run: str | Path, *, data: Dataset | None = None, on_event: Callable[[Event], None] | None = None) -> Replay:
    """Train a finished run once more by its recorded plan. The run's folder is only read.

    Args:
        run: Its folder.
        data: The data; None loads them again from where they came.
        on_event: Called with each event of the loop, for progress.

    Raises:
        RunError: if the run has not finished, or the data are not those that it learned from.
    """
    folder = Path(run)
    record = read_json(folder / RECORD)
    if "plan" not in record:
        raise RunError(
            f"{folder} holds a model, and no record of how it learned.", hint="pass the folder of pmodel fit"
        )
    if record.get("status") != "finished":
        raise RunError(f"{folder} is not a run that has finished.", hint="go on with pmodel fit … --resume")
    data = _data(record) if data is None else data
    if data.hash != record["data"]["hash"]:
        raise RunError(
            "The data are not those that this run learned from.",
            got=f"{data.name} with hash {data.hash[:12]}, recorded {record['data']['hash'][:12]}",
            hint="put the old data back; a repeat of a run needs the same",
        )
    plan = _ended(Plan.from_json(record["plan"]), record["result"])
    given = condition(data, labels=record["asked"]["conditional"])
    model = make(record["name"], data.domain, given, seed=record["seed"], **record["options"])
    if "from" in record and warmed(model, Path(record["from"]["run"])) != record["from"]["sha256"]:
        raise RunError(
            "The run that this one started from has changed since.",
            got=record["from"]["run"],
            hint="a repeat of a run needs the same start",
        )
    with joined(plan.device) as processes:
        for event in Training(model, data, plan, processes):
            if on_event is not None and processes.leader:
                on_event(event)
    found, recorded = digest(model), str(record["result"]["sha256"])
    return Replay(found == recorded, found, recorded, _differences(record))


def _data(record: Mapping[str, Any]) -> Dataset:
    known = record["data"]
    if not all(part["source"] for part in (known, known.get("origin", known))):
        raise RunError("This run learned from data in memory.", hint="pass them: pmodel.replay(run, data=…)")
    return load_described(known)


def _ended(plan: Plan, result: Mapping[str, Any]) -> Plan:
    """The plan without a clock: a run that was cut by it ends at the same step, however fast this machine is."""
    cut = result["reason"] == "cut by the clock"
    end = result["steps"] if cut and result["steps"] < plan.steps else None
    return replace(plan, budget=None, end=end, passes=result["iterations"] if cut and plan.iterations else None)


def _differences(record: Mapping[str, Any]) -> tuple[str, ...]:
    now = {"pmodel": __version__, "torch": torch.__version__, "python": platform.python_version()}
    now |= {"system": sys.platform, "processor": platform.machine()}
    then = {**record["versions"], **record["machine"]}
    return tuple(f"{name} {then.get(name)} then, {value} now" for name, value in now.items() if then.get(name) != value)
