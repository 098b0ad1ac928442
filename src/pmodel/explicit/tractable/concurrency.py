"""A pass over the data by threads that do not wait for each other.

PyTorch divides every single operation among its threads, which then wait for the slowest. The blocks of a pass are small, so
that on a busy machine nearly all of the time goes into waiting. Here each thread takes a part of the data and computes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["in_parts"]

T = TypeVar("T")

WORTHWHILE = 4
"""Blocks that a thread should have to do."""


def in_parts(work: Callable[[Tensor], T], x: Tensor, block: int) -> list[T]:
    """``work`` on consecutive parts of the rows of ``x``, in order: as many parts as PyTorch uses threads.

    The answer depends on the number of threads, and on nothing else.

    Args:
        work: From rows to a result; it must not write to what the others read.
        x: Data, in one part if they are few or on another device.
        block: How many rows ``work`` treats at a time.
    """
    threads = torch.get_num_threads()
    if x.device.type != "cpu" or len(x) < threads * WORTHWHILE * block:
        return [work(x)]
    return _each(work, list(torch.chunk(x, threads)))


def _each(work: Callable[[Tensor], T], parts: Sequence[Tensor]) -> list[T]:
    """``work`` on each of the parts, in order: as many at a time as PyTorch uses threads, each with one thread alone.

    Args:
        work: From a part to a result; it must not write to what the others read.
        parts: The parts.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not parts or parts[0].device.type != "cpu":
        return [work(part) for part in parts]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)  # each thread has its own setting, but new threads take over the latest
