"""``models`` and ``data``: what there is to choose from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
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
    from ..options import Option

__all__ = ["data", "models", "options_json"]

PRIOR = "prior"
"""The option that names a model of the codes."""


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

    cls = row.load()
    options = options_json(cls)
    choices = described(cls)
    if as_json:
        emit({**row.to_json(), "options": options, "sizes": {name: dict(size) for name, size in cls.sizes.items()}})
        return
    say(f"{row.name}: {row.line}", f"{row.family}, {row.year}, {row.paper}")
    say(f"likelihood: {row.density.replace('_', ' ')}; it can {', '.join(row.capabilities)}", "")
    if not options:
        say("It has no options.")
        return
    show_table(
        ("option", "default", "type", "what it is"),
        ((o["name"], _shown(o["default"]), type_words(choices[o["name"]].type), o["doc"]) for o in options),
    )
    if PRIOR in choices:
        say("", *_about_prior(cls))
    for size, values in cls.sizes.items():
        say("", f"--size {size}: " + ", ".join(f"{k}={_shown(v)}" for k, v in values.items()))
    data = "shapes:plain --to shapes:striped" if cls.translates else "digits"
    shown = next((o for o in options if o["default"] is not None), options[0])
    say("", f"Set one: pmodel fit {row.name} --data {data} --set {shown['name']}={_shown(shown['default'])}")


def options_json(cls: type[Model]) -> list[dict[str, Any]]:
    """The options of a model class and of the wrappers around it: name, type, default, what its docstring says, and whose."""
    return [
        {
            "name": name,
            "type": option.spelling,
            "default": _jsonable(option.default),
            "doc": option.doc or _argument_docs(option.taker).get(option.name, ""),
            "wrapper": None if option.taker is cls else option.taker.__name__,
        }
        for name, option in described(cls).items()
    ]


def described(cls: type[Model]) -> dict[str, Option]:
    """The options of a model as it is made when nothing is set, without those of its prior, which is a model itself."""
    from ..options import choices_of

    return {name: option for name, option in choices_of(cls, {}).items() if not name.startswith(f"{PRIOR}.")}


def _about_prior(cls: type[Model]) -> Iterator[str]:
    """Which prior the model has, and how another is chosen."""
    from ..options import prior_of

    usual = prior_of(cls, {})
    yield "prior=auto keeps the p(z) of the model." if usual is None else f"prior=auto is {usual}."
    yield f"A prior's own options come after a dot, as in --set {PRIOR}.layers=3: see pmodel models {usual or 'PRIOR'}."


def _argument_docs(cls: type[Model]) -> dict[str, str]:
    """The entries of the ``Args:`` section of a class's Google-style docstring; what it does not say, bases and groups may."""
    from ..model import group_of

    found: dict[str, str] = {}
    for base in (type(group_of(cls)), *reversed(cls.__mro__)):
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
