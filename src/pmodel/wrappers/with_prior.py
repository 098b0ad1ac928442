"""An autoencoder with a density of its codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, final

import torch
from torch import Generator, Tensor

from ..capability import Latent, Samples, Variational
from ..distribution import Distribution
from ..domain import Discrete, Domain
from ..errors import BadInput, NotSupported, RangeError
from ..learning import Batch, ClosedForm, GradientTrained, Loss, Phase, Recipe
from ..likelihood import Kind
from ..model import Model

__all__ = ["WithPrior"]


@final
class WithPrior(Samples, Variational[Distribution], GradientTrained, ClosedForm):
    r"""An autoencoder whose codes have a learned density: how representation becomes generation (Ghosh et al. 2020).

    Sampling is z ~ prior, x ~ p(x | z). The bound is that of a VAE with this prior,

    .. math:: \log p(x) \ge E_{q(z \mid x)}[\log p(x \mid z) + \log p(z) - \log q(z \mid x)].

    An encoder that is a map has :math:`q(z(x) \mid x) = 1` where codes are discrete, and the bound is
    :math:`\log p(x \mid z(x)) + \log p(z(x))`: one term of the sum p(x), so that more draws do not raise it. Where codes are
    real, a map has no density q, and there is no likelihood.

    The prior learns after the autoencoder, from the codes of the one that is kept: in the last part of training if it learns
    by gradients, else from statistics of the finished codes.

    Args:
        autoencoder: A model with a latent. If it takes a label, the prior takes the same.
        prior: A model of the codes that is sampled and scored. If it takes a label, so does the whole, and the autoencoder need
            not.
        handover: The part of the steps of training that the autoencoder gets, where the prior learns by gradients too; None
            takes what it usually gets. A step of the prior takes no more data than its own recipe says.

    Raises:
        NotSupported: if the two cannot be joined.
        BadInput: if the prior is of other data than the codes.
        RangeError: if nothing is left to one of them.
    """

    def __init__(self, autoencoder: Model, prior: Model, *, handover: float | None = None) -> None:
        super().__init__(autoencoder.domain, prior.given)
        if not isinstance(autoencoder, Latent) or not autoencoder.can("encode"):
            raise NotSupported("A prior is for the codes of a model that encodes.", got=type(autoencoder).__name__)
        if autoencoder.searched:
            raise NotSupported(
                "A prior learns from codes that an encoder gives: here each is searched for.",
                got=type(autoencoder).__name__,
                hint="it samples by itself; leave the prior out",
            )
        if not (prior.can("score") and prior.can("sample")):
            raise NotSupported("A prior is a model that can be sampled and scored.", got=type(prior).__name__)
        if prior.domain != autoencoder.codes:
            raise BadInput(f"The prior must be of the codes, {autoencoder.codes}.", got=prior.domain)
        if autoencoder.given not in (None, prior.given):
            raise NotSupported(
                "The prior must take the label that the autoencoder takes.", got=(autoencoder.given, prior.given)
            )
        share = autoencoder.handover if handover is None else handover
        if not 0 < share < 1:
            raise RangeError("handover is between 0 and 1.", got=handover)
        self.autoencoder: Any = autoencoder
        self.prior: Any = prior
        self.handover = share if "phases" in prior.learns else 1.0
        self.iterative = getattr(prior, "iterative", False)
        self.chunk = min(autoencoder.chunk, prior.chunk * max(1, self.domain.entries // prior.domain.entries))
        self.deterministic = autoencoder.deterministic
        self.weighted = not self.deterministic and getattr(prior, "weighted", True)
        self.showing = autoencoder.showing
        self.adjustable = (*prior.adjustable, *(name for name in self.showing if name not in prior.adjustable))

    def can(self, verb: str) -> bool:
        """It scores where q(z | x) has a density: not where it is a point among real codes."""
        if verb in ("score", "elbo"):
            scores = isinstance(self.codes, Discrete) or not self.deterministic
            return scores and (verb == "score" or self.kind == "lower_bound")
        return super().can(verb)

    @property
    def kind(self) -> Kind:
        """A lower bound, unless log p(z) is an estimate itself."""
        return "estimate" if self.prior.kind == "estimate" else "lower_bound"

    @property
    def certain(self) -> bool:
        """Where the encoder is a map and the prior's log p(z) is no estimate or bound, which are drawn themselves."""
        return self.deterministic and self.prior.kind == "exact"

    def spec(self) -> dict[str, Any]:
        """The specifications of both parts."""
        parts = {"autoencoder": self.autoencoder.spec(), "prior": self.prior.spec()}
        return {"model": "WithPrior", **parts, "handover": self.options["handover"]}

    @property
    def inner(self) -> Model:
        """The autoencoder."""
        return self.autoencoder  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Of both parts."""
        return int(self.autoencoder.size + self.prior.size)

    @property
    def codes(self) -> Domain:
        """The autoencoder's."""
        return self.autoencoder.codes  # type: ignore[no-any-return]

    @property
    def learns(self) -> tuple[str, ...]:
        """By phases, and then from statistics of the codes where the prior does."""
        return tuple(way for way in ("phases", "statistics") if way == "phases" or way in self.prior.learns)

    @contextmanager
    def _with(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Other values of the prior's settings, and of those by which the autoencoder takes x from p(x | z)."""
        with ExitStack() as stack:
            for part, names in ((self.autoencoder, self.showing), (self.prior, self.prior.adjustable)):
                own = {name: value for name, value in settings.items() if name in names}
                stack.enter_context(part.adjusted(**own) if own else ExitStack())
            yield

    def recipe(self) -> Recipe:
        """The autoencoder's."""
        return self.autoencoder.recipe()  # type: ignore[no-any-return]

    def record_frequencies(self, given: Tensor) -> None:
        """Record them here and within."""
        super().record_frequencies(given)
        self.prior.record_frequencies(given)
        if self.autoencoder.given is not None:
            self.autoencoder.record_frequencies(given)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Prepare the autoencoder; the codes are not there yet."""
        self.autoencoder.prepare(subset, self._told(given), generator)

    def advance(self, progress: float) -> None:
        """Move both parts' temperatures, each over its own part of training."""
        self.autoencoder.advance(min(1.0, progress / self.handover))
        if "phases" in self.prior.learns:
            self.prior.advance(max(0.0, (progress - self.handover) / (1 - self.handover)))

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
        early = tuple(replace(p, span=(p.span[0] * self.handover, p.span[1] * self.handover)) for p in first)
        later: tuple[Phase, ...] = self.prior.phases()
        return early + tuple(self._on_codes(phase, first=number == 0) for number, phase in enumerate(later))

    def _on_codes(self, phase: Phase, *, first: bool) -> Phase:
        recipe = self.prior.recipe()

        def loss(batch: Batch, generator: Generator) -> Loss:
            few = Batch(batch.x[: recipe.batch], None if batch.given is None else batch.given[: recipe.batch])
            return phase.loss(self._codes(few, generator), generator)

        def begin(batch: Batch, generator: Generator) -> None:
            codes = self._codes(batch, generator)
            if first:
                self.prior.prepare(codes.x, codes.given, generator)
            if phase.begin is not None:
                phase.begin(codes, generator)

        width = 1 - self.handover
        span = (self.handover + phase.span[0] * width, self.handover + phase.span[1] * width)
        rate = phase.rate * recipe.rate / self.recipe().rate
        return replace(phase, name=f"prior.{phase.name}", loss=loss, span=span, rate=rate, begin=begin)

    @torch.no_grad()
    def _codes(self, batch: Batch, generator: Generator) -> Batch:
        """Codes of data, as many at a time as memory comfortably allows."""
        given = batch.given
        codes = [
            self.autoencoder._encode(
                batch.x[start:stop], self._told(None if given is None else given[start:stop])
            ).sample(generator)
            for start, stop in self._spans(len(batch.x))
        ]
        return Batch(torch.cat(codes), given)

    def _told(self, given: Tensor | None) -> Tensor | None:
        """The labels as the autoencoder takes them."""
        return None if self.autoencoder.given is None else given

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Start the prior on the codes."""
        codes = self._codes(subset, generator)
        self.prior.prepare(codes.x, codes.given, generator)
        self.prior.initialise(codes, generator)

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The prior's statistics of the codes."""
        return self.prior.statistics(self._codes(batch, generator), generator)  # type: ignore[no-any-return]

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """The prior's update."""
        self.prior.maximise(statistics)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        z = self.prior._sample(n, given, generator)
        z = z.float() if z.is_floating_point() else z
        return self._taken(self._decode(z, given), generator)

    def _taken(self, p: Distribution, generator: Generator) -> Tensor:
        return self.autoencoder._taken(p, generator)  # type: ignore[no-any-return]

    def _log_weight_under(self, q: Distribution, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        z = q.sample(generator)
        log_prior: Tensor = self.prior._draw(z, given, None, generator)
        return self._decode(z, given).log_prob(x) + log_prior - q.log_prob(z)

    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution:
        return self.autoencoder._encode(x, self._told(given))  # type: ignore[no-any-return]

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        return self.autoencoder._decode(z, self._told(given))  # type: ignore[no-any-return]
