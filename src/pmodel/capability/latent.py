"""Models with a latent code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Generator, Tensor

from ..distribution import Distribution
from ..domain import Discrete, Domain, Real
from ..errors import NotSupported
from ..model import Model
from .verbs import evaluating

__all__ = ["Latent"]


class Latent(Model):
    """A model with a latent code z for each datum."""

    verbs: ClassVar[tuple[str, ...]] = ("encode", "decode")
    usual_prior: ClassVar[str | None] = None
    """The model that learns the codes where ``make`` is not told another (``wrappers.WithPrior``); None keeps p(z) as it is."""

    handover: float = 0.7
    """The part of the steps of training that this model usually gets where a prior learns its codes by gradients after it."""
    deterministic: bool = False
    """Whether q(z | x) is a point: no density of real codes, and the mass 1 of one discrete code."""

    searched: bool = False
    """Whether ``encode`` is a search for each datum, at the cost of many calls of a network, and not a map that was learned.
    Then nothing is encoded unless it is asked for, and codes are nothing that a prior learns: p(z) is what it is."""

    showing: tuple[str, ...] = ()
    """Those of the ``adjustable`` attributes that say how x is taken from p(x | z), and not how z is drawn."""

    @property
    def codes(self) -> Domain:
        """The domain of z. The default is ``latent`` real numbers.

        Raises:
            NotSupported: if the model does not say what its codes are.
        """
        latent = getattr(self, "latent", None)
        if not isinstance(latent, int):
            raise NotSupported(f"{type(self).__name__} does not say what its codes are.", hint="define codes")
        return Real((latent,))

    @property
    def prior_options(self) -> Mapping[str, Any]:
        """The options of the usual prior that go with a model of this size. The default leaves it as it is."""
        return {}

    def _lacking(self, verb: str) -> NotSupported:
        """What makes a model that only encodes do more."""
        error = super()._lacking(verb)
        if verb not in ("sample", "score", "elbo") or not self.can("decode") or self.searched:
            return error
        discrete = isinstance(self.codes, Discrete)
        if discrete or verb == "sample":
            priors = "pixelcnn, transformer or made" if discrete else "gaussian, mixture or maf"
            error.hint = f"a density of its codes makes it generative: prior={priors}; {error.hint}"
        else:
            error.hint = f"decode(encode(x).mean).log_prob(x) is that of data given their codes; {error.hint}"
        return error

    @abstractmethod
    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution: ...

    @abstractmethod
    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution: ...

    def _taken(self, p: Distribution, generator: Generator) -> Tensor:
        """Take a datum from each p(x | z) as the attributes ``showing`` say. The default draws one."""
        return p.sample(generator)

    def encode(self, x: object, *, given: object = None) -> Distribution:
        """The distribution q(z | x) of each datum's code; its ``mode`` is the code to look at.

        Where a model is ``searched`` the codes are found one by one, by a search that takes its time.

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
        """The distribution p(x | z) for each code ``z`` of the domain ``codes``.

        Raises:
            NotSupported: if the model has no latent.
            BadInput: if ``z`` are no codes.
        """
        self._require("decode")
        z = self.codes.check(z, "z")
        labels = self._checked_given(given, len(z))
        self._require_given(labels, "decode")
        with evaluating(self):
            return self._decode(z.to(self.device), labels)
