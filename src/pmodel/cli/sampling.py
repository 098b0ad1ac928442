"""``sample``: new data, as pictures, arrays or rows."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import BadInput, RunError
from .console import print_text, say
from .options import Device, Run, Seed, whole
from .translating import Given, to_translate

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..domain import Column, Domain, Sequences

__all__ = ["sample"]


def sample(
    run: Run,
    out: Annotated[
        Optional[Path],  # noqa: UP045 (typer reads it)
        typer.Option(
            "--out", help="A .png, .npz, .csv or .txt file, or a folder; texts can be printed.", show_default=False
        ),
    ] = None,
    n: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "-n",
            metavar="N",
            parser=whole(1, 2**31),
            help="How many samples.",
            show_default="64; 4 that are printed; all that are translated",
        ),
    ] = None,
    prompt: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--prompt", metavar="TEXT", help="How the texts begin, of a run on texts.", show_default=False),
    ] = None,
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
    given: Given = None,
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
            help="Another option of the sampler, such as eta=1, or data.KEY of how to read --given. Repeatable.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw new data from a run."""
    write, (settings, reading) = None if out is None else _writer(out), _settings(changes or [], steps)
    if reading and given is None:
        raise BadInput("How to read data is said of --given.", got=reading, hint="add --given")
    if given is not None and (label is not None or prompt is not None):
        raise BadInput("What is translated has no --label or --prompt beside it.", got=label or prompt)

    from ..storage import RECORD, load, read_json

    model: Any = load(run, device=device)
    number = None if label is None else _number(label, read_json(run / RECORD))
    _require_writable(model.domain, write, out)
    if given is not None:
        x = model.sample(given=to_translate(model, given, n, reading), generator=seed, **settings)
    else:
        n = n or (4 if out is None else 64)
        draw = model.sample if prompt is None else functools.partial(continued, model, prompt)
        x = draw(n, given=number, generator=seed, **settings)
    if write is None or out is None:
        for text in model.domain.texts(x.cpu()):
            print_text(text)
        return
    write(out, x.cpu(), model.domain, number)
    say(f"{len(x)} samples: {out}")


def _require_writable(domain: Domain, write: Writer | None, out: Path | None) -> None:
    """Refuse to draw what is no picture, and to print or write down what is no text."""
    from ..domain import Sequences

    text = isinstance(domain, Sequences) and domain.alphabet is not None
    if write is None and not text:
        raise BadInput("Only texts are printed.", hint="say where samples go: --out samples.npz")
    if write is _txt and not text:
        raise BadInput("Only texts are written to .txt.", got=out, hint="write these samples to .npz or .csv")
    if write in (_png, _folder) and not domain.image:
        raise BadInput("Only images can be drawn.", got=out, hint="write these samples to .npz or .csv")


def continued(model: Any, prompt: str, n: int, *, given: int | None, generator: int, **settings: Any) -> Tensor:
    """Texts that begin with a prompt: its symbols are observed, and the rest is completed.

    Raises:
        BadInput: if the run is not of texts, or the prompt is as long as a text may be.
        NotSupported: if the model cannot complete.
    """
    import torch

    from ..domain import Sequences

    domain = model.domain
    if not isinstance(domain, Sequences) or domain.alphabet is None:
        raise BadInput("Only texts have a prompt.", got=prompt, hint="leave --prompt out")
    levels = domain.alphabet.encode(prompt)
    if len(levels) >= domain.longest:
        got = f"{len(levels)} {domain.alphabet.tokens}s"
        raise BadInput(f"A prompt is shorter than the longest text, {domain.longest} of them.", got=got)
    if strange := levels.count(0):
        say(f"note: {strange} characters of the prompt never came up in training")
    observed = torch.arange(domain.longest) < len(levels)
    x = domain.check([levels] * n)
    if not bool(model.exact_completions(x[:1], observed, **settings).all()):
        say("note: this model continues a text from nearly, not exactly, its distribution given the prompt")
    found: Tensor = model.complete(x, observed, given=given, generator=generator, **settings)
    return found


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


