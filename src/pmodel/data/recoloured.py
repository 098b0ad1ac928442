r"""Handwritten digits, one half grey and the other, of other digits, coloured: data to translate between whose truth is known.

Where x is the grey of an entry, from 0 to 1, and v its row,

.. math:: c(x, v) = (1 - x)\, \mathrm{ground}(v) + x\, \mathrm{ink}(v)

is its colour: dark ink on light ground, both of which change from the top to the bottom. So it takes more than a change of each
colour by itself, such as matching histograms, and what a translation has made of a digit can be read in grey again.
``recoloured`` is labelled by which half a picture is of, and ``recoloured:digit`` by its digit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..domain import Discrete
from ..errors import ShapeError
from .dataset import Dataset, Split, assemble, hold_out
from .mapped import in_memory
from .mnist import IMAGE, SOURCES, VALID, official

__all__ = ["COLOURED", "HALVES", "greyed", "load_recoloured", "recoloured"]

HALVES = ("grey", "coloured")
GROUND = ((252, 236, 184), (184, 220, 252))
"""At the top and at the bottom."""
INK = ((128, 16, 96), (8, 84, 60))
COLOURED = (3, *IMAGE[1:])


def recoloured(x: Tensor) -> Tensor:
    """Grey pictures, uint8 ``(N, 1, 28, 28)``, in colour: uint8 ``(N, 3, 28, 28)``.

    Raises:
        ShapeError: if they have another shape.
    """
    _require(x, IMAGE)
    ground, ink = _palette()
    parts = [ground + part.float() * (1 / 255) * (ink - ground) for part in torch.split(x, 4096)]
    return torch.cat([part.round().to(torch.uint8) for part in parts]) if parts else x.expand(-1, 3, -1, -1)


def greyed(x: Tensor) -> Tensor:
    """Coloured pictures ``(N, 3, 28, 28)`` in grey again: how far each entry is on the way from ground to ink, uint8.

    It is exact to a level on ``recoloured`` pictures; of others it is the nearest colour on that way.

    Raises:
        ShapeError: if they have another shape.
    """
    _require(x, COLOURED)
    ground, ink = _palette()
    way = ink - ground
    parts = [((part.float() - ground) * way).sum(1, keepdim=True) for part in torch.split(x, 4096)]
    along = torch.cat(parts) / way.square().sum(0, keepdim=True) if parts else x[:, :1].float()
    return (255 * along).round().clamp(0, 255).to(torch.uint8)


def load_recoloured() -> Dataset:
    """The digits of ``mnist`` in their splits, every other one in colour, and the others grey in three equal channels."""
    train, test = official("mnist")
    parts = [_halved(split) for split in (*hold_out(train, VALID), test)]
    digits = SOURCES["mnist"].label_names
    note = "every other digit in colour; the true colouring of the others is known"
    return assemble(
        "recoloured",
        Discrete(COLOURED, 256),
        parts,
        label_names=HALVES,
        note=note,
        factor_names=("digit",),
        factor_values={"digit": digits},
    )


def _halved(split: Split) -> Split:
    """The digits become a factor, and the half the label."""
    half, grey = torch.arange(len(split)) % 2, in_memory(split.x)
    x = grey.expand(-1, 3, -1, -1).clone()
    x[half == 1] = recoloured(grey[half == 1])
    return Split(x, half, None if split.y is None else split.y.double()[:, None])


def _palette() -> tuple[Tensor, Tensor]:
    """The colours of ground and ink in each row, ``(3, 28, 1)``."""
    v = torch.linspace(0, 1, IMAGE[1])[None, :, None]
    ends = [torch.tensor(colours, dtype=torch.float32)[:, :, None, None] for colours in (GROUND, INK)]
    ground, ink = (torch.lerp(end[0].expand(-1, IMAGE[1], -1), end[1].expand(-1, IMAGE[1], -1), v) for end in ends)
    return ground, ink


def _require(x: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(x.shape[1:]) != shape:
        raise ShapeError(
            "These are no such pictures.", got=tuple(x.shape), hint=f"pass (N, {', '.join(map(str, shape))})"
        )
