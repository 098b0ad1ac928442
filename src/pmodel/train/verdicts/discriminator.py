r"""A discriminator that has won: it is certain of every datum and every sample, and next to nothing is learned from it.

Its logistic loss bounds what is left. With a logit l, the loss of a sample is :math:`-\log(1 - \sigma(l)) \ge \sigma(l)`, and

- the gradient of its own loss with respect to that logit is :math:`\sigma(l)`: it stays as it is, wherever samples go;
- in the minimax game the generator minimises :math:`\log(1 - \sigma(l))`, whose gradient is :math:`-\sigma(l)`: it vanishes
  too. In the others the generator is still pushed, but by a discriminator that no longer follows it.

Hinges and squares are next to nothing in the same case alone. A Wasserstein critic has no such bound: its loss is nothing where
it cannot tell data from samples.

A discriminator is known by its mean verdicts on data and on samples, ``real`` and ``fake`` among the losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..diagnosis import Diagnosis
from .remedies import Patient, remedy

__all__ = ["critics", "saturation"]

SATURATED = 0.01
"""The loss of a saturated discriminator. A healthy DCGAN's was 0.18 at least, and a saturated one's below 1e-4."""
WAYS = (
    "play a game that does not saturate (--set loss=relativistic with --set penalty=1)",
    "penalise the discriminator's slopes, and leave out Adam's momentum (--set penalty=… train.betas=0,0.9)",
    "train the discriminator less (--set lead=0.5, or fewer repeats)",
    "lower the learning rate (--set train.rate=…)",
)


def critics(losses: Mapping[str, float]) -> list[str]:
    """The phases of discriminators: those that report their mean verdicts on data and on samples."""
    phases = dict.fromkeys(name.rpartition(".")[0] for name in losses)
    return [phase for phase in phases if {f"{phase}.real", f"{phase}.fake", f"{phase}.loss"} <= losses.keys()]


def saturation(phase: str, reports: Sequence[Mapping[str, float]], window: int, patient: Patient) -> Diagnosis | None:
    """What there is to say if the loss of a discriminator has been next to nothing throughout the last reports.

    Args:
        phase: Of the discriminator.
        reports: The losses of the last reports, named ``phase.part``.
        window: Reports that must agree.
        patient: The model.
    """
    if patient.options.get("loss") == "wasserstein":
        return None
    losses = [report.get(f"{phase}.loss", math.inf) for report in reports]
    if len(losses) < window or not all(0 <= loss < SATURATED for loss in losses):
        return None
    minimax = patient.options.get("loss") == "minimax"
    reaches = ", and in the minimax game the generator's gradient is multiplied by no more than that" if minimax else ""
    return Diagnosis(
        "saturated discriminator",
        f"The {phase} is certain of every sample: its loss was {max(losses):.2g} at most over the last {window} reports, so "
        f"that there is next to no gradient to learn from{reaches}.",
        remedy(WAYS, patient.options),
    )
