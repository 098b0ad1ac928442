"""``models`` and ``data``: what there is to choose from."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .. import catalogue
from .console import emit, say, show_table
from .options import AsJson

if TYPE_CHECKING:
    from ..catalogue import Row
    from ..data import Named
    from ..domain import Domain
    from ..model import Model

__all__ = ["data", "models", "options_json"]


def models(
    name: Annotated[Optional[str], typer.Argument(help="Show the options of this model.", show_default=False)] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """List the catalogue, or describe one model."""
    if name is not None:
        _describe(catalogue.find(name), as_json=as_json)
    elif as_json:
        emit([row.to_json() for row in catalogue.models()])
    else:
        show_table(
            ("model", "family", "likelihood", "data", "year", "what it is"),
            (
                (row.name, row.family, row.density.replace("_", " "), ", ".join(row.domains), row.year, row.line)
                for row in catalogue.models()
            ),
            right=("year",),
        )
        say("", "The options of one: pmodel models NAME")


def _describe(row: Row, *, as_json: bool) -> None:
    from ..settings import type_words
    from .fitting import option_types

    cls = row.load()
    options = options_json(cls)
    if as_json:
        emit({**row.to_json(), "options": options, "sizes": {name: dict(size) for name, size in cls.sizes.items()}})
        return
    say(f"{row.name}: {row.line}", f"{row.family}, {row.year}, {row.paper}")
    say(f"likelihood: {row.density.replace('_', ' ')}; it can {', '.join(row.capabilities)}", "")
    if not options:
        say("It has no options.")
        return
    types = option_types(row)
    show_table(
        ("option", "default", "type", "what it is"),
        ((o["name"], _shown(o["default"]), type_words(types[o["name"]]), o["doc"]) for o in options),
    )
    for size, values in cls.sizes.items():
        say("", f"--size {size}: " + ", ".join(f"{k}={_shown(v)}" for k, v in values.items()))
    say("", f"Set one: pmodel fit {row.name} --data digits --set {options[0]['name']}={_shown(options[0]['default'])}")


def options_json(cls: type[Model]) -> list[dict[str, Any]]:
    """The options of a model class: name, type, default, and what its docstring says of each."""
    from ..construction import options_of

    docs = _argument_docs(inspect.getdoc(cls) or "")
    return [
        {"name": name, "type": str(p.annotation), "default": _jsonable(p.default), "doc": docs.get(name, "")}
        for name, p in options_of(cls).items()
    ]


def _argument_docs(docstring: str) -> dict[str, str]:
    """The entries of the ``Args:`` section of a Google-style docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


def _jsonable(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _shown(value: Any) -> str:
    """A default as it is written after ``--set NAME=``."""
    words = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, list | tuple):
        return ",".join(_shown(item) for item in value) + ("," if len(value) == 1 else "")
    return str(value)


def data(as_json: AsJson = False) -> None:
    """List the named data sets, and the kinds of file that --data takes."""
    from ..data import FILES, datasets

    rows = datasets()
    if as_json:
        emit({"datasets": [_dataset_json(row) for row in rows], "files": dict(FILES)})
        return
    show_table(
        ("name", "train / valid / test", "datum", "here", "what it is"),
        (
            (row.name, " / ".join(map(str, row.sizes)), _datum(row.domain), "yes" if row.offline else "no", row.line)
            for row in rows
        ),
    )
    say("", "Labels to keep come after a colon: mnist:0, digits:3,8. So does another factor to label by: faces:hat.")
    say("Files, with options such as size= written --set data.size=32:", "")
    show_table(("path", "what it is"), FILES.items())


def _dataset_json(row: Named) -> dict[str, Any]:
    sizes = dict(zip(("train", "valid", "test"), row.sizes, strict=True))
    return {
        "name": row.name,
        "line": row.line,
        "domain": row.domain.to_json(),
        "sizes": sizes,
        "offline": row.offline,
    }


def _datum(domain: Domain) -> str:
    from ..domain import Sequences

    if isinstance(domain, Sequences):
        what = "texts" if domain.alphabet is not None else "sequences"
        return f"{what} of up to {domain.longest}, each {_datum(domain.element)}"
    shape = "×".join(map(str, domain.shape)) or "1"
    levels = getattr(domain, "levels", None)
    return f"{shape} real" if levels is None else f"{shape}, {levels} levels"
