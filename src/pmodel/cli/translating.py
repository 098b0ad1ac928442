"""What ``sample`` translates: the data that ``--given`` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import BadInput, RangeError
from .fitting import load

if TYPE_CHECKING:
    from torch import Tensor

    from ..model import Model

__all__ = ["Given", "to_translate"]

Given = Annotated[
    Optional[str],  # noqa: UP045 (typer reads it)
    typer.Option(
        "--given",
        metavar="DATA",
        help="What a run of two sets translates: a folder of pictures, or the test data of a name or file.",
        show_default=False,
    ),
]


def to_translate(model: Model, source: str, n: int | None, options: Mapping[str, Any]) -> Tensor:
    """All pictures of a folder in the order of their names, or the test data of another source; the first n of them.

    Args:
        model: One that translates.
        source: A name or path.
        n: How many, or all of them.
        options: How to read them.

    Raises:
        BadInput: if the model translates nothing, or the data are of another domain.
        RangeError: if there are fewer.
    """
    from ..data import in_memory

    if not model.translates or model.given is None:
        raise BadInput(f"{type(model).__name__} does not translate.", got=source, hint="leave --given out")
    folder = Path(source).is_dir()
    data = load(source, **({"whole": True} if folder else {}), **options)
    if data.domain != model.given:
        hint = f"this run translates {model.given}; read a folder alike with --set data.size=32 or data.channels=3"
        raise BadInput("These are not data of the kind that the run translates.", got=data.domain, hint=hint)
    x = in_memory(data.test.x)
    if n is not None and n > len(x):
        raise RangeError(f"{source} has {len(x)} data to translate.", got=n)
    return x[:n]
