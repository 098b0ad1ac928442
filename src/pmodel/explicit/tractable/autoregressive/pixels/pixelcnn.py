r"""PixelCNN: each pixel given the earlier ones, by convolutions. Two forms.

*Gated* (van den Oord et al. 2016b, https://arxiv.org/abs/1606.05328; ``gated.py``), with the mixture of PixelCNN++ as a choice
of output: two stacks of gated convolutions that together see every earlier pixel. *Plain* (van den Oord et al. 2016a,
https://arxiv.org/abs/1601.06759; ``plain.py``): one stack of residual blocks with masked convolutions, which is the PixelCNN
that is mostly taught. It has a blind spot: no pixel is told of those far to the right in the rows above.

What differs from the papers: features know the place in the picture, through one bias for each channel and pixel; the channels
of a pixel meet at the output, not in masked groups; and a smaller, shorter-trained network, for a processor.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

from .....domain import Domain
from .....errors import BadInput, RangeError
from .....learning import Recipe
from .gated import GatedStacks
from .plain import PlainStack
from .raster import OutputName, RasterModel, check_options, output_of

__all__ = ["PixelCNN"]


@final
class PixelCNN(RasterModel):
    """A PixelCNN for pictures of one or three channels, of any size and any number of levels from 2 on.

    ``complete`` is exact where the missing entries of a picture have at most 256 joint states, which are then all scored, and
    where nothing observed comes after something missing in raster order. Else it is a particle filter, which tends to
    p(missing | observed) as ``particles`` grows; where the observed part says much about earlier missing entries, such as a
    lower half about the upper, a few particles are a rough approximation.

    Args:
        domain: Pictures, ``Discrete((C, H, W), levels)``.
        given: A class label, which shifts every gate, or every masked convolution; or None.
        form: ``gated``: two stacks of gated convolutions, without a blind spot. ``plain``: residual blocks of masked
            convolutions in one stack, with one.
        channels: Of each of the two stacks; of the masked convolutions of the plain form, whose stream has twice as many.
        layers: Gated layers, or residual blocks.
        kernel: Side of the windows, odd. The features of a pixel see ``(layers + 1) * (kernel // 2)`` pixels far; those of the
            plain form ``layers * (kernel // 2) + 3``, for it opens with 7×7.
        width: Hidden units of the output.
        output: ``categorical``: one logit for each level. ``logistic``: a mixture of discretised logistics, which knows that
            levels are ordered. ``auto``: categorical up to 256 levels, which is also better on the grey levels of MNIST, where
            two of them are far more frequent than their neighbours.
        mixtures: Components of the logistic output.
        dropout: Probability with which an entry is set to zero in training: a gated one of h, or one inside a block.
        particles: Copies of a picture in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data are not pictures, or there is no such form or output.
        RangeError: if a number is out of range.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 8, "layers": 2, "kernel": 3, "width": 16, "mixtures": 4},
        "small": {"channels": 16, "layers": 4, "width": 32},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        form: Literal["gated", "plain"] = "gated",
        channels: int = 32,
        layers: int = 7,
        kernel: int = 5,
        width: int = 64,
        output: OutputName = "auto",
        mixtures: int = 10,
        dropout: float = 0.0,
        particles: int = 16,
    ) -> None:
        super().__init__(domain, given)
        pictures = self._pictures()
        check_options(output, kernel, channels=channels, layers=layers, width=width, mixtures=mixtures)
        if form not in ("gated", "plain"):
            raise BadInput("form is gated or plain.", got=form)
        if not 0 <= dropout < 1:
            raise RangeError("dropout must be at least 0 and below 1.", got=dropout)
        self.levels, self.particles = pictures.levels, particles
        self._check_sampling()
        kind, features = (GatedStacks, channels) if form == "gated" else (PlainStack, 2 * channels)
        self.network = kind(pictures.shape, channels, layers, kernel, len(self.given_frequencies), dropout)
        self.output = output_of(output, features, pictures, width, mixtures)

    def recipe(self) -> Recipe:
        """AdamW on small batches: in a few minutes, the number of steps is what is short."""
        return Recipe(batch=16, rate=4e-3, ema=0.999, clip=1.0)
