"""Samples that are alike: all of them, or but for a few different ones, by the distances between them and between data."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diagnosis import Diagnosis
from ..neighbours import nearest
from .remedies import Patient, remedy

__all__ = ["WAYS", "collapse"]

ALIKE = 0.08
"""Samples whose mean distance is this part of the data's are one sample. It was 0.12 at least in DCGANs that went on to
learn, and 0.00 to 0.07 in collapsed ones."""
CROWDED = 0.02
"""Samples whose nearest neighbours are this part as far away as the data's come from a few points. It was 0.05 at least in
DCGANs that went on to learn, and 0.000 in collapsed ones."""
FEW = 0.04
"""The share of samples that differ, up to which a model with collapsed modes is of no use: 10 of 256."""
WAYS = (
    "play the game that compares each sample with a datum (--set loss=relativistic)",
    "penalise the discriminator's slopes, and leave out Adam's momentum (--set penalty=… train.betas=0,0.9)",
    "let the discriminator judge several at once (--set packing=2)",
)
"""What keeps a generator from dropping modes; by default, pairs do all but the last (``examples/collapse.py``)."""


def collapse(samples: Tensor, data: Tensor, patient: Patient) -> Diagnosis | None:
    """What there is to say if the samples are all but equal, or a few different ones.

    Args:
        samples: Rows of standardised numbers, ``(N, D)``.
        data: As many of these.
        patient: The model.
    """
    n, distances = len(samples), (torch.cdist(samples, samples), torch.cdist(data, data))
    spread, real_spread = (float(d.mean()) for d in distances)
    near, real_near = (float(nearest(d).median()) for d in distances)
    if spread < ALIKE * real_spread:
        ways = ("lower the learning rate (--set train.rate=…)", *WAYS, "take another seed")
        return Diagnosis(
            "collapsed generator",
            f"{n} samples are all but equal: their mean distance is {spread / real_spread:.2g} of that between data.",
            remedy(ways, patient.options),
            fatal=True,
        )
    if near >= CROWDED * real_near:  # and where data coincide too
        return None
    distinct = n - int((distances[0] < CROWDED * real_near).tril(-1).any(1).sum())
    ways = ("lower the learning rate (--set train.rate=…)", *WAYS, "enlarge the batch (--set train.batch=…)")
    return Diagnosis(
        "mode collapse",
        f"{n} samples are about {distinct} different ones: the median distance to the nearest other is "
        f"{near / real_near:.2g} of that between data.",
        remedy(ways, patient.options),
        fatal=distinct <= FEW * n,
    )
