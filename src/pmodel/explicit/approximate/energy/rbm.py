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

``lateral`` makes it a general Boltzmann machine, with couplings within the sides (``sides.py``). The learning rule is the same:
statistics of the data less those of chains (``gradient.py``), which now hold pairs of one side, too.

Common slips: the mean of the data instead of its log-odds as bias; pixels' probabilities in place of sampled bits in the
chains, which then are no chains of the model; pseudo-likelihood or reconstruction error read as likelihood, which both go on
falling while a model gets worse; and an estimate of log Z from few temperatures, which flatters the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor, nn

from ....domain import Discrete, Domain, Real
from ....errors import BadInput, RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from .boltzmann import Boltzmann
from .chains import labelled, require_each, weighted
from .gradient import gradients, with_gradients
from .machine import Machine, enumerable
from .sides import CoupledHidden, CoupledVisible, FreeHidden, FreeVisible, Hidden, Visible, symmetric
from .units import Reals, units_of

__all__ = ["RBM"]

SCALE = 0.01
"""Standard deviation of the initial weights: small, or hidden units begin saturated (Hinton 2012)."""
HALF = 0.5
"""The offset of the hidden bits."""
LATERAL = ("none", "visible", "hidden", "both")
SUMMED = 12
"""The most hidden units with couplings: a datum's sum is over all their states."""
FEATURES = 2**14
"""The most features of discrete data that stand as one-hot vectors; data of more are dequantised."""


