"""A law for models on other devices, kept where there is none: whatever makes a tensor says on which device."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...randomness import generator
from ..check import require
from ..fitting import rows_of, start
from ..law import Law, always
from ..subject import Subject

__all__ = ["LAWS"]

LIBRARY = str(Path(torch.__file__).parent)
NAMES = (
    *("arange", "as_tensor", "empty", "eye", "from_numpy", "full", "linspace", "logspace", "normal", "ones", "rand"),
    *("randint", "randn", "randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros"),
)
FACTORIES = tuple(getattr(torch, name) for name in NAMES)
"""What makes tensors on the processor unless it is told otherwise."""


def tensors_name_their_device(subject: Subject) -> None:
    """What a model makes in its mathematics is made on the device of its data, not on the processor by default."""
    for what, call in (_drawn(subject) | _learned(subject)).items():
        with torch.no_grad(), _Watch() as watch:
            call()
        require(not watch.unnamed, f"{what} makes tensors without naming a device.", got=watch.unnamed[:3])


def _drawn(subject: Subject) -> dict[str, Callable[[], object]]:
    """The private methods behind the verbs that the model has: public ones check input, which may come from anywhere."""
    model, noise = subject.fitted, generator(0, "devices")
    batch = rows_of(subject.held_out, torch.arange(4))
    x, given = batch.x, batch.given
    calls: dict[str, Callable[[], object]] = {
        "sample": lambda: model._sample(4, given, noise),
        "score": lambda: model._weigher(given, noise, 2)(x, given, None),
        "energy": lambda: model._energy(x, given),
        "encode": lambda: model._encode(x, given),
        "decode": lambda: model._decode(model._encode(x, given).mode, given).sample(noise),
        "complete": lambda: model._complete(x, torch.rand(x.shape, generator=noise) < 0.5, given, noise),
    }
    return {verb: call for verb, call in calls.items() if model.can(verb)}


def _learned(subject: Subject) -> dict[str, Callable[[], object]]:
    """What a model is asked for while it learns."""
    model, noise, batch = subject.fresh(), generator(0, "devices"), rows_of(subject.data, torch.arange(64))
    start(model, subject.data, 0)
    calls: dict[str, Callable[[], object]] = {"prepare": lambda: model.prepare(batch.x, batch.given, noise)}
    for phase in model.phases() if "phases" in model.learns else ():
        calls[f"phase {phase.name!r}"] = functools.partial(torch.enable_grad()(phase.loss), batch, noise)
    if model.learns == ("statistics",):
        calls |= {
            "initialise": lambda: model.initialise(batch, noise),
            "statistics": lambda: model.statistics(batch, noise),
            "maximise": lambda: model.maximise(model.statistics(batch, noise)),
        }
    return calls


class _Watch(TorchFunctionMode):
    """Notes the lines that make a tensor of more than one number without a device."""

    def __init__(self) -> None:
        super().__init__()
        self.unnamed: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in FACTORIES and isinstance(made, Tensor) and made.ndim and (kwargs or {}).get("device") is None:
            like = args and isinstance(args[0], Tensor)  # as_tensor of a tensor stays where it is
            frame = next(f for f in reversed(traceback.extract_stack()[:-1]) if not f.filename.startswith(LIBRARY))
            if not like and frame.filename != __file__:
                self.unnamed.append(f"{frame.line}")
        return made


LAWS = (Law(tensors_name_their_device, always),)
