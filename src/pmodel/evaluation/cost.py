"""What drawing samples costs: calls of the network, and memory."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import nn

try:
    import resource
except ImportError:  # Windows keeps no such account
    resource = None  # type: ignore[assignment]

__all__ = ["Memory", "counted", "memory_watched"]

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK = "5"
"""Written to ``clear_refs``, it resets the peak that ``status`` tells (proc(5))."""


@contextmanager
def counted(model: nn.Module) -> Iterator[Counter[str]]:
    """Counts how often each layer with weights is run: the most of any is the number of network calls."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    layers = [(name, m) for name, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(counting(name)) for name, layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@final
@dataclass
class Memory:
    """What was found.

    Args:
        peak: Bytes in use at most, beyond those in use before; None where the system does not tell.
    """

    peak: int | None = None


@contextmanager
def memory_watched(device: torch.device) -> Iterator[Memory]:
    """The most memory that a block takes: of the GPU if it computes there, else of the process.

    Memory that the process has taken before and not given back to the system is used again unseen, so that the number is at
    most what the block needs. Where the peak cannot be reset, it is seen only if it is the highest of the process so far.
    """
    found = Memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found.peak = torch.cuda.max_memory_allocated(device) - before
        return
    gc.collect()  # garbage that went in the middle of the block would hide as much of what the block takes
    resettable = _reset()
    before = _told("VmRSS") if resettable else _highest()
    yield found
    after = _told("VmHWM") if resettable else _highest()
    if after > before or resettable:
        found.peak = max(0, after - before)


def _reset() -> bool:
    try:
        RESET.write_text(PEAK)
    except OSError:
        return False
    return STATUS.exists()


def _told(name: str) -> int:
    """A line of the process's status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _highest() -> int:
    """The most memory that the process ever had, in bytes."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
