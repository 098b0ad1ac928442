r"""TransGAN (Jiang, Chang & Wang 2021, https://arxiv.org/abs/2102.07074): two transformers.

No convolution is in either, but for the overlap of what the discriminator first sees.

The generator maps z to a small grid of tokens. Blocks of attention and perceptrons (``nn.grid_attention``) alternate with
doublings of the grid by pixel shuffling, which makes four tokens of each out of its features,

.. math:: h'_{2r + i,\, 2c + j,\, f} = h_{r,\, c,\, 4f + 2i + j}, \qquad i, j \in \{0, 1\},

until each token is a pixel: a linear map gives its colours. Where features are too few to be quartered so often, the first
doublings are bicubic and keep them, as the paper's do for large pictures.

The discriminator's tokens are squares of the picture, each with a margin of half its side, as the authors' program sees the
smallest squares of pictures of 256×256. Without margins only attention could tell how a stroke goes on in the next square, and
ragged digits passed for data. Between its blocks the grid is averaged over squares of four, and as many features of squares
twice as large as before are put beside them. At the end a class token reads all, and becomes a logit.

Attention is over the whole grid where that is small, and within windows elsewhere.

What differs from the paper: the relativistic loss with zero-centred penalties on data and samples (Huang et al. 2024,
https://arxiv.org/abs/2501.05441) for a Wasserstein loss with four updates of the discriminator for each of the generator; in
the discriminator leaky rectifiers for GELU, because they have no second derivative to compute in a penalty, and the generator's
norm; the same norm of the generator's last tokens; margins of squares of all scales; of the last block, what does not reach the
class token is left out. The paper's differentiable augmentation is an option, ``changes=["translation", "hole", "colour"]``: it
is for runs that see each picture many times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..domain import Domain
from ..errors import BadInput, require_whole
from ..nn.grid_attention import Size, Stage, attention, learned, normed, perceptron, split
from .game.game import Game
from .game.halvings import halvings
from .game.labels import Verdict, told
from .game.pair import PicturePair

__all__ = ["TransGAN"]

CORNER = 8
"""The longest side of the coarsest grid, as in the paper."""
LEAST = 8
"""A doubling by pixel shuffling leaves at least so many features."""


@final
class TransGAN(PicturePair):
    """A generator and a discriminator of transformer blocks, for pictures of any size, colours and levels.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, told to the generator beside z and to the discriminator by projection (Miyato & Koyama 2018);
            or None.
        latent: Entries of z.
        width: Features of the generator's tokens at its coarsest scale; pixel shuffling quarters them.
        depths: The generator's blocks at each scale from the coarsest; the last number holds for all finer ones, and those
            for which a picture has no scale are not used.
        discriminator_width: Features of the discriminator's tokens at its coarsest scale; half as many at each finer one.
        discriminator_depths: Its blocks at each scale, from the smallest squares on; a picture with fewer scales uses fewer.
        patch: Side of the smallest squares without their margins, a power of two; a small picture has smaller ones.
        window: The longest side of a window; grids no larger than that have full attention.
        heads: Of every attention.
        game: Options of the game, fields of ``game.game.Game``.

    Raises:
        BadInput: if the data are not pictures, or do not fit the game, or sizes do not fit each other.
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 8, "width": 16, "discriminator_width": 16, "heads": 2},
        "small": {"latent": 32, "width": 64, "discriminator_width": 32, "heads": 2},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int = 64,
        width: int = 256,
        depths: Sequence[int] = (1,),
        discriminator_width: int = 64,
        discriminator_depths: Sequence[int] = (1, 1),
        patch: int = 2,
        window: int = 8,
        heads: int = 2,
        **game: Any,
    ) -> None:
        super().__init__(domain, given, latent=latent, game=Game(**game))
        for name, value in (("width", width), ("discriminator_width", discriminator_width), ("heads", heads)):
            require_whole(name, value, 1)
        for name, depth in (("depths", depths), ("discriminator_depths", discriminator_depths)):
            _require_depths(name, depth)
        if require_whole("patch", patch, 1) & (patch - 1):
            raise BadInput("patch must be a power of two.", got=patch)
        grids = _grids(domain.shape)
        if require_whole("window", window, 1) < max(grids[0]):
            raise BadInput(
                "At the coarsest scale attention is over the whole grid, which a window must hold.",
                got=f"window={window}, a grid of {grids[0]}",
                hint=f"window={CORNER}",
            )
        labels, colours = len(self.given_frequencies), self.game.packing * domain.shape[0]
        blocks = [*depths, *[depths[-1]] * len(grids)]
        grown = _stages(grids, _quarters(width, len(grids)), blocks, window, heads, twice=False)
        self.generator = _Generator(domain.shape, latent, labels, grown)
        smallest = min(patch, 2 ** (len(grids) - 1))
        seen = grids[::-1][smallest.bit_length() - 1 :][: len(discriminator_depths)]
        features = _halves(discriminator_width, len(seen))
        judged = _stages(seen, features, discriminator_depths, window, heads, twice=True)
        self.discriminator = _Discriminator(colours, labels, judged, smallest, biased=self.game.biased)

    @property
    def attention_entries(self) -> tuple[int, int]:
        """Attention weights of both players for one picture, without the class token's: in windows, and if all were full."""
        stages = [part for part in self.modules() if isinstance(part, Stage)]
        return sum(stage.entries() for stage in stages), sum(stage.entries(full=True) for stage in stages)


