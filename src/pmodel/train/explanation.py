"""Why a step came out not finite: the first bad tensor, the likely cause and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from ..errors import Diverged, PmodelError
from ..learning import Batch, Loss, Phase

__all__ = ["SMALLER_STEPS", "explain"]

LARGE = 1e3
"""Weights and activations beyond this have run away. Layers are initialised so that both are of order one, and Adam moves a
weight by no more than its rate in a step: at a rate of 1e-3 it would take a million steps in one direction."""

LOWER = "lower the learning rate (--set train.rate=…), lengthen the warm-up (--set train.warmup=0.1)"
SMALLER_STEPS = f"{LOWER}, or clip the gradients (--set train.clip=1)"
"""The remedy of steps that are too large."""


@final
@dataclass(frozen=True)
class _Finding:
    where: str
    cause: str
    remedy: str


def explain(
    model: nn.Module,
    phase: Phase,
    batch: Batch,
    what: Literal["loss", "gradient"],
    step: int,
    redo: Callable[[], Loss],
    arithmetic_name: str,
    parts: Mapping[str, float],
    phases: Sequence[Phase] = (),
) -> Diverged:
    """Find the first tensor that is not finite, in the order in which it could have spoiled the others.

    That is: a datum of the batch; a parameter or buffer; the output of a layer; for a gradient, the layer nearest to the
    loss whose gradient is bad. Layers are watched while the loss is computed once more, with the same noise.

    Args:
        model: As it was when the step failed.
        phase: The phase that failed.
        batch: Its batch.
        what: What was not finite.
        step: The step's number.
        redo: Computes the loss again.
        arithmetic_name: ``float32`` or ``bfloat16``.
        parts: The loss's parts as they were.
        phases: All phases of the model: whose update broke a weight is told, which may be another one's than failed.

    Returns:
        The error to raise.
    """
    finding = (
        _in_batch(batch) or _in_weights(model, step, phases) or _in_layers(model, phase, what, redo, arithmetic_name)
    )
    if finding is None:
        finding = _in_loss(model, arithmetic_name, parts, what)
    problem = f"The {what} of phase {phase.name!r} is not finite at step {step}: {finding.where}. {finding.cause}"
    return Diverged(problem, got=dict(parts) or None, hint=finding.remedy)


def _in_batch(batch: Batch) -> _Finding | None:
    if not batch.x.is_floating_point():
        return None
    bad = ~batch.x.isfinite()
    if batch.observed is not None:
        bad &= batch.observed
    if not bool(bad.any()):
        return None
    first = bad.nonzero()[0].tolist()
    value, rows = float(batch.x[tuple(first)]), int(bad.flatten(1).any(1).sum())
    return _Finding(
        f"the batch holds {value} at entry {tuple(first[1:])} of its datum {first[0]}",
        f"The data are the cause: {rows} of the {len(batch.x)} data of this batch are not finite.",
        "remove or repair these data; missing values of a table belong in columns that are declared missing",
    )


def _in_weights(model: nn.Module, step: int, phases: Iterable[Phase]) -> _Finding | None:
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in named:
            if _bad(tensor) and (kind == "parameter" or bool((tensor.isnan() | (tensor == torch.inf)).any())):
                where = f"the {kind} {name!r} is not finite in {int((~tensor.isfinite()).sum())} of {tensor.numel()} entries"
                if step == 0:
                    cause = "It was so before the first step: it was set from data that are not finite, or constant."
                    return _Finding(where, cause, "look for values that are not finite in the training data")
                owner = next((phase.name for phase in phases if any(p is tensor for p in phase.parameters)), None)
                update = "An earlier update" if owner is None else f"An update of phase {owner!r}"
                return _Finding(where, f"{update} broke it: the steps are too large.", SMALLER_STEPS)
    return None


def _in_layers(
    model: nn.Module, phase: Phase, what: str, redo: Callable[[], Loss], arithmetic_name: str
) -> _Finding | None:
    """The first layer, forwards, whose output is bad; else, if the loss is fine, the first one backwards whose gradient is."""
    forwards: list[tuple[str, float]] = []
    backwards: list[str] = []

    def watch(name: str, inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            if not forwards and _bad(tensor):
                forwards.append((name, max(map(_largest, _tensors(inputs)), default=0.0)))
            if tensor.requires_grad:
                tensor.register_hook(lambda g: backwards.append(name) if _bad(g) else None)  # type: ignore[no-untyped-call]

    with torch.enable_grad(), _watched(model, watch):
        try:
            loss = redo()
            if what == "gradient":
                torch.autograd.grad(loss.total, phase.parameters, allow_unused=True)
        except (RuntimeError, ValueError, PmodelError):  # NaN may be refused on its way, by torch.multinomial for one
            if not forwards:
                return None
    if forwards:
        name, largest = forwards[0]
        where = f"the first bad tensor is the output of {name}, whose input reaches {largest:.3g}"
        return _Finding(where, *_cause(max(largest, _largest_weight(model)), arithmetic_name))
    if backwards:
        where = f"the first bad gradient, seen from the loss, is that of the output of {backwards[0]}"
        return _Finding(where, *_cause(_largest_weight(model), arithmetic_name))
    return None


def _in_loss(model: nn.Module, arithmetic_name: str, parts: Mapping[str, float], what: str) -> _Finding:
    """Every layer is finite: what is computed from their outputs is not."""
    bad = [name for name, value in parts.items() if not abs(value) < torch.inf]
    where = f"every layer is finite, and {' and '.join(map(repr, bad)) if bad else f'the {what} itself'} is not"
    return _Finding(where, *_cause(_largest_weight(model), arithmetic_name))


def _cause(largest: float, arithmetic_name: str) -> tuple[str, str]:
    """What is likely, and what to do, from the largest weight or activation on the way."""
    if largest > LARGE:
        return f"Weights or activations have run away, to {largest:.3g}: the steps are too large.", SMALLER_STEPS
    if arithmetic_name != "float32":
        return f"No weight is large: {arithmetic_name} may be too coarse here.", f"use --precision float32, or {LOWER}"
    return (
        f"No weight or activation is large ({largest:.3g} at most): a logarithm, root or exponential left its range.",
        f"look for constant or extreme columns in the data, {LOWER}",
    )


@contextmanager
def _watched(model: nn.Module, watch: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """Call ``watch`` with name, inputs and output of every layer that runs."""

    def hook(name: str) -> Callable[..., None]:
        return lambda _, inputs, output: watch(name, inputs, output)

    layers = [(f"{name!r} ({type(layer).__name__})", layer) for name, layer in model.named_modules() if name]
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterable[Tensor]:
    """The tensors of a layer's inputs or output, however they are nested."""
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for inner in values for tensor in _tensors(inner)]


def _bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.isfinite().all())


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max()) if tensor.is_floating_point() and tensor.numel() else 0.0


def _largest_weight(model: nn.Module) -> float:
    return max(map(_largest, model.parameters()), default=0.0)
