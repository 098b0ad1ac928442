"""Models with a latent code."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from ..distribution import Distribution
from ..model import Model
from .verbs import evaluating

__all__ = ["Latent"]


class Latent(Model):
    """A model with a latent code z for each datum."""

    verbs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    @abstractmethod
    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution: ...

    @abstractmethod
    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution: ...

    def encode(self, x: object, *, given: object = None) -> Distribution:
        """The distribution q(z | x) of each datum's code; its ``mean`` is the code to look at.

        Raises:
            NotSupported: if the model has no latent.
            BadInput: if the data do not fit the domain.
        """
        self._require("encode")
        data = self.domain.check(x).to(self.device)
        labels = self._checked_given(given, len(data))
        self._require_given(labels, "encode")
        with evaluating(self):
            return self._encode(data, labels)

    def decode(self, z: Tensor, *, given: object = None) -> Distribution:
        """The distribution p(x | z) for each code ``z`` of shape ``(N, latent)``.

        Raises:
            NotSupported: if the model has no latent.
        """
        self._require("decode")
        labels = self._checked_given(given, len(z))
        self._require_given(labels, "decode")
        with evaluating(self):
            return self._decode(z.to(self.device), labels)
