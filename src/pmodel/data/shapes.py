"""Drawn shapes, plain and striped: data to translate between, whose true translation is known.

A picture is one shape on a darker ground. Its stripes run across, from the middle of the shape, and leave everything else as
it is: ``draw_shapes(factors, texture="striped")`` is the true translation of plain shapes, pixel by pixel. What is shape and
what is ground is known too, so that the overlap (IoU) of a translation's content with the truth can be measured. ``shapes`` is
labelled by the texture: ``shapes:plain`` and ``shapes:striped`` are two sets of different shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ..domain import Discrete
from ..randomness import generator
from .dataset import Dataset, Split, assemble
from .factors import Factor, changed, drawn, even, named_values
from .painting import box, ellipse, mixed, painted

__all__ = ["IMAGE", "SHAPES", "SIZES", "draw_shapes", "load_shapes", "shape_content", "shape_masks"]

SIDE = 32
"""Pixels along each side of a picture."""
IMAGE = (3, SIDE, SIDE)
SIZES = (10_000, 1_000, 1_000)
"""How many are drawn for training, validation and test, half of them striped."""

SHAPES: Mapping[str, Factor] = {
    "texture": even(("plain", "striped")),
    "outline": even(("ellipse", "box", "cross")),
    "colour": Factor(),
    "ground": Factor(),
    "shade": Factor(low=-0.25, high=0.25),  # how much lighter the ground is below than above
    "across": Factor(low=-4.0, high=4.0),  # where the middle is, in pixels
    "down": Factor(low=-4.0, high=4.0),
    "width": Factor(low=6.0, high=10.0),  # half the sides, in pixels
    "height": Factor(low=6.0, high=10.0),
    "turn": Factor(low=-0.4, high=0.4),  # the tangent of half the angle
}
"""The factors in the order of the columns of ``Split.factors``; all are independent."""

COLOURS = ((226, 74, 62), (236, 168, 52), (96, 196, 84), (66, 164, 232), (196, 104, 216))
GROUNDS = ((22, 34, 66), (28, 62, 54), (74, 42, 44), (58, 58, 74))
WHITE = (246, 246, 242)
PERIOD = 4.0
"""Pixels from stripe to stripe; half of that is white."""
ARM = 0.4
"""The half width of a cross's arms, as a share of the half side."""
CHUNK = 256
"""Shapes that are painted at a time, so that their planes stay in the processor's cache."""
FAR = 80
"""Levels, in some channel, from which on a pixel is not of the ground. Shapes and stripes are 109 at least away from it, and
most of them twice as much, so that pixels of an edge count if half of them is covered."""


def draw_shapes(factors: Tensor, **changes: str | float) -> Tensor:
    """Shapes of these factors.

    Args:
        factors: float64 ``(N, 10)``, columns as in ``SHAPES``: for example ``data.test.factors[:8]``.
        changes: Factors that are to be otherwise in all of them, such as ``texture="striped"``.

    Returns:
        RGB pictures, uint8 ``(N, 3, 32, 32)``.

    Raises:
        PmodelError: if the factors or a change are not what they can be; ``factors.changed`` says how.
    """
    return _each(changed(factors, SHAPES, changes, of="shapes", one="a shape"), _picture, IMAGE, torch.uint8)


def shape_masks(factors: Tensor) -> Tensor:
    """Where the shapes are: pixels that are covered by half or more, bool ``(N, 32, 32)``.

    Args:
        factors: float64 ``(N, 10)``.

    Raises:
        PmodelError: as ``draw_shapes``.
    """
    table = changed(factors, SHAPES, {}, of="shapes", one="a shape")
    return _each(table, lambda part: _outline(part) <= 0, IMAGE[1:], torch.bool)


