"""A drawn face: from its factors to a picture, part by part from the back to the front.

Lengths are pixels of a face of size 1, and positions are as seen from the middle of the head: ``u`` to the right, ``v`` down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor

from .painting import box, capsule, ellipse, mixed, painted

__all__ = ["BEARDS", "EYES", "GLASSES", "HAIR", "HATS", "SCENES", "SIDE", "STYLES", "portrait"]

SIDE = 32
"""Pixels along each side of a picture."""

Colour = tuple[int, int, int]

HAIR: Mapping[str, Colour] = {
    "black": (40, 32, 36),
    "brown": (104, 64, 36),
    "red": (188, 82, 34),
    "blond": (232, 194, 104),
    "grey": (176, 176, 184),
}
EYES: Mapping[str, Colour] = {"brown": (88, 52, 28), "blue": (52, 112, 200), "green": (62, 138, 74)}
SCENES: Mapping[str, Colour] = {
    "sky": (142, 196, 232),
    "mint": (158, 212, 170),
    "sand": (240, 214, 146),
    "rose": (240, 172, 176),
    "lilac": (188, 168, 224),
    "stone": (196, 198, 204),
}
SKIN: tuple[Colour, ...] = ((252, 222, 198), (236, 190, 152), (204, 146, 104), (146, 96, 66), (98, 62, 46))
CLOTH: tuple[Colour, ...] = (
    (206, 62, 58),
    (232, 138, 44),
    (70, 150, 92),
    (52, 108, 186),
    (112, 74, 160),
    (206, 62, 58),
)
FRAMES: tuple[Colour, ...] = ((34, 32, 40), (120, 34, 40), (30, 52, 110))
WHITE, INK, FELT, LIPS = (246, 246, 242), (24, 20, 24), (52, 48, 60), (186, 66, 72)

HEAD = (8.2, 9.6)
"""The half axes of a head."""
BROW = -4.6
"""Where a hat ends on the forehead."""
MARGIN = 2
"""Room for the grain: every value keeps so far from 0 and from 255."""


def portrait(factors: Mapping[str, Tensor]) -> Tensor:
    """The picture of each face.

    Args:
        factors: Each ``(N,)``: numbers, or positions among the names of the values.

    Returns:
        RGB, uint8 ``(N, 3, 32, 32)``, from 2 to 253.
    """
    face = _seen({name: column.float() for name, column in factors.items()})
    for part in (_scene, _hair_behind, _shirt, _head, _beard, _mouth, _eyes, _hair_before, _glasses, _hat):
        part(face)
    shadow = 1 + face["light"] * (0.09 / (SIDE / 2)) * _middle()
    return (face.pixels * shadow[:, None]).round().clamp(MARGIN, 255 - MARGIN).to(torch.uint8)


def _middle() -> Tensor:
    """The position of each pixel along a side, from the middle of the picture."""
    return torch.arange(SIDE, dtype=torch.float32) + 0.5 - SIDE / 2


@final
class _Face:
    """``n`` faces: their factors, where each pixel is as seen from the head, and what is painted so far.

    Args:
        factors: Each ``(n,)``.
        u: To the right, ``(n, 32, 32)``.
        v: Down, ``(n, 32, 32)``.
        pixels: ``(n, 3, 32, 32)``.
    """

    def __init__(self, factors: Mapping[str, Tensor], u: Tensor, v: Tensor, pixels: Tensor) -> None:
        self.factors, self.u, self.v, self.pixels = factors, u, v, pixels
        self.side = u.abs()  # the same for both halves of a face
        self.width = HEAD[0] * self["width"]
        self.skin = mixed(SKIN, factors["skin"])
        self.hair = self.named(HAIR, "hair_colour")

    def __getitem__(self, name: str) -> Tensor:
        """A factor, as ``(n, 1, 1)``."""
        return self.factors[name][:, None, None]

    def named(self, colours: Mapping[str, Colour], factor: str) -> Tensor:
        """The colour of the factor's value, ``(n, 3)``."""
        return torch.tensor(list(colours.values()), dtype=torch.float32)[self.factors[factor].long()]

    def paint(self, distance: Tensor, colour: Tensor | Colour, opacity: float = 1.0) -> None:
        """Lay a shape over the faces; the distance to its edge is in the faces' own pixels."""
        tone = colour if isinstance(colour, Tensor) else torch.tensor([colour], dtype=torch.float32)
        self.pixels = painted(self.pixels, distance * self["size"], tone, opacity)

    def each(self, factor: str, parts: Mapping[str, Callable[[_Face], None] | None]) -> None:
        """Let every value of a factor paint its own part on the faces that have it."""
        for value, part in enumerate(parts.values()):
            rows = (self.factors[factor] == value).nonzero()[:, 0]
            if part is not None and len(rows):
                chosen = {name: column[rows] for name, column in self.factors.items()}
                some = _Face(chosen, self.u[rows], self.v[rows], self.pixels[rows])
                part(some)
                self.pixels[rows] = some.pixels

    def below_hat(self, distance: Tensor) -> Tensor:
        """What a hat leaves of a shape."""
        return torch.maximum(distance, torch.where(self["hat"] > 0, BROW, -99.0) - self.v)

    def skull(self, wider: float = 0.0) -> Tensor:
        """The distance to the outline of the head, or to one around it."""
        return ellipse(self.u, self.v, self.width + wider, HEAD[1] + wider)


