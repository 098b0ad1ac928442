r"""The layers of PixelRNN (van den Oord et al. 2016, sections 3.1 to 3.3): memories that run over rows and over diagonals.

The stream s has 2h channels; a layer adds to it what its memory of size h says, :math:`s \leftarrow s + W h + b` (fig. 5).
What the input says to the gates is computed for all pixels at once; only the memory goes line after line (``recurrence.py``).

A label y shifts the stream where it begins by :math:`A_y`, and so all gates. The cells are in ``row.py`` and ``diagonal.py``.
"""

from __future__ import annotations

from typing import Literal, cast, final

from torch import Tensor, nn

from .diagonal import DiagonalLayer
from .network import OPENING, Network, PartsCache
from .row import RowLayer

__all__ = ["CellName", "RecurrentNetwork"]

CellName = Literal["row", "diagonal"]


@final
class RecurrentNetwork(Network):
    """The opening, then layers of one kind.

    Args:
        shape: Of a picture, ``(C, H, W)``.
        cell: ``row`` or ``diagonal``.
        channels: h of the memories; the stream, and so the features, have twice as many.
        layers: How many.
        kernel: States of the row above that a Row LSTM reads, odd.
        labels: Values of the label; 0 for none.
    """

    def __init__(
        self, shape: tuple[int, ...], cell: CellName, channels: int, layers: int, kernel: int, labels: int
    ) -> None:
        super().__init__(shape, 2 * channels, OPENING, labels)
        self.told = nn.Linear(labels, 2 * channels, bias=False) if labels else None
        self.layers = nn.ModuleList(
            RowLayer(self.sides, channels, kernel) if cell == "row" else DiagonalLayer(self.sides, channels, shape[0])
            for _ in range(layers)
        )

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """From pictures ``(N, C, H, W)`` on the scale [-1, 1] to features ``(N, H, W, 2 · channels)``."""
        above, left = self.opened(x)
        s, pixels = (t.permute(2, 3, 0, 1).flatten(0, 1) for t in (above + left, x))
        shift = self.shift(given)
        s = s if shift is None else s + shift
        for layer in self.layers:
            s = layer(s, pixels)
        return s.view(*self.sides, *s.shape[1:]).permute(2, 0, 1, 3)

    def cache(self, n: int, given: Tensor | None) -> PartsCache:
        """The layers, pixel by pixel."""
        parts = [cast(RowLayer | DiagonalLayer, layer).written(n) for layer in self.layers]
        return PartsCache(self, n, parts, self.shift(given))

    def shift(self, given: Tensor | None) -> Tensor | None:
        """By how much a label shifts the stream, ``(N, 2 · channels)``."""
        label = self.one_hot(given)
        return None if self.told is None or label is None else self.told(label)