class _Generator(nn.Module):
    """From z and label to a picture: a linear map to the coarsest grid, then stages, the last one of pixels."""

    def __init__(self, shape: tuple[int, ...], latent: int, labels: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.labels, self.size = labels, shape[1:]
        self.start = nn.Linear(latent + labels, math.prod(stages[0].grid) * stages[0].features)
        self.stages = nn.ModuleList(stages)
        self.colours = nn.Linear(stages[-1].features, shape[0])

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        first, z = cast(Stage, self.stages[0]), told(z, given, self.labels)
        h = first(self.start(z).reshape(len(z), *first.grid, first.features))
        for stage in self.stages[1:]:
            h = stage(interpolated(h) if stage.features == h.shape[-1] else shuffled(h))
        # no tanh: at black it saturates before there is a digit, and then the generator hears nothing more
        picture = cast(Tensor, self.colours(normed(h))).permute(0, 3, 1, 2)
        return picture[..., : self.size[0], : self.size[1]]


class _Discriminator(nn.Module):
    """From a picture and label to a logit."""

    def __init__(self, colours: int, labels: int, stages: Sequence[Stage], patch: int, *, biased: bool) -> None:
        super().__init__()
        self.patch = patch
        before = [0, *(stage.features for stage in stages)]
        self.views = nn.ModuleList(
            nn.Linear(colours * _wide(patch * 2**scale) ** 2, after - seen)
            for scale, (seen, after) in enumerate(pairwise(before))
        )
        self.stages = nn.ModuleList(stages)
        self.reader = _Reader(stages[-1].features, stages[-1].heads)
        self.verdict = Verdict(nn.Linear(stages[-1].features, 1, bias=biased), labels)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        rows, columns = (side * self.patch for side in cast(Stage, self.stages[0]).grid)
        x = F.pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2]))
        views = [view(squares(x, self.patch * 2**scale)) for scale, view in enumerate(self.views)]
        h = self.stages[0](views[0])
        for stage, view in zip(self.stages[1:], views[1:], strict=True):
            h = stage(torch.cat([averaged(h), view], -1))
        logits: Tensor = self.verdict(self.reader(h.flatten(1, 2)), given)
        return logits


