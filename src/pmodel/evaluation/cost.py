"""What drawing samples costs: calls of the network, and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["counted"]


@contextmanager
def counted(model: nn.Module) -> Iterator[Counter[str]]:
    """Counts how often each layer with weights is run: the most of any is the number of network calls, one after another."""
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
