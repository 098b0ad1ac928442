r"""PixelRNN (van den Oord et al. 2016, https://arxiv.org/abs/1601.06759): each pixel given the earlier ones, by recurrences.

A 7×7 convolution of mask A opens a stream of 2h channels; layers of long short-term memories add to it what they have seen
(``recurrent.py``); two 1×1 convolutions and a softmax end it. A memory reaches as far as the picture, where a convolution
reaches a window further with each layer: one layer of the Diagonal BiLSTM is enough for every pixel to see all earlier ones.

What differs from the paper: features know the place in the picture, through one bias for each channel and pixel; the channels
of a pixel meet at the output, not in masked groups; states outside of the picture are zero; and a smaller network.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from .....domain import Domain
from .....errors import BadInput
from .....learning import Recipe
from .raster import OutputName, RasterModel, check_options, output_of
from .recurrent import CellName, RecurrentNetwork

__all__ = ["PixelRNN"]


@final
class PixelRNN(RasterModel):
    """A PixelRNN for pictures of one or three channels, of any size and any number of levels from 2 on.

    ``complete`` is exact or by particles as in ``PixelCNN``.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, which shifts every gate; or None.
        cell: ``diagonal``: the Diagonal BiLSTM, which sees every earlier pixel. ``row``: the Row LSTM, which sees a triangle
            above the pixel; a picture takes fewer steps, one for each row instead of each diagonal.
        channels: h of each memory; the stream, and so the features, have twice as many.
        layers: Of memories.
        kernel: States of the row above that a Row LSTM reads, odd; the Diagonal BiLSTM always reads two.
        width: Hidden units of the output.
        output: ``categorical``, ``logistic`` or ``auto``, as in ``PixelCNN``.
        mixtures: Components of the logistic output.
        particles: Copies of a picture in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data are not pictures, or there is no such cell or output.
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 8, "layers": 1, "width": 16, "mixtures": 4},
        "small": {"channels": 16, "layers": 1, "width": 32},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        cell: CellName = "diagonal",
        channels: int = 32,
        layers: int = 2,
        kernel: int = 3,
        width: int = 64,
        output: OutputName = "auto",
        mixtures: int = 10,
        particles: int = 16,
    ) -> None:
        super().__init__(domain, given)
        pictures = self._pictures()
        check_options(output, kernel, channels=channels, layers=layers, width=width, mixtures=mixtures)
        if cell not in ("row", "diagonal"):
            raise BadInput("cell is row or diagonal.", got=cell)
        self.levels, self.particles = pictures.levels, particles
        self._check_sampling()
        self.network = RecurrentNetwork(pictures.shape, cell, channels, layers, kernel, len(self.given_frequencies))
        self.output = output_of(output, 2 * channels, pictures, width, mixtures)

    def recipe(self) -> Recipe:
        """Muon on small batches: after as many steps it is ahead of AdamW, and in a few minutes steps are what is short."""
        return Recipe(batch=16, optimiser="muon", rate=1e-2, ema=0.999, clip=1.0)
