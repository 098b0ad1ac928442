"""Options that several commands share, each declared once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

__all__ = [
    "AsJson",
    "Budget",
    "Data",
    "DataSettings",
    "Device",
    "Effort",
    "JudgeFile",
    "Log",
    "Number",
    "OtherData",
    "OtherTo",
    "Precision",
    "Resume",
    "Run",
    "SaveEvery",
    "Seed",
    "Shards",
    "Size",
    "SplitName",
    "Steps",
    "To",
    "WarmStart",
    "whole",
]

LARGEST_SEED = 2**63 - 1


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A reader of whole numbers whose complaint names the number and the limits."""

    def read(text: Any) -> int:
        written = str(text)
        if not re.fullmatch(r"[+-]?[0-9]{1,30}", written) or not low <= int(written) <= high:
            raise typer.BadParameter(f"{written!r} is not a whole number from {low} to {high}.")
        return int(written)

    return read


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout and nothing else.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A name from `pmodel data`, or a path: a folder of images, .csv, .parquet, .npy, .npz, .txt, IDX.",
        show_default=False,
    ),
]
To = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--to",
        metavar="DATA",
        help="A second set, which need not be paired with the first: a model that translates learns to turn --data into it.",
        show_default=False,
    ),
]
OtherData = Annotated[
    Optional[str],  # noqa: UP045 (typer reads it)
    typer.Option("--data", metavar="DATA", help="Other data than those of the run.", show_default=False),
]
OtherTo = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--to", metavar="DATA", help="The second set beside --data, of a run that translates.", show_default=False
    ),
]
DataSettings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        metavar="data.KEY=VALUE",
        help="How to read --data, such as data.size=32 or data.label=species. Repeatable.",
        show_default=False,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", parser=whole(0, LARGEST_SEED), help="The source of everything random.")
]
SplitName = Annotated[str, typer.Option("--split", metavar="train|valid|test", help="The part of the data.")]
Effort = Annotated[
    int, typer.Option("--effort", metavar="K", parser=whole(1, 10**6), help="Draws for each datum where it is a bound.")
]
JudgeFile = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--judge",
        metavar="FILE",
        help="What looks at the samples: judge.safetensors of another report, or inception.",
        show_default=False,
    ),
]
Number = Annotated[int, typer.Option("-n", metavar="N", parser=whole(1, 2**31), help="How many samples.")]
Budget = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--budget", metavar="TIME", help="Time to train, such as 90s, 2m or 1.5h.", show_default=False),
]
Steps = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--steps",
        metavar="N",
        parser=whole(1, 10**9),
        help="Gradient steps, or passes of EM, instead.",
        show_default=False,
    ),
]
Size = Annotated[str, typer.Option("--size", metavar="tiny|small|base", help="A set of options, where a model has it.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")]
Precision = Annotated[
    str,
    typer.Option("--precision", metavar="auto|float32|bfloat16", help="auto takes the fastest that agrees."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a stopped run: it completes its recorded plan, to the same bits.")
]
WarmStart = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--from", metavar="RUN", help="Start from the weights of this run, by a new plan.", show_default=False
    ),
]
SaveEvery = Annotated[
    str,
    typer.Option(
        "--save-every", metavar="TIME", help="Time between checkpoints, at least, such as 10m; 0s for every report."
    ),
]
Log = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--log", metavar="jsonl|tensorboard|none", help="Where events are written. Repeatable.", show_default="jsonl"
    ),
]
Shards = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--shards",
        metavar="N",
        parser=whole(1, 4096),
        help="Parts of a batch with noise of their own: as many processes as this give the same answer.",
        show_default=False,
    ),
]
