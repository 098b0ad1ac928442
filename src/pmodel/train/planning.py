"""The plan: everything that, beside seed and data, decides the bits of a run. It is made before training and recorded."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, final

import torch

from ..data import Dataset
from ..device import device_of
from ..errors import BadInput, RunError, require_whole, unknown
from ..learning import ClosedForm, GradientTrained, Recipe
from ..model import Model
from ..randomness import as_generator
from .augmentation import AUGMENTATIONS
from .precision import TRIALS, Arithmetic, fastest, fewest_threads
from .preparation import batches_of, prepare, require_fit, threads_set
from .processes import ALONE, Processes
from .stepper import Stepper
from .validation import planned, require_possible

__all__ = ["Plan", "plan", "recipe_with"]

SHARE = 0.92
"""The part of a budget that is planned: the rest is for start, samples and saving."""
KNOWN = {
    "optimiser": "adamw or muon",
    "select": "best or last",
    "schedule": "cosine or constant",
    "augment": f"some of {', '.join(AUGMENTATIONS)}",
}
SEARCH = 0.1
"""The part of a run that the search for the fastest arithmetic may take, or it is left out."""


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
        shards: Parts of a batch, each with noise of its own: as many as processes, or a multiple.
        validations: How often the model is scored on validation data during gradient steps; 0 for never.
        validated: On how many of them.
        device: ``cpu`` or ``cuda``.
        budget: Seconds that were asked for, or None.
        warm: Whether the model comes with the weights of another run.
        end: The step at which a repeat of a run that was cut by the clock ends, or None.
        passes: The pass of expectation maximisation at which it ends, or None.
    """

    seed: int
    steps: int
    iterations: int
    recipe: Recipe
    precision: Literal["float32", "bfloat16"] = "float32"
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    threads: int = 1
    shards: int = 1
    validations: int = 0
    validated: int = 0
    device: str = "cpu"
    budget: float | None = None
    warm: bool = False
    end: int | None = None
    passes: int | None = None

    @property
    def arithmetic(self) -> Arithmetic:
        """Precision and layout together."""
        return Arithmetic(self.precision, self.layout)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {**self.__dict__, "recipe": self.recipe.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan of a record.

        Raises:
            RunError: if the record is damaged, or of another version.
        """
        try:
            recipe: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value["recipe"].items()}
            return cls(**{**value, "recipe": Recipe(**recipe)})
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError("The record holds no plan that this version can follow.", got=str(error)) from error


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
    shards: int | None = None,
    warm: bool = False,
    processes: Processes = ALONE,
) -> Plan:
    """Plan a run: from a number of steps, a budget in seconds, or the model's own recipe.

    A budget is turned into steps by timing steps of a copy of the model, so that the schedule knows its end and the run
    can be repeated from its record.

    Args:
        model: What will learn.
        data: From what.
        seed: Of every draw.
        steps: Gradient steps, or passes of expectation maximisation.
        budget: Seconds, instead.
        settings: Changes to the model's recipe.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        device: ``auto``, ``cpu`` or ``cuda``.
        shards: Parts of a batch; None is one for each process.
        warm: Whether the model comes with the weights of another run.
        processes: Who shares the work.

    Raises:
        BadInput: if the data are not what the model learns from, steps or budget are out of range, both are given, or data,
            model or budget do not allow a setting.
        UnknownName: if a setting does not exist.
    """
    began = time.perf_counter()
    require_fit(model, data)
    as_generator(seed)  # refuses what is no seed
    recipe = recipe_with(model, settings or {})
    if data.train.intensities is None and "binarise" not in (settings or {}):
        recipe = dataclasses.replace(recipe, binarise=False)  # it is refused only where somebody asked for it
    _require_changes(recipe, data)
    if steps is not None and budget is not None:
        raise BadInput("A run has a number of steps or a budget, not both.", got=f"steps={steps}, budget={budget}")
    if steps is not None:
        require_whole("steps", steps, 1, 10**9)
    if budget is not None and not (isinstance(budget, int | float) and 0 < budget <= 30 * 86400):
        raise BadInput("A budget is a number of seconds, more than 0 and at most 30 days.", got=repr(budget))
    if precision not in ("auto", "float32", "bfloat16"):
        raise BadInput("precision is auto, float32 or bfloat16.", got=precision)
    chosen = Plan(
        seed=seed,
        steps=(steps or recipe.steps) if "phases" in model.learns else 0,
        iterations=_iterations(model, recipe, steps),
        recipe=recipe,
        precision="bfloat16" if precision == "bfloat16" else "float32",
        threads=torch.get_num_threads(),
        shards=_shards(shards, recipe, data, processes),
        device=device_of(device),
        budget=budget,
        warm=warm,
    )
    wishes = _wishes(settings or {}) if chosen.steps else []
    for wish in wishes:
        require_possible(model, data, wish)
    if chosen.steps:
        chosen = _measured(model, data, chosen, precision == "auto", began, processes)
    chosen = Plan.from_json(processes.agreed(chosen.to_json()))
    if wishes and not chosen.validations:
        hint = "allow a longer --budget, or leave it out"
        raise BadInput(
            "The budget is too short to validate within its share.", got=f"{wishes[0]}, {budget} s", hint=hint
        )
    return chosen


def _wishes(settings: Mapping[str, Any]) -> list[str]:
    """The settings that ask for a validation; what a recipe has by itself is left out where there can be none."""
    asking = {"select": settings.get("select") == "best", "patience": bool(settings.get("patience"))}
    return [f"train.{name}={settings[name]}" for name, asks in asking.items() if asks]


def _measured(model: Model, data: Dataset, asked: Plan, auto: bool, began: float, processes: Processes) -> Plan:
    """The plan with what can only be known by trying: arithmetic, threads, validation, and the steps of a budget."""
    batches = batches_of(data, asked, conditional=model.given is not None)
    trial = copy.deepcopy(model).to(asked.device)
    if not asked.warm:
        prepare(trial, data, batches, asked.seed)

    def stepper(arithmetic: Arithmetic, group: Processes = ALONE) -> Stepper:
        return Stepper(copy.deepcopy(trial), batches, asked.recipe, asked.seed, arithmetic, group)

    points, n, scoring = planned(trial, data, asked.recipe, asked.seed, asked.budget)
    chosen = dataclasses.replace(asked, validations=points, validated=n)
    each = 0.0 if asked.budget is None else stepper(Arithmetic(), processes).seconds_a_step(0.5, 0.0)
    worth = SEARCH * asked.steps >= TRIALS if asked.budget is None else TRIALS * each <= SEARCH * asked.budget
    if auto and worth:
        best = Arithmetic(*processes.agreed(dataclasses.astuple(fastest(stepper))))
        threads = processes.agreed(fewest_threads(stepper(best)))
        chosen = dataclasses.replace(chosen, precision=best.precision, layout=best.layout, threads=threads)
    if asked.budget is None:
        return chosen
    with threads_set(chosen.threads):
        seconds = seconds_a_step(stepper(chosen.arithmetic, processes), each, 0.05 * asked.budget)
    left = SHARE * (asked.budget - (time.perf_counter() - began)) - chosen.validations * scoring
    return dataclasses.replace(chosen, steps=max(1, int(left / seconds)))


def seconds_a_step(stepper: Stepper, each: float, most: float) -> float:
    """The mean time of a step over training, measured in each part of it: models grow, and phases come and go.

    Args:
        stepper: Of a copy of the model.
        each: About the time of a step.
        most: Seconds to spend; where they are too few for every part, the middle of training stands for all.
    """
    ends = {0.25, 0.5, 0.75, 1.0} | {end for phase in stepper.phases for end in phase.span if 0 < end < 1}
    parts = list(pairwise([0.0, *sorted(ends)]))
    if 2 * len(parts) * each > most:
        return stepper.seconds_a_step(0.5, most)
    return sum((b - a) * stepper.seconds_a_step((a + b) / 2, most / len(parts)) for a, b in parts)


def _iterations(model: Model, recipe: Recipe, steps: int | None) -> int:
    """Passes; a number of steps stands for them where the model takes no others."""
    if "statistics" not in model.learns:
        return 0
    return recipe.iterations if steps is None or "phases" in model.learns else steps


def _shards(asked: int | None, recipe: Recipe, data: Dataset, processes: Processes) -> int:
    shards = processes.world if asked is None else asked
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1 or shards % processes.world:
        raise BadInput(f"shards must be a multiple of the number of processes, {processes.world}.", got=shards)
    if shards > min(recipe.batch, len(data.train)):
        raise BadInput("Every shard of a batch needs data.", got=f"{shards} shards", hint="use a larger train.batch")
    return shards


def _require_changes(recipe: Recipe, data: Dataset) -> None:
    """Refuse changes of the data that these data do not allow."""
    if recipe.augment and not data.domain.image:
        raise BadInput("train.augment changes pictures.", got=data.domain, hint="leave it out")
    if recipe.binarise and data.train.intensities is None:
        raise BadInput(
            "train.binarise draws binary pictures from their grey intensities.",
            got=f"{data.name}, of which none are known",
            hint="use --data mnist-binary",
        )


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
        fields[name] = _words(value) if name == "augment" else _like(f"train.{name}", fields[name], value)
    changed = Recipe(**fields)
    numbers = [fields["rate"], fields["decay"], fields["clip"], fields["tolerance"], *fields["betas"]]
    if not all(math.isfinite(number) for number in numbers):
        raise BadInput("The settings of training are finite numbers.", got=dict(settings))
    allowed = {
        "batch": changed.batch >= 1,
        "optimiser": changed.optimiser in ("adamw", "muon"),
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
        "select": changed.select in ("best", "last"),
        "patience": changed.patience >= 0,
        "retry": 0 <= changed.retry <= 10,
        "augment": set(changed.augment) <= set(AUGMENTATIONS),
    }
    for name, fine in allowed.items():
        if not fine:
            raise BadInput(f"train.{name} is out of range.", got=fields[name], hint=KNOWN.get(name, ""))
    return changed


def _words(value: object) -> tuple[str, ...]:
    """``shift``, or ``shift,flip``."""
    words = value if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(word, str) for word in words):
        raise BadInput("train.augment must be names.", got=value, hint=KNOWN["augment"])
    return tuple(map(str, words))


def _like(name: str, old: object, new: object) -> Any:
    if isinstance(old, tuple) and isinstance(new, list | tuple) and len(new) == len(old):
        return tuple(_like(name, a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, float) and isinstance(new, int | float) and not isinstance(new, bool):
        return float(new)
    if type(old) is not type(new):
        raise BadInput(f"{name} must be {type(old).__name__}.", got=new)
    return new
