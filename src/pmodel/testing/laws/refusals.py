"""The law of bad input: what does not fit is refused, in words, before any arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...domain import Discrete, Domain, Sequences, Table
from ...errors import BadInput
from ...learning import Batch
from ..check import require
from ..fitting import rows_of
from ..law import Law, always
from ..subject import Subject

__all__ = ["LAWS"]

BAD_SEEDS = (-1, 0.5, True, 2**63)


def bad_input_is_refused(subject: Subject) -> None:
    """Data, labels, masks, seeds and numbers that do not fit are refused with a sentence that shows the value."""
    for what, call in _bad_calls(subject, subject.fitted):
        try:
            call()
        except BadInput as error:
            told = error.problem.strip().endswith(".") and " " in error.problem and error.got is not None
            require(told, f"The refusal of {what} is not a sentence with the value.", got=str(error))
        except Exception as error:
            require(False, f"{what} is met by {type(error).__name__}, not BadInput.", got=error)
        else:
            require(False, f"{what} is accepted.")


def _bad_calls(subject: Subject, model: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What to refuse, in words, and the call."""
    data = rows_of(subject.held_out, torch.arange(4))
    for verb in ("score", "elbo", "encode", "complete"):
        if model.can(verb):
            call = partial(_call, model, verb, data)
            for what, x in _bad_data(subject.domain, data.x):
                yield f"{verb} of {what}", partial(call, x=x)
            for what, label in _bad_labels(model, data.given):
                yield f"{verb} with {what}", partial(call, given=label)
            for seed in BAD_SEEDS if verb != "encode" else ():
                yield f"{verb} with seed {seed}", partial(call, generator=seed)
            for effort in (0, -1, 1.5, True) if verb in ("score", "elbo") else ():
                yield f"{verb} with effort {effort}", partial(call, effort=effort)
    if model.can("complete"):
        wide = torch.ones(2, *subject.domain.shape, dtype=torch.bool)
        for what, mask in (("a mask of whole numbers", wide[0].long()), ("a mask of another shape", wide)):
            yield f"complete with {what}", partial(_call, model, "complete", data, observed=mask)
    if model.can("sample"):
        for n in (-1, 1.5, True, "3", 2**62):
            yield f"sampling n = {n!r}", partial(model.sample, n, generator=0)
        for seed in BAD_SEEDS:
            yield f"sampling with seed {seed}", partial(model.sample, 1, generator=seed)
        for lengths in (
            (0, -1, subject.domain.shape[0] + 1, [1, 1], "a") if isinstance(subject.domain, Sequences) else (1,)
        ):
            yield f"sampling lengths {lengths!r}", partial(model.sample, 4, lengths=lengths, generator=0)
        for what, label in _bad_labels(model, data.given):
            yield f"sampling with {what}", partial(model.sample, 4, given=label, generator=0)


def _call(model: Any, verb: str, data: Batch, **changes: Any) -> Any:
    """A verb on good data, but for the changes."""
    arguments: dict[str, Any] = {"x": data.x, "given": data.given}
    if verb == "complete":
        arguments["observed"] = torch.ones(model.domain.shape, dtype=torch.bool)
    return getattr(model, verb)(**arguments | changes)


def _bad_data(domain: Domain, x: Tensor) -> Iterator[tuple[str, Any]]:
    """Batches that are not of the domain."""
    yield "data of too few axes", x[0, ..., 0] if x.ndim > 2 else x[:, 0]
    yield "data of too many axes", x.unsqueeze(0)
    yield "data of another size", torch.cat([x, x], -1)
    yield "text", [["a"] * domain.entries]
    yield "complex numbers", x.to(torch.complex64)
    if isinstance(domain, Sequences):
        yield from _bad_sequences(domain, x)
    else:
        yield "a ragged list", [[0], [0, 1]]
    yield "infinities", torch.full(x.shape, float("inf"))
    if not (all(column.missing for column in domain.columns) if isinstance(domain, Table) else domain.missing):
        yield "NaN", torch.full(x.shape, float("nan"))
    element = domain.element if isinstance(domain, Sequences) else domain
    if isinstance(element, Discrete):
        yield "a level too high", torch.full_like(x, element.levels + (element is not domain))
        yield "a negative level", torch.full_like(x, -1)
        yield "a fraction of a level", torch.full(x.shape, 0.5)


def _bad_sequences(domain: Sequences, x: Tensor) -> Iterator[tuple[str, Any]]:
    """Lists and batches of what is no sequence here."""
    element = torch.zeros(domain.element.shape)
    yield (
        "a sequence of elements with another shape",
        [element.expand(1, *element.shape), torch.zeros(1, *element.shape, 2)],
    )
    yield "a sequence that is too long", [element.expand(domain.longest + 1, *element.shape)]
    if not domain.ends:
        yield "an empty sequence", [element.expand(1, *element.shape), []]
    if domain.longest > 1:
        resumed = domain.cut(x.clone(), torch.ones(len(x), dtype=torch.int64))
        resumed[:, -1], resumed[:, 0] = 0, domain.end
        yield "an element after the end", resumed


def _bad_labels(model: Any, given: Tensor | None) -> Iterator[tuple[str, Any]]:
    """Conditions that are not the model's."""
    if given is None:
        yield "a label for an unconditional model", 0
        return
    yield "a label too high", torch.full_like(given, model.given.levels)
    yield "a negative label", torch.full_like(given, -1)
    yield "a label for all that is negative", -1
    yield "too few labels", given[:2]
    yield "labels of another shape", given.unsqueeze(1)
    yield "fractions of a label", torch.full(given.shape, 0.5)


LAWS = (Law(bad_input_is_refused, always),)
