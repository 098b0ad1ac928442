"""What the options and settings of a diffusion model may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....domain import Discrete, Domain
from ....errors import BadInput, RangeError, require_whole
from .prediction import PREDICTIONS, WEIGHTINGS
from .schedule import SCHEDULES

__all__ = ["check_numbers", "check_options", "check_settings", "require_part"]

LIKELIHOODS = ("bound", "flow")
SAMPLERS = ("dpm", "ddim", "heun", "ancestral")
VARIANCES = ("posterior", "beta", "learned")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "schedule": SCHEDULES,
    "prediction": PREDICTIONS,
    "weighting": WEIGHTINGS,
    "likelihood": LIKELIHOODS,
}
"""Options that name one of a few things."""
MOST_ROUNDS = 1000
"""Of a completion."""
STRONGEST = 1000.0
"""The largest guidance."""


def check_options(domain: Domain, **names: str) -> None:
    """Refuse options that name nothing that is known, or that do not go together.

    Args:
        domain: Of the data.
        **names: The values of the options in ``CHOICES``.

    Raises:
        BadInput: if so.
    """
    for option, known in CHOICES.items():
        _one_of(option, names[option], known)
    discrete, schedule = isinstance(domain, Discrete), names["schedule"]
    if names["prediction"] == "eps" and (schedule == "straight" or (schedule == "cosine" and not discrete)):
        raise BadInput(
            "At the end of this schedule alpha is almost 0, or 0: x_0 follows from eps only if it is clipped, or not at all.",
            got=schedule,
            hint="schedule=linear, or prediction=v",
        )
    if names["likelihood"] == "flow" and discrete:
        raise BadInput("The probability flow has a density, of real data.", got=domain, hint="dequantise: make() does")


def check_numbers(*, timesteps: int, unlabelled: float) -> None:
    """Refuse numbers that are out of range.

    Raises:
        RangeError: if so.
    """
    require_whole("timesteps", timesteps, 1, 2**16)
    require_part("unlabelled", unlabelled)


def require_part(name: str, value: object) -> None:
    """Refuse what is not a number from 0 to below 1.

    Raises:
        RangeError: if so.
    """
    _number(name, value, 0, 1, below=True)


def check_settings(
    settings: Mapping[str, Any], *, timesteps: int, learned: bool, must_clip: bool, labelled: bool
) -> None:
    """Refuse settings of the sampler that are out of range.

    Args:
        settings: By name.
        timesteps: Of the chain.
        learned: Whether the network says the variance.
        must_clip: Whether an unclipped guess is noise at the end of the chain.
        labelled: Whether the network knows what there is without a label.

    Raises:
        BadInput: if a name is not known, or the network cannot do what is asked.
        RangeError: if a number is out of range.
    """
    steps = settings["steps"]
    whole = isinstance(steps, int) and not isinstance(steps, bool)
    if steps is not None and not (whole and 1 <= steps <= timesteps):
        raise RangeError(f"steps must be a whole number from 1 to timesteps = {timesteps}.", got=steps)
    _number("eta", settings["eta"], 0, 1)
    _number("guidance", settings["guidance"], 0, STRONGEST)
    require_whole("rounds", settings["rounds"], 1, MOST_ROUNDS)
    _one_of("sampler", settings["sampler"], SAMPLERS)
    _one_of("variance", settings["variance"], VARIANCES)
    if not isinstance(settings["clip"], bool):
        raise BadInput("clip is true or false.", got=settings["clip"])
    if must_clip and not settings["clip"]:
        raise BadInput(
            "At the end of the cosine schedule alpha is almost 0: x_0 follows from eps only if it is clipped.",
            got="clip=False",
            hint="clip=True, or train with prediction=v or schedule=linear",
        )
    if settings["variance"] == "learned" and not learned:
        raise BadInput("This network says no variance.", got="learned", hint="train with variance=learned")
    if settings["guidance"] != 1 and not labelled:
        raise BadInput(
            "Guidance needs a network that was trained with labels and, for some data, without.",
            got=settings["guidance"],
            hint="train with conditional=true and unlabelled=0.1",
        )


def _one_of(option: str, value: object, names: tuple[str, ...]) -> None:
    if value not in names:
        raise BadInput(f"{option} is {' or '.join(names)}.", got=value)


def _number(name: str, value: object, low: float, high: float, *, below: bool = False) -> None:
    number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    if not number or not low <= value <= high or (below and value == high):  # type: ignore[operator]
        raise RangeError(f"{name} must be from {low:g} to {'below ' if below else ''}{high:g}.", got=value)
