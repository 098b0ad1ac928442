"""What public verbs share: how a model is set to answer, and the mask of what is observed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import BadInput, ShapeError

__all__ = ["as_mask", "evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no autocast; every submodule's mode is put back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    where = next((t.device.type for t in (*module.parameters(), *module.buffers())), "cpu")
    module.eval()
    try:
        with torch.no_grad(), torch.autocast(where, enabled=False):
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def as_mask(observed: object, x: Tensor) -> Tensor:
    """A boolean mask of the shape of ``x`` from a mask of that shape or of one datum.

    Raises:
        BadInput: if it is not boolean or has another shape.
    """
    mask = torch.as_tensor(observed, device=x.device)
    if mask.dtype != torch.bool:
        raise BadInput("observed must be boolean: True where the entry is known.", got=str(mask.dtype))
    if mask.shape not in (x.shape, x.shape[1:]):
        raise ShapeError(
            "observed must have the shape of the data, or of one datum.",
            got=tuple(mask.shape),
            hint=f"pass a mask of shape {tuple(x.shape[1:])}",
        )
    return mask.expand(x.shape)
