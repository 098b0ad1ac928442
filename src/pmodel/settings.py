"""What ``--set``, ``--budget`` and a model's own options in ``compare`` may say. Nothing is evaluated: values are matched.

============================  ==================================================
written                       read as
============================  ==================================================
``4``  ``-1``  ``0.5``        a number
``1e-3``                      a number
``true``  ``false``           a boolean
``null``                      None
``full``  ``"4"``  ``'a,b'``  text; in quotes whatever would be something else
``8,16``  ``8,``              a list; of one, with the comma
============================  ==================================================
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from .errors import BadInput, unknown

__all__ = [
    "Settings",
    "parse_duration",
    "parse_settings",
    "parse_value",
    "spelt",
    "spelt_settings",
    "type_words",
    "typed",
]

INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)
FLOAT = re.compile(r"[+-]?(\d{1,30}\.\d{0,30}|\.\d{1,30}|\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
QUOTED = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'")
BARE = re.compile(r"[^\s\"',=\[\]{}()\\\x00-\x1f][^\"',=\[\]{}()\\\x00-\x1f]*")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
ITEM = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^,\"']*)\s*(,|$)")
WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]*)", re.ASCII)
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``2m`` or ``1.5h``.

    Raises:
        BadInput: if it is written otherwise, or is nothing.
    """
    match = DURATION.fullmatch(text.strip())
    if match is None or match[2] not in UNITS or float(match[1]) == 0:
        raise BadInput("A duration is a number of seconds above 0, or has a unit: 90, 90s, 2m, 1.5h.", got=repr(text))
    return float(match[1]) * UNITS[match[2]]


def parse_value(text: str) -> Any:
    """The value that a text stands for.

    Raises:
        BadInput: if it stands for none.
    """
    text = text.strip()
    items = _items(text)
    return _scalar(text) if items is None else [_scalar(item) for item in items]


def spelt(value: Any) -> str:
    """The text that ``parse_value`` reads as this value."""
    if isinstance(value, list | tuple):
        return ",".join(map(spelt, value)) + ("," if len(value) == 1 else "")
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        plain = parse_value(value) == value
    except BadInput:
        plain = False
    quote = "'" if '"' in value else '"'
    return value if plain else f"{quote}{value}{quote}"