class _Reader(nn.Module):
    """The last block, as far as it counts: a class token attends to all tokens and itself, and then passes a perceptron."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.token = learned(features)
        self.query = nn.Linear(features, features, bias=False)
        self.inward, self.outward = nn.Linear(features, 2 * features, bias=False), nn.Linear(features, features)
        self.perceptron = perceptron(features, twice=True)

    def forward(self, h: Tensor) -> Tensor:
        """From tokens ``(N, T, F)`` to features ``(N, F)``."""
        token = self.token.expand(len(h), 1, -1)
        (q,) = split(self.query(normed(token)), self.heads, 1)
        k, v = split(self.inward(normed(torch.cat([token, h], 1))), self.heads, 2)
        h = token + self.outward(attention(q, k, v, twice=True).transpose(1, 2).flatten(2))
        return normed(h + self.perceptron(normed(h))).squeeze(1)


def shuffled(h: Tensor) -> Tensor:
    """Twice the sides and a quarter of the features, as in the module's docstring: ``(N, R, C, 4F)`` to ``(N, 2R, 2C, F)``."""
    n, rows, columns, features = h.shape
    parts = h.reshape(n, rows, columns, features // 4, 2, 2)
    return parts.permute(0, 1, 4, 2, 5, 3).reshape(n, 2 * rows, 2 * columns, features // 4)


def interpolated(h: Tensor) -> Tensor:
    """Twice the sides by bicubic interpolation, ``(N, R, C, F)`` to ``(N, 2R, 2C, F)``."""
    return F.interpolate(h.permute(0, 3, 1, 2), scale_factor=2, mode="bicubic").permute(0, 2, 3, 1)


def averaged(h: Tensor) -> Tensor:
    """Means of squares of four tokens, ``(N, 2R, 2C, F)`` to ``(N, R, C, F)``."""
    n, rows, columns, features = h.shape
    return h.reshape(n, rows // 2, 2, columns // 2, 2, features).mean((2, 4))


def squares(x: Tensor, side: int) -> Tensor:
    """The pixels of each square of a picture with a margin, ``(N, C, R · side, S · side)`` to ``(N, R, S, C · w²)``.

    The margin has half a side, and a pixel at least; w is the side with both margins. Around the picture there are zeros,
    which is the middle of the levels.
    """
    wide = _wide(side)
    margin = (wide - side) // 2
    parts = F.pad(x, (margin,) * 4).unfold(2, wide, side).unfold(3, wide, side)
    return parts.permute(0, 2, 3, 1, 4, 5).flatten(3)


def _wide(side: int) -> int:
    return side + 2 * max(1, side // 2)


def _grids(shape: tuple[int, ...]) -> list[Size]:
    """The grid at each scale, from the coarsest on, of which each doubles the one before; the last one covers the picture."""
    sizes = halvings(shape, CORNER)
    rows, columns = sizes[-1]
    return [(rows * 2**scale, columns * 2**scale) for scale in range(len(sizes))]


def _stages(
    grids: Sequence[Size], widths: Sequence[int], depths: Sequence[int], window: int, heads: int, *, twice: bool
) -> list[Stage]:
    return [
        Stage(grid, _window(grid, window), features, heads, depth, twice=twice)
        for grid, features, depth in zip(grids, widths, depths, strict=False)
    ]


def _window(grid: Size, longest: int) -> Size:
    """A grid's sides, each halved until it is no longer than this."""
    rows, columns = (side // 2 ** max(0, math.ceil(math.log2(side / longest))) for side in grid)
    return rows, columns


def _quarters(width: int, scales: int) -> list[int]:
    """Features at each scale from the coarsest: all doublings at the end quarter them that leave ``LEAST`` or more."""
    quarters = 0
    while quarters < scales - 1 and width // 4 ** (quarters + 1) >= LEAST:
        quarters += 1
    if width % 4**quarters:
        raise BadInput(f"width must be a multiple of {4**quarters}, by which pixel shuffling divides it.", got=width)
    return [width] * (scales - 1 - quarters) + [width // 4**quarter for quarter in range(quarters + 1)]


def _halves(width: int, scales: int) -> list[int]:
    """Features at each scale from the finest: twice as many at each coarser one."""
    if width % 2 ** (scales - 1):
        raise BadInput(f"discriminator_width must be a multiple of {2 ** (scales - 1)}.", got=width)
    return [width // 2**halving for halving in reversed(range(scales))]


def _require_depths(name: str, depths: Sequence[int]) -> None:
    if not isinstance(depths, Sequence) or isinstance(depths, str) or not depths:
        raise BadInput(f"{name} holds a number of blocks for each scale.", got=depths, hint=f"{name}=[2, 1]")
    for depth in depths:
        require_whole(name, depth, 0, 64)
