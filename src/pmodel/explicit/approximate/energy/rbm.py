r"""The restricted Boltzmann machine (Smolensky 1986, Hinton 2002, https://doi.org/10.1162/089976602760128018).

Visible units x and hidden bits h with the energy of ``machine.py``; summed over the hidden ones,

.. math:: p(x) = e^{-F(x)} / Z, \qquad F(x) = -x \cdot b - \sum_j \log(1 + e^{c_j + (x^\top W)_j}).

The gradient of the likelihood is a difference of two means,

.. math:: \nabla_W E[\log p(x)] = E_{\text{data}}[x\, p(h \mid x)^\top] - E_{\text{model}}[x\, p(h \mid x)^\top],

and the second one is what all the trouble is about. Contrastive divergence takes k sweeps of Gibbs sampling from the data: the
gradient of nothing, biased towards the data's neighbourhood, and good only as k grows. Persistent chains (Tieleman 2008) go on
from step to step: the weights move slowly, so that the chains stay near the model. Both minimise the difference of the mean
free energies of data and chains, with the chains held fixed.

Units are *centred* (Montavon & Müller 2012, Melchior et al. 2016, https://jmlr.org/papers/v17/14-237.html): the energy is
linear in :math:`(x - \mu)` and :math:`(h - \lambda)`, with the data's mean :math:`\mu`. That changes the gradient, not the
model, and makes learning indifferent to swapping zeros and ones. With visible biases that start at the data's log-odds,
hidden units need not learn the mean.

Common slips: the mean of the data instead of its log-odds as bias; pixels' probabilities in place of sampled bits in the
chains, which then are no chains of the model; pseudo-likelihood or reconstruction error read as likelihood, which both go on
falling while a model gets worse; and an estimate of log Z from few temperatures, which flatters the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ....capability import Latent, Partitioned, Samples
from ....distribution import Bernoulli, Distribution
from ....domain import Discrete, Domain, Real
from ....errors import RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from ....randomness import Seed, as_generator
from .ais import Bracket, anneal, bracket, log_mean, spaced
from .machine import Machine, Tempered, enumerable
from .units import Reals, bernoulli, units_of

__all__ = ["RBM"]

SCALE = 0.01
"""Standard deviation of the initial weights: small, or hidden units begin saturated (Hinton 2012)."""
HALF = 0.5
"""The offset of the hidden bits."""
CHAINS = 16
"""Annealed chains in one draw of the estimate of log Z."""
FEATURES = 2**14
"""The most features of discrete data that stand as one-hot vectors; data of more are dequantised."""


@final
class RBM(Samples, Partitioned, Latent, GradientTrained):
    r"""A restricted Boltzmann machine of bits, levels or reals.

    Bits are Bernoulli units, levels softmax units, reals normal units with a learned std. A label shifts the biases of both
    sides. ``score`` is exact where the sum over the states of one side is affordable (20 hidden units and 64 pixels, or 16 and
    784), else an estimate by annealed importance sampling, which is optimistic; ``bracket`` holds it from both sides.
    ``encode`` is p(h | x), a probability for each hidden bit.

    ``sample`` is exact where the score is. Elsewhere it runs ``steps`` sweeps of Gibbs sampling, two products of matrices
    each, from independent units: through the first half the temperature falls to 1, so that chains find all modes, and
    through the second half it stays there.

    Args:
        domain: Discrete data, or real data.
        given: A class label, or None.
        hidden: Hidden units.
        persistent: Whether chains go on from step to step; else they start at the data, which is contrastive divergence.
        sweeps: Sweeps of Gibbs sampling in each step: the k of CD-k.
        chains: Persistent chains.
        temperatures: Of annealed importance sampling, when scored.

    Raises:
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    adjustable = ("steps",)
    steps: int = 1000
    """Sweeps of sampling."""
    chunk: int = 2**24
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"hidden": 4, "chains": 64},
        "small": {"hidden": 100},
    }

    offset: Tensor
    chains: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        hidden: int = 500,
        persistent: bool = True,
        sweeps: int = 1,
        chains: int = 128,
        temperatures: int = 1000,
    ) -> None:
        super().__init__(domain, given)
        for name, value, high in (
            ("hidden", hidden, 2**14),
            ("sweeps", sweeps, 10**4),
            ("chains", chains, 2**16),
            ("temperatures", temperatures, 10**6),
        ):
            require_whole(name, value, 2 if name == "temperatures" else 1, high)
        self.units = units_of(domain)
        self.persistent, self.sweeps, self.temperatures = persistent, sweeps, temperatures
        features, labels = self.units.features, len(self.given_frequencies)
        self.enumerated = enumerable(self.units, hidden)
        self.weighted = self.enumerated  # an estimate's draws are no weights
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(features, hidden), std=SCALE))
        self.visible = nn.Parameter(torch.zeros(features))
        self.hidden = nn.Parameter(torch.zeros(hidden))
        if labels:
            self.visible_of = nn.Parameter(torch.zeros(labels, features))
            self.hidden_of = nn.Parameter(torch.zeros(labels, hidden))
        if isinstance(self.units, Reals):
            self.log_std = nn.Parameter(torch.zeros(features))
        self.register_buffer("start", torch.zeros(features))
        self.register_buffer("offset", torch.zeros(features))
        self.register_buffer("chains", torch.zeros(chains, hidden), persistent=False)

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> RBM:
        """Four hidden units."""
        return cls(domain, given, **cls.sizes["tiny"])

    @classmethod
    def suits(cls, domain: Domain, options: Mapping[str, Any]) -> bool:
        """Discrete data as they are if their one-hot vectors are not too long."""
        return not isinstance(domain, Discrete) or domain.entries * domain.levels <= FEATURES

    def recipe(self) -> Recipe:
        """AdamW down to rate zero, which lets the chains catch up, and a moving average of the weights."""
        return Recipe(batch=128, rate=3e-3, ema=0.999, select="last")

    @property
    def enumerable(self) -> bool:
        """Whether the sum over the states of one side is affordable."""
        return self.enumerated

    @property
    def way(self) -> str:
        """The chains and temperatures of a draw."""
        if self.enumerated:
            return super().way
        return f"annealed importance sampling, {CHAINS} chains and {self.temperatures} temperatures a draw"

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start at independent units that fit the data, and the chains at hidden bits of data."""
        if isinstance(self.units, Reals):
            std = subset.flatten(1).double().std(0, correction=0)
            self.log_std.copy_(std.clamp_min(1e-4).log())
        u = self._features(subset)
        self.start.copy_(self.units.start(u if isinstance(self.units, Reals) else subset))
        self.offset.copy_(u.double().mean(0))
        self.visible.copy_(self.start + HALF * self.weight.sum(1))
        rows = torch.arange(len(self.chains), device=u.device) % len(u)
        machine = self._machine(None if self.given is None else self._chain_labels())
        self.chains.copy_(bernoulli(machine.activation(u[rows]), generator))

    def training_state(self) -> Mapping[str, Tensor]:
        """The hidden bits of the persistent chains."""
        return {"chains": self.chains} if self.persistent else {}

    def phases(self) -> tuple[Phase, ...]:
        """One phase: data down in energy, chains up."""
        return (Phase("likelihood", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        """The mean free energy of data less that of chains, whose gradient is that of minus the log-likelihood.

        The value of the total is the data's part alone: the difference is mostly noise of the chains, and would say nothing
        of how exact an arithmetic is.
        """
        with torch.no_grad():
            data = self._features(batch.x)
            chains, given = self._moved(data, batch.given, generator)
        u = self._refeatured(torch.cat([data, chains]))
        labels = None if batch.given is None or given is None else torch.cat([batch.given, given])
        energy, activation = self._centred(u, labels)
        if self.persistent:
            self.chains.copy_(bernoulli(activation.detach()[len(data) :], generator))
        of_data, of_chains = energy[: len(data)], energy[len(data) :]
        above = of_chains.mean() if given is None else (of_chains * self._weights(given)).sum()
        gap, below = of_data.mean() - above, of_data.mean()
        spread = of_data.detach().std(correction=0)
        return Loss(
            gap + above.detach(), {"gap": gap, "data_energy": below, "chain_energy": above, "energy_spread": spread}
        )

    def _moved(self, data: Tensor, given: Tensor | None, generator: Generator) -> tuple[Tensor, Tensor | None]:
        """The features of the chains after their sweeps, and their labels: the persistent ones, or new ones from the data."""
        if not self.persistent:
            machine, u, sweeps = self._machine(given), data, self.sweeps
        else:
            given = None if self.given is None else self._chain_labels()
            machine = self._machine(given)
            u, sweeps = machine.drawn(self.chains, generator), self.sweeps - 1
        for _ in range(sweeps):
            u = machine.sweep(u, generator)
        return u, given

    def _centred(self, u: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        r"""Free energies up to a constant that all share, and the log-odds :math:`a = c' + (u - \mu) W` of the hidden bits.

        .. math:: F(u) = -r(u) - (u - \mu) \cdot b' - \sum_j [\log(1 + e^{a_j}) - \lambda a_j] + \text{const}

        Here b' and c' are the parameters, so that every gradient is that of the centred machine.
        """
        apart = u - self.offset
        a = (apart @ self.weight).to(self.hidden.dtype)
        a = a + (self.hidden if given is None else self.hidden + self.hidden_of[given])
        b = self.visible if given is None else self.visible + self.visible_of[given]
        linear = (apart * b).sum(1) if given is not None else apart @ b
        return -self.units.log_base(u) - linear - (F.softplus(a) - HALF * a).sum(1), a

    def _chain_labels(self) -> Tensor:
        """The label of each persistent chain: as many chains for every label, if their number allows it."""
        return torch.arange(len(self.chains), device=self.device) % len(self.given_frequencies)

    def _weights(self, labels: Tensor) -> Tensor:
        """The weight of each chain, so that every label has its frequency in training; those that start at data have one."""
        if not self.persistent:
            return torch.full((len(labels),), 1 / len(labels), device=labels.device)
        weights = self.given_frequencies[labels].to(self.weight.dtype)
        weights = weights / torch.bincount(labels, minlength=len(self.given_frequencies))[labels]
        return weights / weights.sum()

    def _machine(self, given: Tensor | None) -> Machine:
        """The machine with plain biases, of each datum's label where there are labels."""
        visible = self.visible - HALF * self.weight.sum(1)
        hidden = self.hidden - self.weight.T @ self.offset
        if given is None:
            return Machine(self.units, self.weight, visible.unsqueeze(0), hidden.unsqueeze(0))
        return Machine(self.units, self.weight, visible + self.visible_of[given], hidden + self.hidden_of[given])

    def _features(self, x: Tensor) -> Tensor:
        """The features of data; reals in units of their std."""
        u = self.units.of(x)
        return u * (-self.log_std).exp() if isinstance(self.units, Reals) else u

    def _refeatured(self, u: Tensor) -> Tensor:
        """Features of chains as functions of the std, if it is learned: the chains' data are what is held fixed."""
        return u * (self.log_std.detach() - self.log_std).exp() if isinstance(self.units, Reals) else u

    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._machine(given).free_energy(self._features(x))

    def _volume(self) -> Tensor | float:
        """What a change of units from u to x adds to log Z."""
        return self.log_std.double().sum() if isinstance(self.units, Reals) else 0.0

    def _log_partition(self, labels: Tensor | None) -> Tensor:
        given = [None] if labels is None else [label.reshape(1) for label in labels]
        values = [self._machine(label).log_partition() + self._volume() for label in given]
        return torch.stack(values) if values else torch.zeros(0, dtype=torch.float64, device=self.device)

    def _log_partition_estimates(self, groups: int, labels: Tensor | None, generator: Generator) -> Tensor:
        if labels is not None and not len(labels):
            return torch.zeros(groups, 0, dtype=torch.float64, device=self.device)
        bridge = Tempered(self._machine(labels), self.start)
        log_weights, _ = anneal(bridge, spaced(bridge, self.temperatures, generator), CHAINS * groups, generator)
        means = log_mean(log_weights.reshape(bridge.machines, groups, CHAINS))
        return means.T + bridge.log_start() + self._volume()

    def bracket(
        self,
        samples: Tensor,
        *,
        chains: int = 256,
        temperatures: int | None = None,
        label: int | None = None,
        seed: Seed = 0,
    ) -> Bracket:
        """The log Z from below and from above: from annealed chains, and from chains that run backwards from samples.

        Args:
            samples: Of the model, from ``sample``: where these are not the model's, the upper side is none.
            chains: That run forwards.
            temperatures: Of both; by default those of the score.
            label: Of a conditional model.
            seed: Of the draws.

        Raises:
            BadInput: if the samples do not fit the domain, or a label is missing.
        """
        noise = as_generator(seed, self.device)
        data = self.domain.check(samples).to(self.device)
        given = self._checked_given(label, 1)
        self._require_given(given, "bracket its partition function")
        with torch.no_grad():
            bridge = Tempered(self._machine(given), self.start)
            betas = spaced(bridge, self.temperatures if temperatures is None else temperatures, noise)
            found = bracket(bridge, bridge.state(self._features(data)), betas, chains, noise)
        volume = float(self._volume())
        return Bracket(found.lower + volume, found.lower_stderr, found.upper + volume, found.upper_stderr)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        u = self._exact(n, given, generator) if self.enumerated else self._annealed(n, given, generator)
        return self.units.data(u * self.log_std.exp() if isinstance(self.units, Reals) else u)

    def _exact(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        if given is None:
            return self._machine(None).exact_samples(n, generator)
        u = torch.zeros(n, self.units.features, device=self.device)
        for label in torch.unique(given):
            rows = given == label
            u[rows] = self._machine(label.reshape(1)).exact_samples(int(rows.sum()), generator)
        return u

    def _annealed(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        """Chains from independent units, whose temperature falls to 1 in the first half of their sweeps."""
        bridge = Tempered(self._machine(given), self.start)
        state = bridge.state(self.units.sample(self.start.expand(n, -1), generator))
        for number in range(self.steps):
            state = bridge.move(state, min(1.0, 2 * (number + 1) / self.steps), generator)
        return state[0]

    def _check_sampling(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or not 1 <= self.steps <= 10**7:
            raise RangeError("steps must be a whole number from 1 to 10000000.", got=self.steps)

    @property
    def codes(self) -> Domain:
        """A bit for each hidden unit."""
        return Discrete((len(self.hidden),), 2)

    def _encode(self, x: Tensor, given: Tensor | None) -> Bernoulli:
        return Bernoulli(self._machine(given).activation(self._features(x)))

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        eta = self._machine(given).natural(z.to(self.weight.dtype))
        std = self.log_std.exp() if isinstance(self.units, Reals) else torch.ones((), device=self.device)
        return self.units.distribution(eta, std)
