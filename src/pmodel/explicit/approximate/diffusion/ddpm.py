r"""The denoising diffusion model (Ho et al. 2020, https://arxiv.org/abs/2006.11239), with what came after it.

With :math:`\alpha_t, \sigma_t` of ``schedule.py`` and t in steps from 1 to T, training repeats

.. math::

    x_0 &\sim \text{data}, \qquad t \sim U\{1, \dots, T\}, \qquad \epsilon \sim N(0, I)

    x_t &= \alpha_t x_0 + \sigma_t \epsilon = \sqrt{\bar a_t}\, x_0 + \sqrt{1 - \bar a_t}\, \epsilon

    \theta &\leftarrow \theta - \text{rate} \cdot \nabla_\theta \| \epsilon - \epsilon_\theta(x_t, t) \|^2

and sampling starts at :math:`x_T \sim N(0, I)` and goes through t = T, …, 1 with z from N(0, I), and z = 0 at t = 1:

.. math::

    x_{t-1} = \frac{1}{\sqrt{1 - \beta_t}} \Bigl(x_t - \frac{\beta_t}{\sqrt{1 - \bar a_t}}\, \epsilon_\theta(x_t, t)\Bigr)
    + \mathrm{std}_t\, z, \qquad \mathrm{std}_t^2 = \beta_t \;\text{ or }\; \tilde\beta_t .

Here the network may answer in other units (``prediction.py``): the datum, or the velocity, which as a squared error weighs the
error of x_0 by SNR + 1 instead of SNR, so that the noisiest steps, which settle the layout, are learned too, and from which x_0
follows without dividing by a vanishing :math:`\alpha_t`. On the straight path that is flow matching.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

import torch
from torch import Generator, Tensor

from ....capability import Bound, Completes, Samples
from ....domain import Discrete, Domain, Real
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from ....likelihood import Kind
from ....nn.conditioning import left_out
from .bound import Terms, bound_draws
from .denoiser import NetworkName, denoiser
from .flow import STEPS, flow_draws
from .guesser import Guesser
from .inpainting import repaint
from .objective import Objective
from .options import check_numbers, check_options, check_settings
from .prediction import Parametrisation, PredictionName, WeightingName
from .sampler import Denoise, SamplerName, VarianceName, reverse, solver
from .schedule import Levels, ScheduleName, levels

__all__ = ["DDPM"]

CALLS = 25
"""Calls of the network by the sampler where nothing else is asked for: with ``dpm`` as good as twice as many with ``ddim``."""


@final
class DDPM(Samples, Bound, Completes, GradientTrained):
    r"""A denoising diffusion model of pictures, levels or points.

    ``sample`` runs the reverse chain in 25 calls of the network, or ``steps=`` of them, and returns its last guess, rounded
    where data are discrete: the decoder's noise is left out, as in the paper. ``score`` is the evidence lower bound of the
    chain of all ``timesteps`` steps, a mass for discrete and a density for real data, however samples are drawn. That chain's
    variance is learned, or :math:`\tilde\beta` for discrete data, right where data are points, and :math:`\beta` for real data,
    right where they are normal; and its guess is clipped to the range of discrete data, which brings it nearer to any datum.
    ``complete`` is RePaint: near the conditional distribution, and never exact. Whatever the sampler, it steps as ``ddim`` does
    with eta = 1, and refuses the settings ``sampler``, ``eta`` and ``variance``.

    Args:
        domain: Discrete data, which are modelled on [-1, 1], or real data.
        given: A class label, which the network is told; or None.
        timesteps: Steps T of the noising chain.
        schedule: ``cosine`` or ``linear``: how the noise grows; or ``straight``, the path of flow matching.
        prediction: What the network answers: the velocity ``v``, the datum ``x0``, or the noise ``eps`` as in the paper, where
            alpha does not vanish at the end or the guess is clipped.
        weighting: Of the answer's squared error in training: ``plain``, or ``min-snr`` (Hang et al. 2023).
        likelihood: What ``score`` is: the ``bound``, or an estimate of the density of the probability ``flow``, which has no
            noise but that of a trace where data have many entries; discrete data are dequantised for it.
        sampler: ``dpm``, of second order, good with few steps; ``ddim``; ``heun``, which calls the network twice a step; or
            ``ancestral``, the chain of the paper.
        eta: Noise of the first two samplers, from 0, deterministic, to 1, as much as ancestral: noise mends the errors of
            earlier steps, which a small network makes many of, and costs more steps.
        variance: Noise of the ``ancestral`` sampler: ``posterior``, or ``beta``, which needs nearly all steps; or ``learned``,
            for which the network has twice the answers, and which the bound is then of.
        clip: Whether the sampler clips the guess to the range of discrete data, as it must where eps is predicted and alpha
            vanishes at the end.
        guidance: How far samples follow the label: 0 not, 1 as the data do, more than they do.
        unlabelled: The part of the data whose labels training leaves out, so that there can be guidance.
        rounds: How often ``complete`` takes each step.
        network: ``unet`` or ``transformer`` for pictures, ``perceptron``; ``auto``: U-Net for pictures, else perceptron.
        channels: Of the U-Net for pictures, at half their size where they are large; twice as many below, and a token.
        layers: Its residual blocks at each size, on the way down and up; a perceptron has 4 times as many, a transformer 6.
        width: Features of time and label, and hidden units of a perceptron.
        patch: Side of the squares that a transformer takes for tokens.
        heads: Of its attention.
        dropout: Of the network, in training.

    Raises:
        BadInput: if a name is none of those, or options do not go together.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    adjustable = ("steps", "sampler", "eta", "variance", "clip", "guidance", "rounds")
    completing = ("steps", "clip", "guidance", "rounds")
    weighted = False  # a draw is one term of the bound's sum
    steps: int | None = None
    """Calls of the network in sampling, at most ``timesteps``. None takes 25, or all if there are fewer."""
    chunk: int = 2**15
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"timesteps": 10, "sampler": "ancestral", "rounds": 2, "channels": 8, "layers": 1, "width": 32},
        "small": {"channels": 32, "layers": 1, "width": 64},
    }

    times: Tensor
    alpha: Tensor
    sigma: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        timesteps: int = 1000,
        schedule: ScheduleName = "cosine",
        prediction: PredictionName = "v",
        weighting: WeightingName = "plain",
        likelihood: Literal["bound", "flow"] = "bound",
        sampler: SamplerName = "dpm",
        eta: float = 1.0,
        variance: VarianceName = "posterior",
        clip: bool = True,
        guidance: float = 1.0,
        unlabelled: float = 0.1,
        rounds: int = 5,
        network: NetworkName = "auto",
        channels: int = 64,
        layers: int = 1,
        width: int = 128,
        patch: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(domain, given)
        check_options(domain, schedule=schedule, prediction=prediction, weighting=weighting, likelihood=likelihood)
        check_numbers(timesteps=timesteps, unlabelled=unlabelled)
        self.bins = domain.levels if isinstance(domain, Discrete) else 0
        self.prediction = Parametrisation(prediction, straight=schedule == "straight")
        self.weighting, self.likelihood, self.unlabelled = weighting, likelihood, unlabelled
        self.sampler, self.eta, self.variance, self.clip = sampler, eta, variance, clip
        self.guidance, self.rounds = guidance, rounds
        self.learned = variance == "learned"
        self.must_clip = prediction == "eps" and schedule == "cosine"
        self.ordered = likelihood == "bound"
        table = levels(schedule, timesteps)
        self.register_buffer("times", table.times)
        self.register_buffer("alpha", table.alpha)
        self.register_buffer("sigma", table.sigma)
        self._check_sampling()
        self.net = denoiser(
            domain,
            len(self.given_frequencies),
            network=network,
            channels=channels,
            layers=layers,
            width=width,
            patch=patch,
            heads=heads,
            dropout=dropout,
            answers=2 if self.learned else 1,
        )

    @classmethod
    def suits(cls, domain: Domain, options: Mapping[str, Any]) -> bool:
        """The probability flow has a density, of real data."""
        return options.get("likelihood") != "flow" or isinstance(domain, Real)

    def recipe(self) -> Recipe:
        """A moving average, whose last weights are kept: one draw of the bound is too noisy to choose by.

        For pictures small batches: on a processor a step costs what its data cost, and a picture has many pixels to learn
        from; and Muon, which learns as much from half of the pictures.
        """
        batch: Any = {"batch": 32, "optimiser": "muon"} if self.domain.image else {"batch": 128}
        return Recipe(**batch, rate=2e-3, betas=(0.9, 0.99), ema=0.999, clip=1.0, select="last")

    @property
    def levels(self) -> Levels:
        """The levels of the full chain."""
        return Levels(self.times, self.alpha, self.sigma, self.prediction.straight)

    @property
    def guesser(self) -> Guesser:
        """The network, and what its answers mean."""
        return Guesser(self.net, self.prediction, learned=self.learned, bounded=self.bins > 0)

    @property
    def terms(self) -> Terms:
        """The terms of the full chain's bound."""
        fixed: VarianceName = "posterior" if self.bins else "beta"
        return Terms(self.levels, "learned" if self.learned else fixed, self.bins)

    def can(self, verb: str) -> bool:
        """Everything; where the score is the flow's, there is no bound."""
        return super().can(verb) and not (verb == "elbo" and self.likelihood == "flow")

    @property
    def kind(self) -> Kind:
        """A lower bound; the flow's is an estimate."""
        return "lower_bound" if self.likelihood == "bound" else "estimate"

    @property
    def way(self) -> str:
        """The bound, or the flow."""
        return super().way if self.likelihood == "bound" else f"probability flow in {STEPS} steps"

    def _check_sampling(self) -> None:
        check_settings(
            {name: getattr(self, name) for name in self.adjustable},
            timesteps=len(self.times) - 1,
            learned=self.learned,
            must_clip=self.must_clip,
            labelled=self.given is not None and self.unlabelled > 0,
        )

    # --- training ---

    def phases(self) -> tuple[Phase, ...]:
        """One phase: denoising."""
        return (Phase("denoise", tuple(self.net.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        given = left_out(batch.given, self.unlabelled, generator)
        return Objective(self.terms, self.guesser, self.weighting).loss(self._inward(batch.x), given, generator)

    # --- sampling and completion ---

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        x = torch.randn(n, *self.domain.shape, generator=generator, device=self.device, dtype=self._dtype)
        grid = self._grid(twice=self.sampler == "heun")
        denoise, move = solver(self.sampler, self._denoiser(grid, given), grid, eta=self.eta, variance=self.variance)
        noisy = self.sampler == "ancestral" or (self.sampler != "heun" and self.eta > 0)
        return self._outward(reverse(denoise, grid, move, x, generator if noisy else None))

    def _complete(self, x: Tensor, observed: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        x_0, grid, parts = self._inward(x), self._grid(), []
        for start, stop in self._spans(len(x)):
            denoise = self._denoiser(grid, None if given is None else given[start:stop])
            parts.append(repaint(denoise, grid, x_0[start:stop], observed[start:stop], self.rounds, generator))
        return self._outward(torch.cat(parts))

    def _grid(self, *, twice: bool = False) -> Levels:
        """The levels of as many steps as there may be calls, or of half as many."""
        calls = self.steps or min(CALLS, len(self.levels))
        return self.levels.respaced((calls + 1) // 2 if twice else calls)

    def _denoiser(self, grid: Levels, given: Tensor | None) -> Denoise:
        return self.guesser.at(grid, given, clip=self.clip, guidance=self.guidance)

    def _exactly(self, x: Tensor, observed: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)

    # --- likelihood ---

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._log_weights(x, given, None, generator, 1)[0]

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        """Draws whose t are spread evenly over each datum's draws, and over the data: less noisy than independent ones."""
        x_0, chain, size = self._inward(x), self.levels, max(1, self.chunk // self.domain.entries)
        if self.likelihood == "flow":
            return flow_draws(self.guesser, chain, x_0, given, generator, effort)
        return bound_draws(self.terms, self.guesser, x_0, given, generator, effort, size)

    # --- data and noise ---

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.net.parameters()).dtype

    def _inward(self, x: Tensor) -> Tensor:
        """Levels on [-1, 1]; real data as they are."""
        x = x.to(self._dtype)
        return x * (2 / max(1, self.bins - 1)) - 1 if self.bins else x

    def _outward(self, x: Tensor) -> Tensor:
        """The nearest level; real data as they are."""
        if not self.bins:
            return x
        return ((x + 1) * ((self.bins - 1) / 2)).round().clamp(0, self.bins - 1).to(torch.int64)
