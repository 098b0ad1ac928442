"""Sequences of different lengths, as one tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput, RangeError, ShapeError, require_whole
from .alphabet import Alphabet
from .base import Domain, as_tensor, checked_shape
from .plain import Discrete, Real

__all__ = ["Sequences"]


@final
@dataclass(frozen=True)
class Sequences(Domain):
    r"""Sequences :math:`x_1 \dots x_T` of elements of one kind, of different lengths T up to a longest one.

    A batch is one tensor ``(N, longest, *element.shape)``. After its last element a sequence holds **the end**, a value that
    no element takes: ``levels`` for whole numbers and plus infinity for real ones. It fills the rest.

    What a log-probability means depends on ``ends``:

    - False: :math:`\log p(x_1 \dots x_T \mid T)`, given the length. A sequence has at least one element.
    - True (text): :math:`\log p(x_1 \dots x_T, \mathrm{end})`. The end is one more symbol of the alphabet, scored once, where
      it first stands; a sequence of exactly ``longest`` elements is *cut*, and no end is scored. So the probabilities of all
      sequences, the empty one among them, sum to one.

    Args:
        element: What one element is.
        longest: The most elements of a sequence.
        ends: Whether the end is one of the symbols; only for elements that are one whole number each.
        missing: Whether real values may be missing (NaN).
        alphabet: Of texts, what the levels are written as.
    """

    element: Discrete | Real
    longest: int
    ends: bool = False
    missing: bool = False
    alphabet: Alphabet | None = None

    def __post_init__(self) -> None:
        if isinstance(self.element, Mapping):
            object.__setattr__(self, "element", _element(self.element))
        if isinstance(self.alphabet, Mapping):
            object.__setattr__(self, "alphabet", _alphabet(self.alphabet))
        if not isinstance(self.element, Discrete | Real):
            raise BadInput("The elements of a sequence are discrete or real.", got=self.element)
        require_whole("longest", self.longest, 1, 2**26)
        checked_shape(self.shape)
        if not (isinstance(self.ends, bool) and isinstance(self.missing, bool)):
            raise BadInput("ends and missing are true or false.", got=(self.ends, self.missing))
        if self.ends and not (isinstance(self.element, Discrete) and self.element.shape == ()):
            raise BadInput("Only sequences of single symbols, Discrete((), levels), can have an end symbol.", got=self)
        if self.alphabet is not None and not (self.ends and len(self.alphabet) == self.end):
            raise BadInput("A text has an end, and as many levels as its alphabet has symbols.", got=self)
        if self.missing and not isinstance(self.element, Real):
            hint = "pass a mask, observed=, to the verbs instead"
            raise BadInput("Only real elements can have missing values of their own.", got=self.element, hint=hint)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """That of the tensor of one sequence."""
        return (self.longest, *self.element.shape)

    @property
    def image(self) -> bool:
        """A sequence is no picture."""
        return False

    @property
    def measure(self) -> Literal["mass", "density", "mixed"]:
        """That of an element."""
        return self.element.measure

    @property
    def steps(self) -> Tensor:
        """Those of an element, at every position."""
        return self.element.steps.expand(self.shape)

    @property
    def end(self) -> int | float:
        """What stands after the last element."""
        return self.element.levels if isinstance(self.element, Discrete) else math.inf

    @property
    def storage(self) -> torch.dtype:
        """That of an element, with room for the end."""
        return Discrete((), self.element.levels + 1).storage if isinstance(self.element, Discrete) else torch.float32

    def unpacked(self, x: Tensor) -> Tensor:
        """As the elements are."""
        return self.element.unpacked(x)

    def present(self, x: Tensor) -> Tensor:
        """Where a batch has elements, ``(N, longest)``: everywhere before the end."""
        return (x != self.end).flatten(2).any(2) if self.element.shape else x != self.end

    def lengths(self, x: Tensor) -> Tensor:
        """The number of elements of each sequence, ``(N,)`` int64; the end is none."""
        return self.present(x).sum(1)

    def sizes(self, x: Tensor) -> Tensor:
        """The scalar entries of the elements that are there."""
        return self.lengths(x) * self.element.entries

    def observed(self, x: Tensor, asked: Tensor | None = None) -> Tensor | None:
        """As for every domain; and the length is known, or what comes after an end that is."""
        mask = super().observed(x, asked)
        if mask is None:
            return None
        ended = x == self.end
        return mask | ((ended & mask).cumsum(1) > 0 if self.ends else ended)

    def sound(self, x: Tensor) -> Tensor:
        """As for every domain; and the end is sound."""
        return super().sound(x) | (x == self.end)

    def listed(self, x: Tensor) -> list[Tensor]:
        """The sequences one by one, ``(T, *element.shape)`` each, without the end."""
        return [row[:length] for row, length in zip(x, self.lengths(x).tolist(), strict=True)]

    def texts(self, x: Tensor) -> list[str]:
        """What the sequences are written as.

        Raises:
            BadInput: if they are no texts.
        """
        return [self._written.decode(sequence.tolist()) for sequence in self.listed(x)]

    def characters(self, x: Tensor) -> Tensor:
        """The number of characters of each text, ``(N,)``: what bits per character divide by.

        Raises:
            BadInput: if they are no texts.
        """
        return self._written.characters(x)

    @property
    def _written(self) -> Alphabet:
        if self.alphabet is None:
            raise BadInput("These sequences are no texts: they have no alphabet.", got=self)
        return self.alphabet

    def cut(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The batch with the end after so many elements of each sequence, ``lengths`` ``(N,)``."""
        over = torch.arange(x.shape[1], device=x.device) >= lengths.to(x.device)[:, None]
        return x.masked_fill(over.reshape(*over.shape, *[1] * len(self.element.shape)), self.end)

    def check(self, x: object, name: str = "x") -> Tensor:
        """The batch as one tensor of shape ``(N, longest, *element.shape)``.

        Args:
            x: A list of arrays ``(T, *element.shape)`` of different lengths, or one array that holds the end after the last
                elements, of ``longest`` elements or fewer. Texts can also be a list of strings.
            name: What messages call it.

        Raises:
            DtypeError: if it is not numeric.
            ShapeError: if an element has another shape, or a sequence is too long.
            RangeError: if a sequence is empty and may not be, or a value is missing and may not be, or lies outside the
                element's domain, or comes after the end.
        """
        if isinstance(x, list | tuple) or (isinstance(x, np.ndarray) and x.dtype == object):
            return self._check_values(self._padded(list(x), name), name)
        tensor = as_tensor(x, name)
        if tensor.ndim != 1 + len(self.shape) or tuple(tensor.shape[2:]) != self.element.shape:
            wanted = "".join(f", {side}" for side in self.element.shape)
            raise ShapeError(
                f"{name} does not have the shape of these sequences.",
                got=tuple(tensor.shape),
                hint=f"pass a list of arrays of shape (length{wanted or ','}), or one array (N, longest{wanted})",
            )
        return self._check_values(self._extended(tensor, name), name)

    def _padded(self, sequences: Sequence[object], name: str) -> Tensor:
        """A list of sequences as one tensor, of the widest type among them."""
        parts = [self._part(sequence, f"{name}[{index}]") for index, sequence in enumerate(sequences)]
        return torch.cat(parts) if parts else torch.zeros(0, *self.shape)

    def _part(self, sequence: object, name: str) -> Tensor:
        """One sequence as a batch of one."""
        if isinstance(sequence, str) and self.alphabet is not None:
            sequence = self.alphabet.encode(sequence)
        tensor = as_tensor(sequence, name)
        if tensor.numel() == 0 and tensor.shape[:1] == (0,):
            tensor = tensor.new_zeros(0, *self.element.shape)
        if tensor.ndim != len(self.shape) or tuple(tensor.shape[1:]) != self.element.shape:
            wanted = "".join(f", {side}" for side in self.element.shape)
            raise ShapeError(
                f"{name} does not have the shape of a sequence here.",
                got=tuple(tensor.shape),
                hint=f"every sequence is an array of shape (length{wanted or ','}): as many features in each",
            )
        return self._extended(tensor[None], name)

    def _extended(self, x: Tensor, name: str) -> Tensor:
        """The end up to the longest length."""
        short = self.longest - x.shape[1]
        if short < 0:
            raise ShapeError(
                f"{name} is longer than {self.longest} elements.",
                got=x.shape[1],
                hint="cut it, or make the data set with a larger longest=",
            )
        if not x.is_floating_point():  # room for the end
            x = x.to(torch.int64 if isinstance(self.element, Discrete) else torch.float32)
        return torch.cat([x, x.new_full((len(x), short, *self.element.shape), self.end)], 1) if short else x

    def _check_values(self, x: Tensor, name: str) -> Tensor:
        self._check_ends(x, name)
        there = (x != self.end).nonzero(as_tuple=True)
        values = x[there]
        if self.missing:
            values = values[~values.isnan()]
        elif values.is_floating_point() and bool(values.isnan().any()):
            raise self._at(x.isnan(), f"{name} must not have missing values (NaN).", "nan")
        self.element._check_values(values, f"an element of {name}")
        return self._typed(x)

    def _check_ends(self, x: Tensor, name: str) -> None:
        """Whole elements end, nothing comes after the end, and nothing is empty that may not be."""
        ended = x == self.end
        gone = ended.flatten(2).all(2) if self.element.shape else ended
        part = ended.flatten(2).any(2) & ~gone if self.element.shape else torch.zeros_like(gone)
        if bool(part.any()):
            raise self._at(part, f"A part of an element of {name} has ended: all of it or nothing does.", self.end)
        resumed = gone[:, :-1] & ~gone[:, 1:]
        if bool(resumed.any()):
            raise self._at(resumed, f"In {name}, an element comes after the end.", self.end)
        if not self.ends and bool(gone[:, 0].any()):
            raise RangeError(
                f"{name} holds a sequence of length 0.",
                got=f"sequence {int(gone[:, 0].nonzero()[0])} is empty",
                hint="leave empty sequences out: every sequence has at least one element",
            )

    def _at(self, where: Tensor, problem: str, value: object) -> RangeError:
        row, position, *_ = where.nonzero()[0].tolist()
        return RangeError(problem, got=f"{value} at position {position} of sequence {row}")

    def _typed(self, x: Tensor) -> Tensor:
        if isinstance(self.element, Discrete):
            return x.to(torch.int64)
        return x if x.dtype == torch.float64 else x.to(torch.float32)

    def to_json(self) -> dict[str, Any]:
        """As JSON, the element as a domain of its own."""
        rest = {"longest": self.longest, "ends": self.ends, "missing": self.missing}
        alphabet = {} if self.alphabet is None else {"alphabet": self.alphabet.to_json()}
        return {"kind": "sequences", "element": self.element.to_json(), **rest, **alphabet}


def _alphabet(value: Mapping[str, Any]) -> Alphabet:
    """The alphabet that ``to_json`` wrote."""
    try:
        return Alphabet(**value)
    except TypeError as error:
        raise BadInput("This is not the description of an alphabet.", got=sorted(value)) from error


def _element(value: Mapping[str, Any]) -> object:
    """The element that ``to_json`` wrote."""
    fields = dict(value)
    kind = {"discrete": Discrete, "real": Real}.get(str(fields.pop("kind", None)))
    try:
        return None if kind is None else kind(**fields)
    except TypeError as error:
        raise BadInput("This is not the description of an element.", got=value) from error
