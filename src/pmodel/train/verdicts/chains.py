r"""The verdict on Markov chains that a model learns from: whether they have left the data, or the model has left them.

The gradient of a likelihood is a difference between data and samples. Where samples come from chains that go on from step to
step, it is one only as long as the chains follow the model. A model with such chains reports, as parts of its loss, the mean
energy of the data of a batch, that of its chains, and the standard deviation of the data's energies. In a healthy run

- both means lie within a few of those standard deviations: chains and data are alike, in the one respect that the model knows.
  Chains far *above* the data move too far in a step, or do not find what the model has learned. Chains far *below* sit where
  the model has put its mass, and no data are;
- the energies of data spread over about :math:`\sqrt D` nats for D entries, as sums of D terms do. A model that its chains do
  not hold back tells data apart ever more sharply: its energies run away, and so do those of the chains, to and fro.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..diagnosis import Diagnosis
from .remedies import Patient, remedy

__all__ = ["diverging"]

PARTS = ("data_energy", "chain_energy", "energy_spread")
"""The parts of a loss by which chains are known."""
FAR = 3.0
"""Standard deviations of the data's energies by which chains are apart. After a hundred steps it was 1.0 at most in healthy
machines of bits, and 0.8 in healthy energy-based models of points."""
WIDE = 10.0
"""Energies of data that spread over this many times the root of the number of entries have run away. It was 0.6 to 1.8 in
healthy machines and models, 3 at fifty times the rate, and 20 to 40 where the rate was 1."""
SLOWER = ("lower the learning rate (--set train.rate=…)", "take more sweeps in each step (--set sweeps=…)")
"""The remedy of chains that do not keep up."""


def diverging(reports: Sequence[Mapping[str, float]], window: int, entries: int, patient: Patient) -> list[Diagnosis]:
    """A verdict for every phase whose chains and data have not belonged together throughout the last reports.

    Args:
        reports: The losses of the last reports, named ``phase.part``, oldest first.
        window: Reports that must agree.
        entries: Of a datum.
        patient: The model.
    """
    if len(reports) < window:
        return []
    phases = dict.fromkeys(name.rpartition(".")[0] for name in reports[-1])
    found = (_verdict(phase, reports[-window:], entries, patient) for phase in phases)
    return [verdict for verdict in found if verdict is not None]


def _verdict(phase: str, reports: Sequence[Mapping[str, float]], entries: int, patient: Patient) -> Diagnosis | None:
    known = [[report.get(f"{phase}.{part}", math.nan) for part in PARTS] for report in reports]
    if not all(math.isfinite(value) for row in known for value in row):
        return None
    apart = [(chains - data) / max(spread, 1.0) for data, chains, spread in known]
    spread = min(row[2] for row in known)
    over = f"over the last {len(reports)} reports"
    if spread > WIDE * math.sqrt(entries):
        return Diagnosis(
            "diverging chains",
            f"The energies of the data have had a standard deviation of {spread:.3g} nats or more {over}, where those of "
            f"{entries} entries have one of about {math.sqrt(entries):.2g}: the model runs ahead of its chains.",
            remedy((*SLOWER, "clip the gradients (--set train.clip=1)"), patient.options),
            fatal=True,
        )
    if max(apart) < -FAR or min(apart) > FAR:
        where = "above" if apart[0] > 0 else "below"
        return Diagnosis(
            "diverging chains",
            f"The mean energy of the chains has been {min(map(abs, apart)):.3g} standard deviations or more {where} that of "
            f"the data {over}: they are not where the data are.",
            remedy((*SLOWER, "move the chains less far at a time (--set step=…)"), patient.options),
            fatal=True,
        )
    return None
