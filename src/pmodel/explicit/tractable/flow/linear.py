r"""A learned linear map of vectors, by its LU decomposition (Oliva et al. 2018; Durkan et al. 2019, section 3.2).

.. math:: z = L U x + b, \qquad \log|\det| = \sum_i \log U_{ii},

with a unit lower triangular L and an upper triangular U of positive diagonal: as many numbers as the matrix has, a
determinant for nothing, and an inverse by two substitutions. It starts at the identity. (The paper puts a fixed permutation
before it, which the two factors alone cannot be; here autoregressive maps reverse their orders instead, and couplings
exchange their halves.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .transform import Transform

__all__ = ["Linear"]


class Linear(Transform):
    """z = L U x + b.

    Args:
        entries: Of a vector.
    """

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.zeros(entries, entries))
        self.log_diagonal = nn.Parameter(torch.zeros(entries))
        self.bias = nn.Parameter(torch.zeros(entries))

    def _lower(self) -> Tensor:
        return self.factors.tril(-1) + torch.eye(
            len(self.factors), device=self.factors.device, dtype=self.factors.dtype
        )

    def _upper(self) -> Tensor:
        return self.factors.triu(1) + self.log_diagonal.exp().diag()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the logarithm of the determinant, the same for all."""
        with torch.autocast(x.device.type, enabled=False):  # an inverse is no better than the map
            z = torch.addmm(self.bias, x, (self._lower() @ self._upper()).T)
        return z, self.log_diagonal.sum().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Two substitutions."""
        with torch.autocast(z.device.type, enabled=False):
            y = torch.linalg.solve_triangular(self._lower(), (z - self.bias).T, upper=False, unitriangular=True)
            x: Tensor = torch.linalg.solve_triangular(self._upper(), y, upper=True).T
        return x