def shape_content(x: Tensor, factors: Tensor) -> Tensor:
    """Where pictures show something else than the ground of these factors, bool ``(N, 32, 32)``.

    Args:
        x: Pictures ``(N, 3, 32, 32)``, such as translations of ``draw_shapes(factors)``.
        factors: float64 ``(N, 10)``.

    Raises:
        PmodelError: as ``draw_shapes``.
    """
    table = changed(factors, SHAPES, {}, of="shapes", one="a shape")
    ground = _each(table, lambda part: _ground(part).round(), IMAGE, torch.float32)
    return (x.float() - ground).abs().amax(1) > FAR


def load_shapes(seed: int) -> Dataset:
    """Shapes of random factors, which are in ``Split.factors``; labelled by their texture."""
    return assemble(
        "shapes",
        Discrete(IMAGE, 256),
        [split.take(torch.arange(len(split))) for split in _splits(seed)],  # copies
        label_names=SHAPES["texture"].values,
        note="drawn from factors: the true translation of a plain shape is known",
        factor_names=tuple(SHAPES),
        factor_values=named_values(SHAPES),
    )


@lru_cache(maxsize=1)
def _splits(seed: int) -> tuple[Split, ...]:
    """Kept for the views and the judge of the same shapes."""
    return tuple(_drawn(n, seed, split) for split, n in enumerate(SIZES))


def _drawn(n: int, seed: int, split: int) -> Split:
    factors = drawn(SHAPES, n, lambda name: generator(seed, "shapes", split, name))
    return Split(draw_shapes(factors), factors[:, 0].long(), factors)


Part = Mapping[str, Tensor]


def _each(table: Tensor, make: Callable[[Part], Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What is made of the factors, some of them at a time."""
    parts = torch.split(table.float(), CHUNK)
    made = [make(dict(zip(SHAPES, part.T, strict=True))).to(dtype) for part in parts if len(part)]
    return torch.cat(made) if made else torch.zeros(0, *shape, dtype=dtype)


def _picture(part: Part) -> Tensor:
    """Ground, shape, and stripes where there are some."""
    outline, white = _outline(part), torch.tensor([WHITE], dtype=torch.float32)
    pixels = painted(_ground(part), outline, mixed(COLOURS, part["colour"]))
    stripes = torch.maximum(outline, _stripes(part))
    striped = painted(pixels, stripes, white)
    return torch.where(part["texture"][:, None, None, None] > 0, striped, pixels).round()


def _ground(part: Part) -> Tensor:
    """One colour, that grows lighter or darker downwards, ``(n, 3, 32, 32)``."""
    light = 1 + part["shade"][:, None] * _pixels() * (2 / SIDE)
    return mixed(GROUNDS, part["ground"])[:, :, None, None] * light[:, None, :, None].expand(-1, -1, -1, SIDE)


def _outline(part: Part) -> Tensor:
    """The distance to the edge of each shape, ``(n, 32, 32)``."""
    t, width, height = (part[name][:, None, None] for name in ("turn", "width", "height"))
    cosine, sine = (
        (1 - t * t) / (1 + t * t),
        2 * t / (1 + t * t),
    )  # of the angle
    x, y = (_pixels() - part[name][:, None] for name in ("across", "down"))
    u = cosine * x[:, None, :] + sine * y[:, :, None]
    v = cosine * y[:, :, None] - sine * x[:, None, :]
    arms = torch.minimum(box(u, v, width, ARM * height), box(u, v, ARM * width, height))
    kinds = torch.stack([ellipse(u, v, width, height), box(u, v, width, height), arms])
    return kinds[part["outline"].long(), torch.arange(len(t))]


def _stripes(part: Part) -> Tensor:
    """The distance to the edge of the nearest stripe, ``(n, 32, 1)``: the middle of the shape is that of a white one."""
    y = (_pixels() - part["down"][:, None]) * (1 / PERIOD)
    away = (y - y.round()).abs() * PERIOD
    return (away - PERIOD / 4)[:, :, None]


def _pixels() -> Tensor:
    """The position of each pixel along a side, from the middle of the picture."""
    return torch.arange(SIDE, dtype=torch.float32) + 0.5 - SIDE / 2
