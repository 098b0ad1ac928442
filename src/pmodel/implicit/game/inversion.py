r"""Codes by search: the latent point from which a generator makes a datum.

A generator G has no encoder. With z ~ N(0, I) and data that lie about its samples, x = G(z) + sigma eta, the code of x is the
mode of p(z | x) (Zhu et al. 2016, https://arxiv.org/abs/1609.03552; Creswell & Bharath 2018, https://arxiv.org/abs/1802.05701):
the z of least

.. math:: E(z) = \tfrac12 \lvert z - m \rvert^2 + \frac{1}{2 \sigma^2} \sum_{i \text{ observed}} (x_i - G_i(z))^2,
    \qquad m = 0.

The search starts at the best of some draws of z and goes on by Levenberg and Marquardt's steps: with the slopes J of G at z,

.. math:: \Bigl(\frac{J^\top J}{\sigma^2} + (1 + \lambda) I\Bigr)\, \delta = \frac{J^\top (x - G(z))}{\sigma^2} + m - z,

for several dampings :math:`\lambda` side by side, of which the one is taken that leads lowest. Where G is affine, one step ends
at the mode, which is that of ridge regression. J comes forwards, by one product for each entry of z; no weight has a gradient.
The papers descend by first-order steps; these would have to be as many as the slopes are uneven, and a code would be where
they stood when they ended. In float64 the way of one datum does not depend on which others are searched beside it.

**Draws** of z given parts of x come from the same search (Oliver, He & Reynolds 1996; Bardsley et al. 2014,
https://doi.org/10.1137/140964023): with m ~ N(0, I) and sigma eta added to x, the mode of E is a draw from p(z | x) where G is
affine, and nearly one where it is smooth. Where nothing is observed it is m: a sample of the model.

A generator that sees only the direction of z leaves its length to the prior, whose mode, 0, has no direction. Codes are then
sought where the prior's mass is, on the sphere of radius :math:`\sqrt d`, by the same steps along it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

__all__ = ["SIGMA", "STARTS", "Inversion", "Made", "Target"]

Made = Callable[[Tensor, Tensor | None], Tensor]
"""From z ``(n, latent)`` and labels ``(n,)`` or None to data ``(n, entries)``, each row by itself, in float64."""

SIGMA = 0.1
"""Standard deviation of data about samples, where levels span [-1, 1] and real data are standardised."""
STARTS = 256
"""Draws of z of which a search starts at the best."""
DAMPINGS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""What is tried for the damping, in units of the mean curvature."""
ENOUGH = 1e-3
"""A step that lowers E by a smaller part of it is a datum's last."""


@final
@dataclass(frozen=True, eq=False)
class Target:
    """What codes are sought for.

    Args:
        x: Data as the generator makes them, float64 ``(N, entries)``; not observed entries may hold anything.
        observed: Which entries count, bool ``(N, entries)``.
        given: Labels ``(N,)``, or None.
        centre: m, float64 ``(N, latent)``.
    """

    x: Tensor
    observed: Tensor
    given: Tensor | None
    centre: Tensor

    def take(self, rows: Tensor) -> Target:
        """Some of them, or some several times."""
        given = None if self.given is None else self.given[rows]
        return Target(self.x[rows], self.observed[rows], given, self.centre[rows])

    def missed(self, y: Tensor) -> Tensor:
        """What samples ``(N, entries)`` lack of the data, zero where nothing is observed."""
        return torch.where(self.observed, self.x - y, 0.0)


