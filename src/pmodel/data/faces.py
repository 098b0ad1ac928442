"""Faces that pmodel draws itself, of factors that are known: what a model learned of them can be held against the truth.

All factors are independent. Those with names (glasses, hair, …) have stated shares; the others are uniform and numeric.
``draw_faces(factors, hat="cap")`` draws the same people with a cap. On top of the drawing lies grain: every entry is moved by
-2 … 2 levels, all five alike. So no model can need less than log2 5 = 2.32 bits an entry on average: the entropy of a picture
given its factors, which is no more than that of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ..domain import Discrete
from ..randomness import Seed, as_generator, generator
from .dataset import Dataset, Split, assemble
from .factors import Factor, changed, drawn, even, named_values
from .portrait import BEARDS, EYES, GLASSES, HAIR, HATS, SCENES, SIDE, STYLES, portrait

__all__ = ["FACTORS", "IMAGE", "SIZES", "draw_faces", "load_faces"]

SIZES = (10_000, 1_000, 1_000)
"""How many faces are drawn for training, validation and test."""

IMAGE = (3, SIDE, SIDE)

GRAIN = 2
"""The most levels by which an entry differs from the drawing."""

CHUNK = 256
"""Faces that are painted at a time, so that their planes stay in the processor's cache."""


FACTORS: Mapping[str, Factor] = {
    "glasses": Factor(tuple(GLASSES), (0.6, 0.4)),
    "hair": even(STYLES),
    "hair_colour": even(HAIR),
    "beard": Factor(tuple(BEARDS), (0.6, 0.2, 0.2)),
    "hat": Factor(tuple(HATS), (0.55, 0.15, 0.15, 0.15)),
    "eye_colour": even(EYES),
    "background": even(SCENES),
    "skin": Factor(),  # from light to dark
    "smile": Factor(low=-0.6),
    "mouth": Factor(),  # from closed to open
    "across": Factor(low=-1.5, high=1.5),  # where the head is, in pixels
    "down": Factor(low=-1.0, high=1.0),
    "size": Factor(low=0.94, high=1.12),
    "width": Factor(low=0.9, high=1.08),
    "tilt": Factor(low=-0.2, high=0.2),  # in radians, nearly
    "spacing": Factor(low=3.1, high=3.9),  # from the nose to an eye, in pixels
    "gaze": Factor(low=-0.7, high=0.7),
    "brows": Factor(low=-1.0, high=1.0),  # from angry to astonished
    "lens": Factor(),  # from square to round
    "frame": Factor(),  # the colour of the glasses
    "clothes": Factor(),  # the colours of shirt and hat
    "shade": Factor(low=-1.0, high=1.0),  # of the background
    "light": Factor(low=-1.0, high=1.0),  # from the left or the right
}
"""The factors in the order of the columns of ``Split.factors``."""


def draw_faces(factors: Tensor, generator: Seed = None, **changes: str | float) -> Tensor:
    """Faces of these factors.

    Args:
        factors: float64 ``(N, 23)``, columns as in ``FACTORS``: for example ``data.test.factors[:8]``.
        generator: What the grain of the pictures is drawn from, or its seed. None is no grain.
        changes: Factors that are to be otherwise in all of them, such as ``hat="cap"`` or ``smile=1.0``.

    Returns:
        RGB pictures, uint8 ``(N, 3, 32, 32)``.

    Raises:
        ShapeError: if there is not a column for each factor.
        UnknownName: if there is no such factor to change, or no such value.
        DtypeError: if the factors are no tensor, or a change is neither a number nor, where values have names, a name.
        RangeError: if a number lies outside its factor; the message says which.
        BadInput: if the generator is none, and no seed.
    """
    table = changed(factors, FACTORS, changes, of="faces", one="a face")
    parts = [portrait(dict(zip(FACTORS, part.T, strict=True))) for part in torch.split(table, CHUNK)]
    pixels = torch.cat(parts) if parts else torch.zeros(0, *IMAGE, dtype=torch.uint8)
    return pixels if generator is None else _grained(pixels, as_generator(generator))


def _grained(pixels: Tensor, generator: Generator) -> Tensor:
    noise = torch.randint(-GRAIN, GRAIN + 1, pixels.shape, generator=generator, dtype=torch.int16)
    return (pixels + noise).to(torch.uint8)


def load_faces(seed: int) -> Dataset:
    """Faces of random factors, which are in ``Split.factors``; labelled by whether they wear glasses."""
    parts = [split.take(torch.arange(len(split))) for split in _splits(seed)]  # copies
    values = named_values(FACTORS)
    return assemble(
        "faces",
        Discrete(IMAGE, 256),
        parts,
        label_names=values["glasses"],
        note="drawn from factors; grain of 2 levels: no model needs less than 2.32 bits an entry",
        factor_names=tuple(FACTORS),
        factor_values=values,
    )


@lru_cache(maxsize=1)
def _splits(seed: int) -> tuple[Split, ...]:
    """Kept for the views and the judge of the same faces: to draw them takes seconds."""
    return tuple(_drawn(n, seed, split) for split, n in enumerate(SIZES))


def _drawn(n: int, seed: int, split: int) -> Split:
    factors = drawn(FACTORS, n, lambda name: generator(seed, "faces", split, name))
    x = draw_faces(factors, generator(seed, "faces", split, "grain"))
    return Split(x, factors[:, 0].long(), factors)