def spelt_settings(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The words of a command line that set these: ``--set data.size=32`` for ``{"size": 32}`` under ``data.``."""
    words: list[str] = []
    for name, value in settings.items():
        inner = isinstance(value, Mapping)
        words += spelt_settings(value, f"{prefix}{name}.") if inner else ["--set", f"{prefix}{name}={spelt(value)}"]
    return words


def _items(text: str) -> list[str] | None:
    """The parts between commas that stand outside quotes, or None if there is no such comma."""
    found, position = [], 0
    while position < len(text):
        match = ITEM.match(text, position)
        if match is None:
            raise BadInput("A value has an open quote, or text beside a quoted part.", got=text)
        found.append(match[1].strip())
        position = match.end()
    return found if "," in text and (len(found) > 1 or text.endswith(",")) else None


def _scalar(text: str) -> Any:
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if quoted := QUOTED.fullmatch(text):
        return quoted[1] if quoted[1] is not None else quoted[2]
    if BARE.fullmatch(text) and not FLOAT.fullmatch(text):
        return text
    raise BadInput(
        "A value is a number, true, false, null, a word, a text in quotes, or a list with commas.", got=repr(text)
    )


@final
@dataclass
class Settings:
    """What was set, by where it belongs.

    Args:
        options: The model's own options.
        train: Settings of its training recipe, written ``train.NAME``.
        data: How to read the data, written ``data.NAME`` (and ``data.columns.COLUMN``).
        conditional: Whether to learn p(x | label).
    """

    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    conditional: bool = False


def parse_settings(pairs: Sequence[str], *, data: bool = False) -> Settings:
    """The settings that ``key=value`` pairs make.

    Args:
        pairs: As they were written.
        data: Whether ``data.KEY`` is allowed: not for one of several models, whose data are the same.

    Raises:
        BadInput: if one is malformed, set twice, or not allowed here.
    """
    settings, seen = Settings(), set()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not KEY.fullmatch(key):
            raise BadInput("A setting is written key=value.", got=repr(pair), hint="such as --set layers=4")
        if key in seen:
            raise BadInput("A setting is given once.", got=f"{key} twice")
        if key.startswith("data.") and not data:
            raise BadInput("How to read data is not an option of a model.", got=pair, hint=f"write --set {pair}")
        seen.add(key)
        _put(settings, key, parse_value(text))
    return settings


def _put(settings: Settings, key: str, value: Any) -> None:
    if key == "conditional":
        if not isinstance(value, bool):
            raise BadInput("conditional is true or false.", got=value)
        settings.conditional = value
    elif key.startswith("train."):
        settings.train[key.removeprefix("train.")] = value
    elif key.startswith("data.columns."):
        settings.data.setdefault("columns", {})[key.removeprefix("data.columns.")] = value
    elif key.startswith("data."):
        settings.data[key.removeprefix("data.")] = value
    else:
        settings.options[key] = value


def typed(model: str, options: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """The options with each value of the type that the model's signature declares.

    Whole numbers pass for real ones, and a single value for a list of one.

    Args:
        model: Its name, for the message.
        options: As they were parsed.
        hints: The declared types, by option; one that is missing is not checked.

    Raises:
        UnknownName: if the model has no such option.
        BadInput: if a value has another type.
    """
    known = [*hints, "conditional", "train.batch"]
    fitted = {}
    for name, value in options.items():
        if name not in hints:
            raise unknown(f"option of {model}", name, known)
        fitted[name] = _converted(value, hints[name])
        if fitted[name] is NOTHING:
            raise BadInput(f"The option {name} of {model} must be {type_words(hints[name])}.", got=value)
    return fitted


NOTHING = object()
"""What a value becomes that does not fit."""


def spelt_data(known: Mapping[str, Any]) -> list[str]:
    """The data of a run's record as they are written on a command line."""
    origin = known.get("origin")
    first, *second = [str(part["source"] or part["name"]) for part in (origin, known) if part]
    options = {**(origin or known)["options"], **known["options"]}
    return ["--data", first, *(["--to", *second] if second else []), *spelt_settings(options, "data.")]


def _converted(value: Any, hint: Any) -> Any:
    """The value as the type wants it, or ``NOTHING``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        fits = (_converted(value, part) for part in arguments)
        return next((found for found in fits if found is not NOTHING), NOTHING)
    if origin is Literal:
        return value if any(value == choice and type(value) is type(choice) for choice in arguments) else NOTHING
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return _converted_list(value, arguments)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (None, type(None)):
        return None if value is None else NOTHING
    if hint in (int, float, bool, str):
        return value if type(value) is hint else NOTHING
    return value


def _converted_list(value: Any, hints: tuple[Any, ...]) -> Any:
    values = value if isinstance(value, list) else [value]
    repeated = len(hints) == 1 or (len(hints) == 2 and hints[1] is Ellipsis)
    wanted = [hints[0]] * len(values) if repeated else list(hints)
    if len(wanted) != len(values):
        return NOTHING
    found = [_converted(item, hint) for item, hint in zip(values, wanted, strict=True)]
    return NOTHING if any(item is NOTHING for item in found) else found


def type_words(hint: Any) -> str:
    """The declared type of an option in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(part) for part in arguments)
    if origin is Literal:
        return " or ".join(str(choice) for choice in arguments)
    if arguments:
        several = {int: "whole numbers", float: "numbers", str: "words"}
        return f"a list of {several.get(arguments[0], type_words(arguments[0]))}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
    return names.get(hint, str(hint))