@final
@dataclass(frozen=True, eq=False)
class Inversion:
    """The search.

    Args:
        made: G.
        iterations: Steps at most.
        sigma: Standard deviation of data about samples.
        spherical: Whether G sees only the direction of z.
    """

    made: Made
    iterations: int
    sigma: float = SIGMA
    spherical: bool = False

    def __call__(self, target: Target, starts: Tensor) -> Tensor:
        """The codes, float64 ``(N, latent)``.

        Args:
            target: The data.
            starts: Draws of z, ``(K, latent)``: where the search may start.
        """
        if not len(target.x):
            return target.centre
        z, energy = self._nearest(target, self._placed(starts))
        rows = torch.arange(len(z), device=z.device)  # those that still move
        for _ in range(self.iterations):
            if not len(rows):
                break
            moved, lower = self._step(z[rows], target.take(rows))
            gain = energy[rows] - lower
            down = gain > 0
            z[rows[down]], energy[rows[down]] = moved[down], lower[down]
            rows = rows[gain > ENOUGH * lower]
        return z

    def energy(self, z: Tensor, target: Target) -> Tensor:
        """E at each code, ``(N,)``; infinite where it is not finite."""
        missed = target.missed(self.made(z, target.given)) / self.sigma
        energy = (missed.square().sum(1) + (z - target.centre).square().sum(1)) / 2
        return energy.nan_to_num(nan=torch.inf, posinf=torch.inf)

    def _nearest(self, target: Target, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Of the starts the one with the least E for each datum, and this E."""
        best = torch.zeros(len(target.x), dtype=torch.int64, device=starts.device)
        for rows in _by_label(target):
            part, y = target.take(rows), self._pictures(starts, target, rows)
            kept, x = part.observed.to(y.dtype), part.missed(torch.zeros_like(part.x))
            missed = (kept @ y.square().mT - 2 * x @ y.mT) / self.sigma**2  # the rest is the same for all starts
            far = starts.square().sum(1) - 2 * part.centre @ starts.mT
            best[rows] = (missed + far).nan_to_num(nan=torch.inf, posinf=torch.inf).argmin(1)
        z = starts[best]
        return z, self.energy(z, target)

    def _pictures(self, starts: Tensor, target: Target, rows: Tensor) -> Tensor:
        """Samples from the starts, with the label of these data."""
        return self.made(starts, None if target.given is None else target.given[rows[0]].expand(len(starts)))

    def _step(self, z: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """The best of the damped steps of each datum, and E there."""
        y, slopes = self._linearised(z, target.given)
        slopes = (slopes * target.observed).transpose(0, 1) / self.sigma  # (n, latent, entries)
        pull = self._along(target.centre - z, z)
        force = (slopes @ (target.missed(y) / self.sigma).unsqueeze(2)).squeeze(2) + pull
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        curvature = slopes @ slopes.mT + eye
        mean = curvature.diagonal(dim1=1, dim2=2).mean(1)
        dampings = torch.tensor(DAMPINGS, dtype=z.dtype, device=z.device)
        damped = curvature.unsqueeze(1) + (mean.unsqueeze(1) * dampings)[:, :, None, None] * eye
        steps = torch.linalg.solve_ex(damped, force[:, None, :, None])[0].squeeze(3)
        return self._lowest(self._placed(z.unsqueeze(1) + steps), target)

    def _lowest(self, trials: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Of trials ``(n, K, latent)`` the one with the least E for each datum, and this E."""
        n, count = trials.shape[:2]
        rows = torch.arange(n, device=trials.device)
        energy = self.energy(trials.flatten(0, 1), target.take(rows.repeat_interleave(count))).reshape(n, count)
        lowest, best = energy.min(1)
        return trials[rows, best], lowest

    def _linearised(self, z: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """G(z) ``(n, entries)``, and its slopes along each entry of z, ``(latent, n, entries)``."""
        directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device).unsqueeze(1).expand(-1, len(z), -1)

        def along(direction: Tensor) -> Any:
            return torch.func.jvp(lambda z: self.made(z, given), (z,), (direction,))

        _load_forward_derivatives()
        with sdpa_kernel(SDPBackend.MATH):  # fused kernels of attention have no forward derivative
            found: tuple[Tensor, Tensor] = torch.func.vmap(along, out_dims=(None, 0))(directions)  # type: ignore[arg-type]
        return found

    def _placed(self, z: Tensor) -> Tensor:
        """Codes on the sphere, where they belong there."""
        return normalize(z, dim=-1) * z.shape[-1] ** 0.5 if self.spherical else z

    def _along(self, pull: Tensor, z: Tensor) -> Tensor:
        """A direction at z ``(n, latent)``, without what leads off the sphere, where codes belong there."""
        return pull - (pull * z).mean(1, keepdim=True) * z if self.spherical else pull


def _by_label(target: Target) -> list[Tensor]:
    """The rows of each label."""
    if target.given is None:
        return [torch.arange(len(target.x), device=target.x.device)]
    labels: Tensor = target.given.unique()  # type: ignore[no-untyped-call]
    return [(target.given == label).nonzero().squeeze(1) for label in labels]


@functools.cache
def _load_forward_derivatives() -> None:
    """Have PyTorch load its forward derivatives, at which it warns of its own use of ``torch.jit``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.neg, (torch.zeros((), device="cpu"),), (torch.zeros((), device="cpu"),))
