r"""Progressive growing of adversarial pairs (Karras et al. 2018, https://arxiv.org/abs/1710.10196).

Both players start at about 4×4 and double: 4, 8, 16, ... up to the picture. A doubling is faded in. With :math:`h_k` the
generator's features at scale k, :math:`\uparrow` doubling by repetition, :math:`\downarrow` halving by means, and
:math:`\alpha` from 0 to 1, the generator paints, and the discriminator reads,

.. math::

    x = (1 - \alpha) \uparrow T_{k-1}(h_{k-1}) + \alpha \, T_k(h_k), \qquad h_k = G_k(\uparrow h_{k-1}),

    f_{k-1} = (1 - \alpha)\, F_{k-1}(\downarrow x) + \alpha \downarrow D_k(F_k(x)),

where T and F go to and from colours by 1×1 convolutions. Data are seen at the same scale, faded in the same way:
:math:`(1 - \alpha) \uparrow\downarrow x + \alpha x`. At :math:`\alpha = 0` this is the smaller pair on doubled pictures, at
:math:`\alpha = 1` the larger one alone.

**Growth is a function of the progress of training** (``grown_at``): up to ``growth`` each scale is held and then the next one
faded in, all for the same number of steps; after it the whole pair learns. A stage is a span from the beginning of one fade to
that of the next, with a phase for each player that moves what has grown by then. How far the pair has grown is kept in the
model, so that one that is cut or saved on the way samples what it has learned, doubled to the full size. A fresh model counts
as grown.

What differs from the paper: by default the relativistic loss with zero-centred penalties (Huang et al. 2024), which needs no
tuning of a critic; ``loss=wasserstein penalised=between penalty=10 drift=0.001`` is the paper's. The rate is not constant:
each stage has a warm-up and a way down of its own. The deviation is that of the whole batch, as in the text, not of groups of
four, as in the authors' program. A label is told to the discriminator by projection. ``equalised`` says what slopes mean
where the discriminator sees a whole batch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from ..distribution import wide
from ..domain import Domain
from ..errors import RangeError, require_whole
from ..learning import Phase, Recipe
from .equalised import (
    Doubled,
    EqualisedConvolution,
    EqualisedLinear,
    Halved,
    MinibatchDeviation,
    PixelNorm,
)
from .game.game import Game
from .game.halvings import doubled, halved, halved_sides
from .game.labels import Verdict, told
from .game.pair import PicturePair

__all__ = ["ProGAN", "grown_at"]

CORNER = 4
"""Pictures are halved until neither side is longer than this."""
SLOPE = 0.2
"""Of the leaky rectifiers."""


@final
class ProGAN(PicturePair):
    """A pair of convolutional networks that grow in training, for pictures of any size, colours and levels.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, told to the generator beside z and to the discriminator by projection (Miyato & Koyama 2018);
            or None.
        latent: Entries of z.
        channels: Channels next to the picture; they double with each halving of its sides.
        widest: Channels at most.
        growth: The part of training after which the pair has grown.
        game: Options of the game, fields of ``game.game.Game``.

    Raises:
        BadInput: if the data are not pictures, or do not fit the game, or a name is not known.
        RangeError: if a number is out of range.
    """

    spherical: ClassVar[bool] = True  # z is normalised
    batchwise: ClassVar[bool] = True  # by minibatch deviation
    game = Game()  # with slopes in whole batches
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 8, "channels": 6, "widest": 6},
        "small": {"latent": 32, "channels": 8, "widest": 32},
    }
    generator: _Generator
    discriminator: _Discriminator
    grown: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int = 64,
        channels: int = 16,
        widest: int = 64,
        growth: float = 0.5,
        **game: Any,
    ) -> None:
        super().__init__(domain, given, latent=latent, game=Game(**game))
        for name, value in (("channels", channels), ("widest", widest)):
            require_whole(name, value, 1)
        if not 0 < growth < 1:
            raise RangeError("growth is a part of training, more than 0 and less than 1.", got=growth)
        self.growth, self.scales = growth, _scales(domain.shape)
        widths = [min(widest, channels * 2**halvings) for halvings in reversed(range(len(self.scales)))]
        labels, colours = len(self.given_frequencies), domain.shape[0]
        self.generator = _Generator(self.scales, widths, colours, labels, latent)
        self.discriminator = _Discriminator(
            self.scales, widths, self.game.packing * colours, labels, biased=self.game.biased
        )
        self.register_buffer("grown", torch.tensor(len(self.scales) - 1.0, dtype=torch.float64))

    def recipe(self) -> Recipe:
        """The pair's, at ten times the paper's rate: weights are scaled after the step, and a run has minutes, not days."""
        return dataclasses.replace(super().recipe(), rate=1e-2)

    def advance(self, progress: float) -> None:
        """Grow."""
        self.grown.fill_(grown_at(progress, self.growth, len(self.scales)))

    def phases(self) -> tuple[Phase, ...]:
        """A discriminator and a generator for each stage, of what has grown by then."""
        doublings = len(self.scales) - 1
        starts = [0.0, *((stage - 0.5) / doublings * self.growth for stage in range(1, doublings + 1)), 1.0]
        stages = zip(self.scales, pairwise(starts), strict=True)
        return tuple(
            phase
            for stage, ((height, width), span) in enumerate(stages)
            for phase in self._turns(
                self.discriminator.learned(stage), self.generator.learned(stage), f" {height}x{width}", span
            )
        )

    def _made(self, z: Tensor, given: Tensor | None) -> Tensor:
        """G(z) at the scale that has grown."""
        return wide(self.generator(z, given, float(self.grown)))

    def _judged(self, x: Tensor, given: Tensor | None) -> Tensor:
        logits: Tensor = self.discriminator(x, given, float(self.grown))
        return logits

    def _seen(self, x: Tensor) -> Tensor:
        """Data at the scale that has grown, faded as samples are."""
        x, (whole, fade) = super()._seen(x), _parts(float(self.grown))
        for _ in self.scales[whole + (fade > 0) + 1 :]:
            x = halved(x)
        return torch.lerp(doubled(halved(x), self.scales[whole + 1]), x, fade) if fade else x

    def _whole(self, y: Tensor) -> Tensor:
        """Samples, doubled to the full size."""
        for size in self.scales[math.ceil(float(self.grown)) + 1 :]:
            y = doubled(y, size)
        return y


def grown_at(progress: float, growth: float, scales: int) -> float:
    """How far a pair of so many scales has grown: the number of the scale that is held, plus the fade α of the next one.

    Args:
        progress: The point of training, from 0 to 1.
        growth: The one after which all has grown.
        scales: How many there are; the smallest is number 0.
    """
    at = min(progress / growth, 1.0) * (scales - 1)
    whole = int(at)
    return whole + max(0.0, 2 * (at - whole) - 1)


def _parts(grown: float) -> tuple[int, float]:
    """The scale that is held, and the fade of the next one."""
    return int(grown), grown - int(grown)


def _scales(shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The sides at each scale, from the smallest to the picture's own."""
    sizes = [(shape[1], shape[2])]
    while max(sizes[-1]) > CORNER:
        sizes.append(halved_sides(sizes[-1]))
    return tuple(reversed(sizes))


