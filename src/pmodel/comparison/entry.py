"""One model to compare, with its own options, as it is written on the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from .. import catalogue
from ..errors import BadInput, unknown
from ..options import choices_of
from ..settings import parse_settings, spelt
from ..train import fit

__all__ = ["Entry", "entries"]

TAKEN = set(inspect.signature(fit).parameters) - {"conditional", "size", "options"}
"""Words of ``fit`` that are the same for all models of a comparison, and so are no options of one."""


@final
@dataclass(frozen=True)
class Entry:
    """One model to compare.

    Args:
        name: Of the catalogue.
        options: Its own options.
        settings: Changes to its training recipe.
        conditional: Whether it learns p(x | label); it is scored as the mixture over labels.
        size: ``tiny``, ``small`` or ``base``; None is the comparison's.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    conditional: bool = False
    size: str | None = None

    @classmethod
    def of(cls, model: str | tuple[str, Mapping[str, Any]]) -> Entry:
        """From ``"mixture"``, ``"vae:latent=2,train.batch=64"``, or ``("vae", {"latent": 2})``.

        Raises:
            UnknownName: if there is no such model or option.
            BadInput: if an option is malformed, or is one that all models of a comparison share.
        """
        if isinstance(model, str):
            name, _, text = model.partition(":")
            parsed = parse_settings(re.split(r",(?=\s*[A-Za-z_][\w.]*\s*=)", text) if text else [])
            options = {**parsed.options, **{f"train.{k}": v for k, v in parsed.train.items()}}
            options |= {"conditional": True} if parsed.conditional else {}
        else:
            name, options = model[0], dict(model[1])
        known = [*choices_of(catalogue.find(name).load(), options), "conditional", "size", "train.batch"]
        for word in TAKEN:
            if word in options:
                raise BadInput(
                    f"{word} is the same for all models of a comparison.", got=f"{name}:{word}={options[word]}"
                )
        for word in options:
            if word not in known and not word.startswith("train."):
                raise unknown(f"option of {name}", word, known)
        settings = {k.removeprefix("train."): options.pop(k) for k in list(options) if k.startswith("train.")}
        return cls(
            name,
            {k: v for k, v in options.items() if k not in ("conditional", "size")},
            settings,
            bool(options.get("conditional", False)),
            options.get("size"),
        )

    @property
    def spelling(self) -> dict[str, Any]:
        """Everything that differs from the catalogue's defaults, by the word that sets it."""
        trained = {f"train.{name}": value for name, value in self.settings.items()}
        rest = {"conditional": True} if self.conditional else {}
        return {**self.options, **trained, **rest, **({} if self.size is None else {"size": self.size})}

    @property
    def label(self) -> str:
        """The entry as it is written on the command line."""
        written = ",".join(f"{name}={spelt(value)}" for name, value in self.spelling.items())
        return f"{self.name}:{written}" if written else self.name


def entries(models: Sequence[str | tuple[str, Mapping[str, Any]]]) -> list[Entry]:
    """The models of a comparison.

    Raises:
        BadInput: if there are none, or two are the same.
    """
    if isinstance(models, str) or not models:
        raise BadInput(
            "compare takes a list of models.", got=models, hint='such as ["gaussian", "mixture:components=20"]'
        )
    found = [Entry.of(model) for model in models]
    labels = [entry.label for entry in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise BadInput("The same model stands twice in a comparison.", got=twice, hint="use seeds= for repetitions")
    return found