def _settings(changes: list[str], steps: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``--set`` and ``--steps`` change about the way of drawing, and how to read what is translated."""
    from ..settings import parse_settings

    parsed = parse_settings(changes, data=True)
    if parsed.train or parsed.conditional:
        raise BadInput("What is set here are options of a sampler.", got=" ".join(changes), hint="such as --set eta=1")
    if steps is not None and "steps" in parsed.options:
        raise BadInput("The steps are given twice.", got=f"--steps {steps} and --set steps={parsed.options['steps']}")
    return parsed.options | ({} if steps is None else {"steps": steps}), parsed.data


Writer = Callable[[Path, "Tensor", "Domain", "int | None"], None]


def _writer(out: Path) -> Writer:
    """How to write what the suffix asks for."""
    writers: dict[str, Writer] = {".png": _png, ".npz": _npz, ".csv": _csv, ".txt": _txt, "": _folder}
    suffix = out.suffix.lower()
    if suffix not in writers or "\0" in str(out):
        raise BadInput(
            "Samples are written to a .png, .npz, .csv or .txt file, or a folder without suffix.", got=str(out)
        )
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


def _txt(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    """Texts with a blank line between them, as ``--data`` reads them again."""
    from ..domain import Sequences
    from ..storage import write_atomic

    assert isinstance(domain, Sequences)  # noqa: S101 - _require_writable() was asked
    write_atomic(out, ("\n\n".join(domain.texts(x)) + "\n").encode())


def _npz(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    """``x``, ``y`` where a label was asked for, and ``lengths`` of sequences; levels up to 256 as bytes."""
    import numpy as np

    from ..domain import Sequences
    from ..storage import write_atomic

    arrays = {"x": compact(x, domain)}
    if isinstance(domain, Sequences):
        arrays["lengths"] = domain.lengths(x).numpy()
    if label is not None:
        arrays["y"] = np.full(len(x), label, dtype=np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(out, buffer.getvalue())


def compact(x: Tensor, domain: Domain) -> np.ndarray:
    """The samples as an array of the smallest common type that holds them."""
    import numpy as np

    array: np.ndarray = x.numpy()
    return array.astype(np.uint8) if str(domain.storage) == "torch.uint8" else array


def _csv(out: Path, x: Tensor, domain: Domain, label: int | None) -> None:
    """One row a sample, or an element of a sequence, under a header; categories by their names, missing values empty."""
    from ..domain import Sequences
    from ..storage import write_atomic

    if isinstance(domain, Sequences):
        write_atomic(out, _rows_of_sequences(x, domain, label).encode())
        return

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    header, cells = _columns(domain)
    extra = [] if label is None else [label]
    writer.writerow(header + ["label"] * len(extra))
    for row in x.flatten(1).tolist():
        writer.writerow([cell(value) for cell, value in zip(cells, row, strict=True)] + extra)
    write_atomic(out, buffer.getvalue().encode())


def _rows_of_sequences(x: Tensor, domain: Sequences, label: int | None) -> str:
    """One row an element, under the number of its sequence; a text is one row."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    extra = [] if label is None else [label]
    if domain.alphabet is not None:
        writer.writerow(["sequence", "text"] + ["label"] * len(extra))
        writer.writerows([number, text, *extra] for number, text in enumerate(domain.texts(x)))
        return buffer.getvalue()
    writer.writerow(["sequence", *(f"x{k}" for k in range(domain.element.entries))] + ["label"] * len(extra))
    for number, sequence in enumerate(domain.listed(x)):
        for element in sequence.flatten(1).tolist() if sequence.ndim > 1 else sequence[:, None].tolist():
            writer.writerow([number, *("" if value != value else value for value in element), *extra])
    return buffer.getvalue()


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
