"""``sample``: new data, as pictures, arrays or rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import BadInput, RunError
from .console import say
from .options import Device, Number, Run, Seed, whole

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..domain import Column, Domain

__all__ = ["sample"]


def sample(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="A .png, .npz or .csv file, or a folder.", show_default=False)],
    n: Number = 64,
    seed: Seed = 0,
    label: Annotated[
        Optional[str],  # noqa: UP045 (typer reads it)
        typer.Option(
            "--label",
            metavar="LABEL",
            help="The label of all of them, by its name or number, for a conditional model.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--steps",
            metavar="N",
            parser=whole(1, 10**6),
            help="Steps of the sampler, for a model that has one: fewer are faster.",
            show_default=False,
        ),
    ] = None,
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another option of the sampler, such as eta=1. Repeatable.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw new data from a run."""
    write, settings = _writer(out), _settings(changes or [], steps)

    from ..storage import RECORD, load, read_json

    model: Any = load(run, device=device)
    number = None if label is None else _number(label, read_json(run / RECORD))
    if write in (_png, _folder) and not model.domain.image:
        raise BadInput("Only images can be drawn.", got=out, hint="write these samples to .npz or .csv")
    x = model.sample(n, given=number, generator=seed, **settings)
    write(out, x.cpu(), model.domain, number)
    say(f"{n} samples: {out}")


def _number(label: str, record: Mapping[str, Any]) -> int:
    """The number of a label that is named as in the data of the run, or given as that number."""
    from ..errors import unknown

    data = record.get("data")
    names = [str(name) for name in data.get("labels", [])] if isinstance(data, dict) else []
    if label in names:
        return names.index(label)
    if label.isascii() and label.isdigit() and len(label) < 10:
        return int(label)
    raise unknown("label", label, names)


def _settings(changes: list[str], steps: int | None) -> dict[str, Any]:
    """What ``--set`` and ``--steps`` change about the way of drawing."""
    from ..settings import parse_settings

    parsed = parse_settings(changes)
    if parsed.train or parsed.conditional:
        raise BadInput("What is set here are options of a sampler.", got=" ".join(changes), hint="such as --set eta=1")
    if steps is not None and "steps" in parsed.options:
        raise BadInput("The steps are given twice.", got=f"--steps {steps} and --set steps={parsed.options['steps']}")
    return parsed.options | ({} if steps is None else {"steps": steps})


Writer = Callable[[Path, "Tensor", "Domain", "int | None"], None]


def _writer(out: Path) -> Writer:
    """How to write what the suffix asks for."""
    writers: dict[str, Writer] = {".png": _png, ".npz": _npz, ".csv": _csv, "": _folder}
    suffix = out.suffix.lower()
    if suffix not in writers or "\0" in str(out):
        raise BadInput("Samples are written to a .png, .npz or .csv file, or a folder without suffix.", got=str(out))
    if suffix and out.is_dir():
        raise BadInput("There is a folder of that name.", got=str(out))
    return writers[suffix]


def _png(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    from ..pictures import grid, png
    from ..storage import write_atomic

    write_atomic(out, png(grid(x, domain)))


def _folder(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    """One PNG a sample, in a folder that holds nothing yet."""
    from ..pictures import grid, png
    from ..storage import write_atomic

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not an empty folder.", hint="choose another --out")
    digits = len(str(len(x) - 1))
    for number in range(len(x)):
        write_atomic(out / f"{number:0{digits}d}.png", png(grid(x[number : number + 1], domain, gap=0)))


def _npz(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    """``x``, and ``y`` where a label was asked for; levels up to 256 as bytes."""
    import numpy as np

    from ..storage import write_atomic

    arrays = {"x": compact(x, domain)}
    if label is not None:
        arrays["y"] = np.full(len(x), label, dtype=np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(out, buffer.getvalue())


def compact(x: Tensor, domain: Domain) -> np.ndarray:
    """The samples as an array of the smallest common type that holds them."""
    import numpy as np

    from ..domain import Discrete

    array: np.ndarray = x.numpy()
    return array.astype(np.uint8) if isinstance(domain, Discrete) and domain.levels <= 256 else array


def _csv(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    """One row a sample under a header; categories by their names, missing values empty."""
    from ..storage import write_atomic

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    header, cells = _columns(domain)
    extra = [] if label is None else [label]
    writer.writerow(header + ["label"] * len(extra))
    for row in x.flatten(1).tolist():
        writer.writerow([cell(value) for cell, value in zip(cells, row, strict=True)] + extra)
    write_atomic(out, buffer.getvalue().encode())


def _columns(domain: Domain) -> tuple[list[str], list[Callable[[float], object]]]:
    """The name of each column, and what turns its value into a cell."""
    from ..domain import Table

    if not isinstance(domain, Table):
        return [f"x{index}" for index in range(domain.entries)], [lambda value: value] * domain.entries
    return [column.name for column in domain.columns], [_cell_of(column) for column in domain.columns]


def _cell_of(column: Column) -> Callable[[float], object]:
    def cell(value: float) -> object:
        if value != value:  # NaN is a missing value
            return ""
        if column.kind == "stepped":  # a multiple of 0.1 is written as one
            return f"{value:.12g}"
        return column.categories[int(value)] if column.categories else value

    return cell
