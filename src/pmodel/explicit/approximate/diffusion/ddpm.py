r"""The denoising diffusion model (Ho et al. 2020, https://arxiv.org/abs/2006.11239), with the later schedules and samplers.

With :math:`\alpha_t, \sigma_t` of ``schedule.py`` and t in steps from 1 to T, training repeats

.. math::

    x_0 &\sim \text{data}, \qquad t \sim U\{1, \dots, T\}, \qquad \epsilon \sim N(0, I)

    x_t &= \alpha_t x_0 + \sigma_t \epsilon = \sqrt{\bar a_t}\, x_0 + \sqrt{1 - \bar a_t}\, \epsilon

    \theta &\leftarrow \theta - \text{rate} \cdot \nabla_\theta \| \epsilon - \epsilon_\theta(x_t, t) \|^2

and sampling starts at :math:`x_T \sim N(0, I)` and goes through t = T, …, 1 with z from N(0, I), and z = 0 at t = 1:

.. math::

    x_{t-1} = \frac{1}{\sqrt{1 - \beta_t}} \Bigl(x_t - \frac{\beta_t}{\sqrt{1 - \bar a_t}}\, \epsilon_\theta(x_t, t)\Bigr)
    + \mathrm{std}_t\, z, \qquad \mathrm{std}_t^2 = \beta_t \;\text{ or }\; \tilde\beta_t .

Here the network may answer the velocity :math:`v = \alpha_t \epsilon - \sigma_t x_0` instead (Salimans & Ho 2022), whose
squared error weighs the error of x_0 by SNR + 1 instead of SNR, so that the noisiest steps, which settle the layout, are
learned too, and from which x_0 follows without dividing by a vanishing :math:`\alpha_t`. Common slips in teaching material:

- :math:`\bar a_t` is the product of all :math:`1 - \beta_s` up to t, at the t of each datum: :math:`\sqrt{1 - \bar a_t}`, not
  :math:`1 - \bar a`, and along the steps, not along the data of a batch.
- The noised datum holds :math:`\sqrt{1 - \bar a_t}\, \epsilon`: a product of the noise with its standard deviation.
- A step adds :math:`\mathrm{std}_t z`. Adding :math:`(1 - \beta_t) z`, as if the decay were the noise, leaves standard normal
  data with the standard deviation 16.5.
- The reverse chain's Gaussian has the covariance :math:`\mathrm{std}_t^2 I`: not a standard deviation, and here not learned.
- With fewer steps, :math:`\beta` is that of the larger step, never the original beside a thinned-out :math:`\bar a`.
"""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar, cast, final

import torch
from torch import Generator, Tensor

from ....capability import Bound, Samples
from ....domain import Discrete, Domain, Real
from ....errors import BadInput, RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .bound import chain_terms, discretised_normal, end_term, squared_error
from .denoiser import denoiser
from .sampler import Move, Prediction, Variance, ancestral, clean, ddim, reverse, target
from .schedule import SCHEDULES, Levels, ScheduleName, levels

__all__ = ["DDPM"]

STEPS = 50
"""Steps of the sampler where nothing else is asked for."""
UNIFORM = 0.2
"""The part of the bound's draws of t that is uniform, whatever the terms are expected to be: no term is drawn too rarely."""


