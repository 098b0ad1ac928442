"""The named densities of the plane: ``load_data("moons")`` draws from one and keeps it as ``truth``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from ..domain import Real
from ..randomness import generator
from .dataset import Dataset, Split, assemble
from .density import Blobs, Cells, Circles, Curves, KnownDensity, Pinwheel

__all__ = ["SIZES", "TOYS", "Toy", "load_toy"]

SIZES = (10_000, 2_000, 10_000)
"""How many points are drawn for training, validation and test."""


class Moons(Curves):
    """Two half circles of radius 1 that reach into each other, with noise."""

    def __init__(self, std: float = 0.1) -> None:
        super().__init__(std, panels=8)

    def curves(self, t: Tensor) -> Tensor:
        """The upper half circle, and the lower one, half a radius lower and one to the right."""
        cos, sin = (math.pi * t).cos(), (math.pi * t).sin()
        return torch.stack([torch.stack([cos, sin], 1), torch.stack([1 - cos, 0.5 - sin], 1)])


class SwissRoll(Curves):
    """One and a half turns of an Archimedean spiral, with noise."""

    def __init__(self, std: float = 0.1) -> None:
        super().__init__(std, panels=48)

    def curves(self, t: Tensor) -> Tensor:
        """The spiral of radius θ/5 at angles θ from 3π/2 to 9π/2."""
        theta = 1.5 * math.pi * (1 + 2 * t)
        return (theta / 5 * torch.stack([theta.cos(), theta.sin()])).T[None]


def _ring() -> KnownDensity:
    angles = [2 * math.pi * k / 8 for k in range(8)]
    return Blobs([(2 * math.cos(a), 2 * math.sin(a)) for a in angles], [(0.1, 0.0), (0.0, 0.1)])


def _grid() -> KnownDensity:
    places = (-4.0, -2.0, 0.0, 2.0, 4.0)
    return Blobs([(a, b) for a in places for b in places], [(0.1, 0.0), (0.0, 0.1)])


def _checkerboard() -> KnownDensity:
    column, row = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    return Cells((column + row) % 2 == 0, corner=(-4.0, -4.0), side=2.0)


def _worldmap() -> KnownDensity:
    """Longitude and latitude in degrees; the mask has one pixel a degree, north first (scripts/make_worldmap.py)."""
    from PIL import Image

    with (resources.files(__package__) / "worldmap.png").open("rb") as file, Image.open(file) as image:
        land = torch.from_numpy(np.array(image.convert("1"), dtype=bool))
    return Cells(land.flip(0).T, corner=(-180.0, -90.0), side=1.0)


@dataclass(frozen=True)
class Toy:
    """A named density: what it looks like, and how to make it."""

    line: str
    make: Callable[[], KnownDensity]


TOYS: Mapping[str, Toy] = {
    "gaussian2d": Toy("one Gaussian, correlation 0.8", lambda: Blobs([(0.0, 0.0)], [(1.0, 0.0), (0.8, 0.6)])),
    "moons": Toy("two half moons with noise 0.1", Moons),
    "circles": Toy("two circles, radius 1 and 2, with noise 0.1", lambda: Circles((1.0, 2.0), 0.1)),
    "ring": Toy("eight Gaussians in a ring", _ring),
    "grid": Toy("twenty-five Gaussians in a square", _grid),
    "checkerboard": Toy("uniform on the black squares of a 4×4 board", _checkerboard),
    "swissroll": Toy("a spiral with noise 0.1", SwissRoll),
    "pinwheel": Toy("five twisted arms", lambda: Pinwheel(5, (0.3, 0.1), 0.25)),
    "worldmap": Toy("uniform on the land of a world map, in degrees", _worldmap),
}


def load_toy(name: str, seed: int) -> Dataset:
    """Points drawn from a named density, with the density as ``truth``."""
    truth = TOYS[name].make()
    splits = [Split(truth.sample(n, generator(seed, name, k))) for k, n in enumerate(SIZES)]
    note = f"known density: no model's mean log-likelihood exceeds {-truth.entropy:.4f} nats, but by chance"
    return assemble(name, Real((2,)), splits, note=note, truth=truth)
