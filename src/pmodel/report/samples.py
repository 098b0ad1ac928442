"""What models make, as pictures: beside real data, beside what they learned from, and as they learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ..data import Dataset
from ..evaluation import read_evaluation
from ..metrics.measure import choose
from .figures import WIDTH, Gallery
from .markup import Markup, element, image_uri

__all__ = ["captioned", "evolution", "gallery", "neighbours"]

Model = Mapping[str, Any]

SHOWN = 4096
"""Real data that a picture may use, at most."""
IMAGES = 100
"""Of these, pictures of a grid are chosen from."""
LARGEST_PICTURE = 2**20
"""Bytes of a picture that training left, at most: the page holds all of them."""


def gallery(folder: Path, data: Dataset, models: Sequence[Model]) -> Markup:
    """Samples of every model after real data."""
    drawn = _gallery_of(data)
    figures = [_real(drawn, data)]
    for model in models:
        if model["run"] is None:
            continue
        samples = read_evaluation(folder / model["run"])[0].samples
        inside = element("p", "This model cannot be sampled.", class_="aside")
        if samples is not None:
            inside = drawn.figure(samples, f"samples of {model['label']}")
        figures.append(captioned(model["name"], _options(model), inside))
    return element("div", *figures, class_="gallery wide" if drawn.wide else "gallery")


def neighbours(folder: Path, data: Dataset, models: Sequence[Model]) -> list[Markup]:
    """Samples beside their nearest training data, of the models whose evaluation holds these."""
    drawn, figures = _gallery_of(data), []
    for model in models:
        if model["run"] is None:
            continue
        evaluation = read_evaluation(folder / model["run"])[0]
        if evaluation.samples is None or evaluation.neighbours is None:
            continue
        picture = drawn.pairs(evaluation.samples, evaluation.neighbours, f"samples of {model['label']}")
        figures += [] if picture is None else [captioned(model["name"], _options(model), picture)]
    return figures


def _gallery_of(data: Dataset) -> Gallery:
    """What draws data of this kind, on the scale of data that no model has seen, where there are such."""
    rows = choose(len(data.test), SHOWN, 0, "gallery")
    return Gallery(data.domain, data.domain.check(data.test.x[rows]))


def _real(drawn: Gallery, data: Dataset) -> Markup:
    """The figure of real data."""
    which = "training data: there are no others" if data.test is data.train else "held out"
    order = choose(len(drawn.real), IMAGES if data.domain.image else len(drawn.real), 0, "shown")
    return captioned("real data", which, drawn.figure(drawn.real[order], f"real data of {data.name}"), real=True)


def evolution(folder: Path) -> list[Markup]:
    """The pictures that training left, made from the same noise each time; none where there is only the last."""
    found = sorted(
        p for p in folder.glob("samples/*.png") if p.stem.isdecimal() and p.stat().st_size <= LARGEST_PICTURE
    )
    figures = [
        captioned(f"after {int(path.stem) / 10:.0f} %", "", picture) for path in found if (picture := _magnified(path))
    ]
    return figures if len(figures) > 1 else []


def captioned(caption: str, more: str, inside: Markup, *, real: bool = False) -> Markup:
    """A figure under its caption."""
    sub = element("span", more, class_="sub") if more else None
    return element("figure", element("figcaption", caption, sub), inside, class_="real" if real else None)


def _magnified(path: Path) -> Markup | None:
    """A picture of a run, as large as a figure may be; None if it is no picture."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            width, height = image.size
    except (OSError, UnidentifiedImageError, ValueError):
        return None
    scale = max(1, WIDTH // width)
    size = {"width": width * scale, "height": height * scale}
    kind = "grid" if scale > 1 else "grid fine"
    return element("img", src=image_uri(path.read_bytes()), alt="samples at this point", **size, class_=kind)


def _options(model: Model) -> str:
    return ", ".join(f"{name} = {value}" for name, value in model["options"].items())
