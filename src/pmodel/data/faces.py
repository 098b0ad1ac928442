"""Faces that pmodel draws itself, of factors that are known: what a model learned of them can be held against the truth.

All factors are independent. Those with names (glasses, hair, …) have stated shares; the others are uniform and numeric.
``draw_faces(factors, hat="cap")`` draws the same people with a cap. On top of the drawing lies grain: every entry is moved by
-2 … 2 levels, all five alike. So no model can need less than log2 5 = 2.32 bits an entry on average: the entropy of a picture
given its factors, which is no more than that of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import final

import torch
from torch import Generator, Tensor

from ..domain import Discrete
from ..errors import DtypeError, RangeError, ShapeError, unknown
from ..randomness import Seed, as_generator, generator
from .dataset import Dataset, Split, assemble
from .portrait import BEARDS, EYES, GLASSES, HAIR, HATS, SCENES, SIDE, STYLES, portrait

__all__ = ["FACTORS", "IMAGE", "SIZES", "Factor", "draw_faces", "load_faces"]

SIZES = (10_000, 1_000, 1_000)
"""How many faces are drawn for training, validation and test."""

IMAGE = (3, SIDE, SIDE)

GRAIN = 2
"""The most levels by which an entry differs from the drawing."""

CHUNK = 256
"""Faces that are painted at a time, so that their planes stay in the processor's cache."""


@final
@dataclass(frozen=True)
class Factor:
    """Something that a picture is drawn from.

    Args:
        values: The names of its values, or none if it is numeric.
        shares: How often each value occurs; they add up to 1.
        low: The least value of a numeric factor, which is uniform.
        high: Its largest.
    """

    values: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 1.0

    @property
    def words(self) -> str:
        """Its numbers, in words."""
        if self.values:
            return f"a whole number from 0 to {len(self.values) - 1}"
        return f"a number from {self.low:g} to {self.high:g}"

    def draw(self, n: int, generator: Generator) -> Tensor:
        """``(n,)`` float64: positions in ``values``, or numbers."""
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        if not self.values:
            return self.low + (self.high - self.low) * u
        ends = torch.tensor(self.shares, dtype=torch.float64).cumsum(0)[:-1]
        return torch.searchsorted(ends, u, right=True).double()

    def holds(self, x: Tensor) -> Tensor:
        """Where a number is a value of this factor."""
        if self.values:
            return (x >= 0) & (x < len(self.values)) & (x == x.round())
        return (x >= self.low) & (x <= self.high)


def _even(values: Iterable[str]) -> Factor:
    names = tuple(values)
    return Factor(names, (1 / len(names),) * len(names))


FACTORS: Mapping[str, Factor] = {
    "glasses": Factor(tuple(GLASSES), (0.6, 0.4)),
    "hair": _even(STYLES),
    "hair_colour": _even(HAIR),
    "beard": Factor(tuple(BEARDS), (0.6, 0.2, 0.2)),
    "hat": Factor(tuple(HATS), (0.55, 0.15, 0.15, 0.15)),
    "eye_colour": _even(EYES),
    "background": _even(SCENES),
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
    if not isinstance(factors, Tensor):
        raise DtypeError("The factors of faces are a tensor.", got=type(factors).__name__)
    wanted = len(FACTORS)
    if factors.ndim != 2 or factors.shape[1] != wanted:
        raise ShapeError(f"Faces have {wanted} factors.", got=tuple(factors.shape), hint=f"pass (N, {wanted})")
    table = factors.detach().double().clone()
    for name, value in changes.items():
        column = _column(name)
        table[:, column] = _number(name, value)
    _require_values(table)
    drawn = [portrait(dict(zip(FACTORS, part.T, strict=True))) for part in torch.split(table, CHUNK)]
    pixels = torch.cat(drawn) if drawn else torch.zeros(0, *IMAGE, dtype=torch.uint8)
    return pixels if generator is None else _grained(pixels, as_generator(generator))


def _column(name: str) -> int:
    if name not in FACTORS:
        raise unknown("factor of faces", name, FACTORS)
    return list(FACTORS).index(name)


def _number(name: str, value: str | float) -> float:
    factor = FACTORS[name]
    if isinstance(value, str) and factor.values:
        if value not in factor.values:
            raise unknown(f"value of {name}", value, factor.values)
        return float(factor.values.index(value))
    if isinstance(value, bool) or not isinstance(value, Real):
        names = f"; or one of {', '.join(factor.values)}" if factor.values else ""
        raise DtypeError(f"The factor {name} of a face is {factor.words}{names}.", got=repr(value))
    return float(value)


def _require_values(table: Tensor) -> None:
    for column, (name, factor) in zip(table.T, FACTORS.items(), strict=True):
        right = factor.holds(column)
        if not bool(right.all()):
            raise RangeError(f"The factor {name} of a face is {factor.words}.", got=float(column[~right][0]))


def _grained(pixels: Tensor, generator: Generator) -> Tensor:
    noise = torch.randint(-GRAIN, GRAIN + 1, pixels.shape, generator=generator, dtype=torch.int16)
    return (pixels + noise).to(torch.uint8)


def load_faces(seed: int) -> Dataset:
    """Faces of random factors, which are in ``Split.factors``; labelled by whether they wear glasses."""
    parts = [split.take(torch.arange(len(split))) for split in _splits(seed)]  # copies
    values = {name: factor.values for name, factor in FACTORS.items() if factor.values}
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
    columns = [factor.draw(n, generator(seed, "faces", split, name)) for name, factor in FACTORS.items()]
    factors = torch.stack(columns, 1)
    x = draw_faces(factors, generator(seed, "faces", split, "grain"))
    return Split(x, factors[:, 0].long(), factors)