@final
class DDPM(Samples, Bound, GradientTrained):
    r"""A denoising diffusion model of pictures, levels or points.

    ``sample`` runs the reverse chain in 50 calls of the network, or ``steps=`` of them, and returns its last guess, rounded
    where data are discrete: the decoder's noise is left out, as in the paper. ``score`` is the evidence lower bound of the
    chain of all ``timesteps`` steps, a mass for discrete and a density for real data, however samples are drawn. That chain's
    variance is :math:`\tilde\beta` for discrete data, right where data are points, and :math:`\beta` for real data, right where
    they are normal; and its guess is clipped to the range of discrete data, which brings it nearer to any datum.

    Args:
        domain: Discrete data, which are modelled on [-1, 1], or real data.
        given: A class label, which the network is told; or None.
        timesteps: Steps T of the noising chain.
        schedule: ``cosine`` or ``linear``: how the noise grows.
        prediction: What the network answers: the velocity ``v``, or the noise ``eps`` as in the paper; on real data that
            needs the linear schedule.
        sampler: ``ddim``, good with few steps, or ``ancestral``, the chain of the paper.
        eta: Noise of the ``ddim`` sampler, from 0, deterministic, to 1, ancestral: noise mends the errors of earlier steps,
            which a small network makes many of, and costs more steps.
        variance: Noise of the ``ancestral`` sampler: ``posterior``, or ``beta``, which needs nearly all steps.
        clip: Whether the sampler clips the guess to the range of discrete data.
        channels: Of the U-Net for pictures, at half their size where they are large; twice as many below.
        layers: Its residual blocks at each size, on the way down and up; a network for points has four times as many.
        width: Features of time and label, and hidden units of a network for points.
        dropout: Of the network, in training.

    Raises:
        BadInput: if a name is none of those, or prediction and schedule do not go together.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    adjustable = ("steps", "sampler", "eta", "variance", "clip")
    weighted = False  # a draw is one term of the bound's sum
    steps: int | None = None
    """Steps of sampling, each a call of the network, at most ``timesteps``. None takes 50, or all if there are fewer."""
    chunk: int = 2**15
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"timesteps": 20, "channels": 8, "layers": 1, "width": 32},
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
        prediction: Prediction = "v",
        sampler: str = "ddim",
        eta: float = 1.0,
        variance: Variance = "posterior",
        clip: bool = True,
        channels: int = 64,
        layers: int = 1,
        width: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(domain, given)
        _check_options(timesteps, schedule, prediction, channels, layers, width, dropout)
        self.timesteps, self.prediction = timesteps, prediction
        self.sampler, self.eta, self.variance, self.clip = sampler, eta, variance, clip
        self._check_sampling()
        self.bins = domain.levels if isinstance(domain, Discrete) else 0
        if prediction == "eps" and schedule == "cosine" and not self.bins:
            problem = (
                "At the end of the cosine schedule alpha is almost 0, and x_0 follows from eps only if it is clipped."
            )
            raise BadInput(problem, got=domain, hint="schedule=linear, or prediction=v")
        table = levels(schedule, timesteps)
        self.register_buffer("times", table.times)
        self.register_buffer("alpha", table.alpha)
        self.register_buffer("sigma", table.sigma)
        labels = len(self.given_frequencies)
        self.net = denoiser(domain, labels, channels=channels, layers=layers, width=width, dropout=dropout)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> DDPM:
        """Twenty steps and the smallest network."""
        return cls(domain, given, **cls.sizes["tiny"])

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
        return Levels(self.times, self.alpha, self.sigma)

    def _check_sampling(self) -> None:
        whole = isinstance(self.steps, int) and not isinstance(self.steps, bool)
        if self.steps is not None and not (whole and 1 <= self.steps <= self.timesteps):
            raise RangeError(f"steps must be a whole number from 1 to timesteps = {self.timesteps}.", got=self.steps)
        if isinstance(self.eta, bool) or not isinstance(self.eta, int | float) or not 0 <= self.eta <= 1:
            raise RangeError("eta must be from 0, deterministic, to 1, ancestral.", got=self.eta)
        _one_of("sampler", self.sampler, ("ddim", "ancestral"))
        _one_of("variance", self.variance, ("posterior", "beta"))
        if not isinstance(self.clip, bool):
            raise BadInput("clip is true or false.", got=self.clip)

    # --- what the network guesses ---

    def guess(self, x_t: Tensor, grid: Levels, t: Tensor, given: Tensor | None, *, clip: bool = True) -> Tensor:
        r"""The network's guess :math:`\hat x_0` of the datum, ``(N, *shape)``.

        Args:
            x_t: Noised data, on the scale of the chain.
            grid: The levels of the chain.
            t: The level of each datum, ``(N,)``.
            given: Labels, or None.
            clip: Whether to clip the guess to [-1, 1] where data are discrete.
        """
        alpha, sigma = grid.signal_and_noise(t, x_t)
        x_0 = clean(self.prediction, self._answer(x_t, grid.times[t], given), x_t, alpha, sigma)
        return x_0.clamp(-1, 1) if clip and self.bins else x_0

    def _answer(self, x_t: Tensor, time: Tensor, given: Tensor | None) -> Tensor:
        return cast(Tensor, self.net(x_t, time.to(x_t.dtype), given)).to(x_t.dtype)

    # --- training ---

    def phases(self) -> tuple[Phase, ...]:
        """One phase: denoising."""
        return (Phase("denoise", tuple(self.net.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        """The squared error of the network's answer; in other units it is that of the noise (L_simple) and of the datum."""
        x_0 = self._inward(batch.x)
        t = 1 + (self._evenly(len(x_0), generator) * self.timesteps).long()
        eps = self._noise(x_0, generator)
        alpha, sigma = self.levels.signal_and_noise(t, x_0)
        x_t = alpha * x_0 + sigma * eps
        error = self._answer(x_t, self.times[t], batch.given) - target(self.prediction, x_0, eps, alpha, sigma)
        squared = error.square().reshape(len(error), self.domain.entries).mean(1)
        total = squared.mean()
        of_eps = squared * self.alpha[t].square() if self.prediction == "v" else squared
        return Loss(total, {"noise": of_eps.mean()})

    def _evenly(self, n: int, generator: Generator) -> Tensor:
        """Uniform numbers in [0, 1) that are evenly spread over the batch: each is uniform, their mean is less noisy."""
        shared = torch.rand(1, generator=generator, device=self.device, dtype=torch.float64)
        return (shared + torch.arange(n, device=self.device, dtype=torch.float64) / max(1, n)) % 1

    # --- sampling ---

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        grid = self.levels.respaced(self.steps or min(STEPS, self.timesteps))

        def denoise(x_t: Tensor, t: int) -> Tensor:
            of_each = torch.full((len(x_t),), t, device=x_t.device)
            return self.guess(x_t, grid, of_each, given, clip=self.clip)

        x = self._noise(torch.empty(n, *self.domain.shape, device=self.device, dtype=self._dtype), generator)
        return self._outward(reverse(denoise, grid, self._move(), x, generator))

    def _move(self) -> Move:
        if self.sampler == "ancestral":
            return functools.partial(ancestral, variance=self.variance)
        return functools.partial(ddim, eta=self.eta)

    # --- the bound ---

    def _log_weight(self, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        return self._draws(x, given, generator, 1)[0]

    def _log_weights(
        self, x: Tensor, given: Tensor | None, observed: Tensor | None, generator: Generator, effort: int
    ) -> Tensor:
        """Draws whose t are spread evenly over each datum's draws, and over the data: less noisy than independent ones."""
        if self.given is not None and given is None:
            return super()._log_weights(x, given, observed, generator, effort)
        return self._draws(x, given, generator, effort)

    def _draws(self, x: Tensor, given: Tensor | None, generator: Generator, effort: int) -> Tensor:
        r"""Draws of the bound, ``(effort, N)``, that all have its mean.

        With the terms' known constants apart and t drawn with probability :math:`\pi_t`, a draw is

        .. math:: -L_T - D \sum_t c_t - (L_{t-1} - D c_t) / \pi_t .
        """
        x_0, chain = self._inward(x), self.levels
        weights, constants = chain_terms(chain, "posterior" if self.bins else "beta")
        known = end_term(chain, x_0) + (0 if self.bins else self.domain.entries * constants.sum())
        proposal = self._proposal(weights)
        drawn = 1 + torch.searchsorted(proposal.cumsum(0)[:-1], self._evenly(effort * len(x), generator), right=True)
        order = torch.randperm(
            len(x), generator=generator, device=x.device
        )  # or neighbours in the data had neighbouring t
        rows = order.repeat(effort)
        size = max(1, self.chunk // self.domain.entries)
        parts = zip(torch.split(rows, size), torch.split(drawn, size), strict=True)
        terms = [self._term(x_0[i], t, None if given is None else given[i], generator, weights) for i, t in parts]
        draws = (torch.cat(terms) / proposal[drawn - 1]).reshape(effort, len(x))
        return -known - draws[:, order.argsort()]

    def _proposal(self, weights: Tensor) -> Tensor:
        """Probabilities of t = 1 … T in proportion to what the terms come to for standard normal data, in part: ``(T,)``."""
        expected = weights * self.sigma[1:].square()
        if self.bins:  # the decoder's: the entropy of a normal variable in bins, which vanishes where they are wide
            spread = self.sigma[1] * (self.bins - 1) / 2
            expected = torch.cat([0.5 * torch.log1p(2 * math.pi * math.e * spread.square()).reshape(1), expected[1:]])
        expected = expected.clamp_min(1e-12)
        return UNIFORM / self.timesteps + (1 - UNIFORM) * expected / expected.sum()

    def _term(self, x_0: Tensor, t: Tensor, given: Tensor | None, generator: Generator, weights: Tensor) -> Tensor:
        """L_{t-1} without its constant at one draw of x_t for each datum, ``(N,)``."""
        alpha, sigma = self.levels.signal_and_noise(t, x_0)
        guess = self.guess(alpha * x_0 + sigma * self._noise(x_0, generator), self.levels, t, given)
        term = weights[t - 1] * squared_error(x_0, guess)
        if not self.bins:
            return term
        return torch.where(t == 1, -discretised_normal(x_0, guess, self.sigma[1], self.bins), term)

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

    @staticmethod
    def _noise(like: Tensor, generator: Generator) -> Tensor:
        return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _one_of(option: str, value: object, names: tuple[str, ...]) -> None:
    if value not in names:
        raise BadInput(f"{option} is {' or '.join(names)}.", got=value)


def _check_options(
    timesteps: int, schedule: str, prediction: str, channels: int, layers: int, width: int, dropout: float
) -> None:
    for name, value in {"timesteps": timesteps, "channels": channels, "layers": layers, "width": width}.items():
        require_whole(name, value, 1, 2**16)
    _one_of("schedule", schedule, SCHEDULES)
    _one_of("prediction", prediction, ("v", "eps"))
    if not 0 <= dropout < 1 or not math.isfinite(dropout):
        raise RangeError("dropout must be from 0 to below 1.", got=dropout)
