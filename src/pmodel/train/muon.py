r"""Muon: momentum made orthogonal, for the weights that are matrices between layers; AdamW for all others.

With G the gradient of a weight W that maps its inputs to its outputs, a step is

.. math::

    M &\leftarrow \mu M + (1 - \mu)\, G, \qquad U = \mathrm{orth}(\mu M + (1 - \mu)\, G)

    W &\leftarrow (1 - \eta \lambda)\, W - \eta \cdot 0.2 \sqrt{\max(\text{rows}, \text{columns})}\; U

where orth sets all singular values to about 1: directions that gradients seldom point to move as far as the others. The factor
gives the entries of a step the size that they have under AdamW, so that one rate serves both kinds of weights.

The singular values come near 1 by five steps :math:`X \leftarrow a X + b (X X^T) X + c (X X^T)^2 X` from
:math:`X_0 = G / \lVert G \rVert`. All of them are :math:`X_k = P_k X_0` with :math:`P_k` a polynomial of
:math:`Q_0 = X_0 X_0^T`, which is much smaller than a convolution's :math:`X_0`: so the steps are taken with

.. math:: S = a I + b Q + c Q^2, \qquad P \leftarrow S P, \qquad Q \leftarrow S^2 Q .

Source:
    Muon: an optimizer for hidden layers in neural networks (Jordan et al., 2024), https://kellerjordan.github.io/posts/muon/
    Muon is scalable for LLM training (Liu et al., 2025), https://arxiv.org/abs/2502.16982: the factor of the rate
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

__all__ = ["Muon", "matrices", "orthogonal"]

MOMENTUM = 0.95
LIKE_ADAM = 0.2
"""The root mean square of an entry of AdamW's step in units of the rate, about."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial: it brings singular values between 0.003 and 1 to between 0.68 and 1.14."""
ITERATIONS = 5
NARROWEST = 8
"""A map from or to fewer channels than this is no matrix worth the name: first and last layers of pictures."""


def matrices(module: nn.Module) -> list[Tensor]:
    """The weights of linear maps and convolutions from several channels to several."""
    maps = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    weights = [part.weight for part in module.modules() if isinstance(part, maps)]
    return [weight for weight in weights if min(weight.shape[:2]) >= NARROWEST]


@torch.no_grad()
def orthogonal(batch: Tensor) -> Tensor:
    """Matrices ``(B, rows, columns)`` with the same singular vectors, and singular values of about 1; zero stays zero."""
    wide = batch.shape[1] <= batch.shape[2]
    x = batch if wide else batch.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    a, b, c = COEFFICIENTS
    q = x @ x.mT
    p = torch.eye(q.shape[1], dtype=q.dtype, device=q.device)
    for _ in range(ITERATIONS):
        s = torch.baddbmm(q, q, q, beta=b, alpha=c)
        s.diagonal(dim1=1, dim2=2).add_(a)
        p, q = s @ p, s @ s @ q
    found: Tensor = p @ x if wide else (p @ x).mT
    return found


@final
class Muon(torch.optim.AdamW):
    """AdamW, but for matrices, whose steps are orthogonal.

    Args:
        matrices: Weights whose first dimension is that of the rows; the others together are that of the columns.
        others: The other parameters.
        lr: The rate, of both.
        betas: AdamW's moment decays.
        weight_decay: Decoupled weight decay, of both.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        others: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        super().__init__([*matrices, *others], lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        self.matrices = tuple(matrices)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        moving: list[tuple[Tensor, Tensor]] = [(w, w.grad) for w in self.matrices if w.grad is not None]
        for weight, _ in moving:
            weight.grad = None  # AdamW leaves alone what has none
        super().step(closure)
        for weight, gradient in moving:
            weight.grad = gradient
        if moving:
            self._orthogonally([weight for weight, _ in moving], [gradient for _, gradient in moving])

    def _orthogonally(self, weights: list[Tensor], gradients: list[Tensor]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["exp_avg"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["exp_avg"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)
        group = self.param_groups[0]
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, weight in enumerate(weights):
            by_shape.setdefault((len(weight), weight.numel() // len(weight)), []).append(index)
        for shape, indices in by_shape.items():
            steps = orthogonal(torch.stack([ahead[index].flatten(1) for index in indices]))
            length = group["lr"] * LIKE_ADAM * max(shape) ** 0.5
            for index, step in zip(indices, steps, strict=True):
                weights[index].sub_(step.view(weights[index].shape), alpha=length)
