"""READ FIRST. What a generative model is here: one small class, and the capabilities that it has or has not.

A model learns p_model ≈ p_data of one domain and may offer three things, each one verb:

====================  ================================================  =======================
the demand            the verb                                          the capability
====================  ================================================  =======================
samples are easy      ``sample(n)``                                     ``Samples``
p_model(x) is known   ``score(x)``; exactly: ``log_prob(x)``            ``Density``
                      … or from below: ``elbo(x)``                      ``Bound``
                      … or up to a constant: ``energy(x)``              ``Energy``
factors are visible   ``encode(x)``, ``decode(z)``                      ``Latent``
parts are filled in   ``complete(x, observed)``                         ``Completes``
parts may be missing  ``log_prob(x, observed=...)``                     ``Marginalises``
====================  ================================================  =======================

The capabilities are the abstract classes of ``capability``. A public verb checks its input, derives its generator, splits
the batch and restores the mode, once. The private method of the same name holds only the mathematics, and is all that the
author of a model writes. ``can(verb)`` is true only if the verb works; an unsupported verb fails with the names of the models
that have it.

A model with a domain for its condition (``given``) is conditional: every verb takes ``given=``. Without it, ``sample`` and
``score`` stand for the mixture over the training frequencies of the labels; the other verbs ask for it. A model that
translates is conditioned on a datum of a second set, such as a picture, of which nothing is recorded: all its verbs ask for it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from abc import ABC
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from .domain import Discrete, Domain, Sequences
from .errors import BadInput, NotSupported, RangeError, ShapeError
from .learning import ClosedForm, GradientTrained

__all__ = ["Model", "group_of"]


METHODS = ("sample", "score", "log_prob", "elbo", "energy", "encode", "decode", "complete")
"""The public verbs that are methods of a capability."""

RECORDED = "_frequencies"
"""How the names of buffers end that hold counts of the training data: they are recorded, not learned."""


class Model(nn.Module, ABC):
    """A model of one kind of datum.

    Args:
        domain: What one datum is.
        given: What the condition is, or None for an unconditional model.

    Keyword arguments of a subclass are its configuration: they are recorded in ``options`` as they were passed, are written
    to JSON, and are what ``--set`` sets. So they are numbers, strings, booleans, None, or lists of them. Options that several
    models share are the fields of a dataclass (``group_of``).
    """

    natives: ClassVar[tuple[type[Domain], ...]] = ()
    """The kinds of domain that the model takes as they are; ``make`` wraps it for the others."""
    standardise: ClassVar[bool] = True
    """Whether ``make`` standardises real data in front of this model."""
    conditional: ClassVar[bool] = False
    """Whether the model takes a label ``given`` by itself; else ``make`` fits one for each class."""
    translates: ClassVar[bool] = False
    """Whether the condition is a datum of a second set and no label: it learns from two sets (``data.unpaired``)."""

    chunk: int = 2**21
    """Entries of data that a public verb hands to the private one at a time, so that memory stays bounded."""
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What ``--size tiny`` and ``--size small`` stand for, as options; ``base`` is the defaults."""
    verbs: ClassVar[tuple[str, ...]] = ()
    """The verbs that a capability adds."""

    options: dict[str, Any]
    given_frequencies: Tensor
    length_frequencies: Tensor
    """Of sequences without an end symbol: how often each label comes with each length from 1, ``(labels or 1, longest)``."""

    def __init__(self, domain: Domain, given: Domain | None = None) -> None:
        super().__init__()
        self.domain = domain
        self.given = given
        if self.translates and (given is None or given.label):
            raise BadInput("The condition of a model that translates is a datum of a second set.", got=str(given))
        if given is not None and not given.label and not self.translates:
            raise BadInput("The condition of a model is a class label: Discrete((), levels=K).", got=given)
        levels = given.levels if isinstance(given, Discrete) and given.label else 0
        self.register_buffer("given_frequencies", torch.full((levels,), 1 / max(levels, 1), dtype=torch.float64))
        if isinstance(domain, Sequences) and not domain.ends:
            uniform = torch.full((max(levels, 1), domain.longest), 1 / domain.longest, dtype=torch.float64)
            self.register_buffer("length_frequencies", uniform)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls, cls.__init__)  # type: ignore[method-assign]

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """The smallest sensible instance for a domain: for tests and first looks. Every model of the catalogue has one.

        That of ``sizes["tiny"]``, where the model has it.

        Raises:
            NotSupported: if there is none.
        """
        if "tiny" in cls.sizes:
            return cls(domain, given, **cls.sizes["tiny"])
        raise NotSupported(f"{cls.__name__} has no smallest instance of its own.", hint="build it from tiny parts")

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """Why this model cannot take data of this domain as they are, in words; None if it can."""
        if isinstance(domain, cls.natives):
            return None
        return f"it takes {' or '.join(kind.__name__.lower() for kind in cls.natives)} data"

    @classmethod
    def suits(cls, domain: Domain, options: Mapping[str, Any]) -> bool:
        """Whether a model with these options takes data of a domain that it does not refuse as they are, without a wrapper."""
        return True

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Set what must be known from the data before learning starts, such as a scale. The default needs nothing.

        Args:
            subset: A random part of the training data, ``(N, *shape)``.
            given: Their conditions, or None.
            generator: For random choices.
        """

    def spec(self) -> dict[str, Any]:
        """What is needed to build this model again, as JSON: class, domain, condition and options."""
        return {
            "model": type(self).__name__,
            "domain": self.domain.to_json(),
            "given": None if self.given is None else self.given.to_json(),
            "options": dict(self.options),
        }

    def can(self, verb: str) -> bool:
        """Whether a verb of this model works: ``sample score log_prob elbo energy encode decode complete marginalise``."""
        return verb in self._verbs()

    @property
    def learns(self) -> tuple[str, ...]:
        """How the model learns: by ``phases`` of gradient steps, from ``statistics``, or by the one and then the other."""
        ways = {"phases": GradientTrained, "statistics": ClosedForm}
        return tuple(way for way, kind in ways.items() if isinstance(self, kind))

    @property
    def inner(self) -> Model | None:
        """The model that this one is wrapped around, that of the first class where each has one; None if it is no wrapper."""
        return None

    @property
    def nested(self) -> tuple[Model, ...]:
        """This model, the one that it is wrapped around, and so on: the last is no wrapper."""
        return (self,) if self.inner is None else (self, *self.inner.nested)

    @classmethod
    def _verbs(cls) -> tuple[str, ...]:
        """The verbs of all capabilities that the class inherits."""
        return tuple(verb for base in reversed(cls.__mro__) for verb in base.__dict__.get("verbs", ()))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The verbs that work."""
        return tuple(verb for verb in self._verbs() if self.can(verb))

    @property
    def device(self) -> torch.device:
        """Where the model's tensors are."""
        return next((t.device for t in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    @property
    def size(self) -> int:
        """The number of learned scalars: parameters, and the buffers of models that are fitted in closed form."""
        learned = sum(p.numel() for p in self.parameters())
        return learned or sum(
            b.numel() for name, b in self.named_buffers() if b.is_floating_point() and not name.endswith(RECORDED)
        )

    def record_frequencies(self, given: Tensor) -> None:
        """Record how often each label occurs in training: the weights of the marginal over labels."""
        if self.translates:
            return
        counts = torch.bincount(given.flatten(), minlength=len(self.given_frequencies)).double()
        self.given_frequencies.copy_(counts / counts.sum())

    def record_lengths(self, lengths: Tensor, given: Tensor | None = None) -> None:
        """Record how often each length occurs in training, with each label: what ``sample`` draws lengths from.

        Args:
            lengths: Of the training sequences, ``(N,)`` from 1 to the longest.
            given: Their labels, or None.
        """
        labels, longest = self.length_frequencies.shape
        rows = torch.zeros_like(lengths) if given is None or labels == 1 else given
        counts = torch.bincount(rows * longest + lengths - 1, minlength=labels * longest).double().view(labels, longest)
        total = counts.sum(1, keepdim=True)
        self.length_frequencies.copy_(torch.where(total > 0, counts / total.clamp_min(1), 1 / longest))

    def __getattr__(self, name: str) -> Any:
        """Explain a verb that the model lacks; everything else is PyTorch's."""
        if name in METHODS:
            raise self._lacking(name)
        return super().__getattr__(name)

    def _spans(self, n: int) -> list[tuple[int, int]]:
        """Consecutive spans that cover 0 … n, each of at most ``chunk`` entries; one empty span if n is 0."""
        size = max(1, self.chunk // self.domain.entries)
        return [(start, min(start + size, n)) for start in range(0, n, size)] or [(0, 0)]

    def _require(self, verb: str) -> None:
        if not self.can(verb):
            raise self._lacking(verb)

    def _lacking(self, verb: str) -> NotSupported:
        from .catalogue import able  # late: the catalogue is above the contract

        lacking = next((part for part in reversed(self.nested) if not part.can(verb)), self)  # not what is around it
        return NotSupported(
            f"{type(lacking).__name__} cannot {verb}.",
            got=f"it can {', '.join(self.capabilities) or 'do nothing'}",
            hint=f"models that can: {', '.join(able(verb)) or 'none'}",
        )

    def _checked_given(self, given: object, n: int) -> Tensor | None:
        """The conditions as ``(n,)``; one condition is repeated for all."""
        if given is None:
            return None
        if self.given is None:
            raise BadInput("This model is unconditional: it takes no given.", got=given, hint="fit it conditional=true")
        if isinstance(given, int):
            given = torch.tensor(given)
        if isinstance(given, Tensor) and given.shape == self.given.shape:
            given = given.expand(n, *given.shape)
        checked = self.given.check(given, "given").to(self.device)
        if len(checked) != n:
            raise ShapeError("given must have one condition for each datum.", got=f"{len(checked)} for {n} data")
        return checked

    def _drawn_given(self, n: int, generator: Generator) -> Tensor | None:
        """Conditions drawn from the training frequencies, for a conditional model that was given none."""
        if self.given is None:
            return None
        if self.translates:
            raise BadInput(
                f"{type(self).__name__} translates: it samples with given=, one datum of the other set for each.",
                got=f"n={n} and no given",
                hint="pass a batch of them, or one for all; on the command line, --given DATA",
            )
        if n == 0:
            return torch.zeros(0, dtype=torch.int64, device=self.device)
        return torch.multinomial(self.given_frequencies, n, replacement=True, generator=generator)

    def _sampled_lengths(self, lengths: object, n: int, given: Tensor | None, generator: Generator) -> Tensor | None:
        """The lengths ``(n,)`` that are asked for, or drawn from those of training; None where they are part of the datum."""
        domain = self.domain
        if not isinstance(domain, Sequences) or domain.ends:
            if lengths is not None:
                what = (
                    "the model itself draws where a sequence ends" if isinstance(domain, Sequences) else "not sequences"
                )
                raise BadInput("These data have no length to choose.", got=what, hint="leave lengths out")
            return None
        if lengths is None:
            rows = self.length_frequencies[given if given is not None else torch.zeros(n, dtype=torch.int64)]
            return 1 + _drawn_column(rows, generator)
        return _checked_lengths(lengths, n, domain.longest).to(self.device)

    def _require_given(self, given: Tensor | None, verb: str) -> None:
        if self.given is not None and given is None:
            raise BadInput(f"A conditional model needs given= to {verb}.", hint="pass one condition for each datum")


def _drawn_column(frequencies: Tensor, generator: Generator) -> Tensor:
    """One column for each row of ``(n, K)`` frequencies."""
    if len(frequencies) == 0:
        return torch.zeros(0, dtype=torch.int64, device=frequencies.device)
    return torch.multinomial(frequencies, 1, generator=generator)[:, 0]


def _checked_lengths(lengths: object, n: int, longest: int) -> Tensor:
    """Lengths ``(n,)`` from one for all or one for each."""
    one = isinstance(lengths, int) and not isinstance(lengths, bool)
    try:
        checked = Discrete((), longest + 1).check([lengths] * n if one else lengths, "lengths")
    except BadInput as error:
        got = error.got if error.got is not None else lengths
        raise RangeError(f"lengths are whole numbers from 1 to {longest}.", got=got) from error
    if len(checked) != n:
        raise ShapeError("lengths must be one for all samples, or one for each.", got=f"{len(checked)} for {n} samples")
    if bool((checked < 1).any()):
        raise RangeError(f"lengths are whole numbers from 1 to {longest}.", got=0)
    return checked


def group_of(cls: type[Model]) -> Any:
    """The dataclass whose fields are options too: a constructor's ``**game`` stands for those of the class's own ``game``.

    Its values are the defaults of the class. None where a constructor has nothing of the kind.
    """
    *_, last = inspect.signature(inspect.unwrap(cls.__init__)).parameters.values()
    return getattr(cls, last.name) if last.kind is inspect.Parameter.VAR_KEYWORD else None


def _written_out(cls: type[Model], init: Callable[..., None]) -> inspect.Signature:
    """A constructor's signature with the fields of the group in the place of ``**game``."""
    signature, group = inspect.signature(init), group_of(cls)
    if group is None:
        return signature
    kind = inspect.Parameter.KEYWORD_ONLY
    fields = (
        inspect.Parameter(field.name, kind, default=getattr(group, field.name), annotation=field.type)
        for field in dataclasses.fields(group)
    )
    return signature.replace(parameters=[*list(signature.parameters.values())[:-1], *fields])


def _recording(cls: type[Model], init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor so that it records its keyword options, before it runs with all of them."""
    signature = _written_out(cls, init)

    @functools.wraps(init)
    def recorded(self: Model, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        names = [name for name, p in signature.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
        options = {name: bound.arguments[name] for name in names}
        init(*bound.args, **bound.kwargs)
        self.options = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}

    recorded.__signature__ = signature  # type: ignore[attr-defined]
    return recorded
