"""The fastest arithmetic that agrees with float32, found by measurement on this machine."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from ..learning import Recipe
from ..model import Model
from .batches import Batches

__all__ = ["Arithmetic", "fastest"]

Precision = Literal["float32", "bfloat16"]
Layout = Literal["contiguous", "channels_last"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

GAIN = 0.95
"""Another arithmetic is taken only if its step needs less than this part of float32's time."""


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

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context under which losses are computed."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def fastest(model: Model, batches: Batches, recipe: Recipe, seed: int) -> Arithmetic:
    """Time some steps of each candidate, interleaved; the fastest whose losses and gradients agree with float32.

    Agreement: on two batches, each phase's loss within 1 % and the cosine of its gradients above 0.99.
    """
    from .stepper import Stepper  # late: a stepper has an arithmetic

    convolutional = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in model.modules())
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last") if convolutional else ("contiguous",)
    candidates = [Arithmetic(precision, layout) for precision in PRECISIONS for layout in layouts]
    steppers = {a: Stepper(copy.deepcopy(model), batches, recipe, seed, a) for a in candidates}
    reference = [steppers[candidates[0]].gradients(number) for number in range(2)]
    agreeing = [a for a in candidates if _agrees(reference, [steppers[a].gradients(number) for number in range(2)])]
    times: dict[Arithmetic, list[float]] = {a: [] for a in agreeing}
    for number in range(4):
        for a in agreeing:
            began = time.perf_counter()
            steppers[a].step(number, 0.5)
            times[a].append(time.perf_counter() - began)
    seconds = {a: min(t[1:]) for a, t in times.items()}
    best = min(seconds, key=lambda a: seconds[a])
    return best if seconds[best] < GAIN * seconds[candidates[0]] else candidates[0]


Gradients = dict[str, tuple[float, Tensor]]


def _agrees(reference: list[Gradients], other: list[Gradients]) -> bool:
    for expected, found in zip(reference, other, strict=True):
        for name, (loss, gradient) in expected.items():
            loss_found, gradient_found = found[name]
            cosine = nn.functional.cosine_similarity(gradient, gradient_found, dim=0)
            if abs(loss - loss_found) > 0.01 * abs(loss) + 1e-6 or not float(cosine) > 0.99:
                return False
    return True
