"""Derived randomness: every draw comes from a generator that is a function of a seed and a purpose.

Nothing in pmodel draws from, or reseeds, PyTorch's global generator. A run stores one seed and a step number;
``generator(seed, "train", step, phase, shard)`` gives the same stream wherever and whenever it is asked for, so that a
stopped run goes on with the noise it would have had.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from .errors import BadInput

__all__ = ["Seed", "as_generator", "derive", "distinct", "few", "forked", "generator", "some"]

Seed = int | torch.Generator | None
"""What public methods accept: a whole number, a generator that they advance, or None for fresh entropy."""


MANY = 2**22
"""A permutation of more numbers than these takes memory that a few of them are not worth: a gigabyte for 10⁸."""


def derive(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed: the BLAKE2 hash of the run's seed and the purpose of the draw."""
    text = "\x1f".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one purpose, for example ``generator(seed, "train", step, phase, shard)``."""
    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))


def as_generator(seed: Seed, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator from whatever a user passed.

    Raises:
        BadInput: if the seed is not a whole number, a generator or None, or is negative or beyond 63 bits.
    """
    if isinstance(seed, torch.Generator):
        return seed
    if seed is None:
        return torch.Generator(device=device).manual_seed(secrets.randbits(63))
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise BadInput("A seed is a whole number from 0 to 2**63 - 1.", got=seed)
    return generator(seed, "user", device=device)


def few(count: int, n: int) -> bool:
    """Whether so many of ``n`` numbers are so few, and these so many, that a permutation is not worth its memory."""
    return n > MANY and count <= n // 64


def some(n: int, most: int, noise: torch.Generator) -> torch.Tensor:
    """At most so many of the numbers 0 … n - 1, without replacement and in random order, int64.

    A few of many are drawn one after another, in memory of the few.
    """
    if not few(most, n):
        return torch.randperm(n, generator=noise)[:most]
    return distinct(lambda: torch.randint(n, (most,), generator=noise), most)


def distinct(draw: Callable[[], torch.Tensor], most: int) -> torch.Tensor:
    """The first so many different numbers of independent draws, in order: the same as drawing without replacement."""
    drawn = draw()
    while True:
        _, first = np.unique(drawn.numpy(), return_index=True)
        if len(first) >= most:
            return drawn[torch.from_numpy(np.sort(first)[:most])]
        drawn = torch.cat([drawn, draw()])


@contextmanager
def forked(seed: int, *purpose: int | str) -> Iterator[None]:
    """Run under a copy of PyTorch's global generator, seeded for the purpose and put back afterwards.

    For code that can only draw globally: layer initialisation and dropout.
    """
    default, gpus = torch.default_generator, bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    before, on_gpus = default.get_state(), torch.cuda.get_rng_state_all() if gpus else []
    default.manual_seed(derive(seed, *purpose))
    if gpus:
        torch.cuda.manual_seed_all(derive(seed, *purpose))
    try:
        yield
    finally:
        default.set_state(before)
        if gpus:
            torch.cuda.set_rng_state_all(on_gpus)
