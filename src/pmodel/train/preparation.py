"""What comes before the first step: the data in batches, what a model must know of them, and the threads of the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..data import Dataset, require_one_set
from ..domain import Sequences
from ..errors import BadInput
from ..model import Model
from ..randomness import generator
from .batches import Batches
from .stepper import SUBSET

if TYPE_CHECKING:
    from .planning import Plan

__all__ = ["SUBSET", "batches_of", "prepare", "require_fit", "threads_set"]


def require_fit(model: Model, data: Dataset) -> None:
    """Refuse data that are not of the model's domain.

    Raises:
        BadInput: if they are not, or the model needs other labels than they have, or they are two sets and it does not
            translate, or they are one and it does.
    """
    if not model.translates:
        require_one_set(data, f"What {type(model).__name__} learns from")
    elif data.origin is None:
        words = f"{type(model).__name__} translates: it learns from two sets of data."
        raise BadInput(words, got=f"{data.name} alone", hint="name the second with --to, or pass unpaired(a, b)")
    if model.domain != data.domain:
        raise BadInput(f"The model is of {model.domain}, and {data.name} is not.", got=data.domain)
    given = data.given if data.origin is None else data.origin.domain
    if model.given is not None and model.given != given:
        raise BadInput(f"The model's condition is {model.given}, and that of {data.name} is not.", got=given)


def batches_of(data: Dataset, plan: Plan, *, conditional: bool) -> Batches:
    """The training data in the batches of a plan."""
    device = torch.device(plan.device)
    return Batches(
        data.train,
        data.domain,
        plan.recipe,
        plan.seed,
        device,
        conditional=conditional,
        shards=plan.shards,
        origin=data.origin,
    )


def prepare(model: Model, data: Dataset, batches: Batches, seed: int) -> None:
    """Tell the model how often each label occurs, and what it must know of the data before it learns."""
    subset = batches.subset(SUBSET, seed)
    if model.given is not None and data.train.y is not None:
        model.record_frequencies(data.train.y.to(batches.device, torch.int64))
    if isinstance(data.domain, Sequences) and not data.domain.ends:
        blocks = [(data.domain.lengths(block.x), block.given) for _, block in batches.blocks()]
        labels = [given for _, given in blocks if given is not None]
        model.record_lengths(torch.cat([lengths for lengths, _ in blocks]), torch.cat(labels) if labels else None)
    with torch.no_grad():
        model.prepare(subset.x, subset.given, generator(seed, "prepare", device=batches.device))


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Compute with so many threads, and with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