def _seen(factors: Mapping[str, Tensor]) -> _Face:
    """Faces that are not painted yet. The tilt is by rational functions: cosines are not the same on all machines."""
    column = {name: factors[name][:, None, None] for name in ("tilt", "across", "down", "size")}
    half = column["tilt"] / 2  # of the tangent of half the angle, nearly half the angle
    cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    right, down = _middle() - column["across"], _middle()[:, None] - column["down"] - 2.2
    u, v = (cos * right + sin * down) / column["size"], (cos * down - sin * right) / column["size"]
    return _Face(factors, u, v, torch.zeros(len(u), 3, SIDE, SIDE))


def _scene(face: _Face) -> None:
    fade = 1 + 0.06 * face["shade"] - (0.08 / (SIDE / 2)) * _middle()[:, None]
    face.pixels = face.pixels + face.named(SCENES, "background")[:, :, None, None] * fade[:, None]


def _shirt(face: _Face) -> None:
    """Neck and shoulders, which neither tilt nor grow with the head."""
    right, down = _middle() - 0.7 * face["across"], _middle()[:, None]
    throat, cloth = face.skin * 0.84, mixed(CLOTH, face.factors["clothes"])
    face.pixels = painted(face.pixels, box(right, down - 12.5, 2.9, 5.0, 1.0), throat)
    face.pixels = painted(face.pixels, ellipse(right, down - 19.0, 12.5, 6.2), cloth)
    face.pixels = painted(face.pixels, ellipse(right, down - 13.2, 3.4, 1.7), throat)


def _head(face: _Face) -> None:
    face.paint(ellipse(face.side - face.width - 0.2, face.v - 0.4, 1.6, 2.1), face.skin * 0.92)  # the ears
    face.paint(face.skull(), face.skin)
    blush = face.skin * torch.tensor([1.02, 0.84, 0.84])
    face.paint(ellipse(face.side - 4.6, face.v - 3.4, 2.0, 1.4), blush, 0.6)
    face.paint(ellipse(face.u, face.v - 2.0, 1.0, 1.2), face.skin * 0.82)  # the nose


def _mouth(face: _Face) -> None:
    """Lips that bend with the smile, and the dark between them."""
    bend = face["smile"] * (0.7 - 0.16 * face.side.square())
    gap = face["mouth"] * (0.95 - (0.95 / 9) * face.side.square())
    depth = (face.v - 5.4 - bend - gap).abs() - gap
    face.paint(torch.maximum(depth - 0.55, face.side - 3.0), LIPS)
    face.paint(torch.maximum(depth + 0.3, face.side - 2.5), INK, 0.85)


def _eyes(face: _Face) -> None:
    out = face.side - face["spacing"]
    look = face.u.sign() * out - face["gaze"]
    face.paint(ellipse(out, face.v + 0.7, 1.75, 1.6), WHITE)
    face.paint(ellipse(look, face.v + 0.6, 1.1, 1.1), face.named(EYES, "eye_colour"))
    face.paint(ellipse(look, face.v + 0.6, 0.55, 0.55), INK)
    lift = 0.4 * face["brows"]
    level = face.v + 3.5 + lift - 0.6 * face["brows"].clamp_max(0)
    face.paint(capsule(out + 1.6, level, 3.2, lift, 0.5), face.hair * 0.7)


def _moustache(face: _Face) -> None:
    out = face.side - 1.7
    face.paint(ellipse(out, face.v - 3.5 - 0.12 * out, 2.1, 0.95), face.hair)


def _full_beard(face: _Face) -> None:
    face.paint(torch.maximum(face.skull(0.7), 3.2 - 0.06 * face.side.square() - face.v), face.hair)
    _moustache(face)


def _mane(face: _Face) -> None:
    face.paint(face.below_hat(box(face.u, face.v - 2.4, face.width + 2.0, 11.6, 7.0)), face.hair * 0.86)


