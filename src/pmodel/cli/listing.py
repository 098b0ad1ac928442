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
    from ..construction import types_of
    from ..settings import type_words

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
    types = types_of(cls)
    show_table(
        ("option", "default", "type", "what it is"),
        ((o["name"], _shown(o["default"]), type_words(types[o["name"]]), o["doc"]) for o in options),
    )
    for size, values in cls.sizes.items():
        say("", f"--size {size}: " + ", ".join(f"{k}={_shown(v)}" for k, v in values.items()))
    say("", f"Set one: pmodel fit {row.name} --data digits --set {options[0]['name']}={_shown(options[0]['default'])}")


def options_json(cls: type[Model]) -> list[dict[str, Any]]:
    """The options of a model class and of the wrappers around it: name, type, default, what its docstring says, and whose."""
    from ..construction import options_of, takers_of

    return [
        {
            "name": name,
            "type": str(options_of(taker)[name].annotation),
            "default": _jsonable(options_of(taker)[name].default),
            "doc": _argument_docs(taker).get(name, ""),
            "wrapper": None if taker is cls else taker.__name__,
        }
        for name, taker in takers_of(cls).items()
    ]


def _argument_docs(cls: type[Model]) -> dict[str, str]:
    """The entries of the ``Args:`` section of a class's Google-style docstring; what it does not say, its bases may."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docstring = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", section[1], re.MULTILINE) if section else []
        found |= {name: " ".join(text.replace("``", "").split()) for name, text in entries}
    return found


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
