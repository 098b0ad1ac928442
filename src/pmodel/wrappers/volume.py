"""Models of transformed data, scored in the measure of the original: ``Standardised`` and ``Dequantised``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, TypeVar, final

import torch
from torch import Generator, Tensor

from ..capability import Bound, Completes, Energy, Latent, Marginalises, Samples, Weigher
from ..distribution import Distribution, Transformed, summed
from ..domain import Discrete, Domain, Real, Table
from ..errors import BadInput, NotSupported
from ..explicit.tractable.flow.noise import CellNoise
from ..learning import Batch, ClosedForm, GradientTrained, Loss, Phase, Recipe
from ..likelihood import Kind
from ..model import Model

__all__ = ["Dequantised", "Standardised", "Wrapper"]

Result = TypeVar("Result")
"""Of a function of a batch."""


class Wrapper(Samples, Bound, Energy, Latent, Completes, Marginalises, GradientTrained, ClosedForm):
    """A model of x by a model of y = inward(x). It can what the inner model can.

    Args:
        model: The inner model, of the domain of y.
        domain: The domain of x.
    """

    def __init__(self, model: Model, domain: Domain) -> None:
        super().__init__(domain, model.given)
        self.model: Any = model
        self.iterative = getattr(model, "iterative", False)
        self.chunk = model.chunk
        self.weighted = getattr(model, "weighted", True)
        self.deterministic = getattr(model, "deterministic", False)
        self.searched = getattr(model, "searched", False)
        self.adjustable = getattr(model, "adjustable", ())
        self.completing = getattr(model, "completing", None)
        self.showing = getattr(model, "showing", ())

    @abstractmethod
    def _inward(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """From x to y, and the log-volume of each entry (broadcastable to x)."""

    @abstractmethod
    def _outward(self, y: Tensor) -> Tensor:
        """From y to x."""

    def can(self, verb: str) -> bool:
        """What the inner model can; a lower bound takes the place of a density under noise."""
        return bool(self.model.can(verb))

    def spec(self) -> dict[str, Any]:
        """The wrapper, its domain, and the specification of the inner model."""
        return {"model": type(self).__name__, "domain": self.domain.to_json(), "inner": self.model.spec()}

    @property
    def inner(self) -> Model:
        """The model of y."""
        return self.model  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """The inner model's."""
        return int(self.model.size)

    @property
    def freedom(self) -> int | None:
        """The inner model's."""
        return getattr(self.model, "freedom", None)

    @property
    def learns(self) -> tuple[str, ...]:
        """As the inner model does."""
        return self.model.learns  # type: ignore[no-any-return]

    @property
    def kind(self) -> Kind:
        """The inner model's."""
        return self.model.kind  # type: ignore[no-any-return]

    @property
    def codes(self) -> Domain:
        """The inner model's."""
        return self.model.codes  # type: ignore[no-any-return]

    @property
    def way(self) -> str:
        """The inner model's."""
        return self.model.way  # type: ignore[no-any-return]

    def adjusted(self, **settings: Any) -> AbstractContextManager[None]:
        """Other values of the inner model's settings."""
        return self.model.adjusted(**settings)  # type: ignore[no-any-return]

    def record_frequencies(self, given: Tensor) -> None:
        """Record them here and within."""
        super().record_frequencies(given)
        self.model.record_frequencies(given)

    def record_lengths(self, lengths: Tensor, given: Tensor | None = None) -> None:
        """Record them here and within."""
        super().record_lengths(lengths, given)
        self.model.record_lengths(lengths, given)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Prepare the inner model on the inner scale."""
        self.model.prepare(self._inward(subset, generator)[0], given, generator)

    def phases(self) -> tuple[Phase, ...]:
        """The inner phases, on the inner scale."""
        return tuple(self._inner_phase(phase) for phase in self.model.phases())

    def _inner_phase(self, phase: Phase) -> Phase:
        def within(call: Callable[[Batch, Generator], Result]) -> Callable[[Batch, Generator], Result]:
            return lambda batch, generator: call(self._inner_batch(batch, generator), generator)

        return replace(phase, loss=within(phase.loss), begin=None if phase.begin is None else within(phase.begin))

    def _inner_batch(self, batch: Batch, generator: Generator) -> Batch:
        return replace(batch, x=self._inward(batch.x, generator)[0])

    def advance(self, progress: float) -> None:
        """Move the inner model's temperatures."""
        self.model.advance(progress)

    def training_state(self) -> Mapping[str, Tensor]:
        """What the inner model carries."""
        return self.model.training_state() if "phases" in self.learns else {}

    def recipe(self) -> Recipe:
        """The inner model's."""
        return self.model.recipe()  # type: ignore[no-any-return]

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Start the inner model on the inner scale."""
        self.model.initialise(self._inner_batch(subset, generator), generator)

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The inner statistics, with the log-likelihood in the measure of x."""
        y, ladj = self._inward(batch.x, generator)
        sums: dict[str, Tensor] = self.model.statistics(replace(batch, x=y), generator)
        if "log_prob" in sums:
            observed = torch.ones_like(y, dtype=torch.bool) if batch.observed is None else batch.observed
            sums["log_prob"] = sums["log_prob"] + (ladj.double() * observed).sum()
        return sums

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """The inner update."""
        self.model.maximise(statistics)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        return self._outward(self.model._sample(n, given, generator))

    def _draw(self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator) -> Tensor:
        y, ladj = self._inward(x, generator)
        draw: Tensor = self.model._draw(y, given, observed, generator).double()
        return draw + self._volume(y, ladj, observed)

    @staticmethod
    def _volume(y: Tensor, ladj: Tensor, observed: Tensor | None) -> Tensor:
        """The log-volume of each datum's observed entries, ``(N,)``."""
        kept = torch.ones_like(y, dtype=torch.bool) if observed is None else observed
        return summed(ladj.double() * kept)

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._draw(x, given, None, torch.Generator(x.device))

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._draw(x, given, None, generator)

    def _log_marginal(self, x: Tensor, observed: Tensor, given: Tensor | None) -> Tensor:
        return self._draw(x, given, observed, torch.Generator(x.device))

    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self.model._energy(self._inward(x, torch.Generator(x.device))[0], given)  # type: ignore[no-any-return]

    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution:
        return self.model._encode(self._centre(x), given)  # type: ignore[no-any-return]

    def _centre(self, x: Tensor) -> Tensor:
        """The y of x without noise: what is encoded."""
        return self._inward(x, torch.Generator(x.device))[0]

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        noise = torch.Generator(z.device).manual_seed(0)
        return Transformed(self.model._decode(z, given), self._outward, lambda x: self._inward(x, noise))

    def _taken(self, p: Distribution, generator: Generator) -> Tensor:
        return self.model._taken(p, generator)  # type: ignore[no-any-return]

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        y, _ = self._inward(x, generator)
        return self._outward(self.model._complete(y, observed, given, generator))

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.model._exactly(x, observed)  # type: ignore[no-any-return]


