r"""A transposed convolution whose bias is added by itself.

With stride s, padding a and a kernel w,

.. math:: y_{o,p} = b_o + \sum_{i} \sum_{k, q:\; s q + k - a = p} w_{i,o,k} \, x_{i,q}, \qquad
    \frac{\partial L}{\partial b_o} = \sum_p \frac{\partial L}{\partial y_{o,p}}

which is ``nn.ConvTranspose2d``: its function, its parameters and its start. oneDNN, by which processors compute it, takes the
last sum entry by entry where the bias is part of the transposed convolution, and longer for it than for the gradients of w and
x together. A sum of its own costs one pass over memory.
"""

from __future__ import annotations

from typing import cast, final

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TransposedConvolution"]


@final
class TransposedConvolution(nn.ConvTranspose2d):
    """From pictures ``(N, inputs, H, W)`` to ``(N, outputs, H', W')`` with H' = (H - 1) stride - 2 padding + kernel + extra.

    Args:
        inputs: Channels of x.
        outputs: Channels of y.
        kernel: Side of w.
        stride: s.
        padding: a, on every side.
        extra: Rows and columns more at the far sides.
    """

    bias: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, extra: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, extra)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one size only
        """The pictures y."""
        padding = cast(tuple[int, ...], self.padding)
        y = F.conv_transpose2d(x, self.weight, None, self.stride, padding, self.output_padding)
        return y.add_(self.bias.to(y.dtype)[:, None, None])
