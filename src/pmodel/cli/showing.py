"""``show``: a run at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .console import console, duration_words, say
from .options import Run

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.text import Text

__all__ = ["half_blocks", "show"]

SHOWN = 16
"""Samples in the picture."""


def show(run: Run) -> None:
    """Say what a run is, and draw a few samples if they are images and this is a terminal."""
    from ..storage import RECORD, load, read_json

    model = load(run)
    for name, value in _lines(read_json(run / RECORD), model):
        say(f"{name:<10} {value}")
    if model.domain.image and model.can("sample") and console().is_terminal:
        from ..pictures import grid

        samples: Any = model
        columns = max(1, min(SHOWN, (console().width - 1) // (model.domain.shape[2] + 1)))
        picture = grid(samples.sample(columns * max(1, SHOWN // columns), generator=0), model.domain, columns=columns)
        console().print(half_blocks(picture, console().width))


def _lines(record: Mapping[str, Any], model: Any) -> Iterator[tuple[str, object]]:
    """What is known of the run; a model that was saved by itself has no history."""
    yield "model", f"{record.get('name', '')} {_spelt(record.get('options'))}".strip() or type(model).__name__
    yield "class", _nesting(model.spec())
    data = _mapping(record, "data")
    if data:
        note = f" ({data['note']})" if data.get("note") else ""
        yield "data", f"{data.get('name')}, {data.get('n')} to learn from{note}"
    yield "can", ", ".join(model.capabilities)
    yield "size", f"{model.size} parameters"
    plan, result = _mapping(record, "plan"), _mapping(record, "result")
    if isinstance(seconds := result.get("seconds"), int | float):
        counts = [f"{result[what]} {what}" for what in ("steps", "iterations") if result.get(what)]
        yield "training", f"{', '.join([*counts, duration_words(seconds)])}: {result.get('reason')}"
    if plan:
        keys = ("seed", "precision", "device", "threads")
        yield "plan", ", ".join(f"{key} {plan[key]}" for key in keys if key in plan)
    if "written" in record:
        yield "written", record["written"]


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _spelt(options: object) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items()) if isinstance(options, dict) else ""


def _nesting(spec: Mapping[str, Any]) -> str:
    """``Dequantised(Standardised(Gaussian))``."""
    inner = [_nesting(spec[part]) for part in ("inner", "autoencoder", "prior") if part in spec]
    return f"{spec['model']}({', '.join(inner)})" if inner else str(spec["model"])


def half_blocks(image: Image, width: int) -> Text:
    """The image as text: each character is two pixels, an upper half block over its background.

    Args:
        image: Any picture; it is made smaller if it is wider than the terminal.
        width: Of the terminal, in characters.
    """
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    image = image.convert("RGB")
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    pixels: Any = image.load()
    text = Text(no_wrap=True, end="")
    for y in range(0, image.height, 2):
        for x in range(image.width):
            below = Color.from_rgb(*pixels[x, y + 1]) if y + 1 < image.height else None
            text.append("▀", Style(color=Color.from_rgb(*pixels[x, y]), bgcolor=below))
        text.append("\n")
    return text
