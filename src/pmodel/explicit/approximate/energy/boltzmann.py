r"""A model that is a Boltzmann machine, whatever its couplings: what its weights allow.

The machine (``machine``) of a label knows its energies, its sums and how to draw. The model adds data in their own units: reals
are a std times their features, which adds the logarithms of the stds to log Z.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Generator, Tensor

from ....capability import Latent, Partitioned, Samples
from ....distribution import Bernoulli, Distribution
from ....domain import Discrete, Domain
from ....errors import ShapeError, require_whole
from ....randomness import Seed, as_generator
from .ais import Bracket, bracket, cooled, described, estimates, spaced
from .machine import Machine, Tempered
from .units import Units

__all__ = ["Boltzmann"]


class Boltzmann(Samples, Partitioned, Latent):
    """Energies, log Z from a sum or from annealed chains, samples, and codes of the machine that a model's parameters make."""

    adjustable = ("steps",)
    steps: int = 1000
    """Sweeps of sampling; of no effect where ``enumerable``, for there draws are exact."""
    units: Units
    temperatures: int
    enumerated: bool
    weight: Tensor
    hidden: Tensor
    start: Tensor
    """Natural parameters of independent units, where annealing begins."""
    log_std: Tensor | None
    """Of reals."""
    lost: tuple[str, ...] = ()
    """The verbs that couplings take away."""

    @abstractmethod
    def _machine(self, given: Tensor | None) -> Machine:
        """The machine, with a row of biases for each of these labels, or one row."""

    @property
    def enumerable(self) -> bool:
        """Whether the sum over the states of one side is affordable."""
        return self.enumerated

    @property
    def way(self) -> str:
        """The chains and temperatures of a draw."""
        return super().way if self.enumerated else described(self.temperatures)

    def can(self, verb: str) -> bool:
        """Codes where the hidden bits are independent given the datum, and data from codes where the visible units are."""
        return super().can(verb) and (verb not in self.lost)

    def _features(self, x: Tensor) -> Tensor:
        """The features of data; reals in units of their std."""
        u = self.units.of(x)
        return u * (-self.log_std).exp() if self.log_std is not None else u

    def _energy(self, x: Tensor, given: Tensor | None) -> Tensor:
        return self._machine(given).free_energy(self._features(x))

    def _volume(self) -> Tensor | float:
        """What a change of units from u to x adds to log Z."""
        return self.log_std.double().sum() if self.log_std is not None else 0.0

    def _log_partition(self, labels: Tensor | None) -> Tensor:
        given = [None] if labels is None else [label.reshape(1) for label in labels]
        values = [self._machine(label).log_partition() + self._volume() for label in given]
        return torch.stack(values) if values else torch.zeros(0, dtype=torch.float64, device=self.device)

    def _log_partition_estimates(self, groups: int, labels: Tensor | None, generator: Generator) -> Tensor:
        bridge = Tempered(self._machine(labels), self.start)
        return estimates(bridge, spaced(bridge, self.temperatures, generator), groups, generator) + self._volume()

    def bracket(
        self,
        samples: Tensor,
        *,
        chains: int = 256,
        temperatures: int | None = None,
        given: int | None = None,
        generator: Seed = 0,
    ) -> Bracket:
        """The log Z from below and from above: from annealed chains, and from chains that run backwards from samples.

        Args:
            samples: Of the model, from ``sample``, two or more: where these are not the model's, the upper side is none.
            chains: That run forwards, 2 or more.
            temperatures: Of both, 2 or more; by default those of the score.
            given: The label of a conditional model, and of the samples.
            generator: A seed, a generator, or None for fresh randomness.

        Raises:
            BadInput: if the samples do not fit the domain or are fewer than two, a label is missing, or a number is out of
                range.
        """
        require_whole("chains", chains, 2)
        count = require_whole("temperatures", self.temperatures if temperatures is None else temperatures, 2, 10**6)
        noise = as_generator(generator, self.device)
        data = self.domain.check(samples).to(self.device)
        if len(data) < 2:
            raise ShapeError("A bracket needs two samples or more.", got=len(data))
        label = self._checked_given(given, 1)
        self._require_given(label, "bracket its partition function")
        with torch.no_grad():
            bridge = Tempered(self._machine(label), self.start)
            betas = spaced(bridge, count, noise)
            found = bracket(bridge, bridge.state(self._features(data)), betas, chains, noise)
            volume = float(self._volume())
        return Bracket(found.lower + volume, found.lower_stderr, found.upper + volume, found.upper_stderr)

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        u = self._exact(n, given, generator) if self.enumerated else self._annealed(n, given, generator)
        return self.units.data(u * self.log_std.exp() if self.log_std is not None else u)

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
        return cooled(bridge, state, self.steps, generator)[0]

    def _check_sampling(self) -> None:
        require_whole("steps", self.steps, 1, 10**7)

    @property
    def codes(self) -> Domain:
        """A bit for each hidden unit."""
        return Discrete((len(self.hidden),), 2)

    def _encode(self, x: Tensor, given: Tensor | None) -> Bernoulli:
        return Bernoulli(self._machine(given).activation(self._features(x)))

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        eta = self._machine(given).natural(z.to(self.weight.dtype))
        std = self.log_std.exp() if self.log_std is not None else torch.ones((), device=self.device)
        return self.units.distribution(eta, std)
