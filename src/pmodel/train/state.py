"""All that a training carries from one step to the next, as numbers and named tensors.

Randomness is not among it: every draw is a function of the seed and of the step's number. So a position, the model, and what
moves it are enough to go on with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from ..errors import RunError
from .events import Reason

if TYPE_CHECKING:
    from .loop import Training

__all__ = ["Position", "State", "copied", "put", "taken"]

Tensors = Mapping[str, Tensor]


@final
@dataclass
class Position:
    """Where a training is.

    Args:
        stage: ``prepare``, ``descend`` (gradient steps), ``maximise`` (passes) or ``end``.
        step: Gradient steps done.
        iteration: Passes done.
        images: Data seen.
        seconds: Spent.
        over: Whether the stage has ended before its planned number of steps or passes.
        reason: Why training ends, as far as is known.
        previous: Mean log-likelihood of the last pass.
        validated: The validation of the weights to keep so far, as JSON.
        stale: Validations since.
        rescues: How often training has gone back to a good state.
        begun: Seconds that had been spent when the stage began.
    """

    stage: Literal["prepare", "descend", "maximise", "end"] = "prepare"
    step: int = 0
    iteration: int = 0
    images: int = 0
    seconds: float = 0.0
    over: bool = False
    reason: Reason = "finished"
    previous: float | None = None
    validated: dict[str, Any] | None = None
    stale: int = 0
    rescues: int = 0
    begun: float = 0.0


@final
@dataclass(frozen=True, eq=False)
class State:
    """A training at one moment.

    Args:
        position: Where it is, with the losses since the last report and what the doctor has heard; under ``good`` the position
            to go back to if it diverges.
        model: What would be sampled and scored now: the moving average where there is one.
        training: Everything else: ``raw`` weights, ``moments``, ``best`` weights, the values of the highest score (``peak``),
            what the model has ``carried``, and under ``good`` the state to go back to.
    """

    position: dict[str, Any]
    model: Tensors
    training: Tensors


def taken(training: Training) -> State:
    """The state, as references to the tensors of the training: to be written, or copied, before the next step."""
    model: dict[str, Tensor] = dict(training.model.state_dict())
    parts: dict[str, Tensors] = {}
    stepper = training.stepper
    if stepper is not None:
        parts = {"moments": stepper.moments(), "best": training.best, "carried": training.model.training_state()}
        if stepper.average is not None:
            average = stepper.average
            smooth = dict(zip(average.names, average.average, strict=True))
            first = {parameter: name for name, parameter in training.model.named_parameters()}
            parts["raw"] = dict(zip(average.names, average.parameters, strict=True))
            for name, parameter in training.model.named_parameters(remove_duplicate=False):
                model[name] = smooth[first[parameter]]
        parts["peak"] = {} if training.peak is None else {"values": training.peak}
    position = asdict(training.position)
    position |= {"losses": training.losses.to_json(), "doctor": training.doctor.memory()}
    if training.good is not None:
        position["good"] = training.good.position
        parts |= {"good.model": training.good.model, "good.training": training.good.training}
    flat = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    return State(position, model, flat)


def copied(state: State) -> State:
    """The state with tensors of its own, in the layout that they have."""
    return State(dict(state.position), _cloned(state.model), _cloned(state.training))


def put(training: Training, state: State) -> None:
    """Go on from a state: every tensor is copied into the one that the training has built, in that one's memory layout.

    Raises:
        RunError: if the state is not one of this model under this plan.
    """
    try:
        kept = {k: v for k, v in state.position.items() if k not in ("good", "losses", "doctor")}
        position = Position(**kept)
        training.losses.restore(state.position["losses"])
        training.doctor.recall(state.position["doctor"])
    except (TypeError, KeyError, ValueError) as error:
        raise RunError("The checkpoint is of another version.", got=str(error)) from error
    model, stepper = training.model, training.stepper
    carried = dict(model.training_state()) if stepper is not None else {}
    with torch.no_grad():
        _copy(state.model, model.state_dict())
        if position.stage in ("maximise", "end"):
            training.stepper = None
        elif stepper is not None:
            if stepper.average is not None:
                parameters = dict(model.named_parameters())  # which hold the average now
                _copy(parameters, dict(zip(stepper.average.names, stepper.average.average, strict=True)))
                _copy(_part(state.training, "raw"), parameters)
            _copy(_part(state.training, "carried"), carried)
            stepper.restore_moments(_part(state.training, "moments"))
    training.best = _cloned(_part(state.training, "best"))
    training.peak = _cloned(_part(state.training, "peak")).get("values")
    if "good" in state.position:
        model_part, training_part = (_part(state.training, f"good.{part}") for part in ("model", "training"))
        training.good = State(state.position["good"], _cloned(model_part), _cloned(training_part))
    training.position = position


def _part(tensors: Tensors, name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def _cloned(tensors: Tensors) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _copy(source: Tensors, target: Tensors) -> None:
    """Copy each tensor into its namesake.

    Raises:
        RunError: if names or shapes differ.
    """
    if source.keys() != target.keys():
        odd = sorted(source.keys() ^ target.keys())[:5]
        raise RunError("The state does not hold the tensors of this training.", got=f"missing or extra: {odd}")
    for name, tensor in target.items():
        if tensor.shape != source[name].shape:
            raise RunError(f"The state's {name} has the wrong shape.", got=tuple(source[name].shape))
        tensor.copy_(source[name])
