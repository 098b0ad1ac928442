"""Every data set with a name: one row each, and how to load it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..domain import Discrete, Domain, Real, Sequences
from ..errors import DataError
from . import cifar10, faces, shapes
from .binarised import larochelle_files, load_binary, load_larochelle
from .chains import SIZES as CHAINS
from .chains import load_chains
from .dataset import Dataset, Split, assemble
from .drawn import SIDE, load_tins
from .mnist import IMAGE, available, load_mnist
from .recoloured import COLOURED, load_recoloured
from .shapes import load_shapes
from .stacked import SIZES as STACKS
from .stacked import STACKED, load_stacked
from .stories import load_story
from .toy import SIZES, TOYS, load_toy

__all__ = ["NAMED", "Named", "datasets"]

OFFICIAL = (55_000, 5_000, 10_000)


@dataclass(frozen=True)
class Named:
    """A row of ``pmodel data``.

    Args:
        name: What ``load_data`` takes.
        line: What it is, in one line.
        datum: What one datum is; or how to find out, where that takes a moment.
        sizes: How many data are for training, validation and test.
        load: From a seed, and the options that it takes, to the data set.
        here: Whether it can be had without the network.
        takes: The options of ``load_data`` that mean something for it.
    """

    name: str
    line: str
    datum: Domain | Callable[[], Domain]
    sizes: tuple[int, int, int]
    load: Callable[..., Dataset]
    here: Callable[[], bool] = lambda: True
    takes: tuple[str, ...] = ()

    @property
    def domain(self) -> Domain:
        """What one datum is."""
        return self.datum if isinstance(self.datum, Domain) else self.datum()

    @property
    def offline(self) -> bool:
        """Whether it can be had now without the network."""
        return self.here()


def load_digits(seed: int) -> Dataset:
    """The test part of the handwritten digits of Alpaydin and Kaynak (1998), from scikit-learn."""
    try:
        from sklearn.datasets import load_digits as read
    except ImportError as error:
        raise DataError("digits come with scikit-learn, which is not here.", hint="pip install scikit-learn") from error
    x, y = read(return_X_y=True)
    whole = Split(torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 8, 8), torch.from_numpy(y).long())
    return assemble("digits", Discrete((1, 8, 8), 17), whole, seed=seed, label_names="0123456789")


def load_dice(_: int) -> Dataset:
    """Ten throws of a crooked die. Faces 1 to 6 are the levels 0 to 5."""
    throws = torch.tensor([5, 3, 5, 5, 2, 4, 1, 6, 3, 1], dtype=torch.uint8)
    return assemble("dice", Discrete((1,), 6), Split(throws[:, None] - 1), note="level k is the face k + 1")


def load_bits(_: int) -> Dataset:
    """Ten pairs of bits."""
    pairs = [(0, 0), (1, 1), (0, 0), (1, 1), (1, 1), (1, 0), (0, 1), (1, 0), (1, 0), (1, 1)]
    return assemble("bits", Discrete((2,), 2), Split(torch.tensor(pairs, dtype=torch.uint8)))


def load_heights(_: int) -> Dataset:
    """Heights in centimetres and weights in kilograms of twelve people."""
    height = [169, 172, 175, 163, 180, 159, 158, 173, 180, 155, 187, 170]
    weight = [70, 68, 78, 58, 80, 76, 52, 69, 75, 50, 90, 66]
    x = torch.tensor([height, weight], dtype=torch.float32).T.contiguous()
    return assemble(
        "heights", Real((2,)), Split(x), note="height in cm, weight in kg; rounded, but scored as a density"
    )


def _rows() -> tuple[Named, ...]:
    grey, binary = Discrete(IMAGE, 256), Discrete(IMAGE, 2)
    real = (
        Named("digits", "handwritten digits, 8×8", Discrete((1, 8, 8), 17), (1437, 180, 180), load_digits),
        Named("mnist", "handwritten digits", grey, OFFICIAL, lambda _: load_mnist("mnist"), lambda: available("mnist")),
        Named(
            "mnist-binary",
            "mnist, each pixel drawn once as 1 with probability x/255",
            binary,
            OFFICIAL,
            lambda _: load_binary(),
            lambda: available("mnist"),
        ),
        Named(
            "mnist-larochelle",
            "the published binary mnist, from your own files",
            binary,
            (50_000, 10_000, 10_000),
            lambda _: load_larochelle(),
            lambda: all(larochelle_files().values()),
        ),
        Named(
            "fashion-mnist",
            "articles of clothing",
            grey,
            OFFICIAL,
            lambda _: load_mnist("fashion-mnist"),
            lambda: available("fashion-mnist"),
        ),
        Named(
            "cifar10",
            "small photographs of ten kinds",
            Discrete(cifar10.IMAGE, 256),
            (45_000, 5_000, 10_000),
            lambda _: cifar10.load_cifar10(),
            cifar10.available,
        ),
    )
    notes = (
        Named("dice", "ten throws of a crooked die", Discrete((1,), 6), (10, 10, 10), load_dice),
        Named("bits", "ten pairs of bits", Discrete((2,), 2), (10, 10, 10), load_bits),
        Named("heights", "height and weight of twelve people", Real((2,)), (12, 12, 12), load_heights),
        Named("tins", "drawn biscuit tins", Discrete((1, SIDE, SIDE), 256), (4000, 500, 500), load_tins),
    )
    stacks = Named(
        "stacked-mnist",
        "three digits of mnist, one a channel: a thousand modes",
        Discrete(STACKED, 256),
        STACKS,
        load_stacked,
        lambda: available("mnist"),
    )
    portraits = Named(
        "faces",
        "drawn faces of 23 factors; faces:hat is labelled by another one",
        Discrete(faces.IMAGE, 256),
        faces.SIZES,
        faces.load_faces,
    )
    toys = (Named(name, f"{toy.line}; density known", Real((2,)), SIZES, _drawer(name)) for name, toy in TOYS.items())
    chains = Named(
        "hmm-three",
        "points in the plane, one after another, from a known hidden Markov model",
        Sequences(Real((2,)), 40),
        CHAINS,
        load_chains,
    )
    texts = (_text("text-en", "English", (800, 100, 100)), _text("text-ko", "Korean", (800, 100, 100)))
    return (*real, stacks, portraits, *_pairs(), *notes, chains, *texts, *toys)


def _pairs() -> tuple[Named, ...]:
    """Halves to translate between."""
    return (
        Named(
            "shapes",
            "drawn shapes, shapes:plain and shapes:striped",
            Discrete(shapes.IMAGE, 256),
            shapes.SIZES,
            load_shapes,
        ),
        Named(
            "recoloured",
            "mnist, every other digit in colour: recoloured:grey and recoloured:coloured",
            Discrete(COLOURED, 256),
            OFFICIAL,
            lambda _: load_recoloured(),
            lambda: available("mnist"),
        ),
    )


def _text(name: str, language: str, sizes: tuple[int, int, int]) -> Named:
    def load(seed: int = 0, **options: Any) -> Dataset:
        return load_story(name, **options)

    line = f"small {language} stories, told by a grammar"
    return Named(name, line, lambda: load().domain, sizes, load, takes=("tokens", "vocabulary", "longest"))


def _drawer(name: str) -> Callable[[int], Dataset]:
    return lambda seed: load_toy(name, seed)


NAMED: Mapping[str, Named] = {row.name: row for row in _rows()}


def datasets() -> tuple[Named, ...]:
    """The data sets that have names, in the order of ``pmodel data``."""
    return tuple(NAMED.values())
