"""Laws for models with an energy: it is finite, smooth where data are real, and the log-density up to a constant."""

from __future__ import annotations

import torch
from torch import Tensor

from ...domain import Real
from ...randomness import generator
from ..check import require
from ..law import Law, can
from ..subject import Subject

__all__ = ["LAWS"]

TOLERANCE = 1e-4
STEP = 1e-3
"""Of the difference quotient, in standard deviations of the data."""


def energies_are_numbers(subject: Subject) -> None:
    """An energy is one finite float64 number a datum, its own whatever stands beside it."""
    model, data = subject.fitted, subject.held_out
    whole = model.energy(data.x, given=data.given)
    for n in (0, 1, 5):
        part = model.energy(data.x[:n], given=None if data.given is None else data.given[:n])
        right = tuple(part.shape) == (n,) and part.dtype == torch.float64
        require(right, f"The energies of {n} data are not ({n},) float64.", got=(part.shape, part.dtype))
        near = torch.allclose(part, whole[:n], rtol=TOLERANCE, atol=TOLERANCE)
        require(near, "A datum's energy depends on the batch.", got=part)
    require(bool(whole.isfinite().all()), "An energy is not finite.", got=whole)
    require(float(whole.std()) > 0, "All data have one energy.", got=float(whole[0]))


def energies_differ_as_log_probabilities(subject: Subject) -> None:
    """Under one condition, E(x) - E(x') is log p(x') - log p(x), where that is exact."""
    model, x = subject.fitted, subject.held_out.x
    for label in subject.labels:
        total = model.energy(x, given=label) + model.log_prob(x, given=label)
        spread = float(total.max() - total.min())
        require(
            spread < TOLERANCE * (1 + float(total.abs().max())),
            "Energy plus log-probability is not the same for all data.",
            got=f"{spread:.3g} nats apart",
        )


def energies_have_gradients(subject: Subject) -> None:
    """In real data, an energy's gradient is finite and the limit of its difference quotients."""
    model, data = subject.fitted, subject.held_out
    x, given = data.x.double(), data.given
    gradient = _gradient(model, x, given)
    require(bool(gradient.isfinite().all()), "The gradient of an energy is not finite.", got=gradient)
    scale = x.std(0)
    step = STEP * scale * torch.randn(x.shape, generator=generator(0, "direction"), dtype=x.dtype)
    ends = [model.energy(x + sign * step, given=given) for sign in (0.5, -0.5)]
    expected = (gradient * step).flatten(1).sum(1)
    error = (ends[0] - ends[1] - expected).abs()
    allowed = 0.05 * (gradient * step).flatten(1).abs().sum(1) + TOLERANCE * STEP * (1 + ends[0].abs()) * 100
    worst = int((error - allowed).argmax())
    got = f"{float(expected[worst]):.3g} by the gradient, {float((ends[0] - ends[1])[worst]):.3g} by difference"
    require(bool((error <= allowed).all()), "The gradient of an energy is not its derivative.", got=got)


def _gradient(model: object, x: Tensor, given: Tensor | None) -> Tensor:
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(model._energy(x, given).sum(), x)  # type: ignore[attr-defined]
    return gradient


def _exact(subject: Subject) -> bool:
    return can("energy")(subject) and can("log_prob")(subject)


def _smooth(subject: Subject) -> bool:
    return can("energy")(subject) and isinstance(subject.domain, Real)


LAWS = (
    Law(energies_are_numbers, can("energy")),
    Law(energies_differ_as_log_probabilities, _exact),
    Law(energies_have_gradients, _smooth),
)