class _Growing(nn.Module):
    """What both players have: a corner at the smallest scale, a block for each doubling, and colours at each scale."""

    corner: nn.Module
    blocks: nn.ModuleList
    colours: nn.ModuleList

    def learned(self, stage: int) -> tuple[nn.Parameter, ...]:
        """What learns while the scale of that number is faded in and held."""
        parts = (self.corner, *self.blocks[:stage], *self.colours[max(0, stage - 1) : stage + 1])
        return tuple(parameter for part in parts for parameter in part.parameters())


@final
class _Generator(_Growing):
    """From z, label and growth to pictures at the scale that has grown."""

    def __init__(
        self, sizes: Sequence[tuple[int, int]], widths: Sequence[int], colours: int, labels: int, latent: int
    ) -> None:
        super().__init__()
        self.labels, self.sizes, widest = labels, sizes, widths[0]
        dense = EqualisedLinear(latent + labels, widest * math.prod(sizes[0]))
        self.corner = nn.Sequential(
            dense, nn.Unflatten(1, (widest, *sizes[0])), *_levelled(), *_painted(widest, widest)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(Doubled(size), *_painted(a, b), *_painted(b, b))
            for size, (a, b) in zip(sizes[1:], pairwise(widths), strict=True)
        )
        self.colours = nn.ModuleList(EqualisedConvolution(width, colours, 1, gain=1.0) for width in widths)
        self.norm = PixelNorm()

    def forward(self, z: Tensor, given: Tensor | None, grown: float) -> Tensor:
        whole, fade = _parts(grown)
        h = self.corner(told(self.norm(z), given, self.labels))
        for block in self.blocks[:whole]:
            h = block(h)
        y: Tensor = self.colours[whole](h)
        if not fade:
            return y
        finer: Tensor = self.colours[whole + 1](self.blocks[whole](h))
        return torch.lerp(doubled(y, self.sizes[whole + 1]), finer, fade)


def _levelled() -> tuple[nn.Module, nn.Module]:
    return nn.LeakyReLU(SLOPE), PixelNorm()


def _painted(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return EqualisedConvolution(inputs, outputs, 3), *_levelled()


@final
class _Discriminator(_Growing):
    """From pictures at the scale that has grown, label and growth to logits."""

    def __init__(
        self, sizes: Sequence[tuple[int, int]], widths: Sequence[int], colours: int, labels: int, *, biased: bool
    ) -> None:
        super().__init__()
        self.corner = _Corner((widths[0], *sizes[0]), labels, biased=biased)
        self.blocks = nn.ModuleList(nn.Sequential(*_read(b, b), *_read(b, a), Halved()) for a, b in pairwise(widths))
        self.colours = nn.ModuleList(nn.Sequential(*_read(colours, width, 1)) for width in widths)

    def forward(self, x: Tensor, given: Tensor | None, grown: float) -> Tensor:
        whole, fade = _parts(grown)
        h: Tensor = self.colours[whole](halved(x) if fade else x)
        if fade:
            h = torch.lerp(h, self.blocks[whole](self.colours[whole + 1](x)), fade)
        for block in reversed(self.blocks[:whole]):
            h = block(h)
        logits: Tensor = self.corner(h, given)
        return logits


def _read(inputs: int, outputs: int, kernel: int = 3) -> tuple[nn.Module, nn.Module]:
    return EqualisedConvolution(inputs, outputs, kernel), nn.LeakyReLU(SLOPE)


@final
class _Corner(nn.Module):
    """From features of the smallest scale and label to a logit, by way of how much they differ over the batch."""

    def __init__(self, shape: tuple[int, int, int], labels: int, *, biased: bool) -> None:
        super().__init__()
        width = shape[0]
        dense = EqualisedLinear(math.prod(shape), width)
        self.features = nn.Sequential(
            MinibatchDeviation(), *_read(width + 1, width), nn.Flatten(), dense, nn.LeakyReLU(SLOPE)
        )
        self.verdict = Verdict(EqualisedLinear(width, 1, gain=1.0, bias=biased), labels)

    def forward(self, h: Tensor, given: Tensor | None) -> Tensor:
        logits: Tensor = self.verdict(self.features(h), given)
        return logits
