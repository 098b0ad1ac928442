r"""How hidden Markov models are fitted: expectation maximisation from sums over sequences (Baum et al. 1970).

.. math::
    \pi_i \propto \sum_n \gamma^{(n)}_1(i), \qquad
    A_{ij} \propto \sum_n \sum_t p(z_t = i, z_{t+1} = j \mid x^{(n)})

and the emissions of a state as in a mixture, under the posteriors of the states. All of it is sums over sequences, so the data
go through in blocks and over processes with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from ....capability import Completes, Marginalises, Samples
from ....domain import Domain, Sequences
from ....errors import BadInput
from ....learning import Batch, ClosedForm
from ..components import Components, Sums
from .emission import LOST, Emission, add
from .forward_backward import Chain
from .inference import Evidence, Inference
from .packing import Packing
from .start import start

__all__ = ["BaumWelch"]

HELD = 2**23
"""Numbers of the size of the posteriors that are held at a time: 64 MB, a few times over."""
STARTED = 2**16
"""Elements that the start is estimated from."""
MEASURED = 2**24
"""Entries that location and scale are estimated from."""
TINY = 1e-300


class BaumWelch(Samples, Completes, Marginalises, ClosedForm):
    """A chain of states with emissions, and how it learns. A subclass adds what it can answer.

    Args:
        domain: Sequences.
        given: None.
        states: K.
        parts: The components of the emissions, as many for each state.
        smoothing: Transitions from each state that are added to those in the data, and as many first states.
    """

    iterative = True

    initial: Tensor
    transition: Tensor

    def __init__(
        self, domain: Sequences, given: Domain | None, *, states: int, parts: Components, smoothing: float
    ) -> None:
        super().__init__(domain, given)
        self.sequences, self.ends, self.smoothing = domain, domain.ends, smoothing
        self.emission = Emission(states, parts)
        after = states + domain.ends
        self.register_buffer("initial", torch.full((after,), 1 / after, dtype=torch.float64))
        self.register_buffer("transition", torch.full((states, after), 1 / after, dtype=torch.float64))

    @property
    def states(self) -> int:
        """K."""
        return self.emission.states

    @property
    def inference(self) -> Inference:
        """Within the sequences; what leads to the end is apart."""
        K = self.states
        chain = Chain(self.initial[:K], self.transition[:, :K].contiguous())
        return Inference(chain, self.transition[:, -1], self.emission)

    def evidence(self, x: Tensor, observed: Tensor | None, rows: Tensor) -> Evidence:
        """Some of the sequences ``x``, consecutive ones, packed."""
        part = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
        lengths = self.sequences.lengths(x[part])
        packing = Packing.of(lengths)
        last = None
        if self.ends:
            last = (packing.time == lengths[packing.sequence] - 1) & (packing.time < self.sequences.longest - 1)
        seen = None if observed is None else self._flat(packing.pack(observed[part]))
        return Evidence(self.emission.inward(self._flat(packing.pack(x[part]))), seen, packing, last)

    def _flat(self, elements: Tensor) -> Tensor:
        return elements.reshape(-1, self.emission.parts.entries)

    def groups(self, lengths: Tensor) -> list[Tensor]:
        """Consecutive sequences that are treated together: as many as fit into memory.

        One group after another: threads that each take a recursion spend their time handing over the interpreter, because
        its steps are that short. What is large is done by PyTorch's own threads.
        """
        numbers = lengths.cumsum(0) * (self.states + self.ends)
        ends = torch.bincount((numbers - 1).clamp_min(0) // HELD).cumsum(0)[:-1].tolist()
        parts = torch.arange(len(lengths), device=lengths.device).tensor_split(ends)
        return [part for part in parts if len(part)]

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Take location and scale of real elements from the data."""
        few = subset[: max(1, MEASURED // self.domain.entries)]  # the subset is in random order
        self.emission.measure(self._flat(few[self.sequences.present(few)]))

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Cluster the elements, or share out symbols at random, and count the transitions between the parts."""
        if len(subset.x) == 0:
            raise BadInput("Expectation maximisation cannot start from no data.", got=0)
        lengths = self.sequences.lengths(subset.x)
        few = (lengths.cumsum(0) - lengths < STARTED).nonzero()[:, 0]  # the subset is in random order
        evidence = self.evidence(subset.x, subset.observed, few)
        if len(evidence.x) == 0:
            raise BadInput(
                "Expectation maximisation cannot start from sequences without elements.", got=f"{len(few)} of length 0"
            )
        sums = start(self.emission, evidence.packing, evidence.x, evidence.observed, generator)
        if evidence.last is not None:
            sums["exits"] = sums["transitions"].sum(1) * evidence.last.sum() / max(1, len(evidence.x))
            sums["empty"] = (lengths[few] == 0).sum().double()
        self.maximise(sums)

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """E-step: the log-likelihood, and the expected first states, transitions and sums of the emissions."""
        sums: Sums = {"n": torch.tensor(float(len(batch.x)), dtype=torch.float64, device=batch.x.device)}
        inference, nothing = self.inference, [torch.arange(0, device=batch.x.device)]
        for rows in self.groups(self.sequences.lengths(batch.x)) or nothing:
            add(sums, self._expected(inference, self.evidence(batch.x, batch.observed, rows)))
        return sums

    def _expected(self, inference: Inference, evidence: Evidence) -> Sums:
        """The statistics of sequences that fit into memory together."""
        found = inference.smoothed(evidence)
        first = found.gamma[: evidence.packing.sizes[0]] if evidence.packing.sizes else found.gamma
        sums = self.emission.sums(evidence.x, found.gamma, evidence.observed)
        sums |= {"log_prob": found.log_prob.sum(), "first": first.sum(0), "transitions": found.transitions}
        if evidence.last is not None:
            empty = len(found.log_prob) - len(first)
            sums["exits"] = found.gamma[evidence.last].sum(0)
            sums["empty"] = sums["log_prob"].new_tensor(float(empty))
            sums["log_prob"] = sums["log_prob"] + self._log_empty(empty)
        return sums

    def _log_empty(self, sequences: int) -> Tensor:
        """The log-likelihood of so many sequences of length 0."""
        return torch.xlogy(self.initial.new_tensor(float(sequences)), self.initial[-1])

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """M-step. A state that has lost its data becomes a neighbour of the heaviest, and shares its visits."""
        count = self.emission.update(statistics)
        first, onward = statistics["first"], statistics["transitions"]
        if self.ends:
            first = torch.cat([first, statistics["empty"].reshape(1)])
            onward = torch.cat([onward, statistics["exits"][:, None]], 1)
        self.initial.copy_(self._frequencies(first, self.initial))
        self.transition.copy_(self._frequencies(onward, self.transition))
        for lost in (count < LOST).nonzero()[:, 0].tolist():
            self._restart(lost, int(count.argmax()))

    def _frequencies(self, counts: Tensor, before: Tensor) -> Tensor:
        """Shares of counts, smoothed; those of before where there is nothing to count."""
        counts = counts + self.smoothing / counts.shape[-1]
        total = counts.sum(-1, keepdim=True)
        return torch.where(total > 0, counts / total.clamp_min(TINY), before)

    def _restart(self, lost: int, source: int) -> None:
        """Two states for one: they are entered equally often, and go on alike."""
        self.emission.split(source, lost)
        for into in (self.initial, *self.transition):
            into[source] = into[lost] = (into[source] + into[lost]) / 2
        self.transition[lost] = self.transition[source]
