"""The fastest arithmetic that agrees with float32, found by measurement on this machine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

import torch
from torch import Tensor, nn

from ..model import Model

if TYPE_CHECKING:
    from .stepper import Stepper

__all__ = ["TRIALS", "Arithmetic", "Layout", "Precision", "fastest", "fewest_threads"]

Precision = Literal["float32", "bfloat16"]
Layout = Literal["contiguous", "channels_last"]
K = TypeVar("K", bound=Hashable)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

GAIN = 0.95
"""Another arithmetic, or number of threads, is taken only if its step needs less than this part of the usual one's time."""
ROUNDS = 5
"""Timed steps of each candidate; the fastest counts, for whatever else the machine does can only slow a step down."""
TRIALS = 48
"""Steps that ``fastest`` and ``fewest_threads`` take, about."""


@final
@dataclass(frozen=True)
class Arithmetic:
    """How products are computed.

    Args:
        precision: ``float32``, or ``bfloat16`` under autocast.
        layout: Memory layout of images and convolutions.
    """

    precision: Precision = "float32"
    layout: Layout = "contiguous"

    def laid_out(self, model: Model) -> None:
        """Put the model's weights into the layout, in place."""
        if self.layout == "channels_last":
            module: Any = model
            module.to(memory_format=torch.channels_last)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context under which losses are computed."""
        return nullcontext() if self.precision == "float32" else torch.autocast(device.type, torch.bfloat16)


def fastest(stepper: Callable[[Arithmetic], Stepper]) -> Arithmetic:
    """Time some steps of each candidate, interleaved; the fastest whose losses and gradients agree with float32.

    Agreement: on two batches, each phase's loss within 1 % and the cosine of its gradients above 0.99.

    Args:
        stepper: Makes a stepper, of a copy of the model, for an arithmetic.
    """
    usual = stepper(Arithmetic())
    convolutional = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in usual.model.modules())
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last") if convolutional else ("contiguous",)
    candidates = [Arithmetic(precision, layout) for precision in PRECISIONS for layout in layouts]
    steppers = {a: usual if a == Arithmetic() else stepper(a) for a in candidates}
    reference = [steppers[candidates[0]].gradients(number) for number in range(2)]
    others = [a for a in candidates[1:] if _agrees(reference, [steppers[a].gradients(number) for number in range(2)])]
    agreeing = [candidates[0], *others]
    seconds = _raced({a: steppers[a] for a in agreeing})
    best = min(seconds, key=lambda a: seconds[a])
    return best if seconds[best] < GAIN * seconds[candidates[0]] else candidates[0]


def fewest_threads(stepper: Stepper) -> int:
    """One thread, or all: steps of small models are over before the threads have met."""
    all_of_them, seconds = torch.get_num_threads(), dict[int, float]()
    try:
        for count in dict.fromkeys((all_of_them, 1)):
            torch.set_num_threads(count)
            seconds[count] = _raced({count: stepper})[count]
    finally:
        torch.set_num_threads(all_of_them)
    return 1 if seconds[1] < GAIN * seconds[all_of_them] else all_of_them


def _raced(steppers: Mapping[K, Stepper]) -> dict[K, float]:
    """Seconds of a step of each, interleaved, after one step to warm up."""
    times: dict[K, list[float]] = {key: [] for key in steppers}
    for stepper in steppers.values():
        stepper.caution = 0.0  # nothing moves: what is timed cannot diverge
    for number in range(1 + ROUNDS):
        for key, stepper in steppers.items():
            times[key].append(stepper.timed(number, 0.5))
    return {key: min(seconds[1:]) for key, seconds in times.items()}


Gradients = dict[str, tuple[float, Tensor]]


def _agrees(reference: list[Gradients], other: list[Gradients]) -> bool:
    for expected, found in zip(reference, other, strict=True):
        for name, (loss, gradient) in expected.items():
            loss_found, gradient_found = found[name]
            cosine = nn.functional.cosine_similarity(gradient, gradient_found, dim=0)
            if abs(loss - loss_found) > 0.01 * abs(loss) + 1e-6 or not float(cosine) > 0.99:
                return False
    return True