@final
class RBM(Boltzmann, GradientTrained):
    r"""A Boltzmann machine of bits, levels or reals: restricted, or with couplings within its sides.

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
        chains: Persistent chains, one for each label at least; of no effect with ``persistent=False``.
        temperatures: Of annealed importance sampling, when scored.
        lateral: The sides with couplings within: ``none``, ``visible``, ``hidden``, ``both``. Visible ones need discrete data;
            they make every sweep go through the entries one by one, and leave no ``decode``. Hidden ones are of at most twelve
            units, whose states are summed over, and leave no ``encode``.

    Raises:
        RangeError: if a number is out of range.
        BadInput: if ``lateral`` is unknown, or does not fit the data.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    chunk: int = 2**24
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"hidden": 4, "chains": 64},
        "small": {"hidden": 100},
    }

    offset: Tensor
    chains: Tensor
    seen: Tensor

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
        lateral: str = "none",
    ) -> None:
        super().__init__(domain, given)
        for name, value, high in (
            ("hidden", hidden, 2**14),
            ("sweeps", sweeps, 10**4),
            ("chains", chains, 2**16),
            ("temperatures", temperatures, 10**6),
        ):
            require_whole(name, value, 2 if name == "temperatures" else 1, high)
        self.units, self.lateral = units_of(domain), _checked(lateral, domain, hidden)
        self.persistent, self.sweeps, self.temperatures = persistent, sweeps, temperatures
        features, labels = self.units.features, len(self.given_frequencies)
        if persistent:
            require_each(chains, labels)
        coupled = {side: lateral in (side, "both") for side in ("visible", "hidden")}
        self.lost = ("decode",) * coupled["visible"] + ("encode",) * coupled["hidden"]
        self.enumerated = enumerable(
            self.units, hidden, visible_free=not coupled["visible"], hidden_free=not coupled["hidden"]
        )
        self.weighted = self.enumerated  # an estimate's draws are no weights
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(features, hidden), std=SCALE))
        self.visible = nn.Parameter(torch.zeros(features))
        self.hidden = nn.Parameter(torch.zeros(hidden))
        if labels:
            self.visible_of = nn.Parameter(torch.zeros(labels, features))
            self.hidden_of = nn.Parameter(torch.zeros(labels, hidden))
        self.register_parameter(
            "log_std", nn.Parameter(torch.zeros(features)) if isinstance(self.units, Reals) else None
        )
        if coupled["visible"]:
            self.lateral_visible = nn.Parameter(torch.zeros(features, features))
        if coupled["hidden"]:
            self.lateral_hidden = nn.Parameter(torch.zeros(hidden, hidden))
        self.register_buffer("start", torch.zeros(features))
        self.register_buffer("offset", torch.zeros(features))
        self.register_buffer("chains", torch.zeros(chains, hidden), persistent=False)
        self.register_buffer("seen", torch.zeros(chains, features if coupled["visible"] else 0), persistent=False)

    @classmethod
    def suits(cls, domain: Domain, options: Mapping[str, Any]) -> bool:
        """Discrete data as they are if their one-hot vectors are not too long."""
        return not isinstance(domain, Discrete) or domain.entries * domain.levels <= FEATURES

    def recipe(self) -> Recipe:
        """AdamW down to rate zero, which lets the chains catch up, and a moving average of the weights."""
        # The rate was chosen on validation images of mnist-binary: 6 000 steps of 500 hidden units end at 100.4 nats with 1e-3,
        # at 96.2 with 3e-3 and at 96.7 with 6e-3, each within .4 (annealing, 1 000 temperatures).
        return Recipe(batch=128, rate=3e-3, ema=0.999, select="last")

    @torch.no_grad()
    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start at independent units that fit the data, and the chains at hidden bits of data."""
        if self.log_std is not None:
            std = self.units.flat(subset).double().std(0, correction=0)
            self.log_std.copy_(std.clamp_min(1e-4).log())
        u = self._features(subset)
        self.start.copy_(self.units.start(subset if self.log_std is None else u))
        self.offset.copy_(u.double().mean(0))
        self.visible.copy_(self.start + HALF * self.weight.sum(1))
        rows = torch.arange(len(self.chains), device=u.device) % len(u)
        self.chains.copy_(self._machine(self._chain_labels()).bits(u[rows], generator))
        self.seen.copy_(u[rows, : self.seen.shape[1]])

    def training_state(self) -> Mapping[str, Tensor]:
        """The hidden bits of the persistent chains; and their features, where a sweep goes on from them."""
        state = {"chains": self.chains, "seen": self.seen}
        return {name: value for name, value in state.items() if self.persistent and value.numel()}

    def phases(self) -> tuple[Phase, ...]:
        """One phase: data down in energy, chains up."""
        return (Phase("likelihood", tuple(self.parameters()), self._loss),)

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        """The mean free energy of data less that of chains, whose gradient is that of minus the log-likelihood.

        The value of the total is the data's part alone: the difference is mostly noise of the chains, and would say nothing
        of how exact an arithmetic is.
        """
        with torch.no_grad():
            parts, found = self._compared(batch, generator)
        return Loss(with_gradients(parts["data_energy"], dict(self.named_parameters()), found), parts)

    def _compared(self, batch: Batch, generator: Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Energies of data and chains, and the gradients of their difference; the chains go on."""
        data, shared = self._features(batch.x), self._shared()
        chains, given = self._moved(shared, data, batch.given, generator)
        u = torch.cat([data, chains])
        labels = None if batch.given is None or given is None else torch.cat([batch.given, given])
        machine = self._labelled(shared, labels)
        activation = machine.activation(u)
        energy = machine.free_energy(u, activation)
        if self.persistent:
            self.chains.copy_(machine.within_hidden.draw(activation[len(data) :], generator))
            self.seen.copy_(chains[:, : self.seen.shape[1]])
        weights = weighted(len(chains), given if self.persistent else None, self.given_frequencies)
        of_data, of_chains = energy[: len(data)], energy[len(data) :]
        below, above = of_data.mean(), (weights * of_chains).sum()
        parts = {"gap": below - above, "data_energy": below, "chain_energy": above}
        weights = torch.cat([torch.full_like(of_data, 1 / len(data)), -weights])
        count = len(self.given_frequencies)
        found = gradients(machine, u, activation, weights, labels, mean=self.offset, half=HALF, labels=count)
        return {**parts, "energy_spread": of_data.std(correction=0)}, found

    def _moved(
        self, shared: Machine, data: Tensor, given: Tensor | None, generator: Generator
    ) -> tuple[Tensor, Tensor | None]:
        """The features of the chains after their sweeps, and their labels: the persistent ones, or new ones from the data."""
        if not self.persistent:
            machine, u, sweeps = self._labelled(shared, given), data, self.sweeps
        else:
            given = self._chain_labels()
            machine = self._labelled(shared, given)
            u, sweeps = machine.drawn(self.chains, self.seen, generator), self.sweeps - 1
        for _ in range(sweeps):
            u = machine.sweep(u, generator)
        return u, given

    def _chain_labels(self) -> Tensor | None:
        return labelled(torch.arange(len(self.chains), device=self.device), self.given_frequencies)

    def _machine(self, given: Tensor | None) -> Machine:
        return self._labelled(self._shared(), given)

    def _labelled(self, shared: Machine, given: Tensor | None) -> Machine:
        """The machine with the biases of each datum's label, where there are labels."""
        if given is None:
            return shared
        return replace(
            shared, visible=shared.visible + self.visible_of[given], hidden=shared.hidden + self.hidden_of[given]
        )

    def _shared(self) -> Machine:
        """The machine with the plain biases that all labels share."""
        sides = self._sides()
        visible = self.visible - HALF * self.weight.sum(1) - sides[0].pull(self.offset)
        hidden = self.hidden - torch.mv(self.weight.T, self.offset) - sides[1].pull(HALF)
        return Machine(self.units, self.weight, visible.unsqueeze(0), hidden.unsqueeze(0), *sides)

    def _sides(self) -> tuple[Visible, Hidden]:
        """What the units of each side do to each other."""
        visible: Visible = FreeVisible()
        hidden: Hidden = FreeHidden()
        if self.lateral in ("visible", "both"):
            visible = CoupledVisible(symmetric(self.lateral_visible, self.units.each))
        if self.lateral in ("hidden", "both"):
            hidden = CoupledHidden(symmetric(self.lateral_hidden))
        return visible, hidden


def _checked(lateral: str, domain: Domain, hidden: int) -> str:
    """The couplings that were asked for, if there are such."""
    if lateral not in LATERAL:
        raise BadInput(f"lateral must be one of {', '.join(LATERAL)}.", got=lateral)
    if lateral in ("visible", "both") and not isinstance(domain, Discrete):
        raise BadInput("Couplings between visible units need discrete data.", got=domain, hint="leave out lateral=")
    if lateral in ("hidden", "both") and hidden > SUMMED:
        raise RangeError(
            f"hidden must be at most {SUMMED} with couplings between hidden bits, which sum over all their states.",
            got=hidden,
            hint=f"pass hidden={SUMMED} with lateral={lateral}",
        )
    return lateral
