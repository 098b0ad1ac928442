"""Where tensors are: the processor, or a GPU that PyTorch can use. The only place that asks which there is."""

from __future__ import annotations

import torch

from .errors import BadInput

__all__ = ["device_of"]


def device_of(name: str) -> str:
    """The device that a name stands for: ``cpu`` or ``cuda``.

    Args:
        name: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Raises:
        BadInput: if it is no such name, or there is no such device.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name not in ("cpu", "cuda"):
        raise BadInput("device is auto, cpu or cuda.", got=name, hint="CUDA_VISIBLE_DEVICES chooses among GPUs")
    if name == "cuda" and not available:
        raise BadInput("There is no GPU that PyTorch can use here.", got=name, hint="use device cpu, or auto")
    return name
