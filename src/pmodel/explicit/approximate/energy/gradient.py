r"""The gradient of weighted free energies of a Boltzmann machine, in closed form and in the coordinates of the centred one.

With :math:`\bar u = u - \mu`, :math:`\bar h = h - \lambda`, and expectations of h given the datum, those of
:math:`\sum_n w_n F(u_n)`, where :math:`\sum_n w_n = 0` over the data of each label, are

.. math::

    \nabla_W = -\sum_n w_n \bar u_n E[\bar h]^\top, \quad \nabla_b = -\sum_n w_n u_n, \quad \nabla_c = -\sum_n w_n E[\bar h],
    \quad \nabla_V = -\sum_n w_n \bar u_n \bar u_n^\top, \quad \nabla_K = -\sum_n w_n E[\bar h \bar h^\top]

with the couplings :math:`L = V + V^\top` and :math:`J = K + K^\top`, off their diagonal blocks;
biases of a label have the parts of its data. A datum divided by its std is u, so that the logarithm of the std has the
gradient :math:`\sum_n w_n u_n (b + W E[h] - u_n)`. Features stand in the large product as they are, since bits are exact in
any precision, and their mean is taken off afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .machine import Machine
from .sides import CoupledHidden, CoupledVisible, apart
from .units import Reals

__all__ = ["gradients", "with_gradients"]


def gradients(
    machine: Machine,
    u: Tensor,
    activation: Tensor,
    weights: Tensor,
    given: Tensor | None,
    *,
    mean: Tensor,
    half: float,
    labels: int,
) -> dict[str, Tensor]:
    """Of all parameters, by their names in a model.

    Args:
        machine: With the biases of each datum's label.
        u: Features, ``(N, features)``.
        activation: The log-odds of the hidden bits, ``(N, hidden)``.
        weights: Of the data, ``(N,)``, of sum zero.
        given: Their labels, or None.
        mean: The centre of the features.
        half: The centre of the hidden bits.
        labels: How many there are.
    """
    each, p = weights.unsqueeze(1), machine.within_hidden.mean(activation)
    of_bits = (half - p).mul_(each)
    sums = of_bits.sum(0)
    product = (u.T @ of_bits).to(sums.dtype)
    found = {
        "weight": product.addr_(mean, sums, alpha=-1),
        "visible": -torch.mv(u.T, weights),
        "hidden": sums,
    }
    if given is not None:
        found["visible_of"] = mean.new_zeros(labels, len(mean)).index_add_(0, given, each * (mean - u))
        found["hidden_of"] = sums.new_zeros(labels, len(sums)).index_add_(0, given, of_bits)
    if isinstance(machine.units, Reals):
        found["log_std"] = (each * u * (machine.natural(p) - u)).sum(0)
    if isinstance(machine.within_visible, CoupledVisible):
        bar = u - mean
        of_pairs = -(bar.T @ (each * bar)).to(sums.dtype)
        found["lateral_visible"] = of_pairs * apart(len(u.T), machine.units.each, u.device)
    if isinstance(machine.within_hidden, CoupledHidden):
        states = machine.within_hidden.states - half
        masses = torch.mv(machine.within_hidden.probs(activation).T, weights)
        found["lateral_hidden"] = -(states.T @ (masses.unsqueeze(1) * states)) * apart(len(p.T), 1, u.device)
    return found


@final
class _Known(torch.autograd.Function):
    """A value whose gradients are known. It goes backward once, and gives them away: they may be large."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.known = list(tensors[count:])
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outward: Tensor) -> tuple[Tensor | None, ...]:
        known, ctx.known = ctx.known, []
        torch._foreach_mul_(known, outward)
        return (None, None, *known, *[None] * len(known))


def with_gradients(value: Tensor, parameters: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Tensor:
    """The value, as a function of parameters that has these gradients.

    Args:
        value: A scalar.
        parameters: What it is a function of.
        found: The gradient of each.
    """
    given = [found[name] for name in parameters]
    known: Tensor = _Known.apply(value, len(given), *parameters.values(), *given)  # type: ignore[no-untyped-call]
    return known