def _fringe(face: _Face) -> None:
    opening = ellipse(face.u, face.v - 2.2, face.width - 0.9, HEAD[1] - 1.9)
    around = torch.maximum(torch.maximum(face.skull(1.3), -opening), face.v - 4.0)
    face.paint(face.below_hat(around), face.hair)


def _curls(face: _Face) -> None:
    cloud = ellipse(face.side - 4.4, face.v + 8.4, 4.2, 4.0)
    for across, down, radius in ((8.0, -4.6, 3.9), (8.6, 0.2, 3.3), (7.6, 3.6, 2.6)):
        cloud = torch.minimum(cloud, ellipse(face.side - across * face["width"], face.v - down, radius, radius))
    face.paint(face.below_hat(cloud), face.hair * 0.86)


def _bun(face: _Face) -> None:
    face.paint(face.below_hat(ellipse(face.u, face.v + 12.2, 3.1, 2.9)), face.hair * 0.86)


def _crop(face: _Face) -> None:
    top = face.v + 5.2 - 0.035 * face.side.square()
    temples = torch.maximum(face.width - 1.3 - face.side, face.v + 0.4)
    face.paint(face.below_hat(torch.maximum(face.skull(0.8), torch.minimum(top, temples))), face.hair)


def _crest(face: _Face) -> None:
    face.paint(face.below_hat(box(face.u, face.v + 9.6, 1.7, 4.4, 1.3)), face.hair)


def _spectacles(face: _Face) -> None:
    out, level = face.side - face["spacing"], face.v + 0.6
    lens = box(out, level, 2.7, 2.4, 0.5 + 1.8 * face["lens"])
    face.paint(lens, WHITE, 0.22)
    bridge = torch.maximum(level.abs() - 0.4, out + 2.7)
    temple = torch.maximum((level + 0.4).abs() - 0.4, torch.maximum(2.7 - out, face.side - face.width - 0.4))
    frame = torch.minimum(lens.abs() - 0.45, torch.minimum(bridge, temple))
    face.paint(frame, mixed(FRAMES, face.factors["frame"]))


def _dome(face: _Face) -> Tensor:
    """Paint the crown of a soft hat, and answer with its colour."""
    cloth = mixed(CLOTH, 1 - face.factors["clothes"])
    above = face.v - BROW
    face.paint(torch.maximum(ellipse(face.u, above, face.width + 0.9, 7.4), above), cloth)
    return cloth


def _cap(face: _Face) -> None:
    cloth, above = _dome(face), face.v - BROW
    face.paint(ellipse(face.u, above + 4.1, 1.7, 1.5), WHITE)
    face.paint(ellipse(face.u, above - 0.2, face.width + 1.2, 1.5), cloth * 0.62)


def _beanie(face: _Face) -> None:
    cloth, above = _dome(face), face.v - BROW
    face.paint(box(face.u, above + 0.6, face.width + 1.2, 1.6, 1.0), cloth * 0.5 + 120)
    face.paint(ellipse(face.u, above + 8.2, 2.1, 2.0), WHITE)


def _top_hat(face: _Face) -> None:
    above = face.v - BROW
    crown = box(face.u, above + 5.0, face.width - 1.0, 5.6, 0.8)
    face.paint(crown, FELT)
    face.paint(torch.maximum(crown, (above + 2.2).abs() - 1.0), mixed(CLOTH, 1 - face.factors["clothes"]))
    face.paint(box(face.u, above + 0.5, face.width + 2.6, 0.9, 0.8), FELT)


Parts = Mapping[str, Callable[[_Face], None] | None]

STYLES: Mapping[str, tuple[Callable[[_Face], None] | None, Callable[[_Face], None] | None]] = {
    "bald": (None, None),
    "short": (None, _crop),
    "long": (_mane, _fringe),
    "curly": (_curls, _crop),
    "bun": (_bun, _crop),
    "mohawk": (None, _crest),
}
"""What each style of hair paints behind the head, and before it."""

BEARDS: Parts = {"none": None, "moustache": _moustache, "full": _full_beard}
GLASSES: Parts = {"no": None, "yes": _spectacles}
HATS: Parts = {"none": None, "cap": _cap, "beanie": _beanie, "top": _top_hat}


def _hair_behind(face: _Face) -> None:
    face.each("hair", {style: behind for style, (behind, _) in STYLES.items()})


def _hair_before(face: _Face) -> None:
    face.each("hair", {style: before for style, (_, before) in STYLES.items()})


def _beard(face: _Face) -> None:
    face.each("beard", BEARDS)


def _glasses(face: _Face) -> None:
    face.each("glasses", GLASSES)


def _hat(face: _Face) -> None:
    face.each("hat", HATS)
