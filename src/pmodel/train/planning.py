"""The plan: everything that, beside seed and data, decides the bits of a run. It is made before training and recorded."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch

from ..data import Dataset
from ..errors import BadInput, unknown
from ..learning import ClosedForm, GradientTrained, Recipe
from ..model import Model
from ..randomness import as_generator
from .batches import Batches
from .precision import Arithmetic, fastest
from .stepper import Stepper

__all__ = ["Plan", "plan", "recipe_with"]

SHARE = 0.92
"""The part of a budget that is planned: the rest is for start, samples and saving."""
WORTH = 20.0
"""Seconds of training from which on it is worth a few steps to find the fastest arithmetic."""


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run's plan.

    Args:
        seed: Of every draw.
        steps: Gradient steps; 0 if the model has none.
        iterations: Most passes of expectation maximisation; 0 if the model has none.
        recipe: Batch size, rates and so on.
        precision: ``float32`` or ``bfloat16`` (autocast; weights and sums stay float32).
        layout: ``contiguous`` or ``channels_last``.
        threads: Threads of the arithmetic: it changes the order of sums.
        device: ``cpu`` or ``cuda``.
        budget: Seconds that were asked for, or None.
    """

    seed: int
    steps: int
    iterations: int
    recipe: Recipe
    precision: Literal["float32", "bfloat16"] = "float32"
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    threads: int = 1
    device: str = "cpu"
    budget: float | None = None

    @property
    def arithmetic(self) -> Arithmetic:
        """Precision and layout together."""
        return Arithmetic(self.precision, self.layout)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {**self.__dict__, "recipe": self.recipe.to_json()}


def plan(
    model: Model,
    data: Dataset,
    *,
    seed: int = 0,
    steps: int | None = None,
    budget: float | None = None,
    settings: Mapping[str, Any] | None = None,
    precision: str = "auto",
    device: str = "auto",
) -> Plan:
    """Plan a run: from a number of steps, a budget in seconds, or the model's own recipe.

    A budget is turned into steps by timing steps of a copy of the model, so that the schedule knows its end and the run
    can be repeated from its record.

    Raises:
        BadInput: if steps or budget are out of range, or both are given.
        UnknownName: if a setting does not exist.
    """
    began = time.perf_counter()
    as_generator(seed)  # refuses what is no seed
    recipe = recipe_with(model, settings or {})
    if steps is not None and budget is not None:
        raise BadInput("A run has a number of steps or a budget, not both.", got=f"steps={steps}, budget={budget}")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 10**9):
        raise BadInput("steps must be a whole number from 1 to 1000000000.", got=steps)
    if budget is not None and not 0 < budget <= 30 * 86400:
        raise BadInput("A budget is more than 0 seconds and at most 30 days.", got=budget)
    if precision not in ("auto", "float32", "bfloat16"):
        raise BadInput("precision is auto, float32 or bfloat16.", got=precision)
    place = _device(device)
    chosen = Plan(
        seed=seed,
        steps=(steps or recipe.steps) if "phases" in model.learns else 0,
        iterations=min(recipe.iterations, steps or recipe.iterations) if "statistics" in model.learns else 0,
        recipe=recipe,
        threads=torch.get_num_threads(),
        device=place,
        budget=budget,
    )
    if chosen.steps == 0:
        return chosen
    batches = Batches(
        data.train, data.domain, recipe.batch, seed, torch.device(place), conditional=model.given is not None
    )
    if precision == "auto":
        worth = (budget or 0) >= WORTH or (budget is None and chosen.steps >= 500)
        arithmetic = fastest(model, batches, recipe, seed) if worth else Arithmetic()
    else:
        arithmetic = Arithmetic("bfloat16" if precision == "bfloat16" else "float32")
    chosen = dataclasses.replace(chosen, precision=arithmetic.precision, layout=arithmetic.layout)
    if budget is None:
        return chosen
    seconds = Stepper(copy.deepcopy(model), batches, recipe, seed, arithmetic).seconds_a_step(most=0.05 * budget)
    left = SHARE * (budget - (time.perf_counter() - began))
    return dataclasses.replace(chosen, steps=max(1, int(left / seconds)))


def recipe_with(model: Model, settings: Mapping[str, Any]) -> Recipe:
    """The model's recipe with some settings changed, each checked against the type it has.

    Raises:
        UnknownName: if there is no such setting.
        BadInput: if a value has the wrong type or is out of range.
    """
    recipe: Recipe = model.recipe() if isinstance(model, GradientTrained | ClosedForm) else Recipe()
    fields = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    for name, value in settings.items():
        if name not in fields:
            raise unknown("training setting", name, fields)
        fields[name] = _like(f"train.{name}", fields[name], value)
    changed = Recipe(**fields)
    allowed = {
        "batch": changed.batch >= 1,
        "rate": 0 < changed.rate <= 10,
        "ema": 0 <= changed.ema < 1,
        "betas": all(0 <= beta < 1 for beta in changed.betas),
        "decay": changed.decay >= 0,
        "clip": changed.clip >= 0,
        "warmup": 0 <= changed.warmup < 1,
        "schedule": changed.schedule in ("cosine", "constant"),
        "steps": changed.steps >= 1,
        "iterations": changed.iterations >= 1,
        "tolerance": changed.tolerance >= 0,
    }
    for name, fine in allowed.items():
        if not fine:
            raise BadInput(f"train.{name} is out of range.", got=fields[name])
    return changed


def _like(name: str, old: object, new: object) -> Any:
    if isinstance(old, tuple) and isinstance(new, list | tuple) and len(new) == len(old):
        return tuple(_like(name, a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, int | float) and not isinstance(new, bool):
        return float(new)
    if type(old) is not type(new):
        raise BadInput(f"{name} must be {type(old).__name__}.", got=new)
    return new


def _device(name: str) -> str:
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name not in ("cpu", "cuda"):
        raise BadInput("device is auto, cpu or cuda.", got=name)
    if name == "cuda" and not available:
        raise BadInput("There is no GPU that PyTorch can use here.", got=name, hint="use --device cpu")
    return name
