"""``compare``: several models, one data set, one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from .. import catalogue
from ..errors import RunError
from .console import console, emit, plain, say, show_table
from .fitting import budget_seconds, data_settings, fitted_options, load_sets
from .options import (
    AsJson,
    Budget,
    Data,
    DataSettings,
    Device,
    JudgeFile,
    Number,
    Precision,
    Seed,
    Size,
    Steps,
    To,
    whole,
)
from .progress import Progress, Together

if TYPE_CHECKING:
    from ..comparison import Entry
    from ..comparison import Progress as Where
    from ..domain import Domain
    from ..report.columns import Cell

__all__ = ["compare"]


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Names, with options after a colon: vae:latent=2,beta=4.", show_default=False
        ),
    ],
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="The folder; an interrupted comparison goes on there.", show_default=False
        ),
    ],
    to: To = None,
    budget: Budget = None,
    steps: Steps = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", parser=whole(1, 1000), help="Runs of each model, for intervals.")
    ] = 1,
    seed: Seed = 0,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", metavar="N", parser=whole(1, 1000), help="Runs trained at once, each in its own process."
        ),
    ] = 1,
    size: Size = "base",
    n: Number = 2000,
    settings: DataSettings = None,
    device: Device = "auto",
    judge: JudgeFile = None,
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """Fit models to the same data and compare them."""
    seconds = budget_seconds(budget, steps)
    reading = data_settings(settings)

    from .. import comparison

    entries = [_checked(comparison.Entry.of(model)) for model in models]
    dataset = load_sets(data, to, reading)
    with _Told(dataset.domain, together=jobs > 1) as told:
        result = comparison.compare(
            entries,
            dataset,
            out=out,
            budget=seconds,
            steps=steps,
            size=size,
            seeds=seeds,
            seed=seed,
            jobs=jobs,
            n=n,
            precision=precision,
            device=device,
            judge=judge,
            on_progress=told.tell,
        )
    if as_json:
        emit(result.report)
    else:
        say("")
        headings, *rows = _table(result.report["models"])
        show_table(headings, rows)
        say("")
    say(f"report: {result.page}")
    failed = [row["label"] for row in result.report["models"] if row["error"]]
    for row in result.report["models"] if not as_json else ():
        if row["error"]:
            say(f"{row['label']} failed: {row['error']}")
    if failed:
        raise RunError(
            f"{len(failed)} of {len(entries)} models failed; the report holds the others.", got=", ".join(failed)
        )


def _checked(entry: Entry) -> tuple[str, dict[str, Any]]:
    """The entry with its options checked against the model's signature."""
    options = fitted_options(catalogue.find(entry.name), entry.options)
    return entry.name, {**entry.spelling, **options}


@final
class _Told:
    """A view of the run that is being trained, and a line for each that is done.

    Args:
        domain: Of the data.
        together: Whether runs are trained at the same time.
    """

    def __init__(self, domain: Domain, *, together: bool) -> None:
        self.domain = domain
        self._bar: Progress | None = None
        self._together = Together() if together else None

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def tell(self, where: Where) -> None:
        """Say where the comparison is."""
        title = f"[{where.number}/{where.runs}] {where.label}, seed {where.seed}"
        if where.stage == "fit" and self._together is not None and where.event is not None:
            self._together.show(title, where.event)
            return
        if where.stage == "fit":
            self._bar = self._bar or Progress(title, self.domain).__enter__()
            if where.event is not None:
                self._bar.show(where.event)
            return
        self._close()
        if where.stage in ("reused", "done"):
            say(f"{title}: {'trained before' if where.stage == 'reused' else 'done'}")
        elif where.stage == "failed":
            say(f"{title}: failed. {where.words}")
        elif where.stage == "judge" and console().is_terminal:
            console().print(plain(f"training a judge of {where.label}: {where.share:.0%}"), end="\r")

    def _close(self) -> None:
        if self._together is not None:
            self._together.close()
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _table(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The headings, and a row for each model. Bits are the page's: the same column, with the same cells."""
    from ..report.columns import bits_column, columns

    bits = bits_column(columns(models))
    yield "model", "likelihood", *([bits.title] if bits else []), "place by it", "FID", "parameters", "training"
    for row in models:
        if row["error"] and row["run"] is None:
            yield row["label"], "failed"
            continue
        yield (
            row["label"],
            _likelihood(row["likelihood"]),
            *([_text(bits.cell(row))] if bits else []),
            _place(row["place"].get("likelihood")),
            _fid(row["metrics"].get("fid")),
            str(row["parameters"]),
            _seconds(row["speed"].get("training_seconds")),
        )


def _text(cell: Cell | None) -> str:
    """A cell of the page on a terminal, which has one kind of space."""
    return "" if cell is None else " ".join(cell.text.split())


def _fid(fid: Mapping[str, Any] | None) -> str:
    return "" if fid is None or fid["value"] is None else f"{fid['value']:.4g} (real {fid['floor']:.3g})"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _likelihood(likelihood: Mapping[str, Any] | None) -> str:
    if likelihood is None:
        return "none"
    if likelihood["impossible"]:
        return f"impossible: {likelihood['impossible']} of {likelihood['n']}"
    spread = "" if likelihood["stderr"] is None else f" ± {likelihood['stderr']:.2g}"
    relation = {"exact": "", "lower_bound": "≥ ", "estimate": "≈ "}[likelihood["kind"]]
    return f"{relation}{likelihood['value']:.6g}{spread} nats"


def _place(place: Mapping[str, int] | None) -> str:
    if place is None:
        return ""
    best, worst = place["best"], place["worst"]
    return str(best) if best == worst else f"{best} to {worst}: undecided"
