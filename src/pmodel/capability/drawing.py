"""Models that draw: new data, or the missing part of given ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from ..domain import Sequences
from ..domain.base import as_tensor
from ..errors import BadInput, NotSupported, RangeError, unknown
from ..model import Model
from ..randomness import Seed, as_generator
from .verbs import as_mask, evaluating

__all__ = ["Completes", "Samples"]

MOST = 2**31
"""The most entries that one call of ``sample`` may return."""


class Draws(Model):
    """A model that draws something, in a way that may have settings."""

    adjustable: tuple[str, ...] = ()
    """The attributes that change how new data or missing parts are drawn and nothing else, such as the steps of a sampler:
    ``sample`` and ``complete`` take them for one call."""

    def adjusted(self, **settings: Any) -> AbstractContextManager[None]:
        """Other values of ``adjustable`` attributes, for a while.

        Raises:
            NotSupported: if the model draws without settings.
            UnknownName: if there is no such setting.
            BadInput: if a value is out of range.
        """
        for name in settings:
            if not self.adjustable:
                raise NotSupported(
                    f"{type(self).__name__} draws in one way only.",
                    got=f"{name}={settings[name]!r}",
                    hint=f"leave {name} out",
                )
            if name not in self.adjustable:
                raise unknown("setting", name, self.adjustable)
        return self._with(settings)

    @contextmanager
    def _with(self, settings: Mapping[str, Any]) -> Iterator[None]:
        before = {name: getattr(self, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self, name, value)
            self._check_sampling()
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def _check_sampling(self) -> None:
        """Refuse values of ``adjustable`` attributes that are out of range. The default has none."""


class Samples(Draws):
    """A model that draws new data."""

    verbs: ClassVar[tuple[str, ...]] = ("sample",)

    @abstractmethod
    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        """Draw ``n`` data, ``(n, *shape)`` of the domain's type.

        Sequences without an end symbol are drawn as long as the longest and are cut at their lengths: the beginning of a
        sequence must not depend on how long it will be.
        """

    def sample(
        self,
        n: int | None = None,
        *,
        given: object = None,
        generator: Seed = None,
        lengths: object = None,
        **settings: Any,
    ) -> Tensor:
        """Draw ``n`` new data.

        Args:
            n: How many, 0 or more; by default one for each condition.
            given: A condition for all, or one for each; None draws labels by their training frequencies. What a model that
                translates is given are data of the other set.
            generator: A seed, a generator, or None for fresh randomness.
            lengths: Of sequences without an end symbol: one for all, or one for each; None draws them from the lengths of
                training (with the same label).
            **settings: Values for this call of attributes that the model lists as ``adjustable``: ``steps=100``.

        Returns:
            ``(n, *shape)`` of the domain's type.

        Raises:
            NotSupported: if the model cannot be sampled, or draws without settings.
            UnknownName: if there is no such setting.
            BadInput: if ``n``, ``given``, ``lengths`` or a setting is out of range, or the data have no lengths.
        """
        self._require("sample")
        n = self._count(given) if n is None else n
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n * self.domain.entries <= MOST:
            raise RangeError(f"n must be a whole number from 0 to {MOST // self.domain.entries}.", got=n)
        noise = as_generator(generator, self.device)
        with evaluating(self), self.adjusted(**settings):
            labels = self._checked_given(given, n)
            labels = self._drawn_given(n, noise) if labels is None else labels
            asked = self._sampled_lengths(lengths, n, labels, noise)
            parts = [
                self._sample(stop - start, None if labels is None else labels[start:stop], noise)
                for start, stop in self._spans(n)
            ]
        x = torch.cat(parts)
        return x if asked is None or not isinstance(self.domain, Sequences) else self.domain.cut(x, asked)

    def _count(self, given: object) -> int | None:
        """The number of conditions, of which each is to have a sample; None where there are none."""
        if self.given is None or given is None:
            return None
        return 1 if as_tensor(given, "given").shape == self.given.shape else len(self.given.check(given, "given"))


class Completes(Draws):
    """A model that draws the unobserved part of a datum given the observed part."""

    verbs: ClassVar[tuple[str, ...]] = ("complete",)
    completing: tuple[str, ...] | None = None
    """Those of the ``adjustable`` attributes that ``complete`` uses: it refuses the others. None says all."""

    @abstractmethod
    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        """Fill in the entries that are not observed; what the others hold in the answer does not matter."""

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        """For which data ``(N,)`` the distribution that ``_complete`` draws from is the conditional. The default says all."""
        return torch.ones(len(x), dtype=torch.bool, device=x.device)

    def complete(
        self, x: object, observed: object, *, given: object = None, generator: Seed = None, **settings: Any
    ) -> Tensor:
        """Draw from p(x_unobserved | x_observed), or nearly: see ``exact_completions``. Observed entries come back bit for bit.

        Args:
            x: Data, ``(N, *shape)``; the unobserved entries may hold any value of the domain.
            observed: A mask, of the shape of ``x`` or of one datum.
            given: Conditions, for a conditional model.
            generator: A seed, a generator, or None.
            **settings: Values for this call of attributes that the model lists as ``adjustable``.

        Raises:
            NotSupported: if the model cannot complete, or draws without settings.
            UnknownName: if there is no such setting.
            BadInput: if the data, the mask or a setting do not fit, or completion does not use the setting.
        """
        data, mask = self._parts(x, observed)
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "complete")
        self._require_used(settings)
        with evaluating(self), self.adjusted(**settings):
            filled = self._complete(data, mask, labels, as_generator(generator, self.device))
        return torch.where(mask, data, filled.to(data.dtype))

    def exact_completions(self, x: object, observed: object, **settings: Any) -> Tensor:
        """For which data ``complete`` draws from p(x_unobserved | x_observed) itself, bool ``(N,)``: for the others, nearly.

        Under settings that change the distribution, such as a temperature, it is that of the changed one. ``x``, ``observed``,
        ``settings`` and errors are those of ``complete``; labels and noise have no part in it.
        """
        data, mask = self._parts(x, observed)
        self._require_used(settings)
        with evaluating(self), self.adjusted(**settings):
            return mask.flatten(1).all(1) | self._exactly(data, mask)

    def _require_used(self, settings: Mapping[str, Any]) -> None:
        """Refuse what changes new data only; ``adjusted`` refuses names that are not known."""
        used = self.adjustable if self.completing is None else self.completing
        for name in settings:
            if name in self.adjustable and name not in used:
                raise BadInput(
                    f"Of the settings {', '.join(used)} act on a completion, and no others.",
                    got=f"{name}={settings[name]!r}",
                    hint=f"leave {name} out",
                )

    def _parts(self, x: object, observed: object) -> tuple[Tensor, Tensor]:
        """Checked data, and the mask of what is observed of them and not missing."""
        self._require("complete")
        data = self.domain.check(x).to(self.device)
        mask = as_mask(observed, data)
        known = self.domain.observed(data, mask)
        return data, mask if known is None else known
