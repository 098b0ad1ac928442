"""``replay``: train a finished run once more, and see whether the same bits come out."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ..errors import BadInput
from .console import emit, say, speaks
from .failures import FAILED
from .fitting import data_settings, load_sets, require_first
from .options import AsJson, DataSettings, OtherData, OtherTo, Run
from .progress import Progress

if TYPE_CHECKING:
    from ..train import Replay

__all__ = ["replay"]


def replay(
    run: Run, data: OtherData = None, to: OtherTo = None, settings: DataSettings = None, as_json: AsJson = False
) -> None:
    """Repeat a run from its record; the run itself is only read."""
    from ..train import replay as repeat

    reading = data_settings(settings)
    if reading and data is None:
        raise BadInput("How to read data is said of --data.", got=reading, hint="add --data")
    require_first(data, to)
    dataset = None if data is None else load_sets(data, to, reading)
    with Progress(f"{run} again") as progress:
        found = repeat(run, data=dataset, on_event=progress.show)
    if as_json:
        emit(asdict(found))
    else:
        _report(found)
    if not found.same and speaks():
        raise typer.Exit(FAILED)


def _report(found: Replay) -> None:
    say(f"run     {found.recorded}", f"repeat  {found.hash}")
    if found.same:
        say("The same model, bit for bit.")
        return
    say("Another model: not one bit may differ, and some do.")
    for difference in found.differences:
        say(f"not as it was: {difference}")
    if not found.differences:
        say(
            "Versions and machine are as they were: this run cannot be repeated here, which is a fault of pmodel or PyTorch."
        )
