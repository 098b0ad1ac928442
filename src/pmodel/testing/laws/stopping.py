"""The law of stopping: a run that is stopped and resumed has the bits of one that is not."""

from __future__ import annotations

from typing import Any

import torch

from ...train import Iterated, Stepped, Training, plan
from ...train.state import State, copied
from ..check import require
from ..law import Law, always
from ..subject import Subject

__all__ = ["LAWS"]

STEPS, STOP = 6, 3
"""Steps, or passes, and after how many the run is stopped."""


def stopped_learning_goes_on(subject: Subject) -> None:
    """Stopped, and gone on with in a fresh instance from its state alone, learning ends with the same bits.

    So whatever a model needs from step to step is a parameter, a buffer, in ``training_state()``, or a function of the
    progress that ``advance`` is told; and no Python attribute counts steps.
    """
    data = subject.dataset
    chosen = plan(subject.fresh(), data, steps=STEPS, precision="float32", device="cpu")
    training = Training(subject.fresh(), data, chosen)
    state: State | None = None
    for event in training:
        at = training.position
        if isinstance(event, Stepped | Iterated) and max(at.step, at.iteration) <= STOP:
            state = copied(training.state())
    twin = Training(subject.fresh(), data, chosen)
    if state is not None:
        twin.restore(state)
    for _ in twin:
        pass
    ends: list[dict[str, Any]] = [end.model.state_dict() for end in (training, twin)]
    other = [name for name, tensor in ends[0].items() if not torch.equal(_bits(tensor), _bits(ends[1][name]))]
    require(
        not other,
        "Stopped and resumed, learning ends with other tensors.",
        got=other,
        hint="put what training carries into training_state(), and let advance() depend on its argument alone",
    )


def _bits(x: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(x)


LAWS = (Law(stopped_learning_goes_on, always),)