@final
class Standardised(Wrapper):
    """A model of (x - loc) / scale, scored in the units of x.

    Vectors and tables get one scale for each entry; an image gets one for all, because its border, where nothing ever
    happens, would be blown up otherwise.

    Args:
        model: A model of real data of the same shape.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__(model, Real(model.domain.shape))
        self.ordered = getattr(model, "ordered", False)
        self.register_buffer("loc", torch.zeros(self.domain.shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.domain.shape, dtype=torch.float64))

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Take location and scale from the data; a constant entry keeps scale 1."""
        x = subset.double()
        self.loc.copy_(torch.nan_to_num(x.nanmean(0)))
        centred = torch.where(x.isnan(), torch.nan, x - self.loc)
        variance = centred.square().nanmean() if self.domain.image else centred.square().nanmean(0)
        scale = torch.nan_to_num(variance).sqrt().expand(self.domain.shape)
        self.scale.copy_(torch.where(scale > 1e-12 * (1 + self.loc.abs()), scale, 1.0))
        super().prepare(subset, given, generator)

    def _weigher(self, given: Tensor | None, generator: Generator, effort: int) -> Weigher:
        """The inner model's draws, which may be stratified: there is no noise here that would differ between them."""
        within: Weigher = self.model._weigher(given, generator, effort)

        def weigh(x: Tensor, labels: Tensor | None, observed: Tensor | None) -> Tensor:
            y, ladj = self._inward(x, generator)
            return within(y, labels, observed) + self._volume(y, ladj, observed)

        return weigh

    def _inward(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        y = (x.double() - self.loc) / self.scale
        return y if x.dtype == torch.float64 else y.float(), -self.scale.log()

    def _outward(self, y: Tensor) -> Tensor:
        x = y.double() * self.scale + self.loc
        return x if y.dtype == torch.float64 else x.float()


@final
class Dequantised(Wrapper):
    r"""A model of real data made a model of values on a grid, by noise as wide as the grid's step.

    With :math:`y = x + s(u - \tfrac12)` the mass of x is :math:`P(x) = s\,\mathbb{E}_u\,p(y)`, so that by Jensen
    :math:`\mathbb{E}_u \log (s\,p(y)) \le \log P(x)`: the scores are lower bounds (Theis et al. 2016). The noise is uniform,
    or has a learned density q(u | x), by which every draw is divided (``flow/noise.py``): a tighter bound. Real columns of a
    mixed table pass through. Samples are rounded to the grid; the edge levels own the tails. ``complete`` is approximate:
    it conditions on one draw of the noise.

    Args:
        model: A model of real data of the same shape.
        domain: A discrete domain or a table.
        dequantisation: ``uniform``, or ``variational`` for noise that is learned together with the model: on discrete data,
            with a density that is learned by gradients.

    Raises:
        BadInput: if there is no such noise.
        NotSupported: if noise cannot be learned with this model or on these data.
    """

    steps: Tensor

    def __init__(
        self, model: Model, domain: Domain, *, dequantisation: Literal["uniform", "variational"] = "uniform"
    ) -> None:
        super().__init__(model, domain)
        self.register_buffer("steps", domain.steps)
        if dequantisation not in ("uniform", "variational"):
            raise BadInput("dequantisation is uniform or variational.", got=dequantisation)
        self.noise: Any = _learned_noise(model, domain) if dequantisation == "variational" else None

    def spec(self) -> dict[str, Any]:
        """The wrapper's, and the kind of noise."""
        return {**super().spec(), **self.options}

    @property
    def size(self) -> int:
        """The inner model's, and what the noise has learned."""
        noise = () if self.noise is None else self.noise.parameters()
        return super().size + sum(int(p.numel()) for p in noise)

    def can(self, verb: str) -> bool:
        """What the inner model can, except an exact density where there is noise, and to leave out what learned noise needs."""
        if verb == "log_prob":
            return self.domain.measure == "density" and super().can("log_prob")
        if verb == "energy":  # that of x would be an integral over the noise
            return self.domain.measure == "density" and super().can("energy")
        if verb == "elbo":
            return super().can("score") and self.kind == "lower_bound"
        return super().can(verb) and not (self.noise is not None and verb == "marginalise")

    @property
    def kind(self) -> Kind:
        """A lower bound where there is noise; the bound of an estimate is an estimate."""
        return super().kind if self.domain.measure == "density" or super().kind == "estimate" else "lower_bound"

    def phases(self) -> tuple[Phase, ...]:
        """The inner phases; learned noise moves together with the model, up the bound of both."""
        if self.noise is None:
            return super().phases()
        (phase,) = self.model.phases()
        return (replace(phase, parameters=tuple(self.parameters()), loss=self._bound_loss),)

    def _bound_loss(self, batch: Batch, generator: Generator) -> Loss:
        bound = self._draw(batch.x, batch.given, None, generator).mean()
        return Loss(-bound, {"bound": bound})

    def _inward(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        if self.noise is not None:
            u, log_q = self.noise(x, generator)
            each = -log_q.double() / self.domain.entries  # log q belongs to the datum: every entry has an equal part
            return x.float() + (u - 0.5), each.reshape(-1, *[1] * len(self.domain.shape))
        u = torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float32)
        y = x.double() + self.steps * (u.double() - 0.5)
        ladj = torch.where(self.steps > 0, self.steps, 1.0).log()
        return y if isinstance(self.domain, Table) else y.float(), ladj

    def _weigher(self, given: Tensor | None, generator: Generator, effort: int) -> Weigher:
        """Of an estimate: noise of its own for every draw, and one set of estimates of the constant for all of them."""
        if self.kind != "estimate":
            return super()._weigher(given, generator, effort)
        within: Weigher = self.model._weigher(given, generator, effort)

        def weigh(x: Tensor, labels: Tensor | None, observed: Tensor | None) -> Tensor:
            parts = [self._inward(x, generator) for _ in range(effort)]
            repeated = None if labels is None else labels.repeat(effort)
            draws = within(torch.cat([y for y, _ in parts]), repeated, observed).reshape(effort, effort, -1)
            own = torch.arange(effort, device=x.device)
            volumes = torch.stack([self._volume(y, ladj, observed) for y, ladj in parts])
            return draws[own, own] + volumes

        return weigh

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        return super()._exactly(x, observed) & (self.domain.measure == "density")

    def _centre(self, x: Tensor) -> Tensor:
        return x.double() if isinstance(self.domain, Table) else x.float()

    def _outward(self, y: Tensor) -> Tensor:
        if isinstance(self.domain, Discrete):
            return y.round().clamp(0, self.domain.levels - 1).to(torch.int64)
        x = torch.where(self.steps > 0, (y / self.steps.clamp_min(1e-300)).round() * self.steps, y.double())
        for index, column in enumerate(self.domain.columns if isinstance(self.domain, Table) else ()):
            if column.kind == "category":
                x[:, index].clamp_(0, len(column.categories) - 1)
        return x


def _learned_noise(model: Model, domain: Domain) -> CellNoise:
    """Noise to learn with a model.

    Raises:
        NotSupported: if the data have no cells of width one, or the model is not trained up its log-density in one phase.
    """
    if not isinstance(domain, Discrete):
        raise NotSupported("Variational dequantisation is for discrete data.", got=domain, hint="take uniform noise")
    if (
        model.learns != ("phases",)
        or not isinstance(model, GradientTrained)
        or len(model.phases()) != 1
        or not model.can("log_prob")
    ):
        raise NotSupported(
            "Variational dequantisation goes with an exact density that is learned by gradients.",
            got=type(model).__name__,
            hint="take uniform noise, or a flow",
        )
    return CellNoise(domain)
