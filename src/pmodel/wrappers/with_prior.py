"""An autoencoder with a density of its codes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, final

import torch
from torch import Generator, Tensor

from ..capability import Bound, Latent, Samples
from ..distribution import Distribution
from ..errors import NotSupported
from ..learning import Batch, ClosedForm, GradientTrained, Loss, Phase, Recipe
from ..model import Model

__all__ = ["WithPrior"]


@final
class WithPrior(Samples, Bound, Latent, GradientTrained, ClosedForm):
    r"""An autoencoder whose codes have a learned density: how representation becomes generation (Ghosh et al. 2020).

    Sampling is z ~ prior, x ~ p(x | z). Where the encoder is a distribution, the bound is that of a VAE with this prior,
    :math:`\log p(x \mid z) + \log p(z) - \log q(z \mid x)`. The prior learns after the autoencoder: in the last part of
    training if it learns by gradients, else from statistics of the finished codes.

    Args:
        autoencoder: A model with a latent and no condition.
        prior: A density of the codes, whose domain is ``Real((latent,))``.
    """

    HANDOVER = 0.7
    """The part of training that the autoencoder gets where the prior learns by gradients too."""

    def __init__(self, autoencoder: Model, prior: Model) -> None:
        super().__init__(autoencoder.domain)
        if not autoencoder.can("encode") or not prior.can("score") or not prior.can("sample"):
            raise NotSupported(
                "WithPrior joins a model that encodes and a density that samples.", got=(autoencoder, prior)
            )
        if autoencoder.given is not None or prior.given is not None:
            raise NotSupported("WithPrior joins unconditional models.", got=(autoencoder.given, prior.given))
        self.autoencoder: Any = autoencoder
        self.prior: Any = prior
        self.iterative = getattr(prior, "iterative", False)
        self.chunk = min(autoencoder.chunk, prior.chunk)
        self.weighted = getattr(prior, "weighted", True)  # the encoder's draws always are weights
        self.adjustable = getattr(prior, "adjustable", ())

    def can(self, verb: str) -> bool:
        """It scores only where the encoder has a density, as a VAE's has and an autoencoder's has not."""
        return bool(self.autoencoder.can("score")) if verb in ("score", "elbo") else super().can(verb)

    def spec(self) -> dict[str, Any]:
        """The specifications of both parts."""
        return {"model": "WithPrior", "autoencoder": self.autoencoder.spec(), "prior": self.prior.spec()}

    @property
    def learns(self) -> tuple[str, ...]:
        """By phases, and then from statistics of the codes where the prior does."""
        return tuple(way for way in ("phases", "statistics") if way == "phases" or way in self.prior.learns)

    def adjusted(self, **settings: Any) -> AbstractContextManager[None]:
        """Other values of the prior's settings."""
        return self.prior.adjusted(**settings)  # type: ignore[no-any-return]

    def recipe(self) -> Recipe:
        """The autoencoder's."""
        return self.autoencoder.recipe()  # type: ignore[no-any-return]

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Prepare the autoencoder; the codes are not there yet."""
        self.autoencoder.prepare(subset, given, generator)

    def advance(self, progress: float) -> None:
        """Move both parts' temperatures."""
        self.autoencoder.advance(progress)
        if "phases" in self.prior.learns:
            self.prior.advance(progress)

    def training_state(self) -> Mapping[str, Tensor]:
        """What both parts carry."""
        parts = {"autoencoder": self.autoencoder, "prior": self.prior}
        return {
            f"{part}.{name}": tensor
            for part, model in parts.items()
            if "phases" in model.learns
            for name, tensor in model.training_state().items()
        }

    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder's phases, then the prior's where it learns by gradients."""
        first: tuple[Phase, ...] = self.autoencoder.phases()
        if "phases" not in self.prior.learns:
            return first
        early = tuple(replace(p, span=(p.span[0] * self.HANDOVER, p.span[1] * self.HANDOVER)) for p in first)
        return early + tuple(self._on_codes(phase) for phase in self.prior.phases())

    def _on_codes(self, phase: Phase) -> Phase:
        def loss(batch: Batch, generator: Generator) -> Loss:
            return phase.loss(self._codes(batch, generator), generator)

        width = 1 - self.HANDOVER
        span = (self.HANDOVER + phase.span[0] * width, self.HANDOVER + phase.span[1] * width)
        return replace(phase, name=f"prior.{phase.name}", loss=loss, span=span)

    def _codes(self, batch: Batch, generator: Generator) -> Batch:
        with torch.no_grad():
            return Batch(self.autoencoder._encode(batch.x, None).sample(generator))

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Start the prior on the codes."""
        codes = self._codes(subset, generator)
        self.prior.prepare(codes.x, None, generator)
        self.prior.initialise(codes, generator)

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The prior's statistics of the codes."""
        return self.prior.statistics(self._codes(batch, generator), generator)  # type: ignore[no-any-return]

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """The prior's update."""
        self.prior.maximise(statistics)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = self.prior._sample(n, None, generator).float()
        return self.autoencoder._decode(z, None).sample(generator)  # type: ignore[no-any-return]

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        q = self.autoencoder._encode(x, None)
        z = q.sample(generator)
        joint = self.autoencoder._decode(z, None).log_prob(x) + self.prior._draw(z, None, None, generator)
        return joint - q.log_prob(z)  # type: ignore[no-any-return]

    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution:
        return self.autoencoder._encode(x, None)  # type: ignore[no-any-return]

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        return self.autoencoder._decode(z, None)  # type: ignore[no-any-return]
