r"""Modes and classes that a model leaves out, where it is known what there is: a density's own modes, or a judge's classes.

Of K values with shares :math:`p_k` among data, n samples may lack some by chance. Where m values are missing whose shares add
up to p, the probability that a perfect model lacks m values with such a share, or a larger one, is at most

.. math:: \binom{K}{m} (1 - p)^n,

so that they are called missing where this is less than ``CHANCE``. That holds for one sample of each mode as for a thousand,
and for a few modes among many as for most of a few.

Samples that lie at no mode, or are clearly of no class, say nothing of which modes there are: they are not counted in n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from ...data import Dataset
from ...metrics.classes import CONFIDENT
from ...metrics.judge import Judge, judge_at_hand
from ...metrics.modes import found_modes
from ..diagnosis import Diagnosis
from .collapse import WAYS
from .remedies import Patient, remedy

__all__ = ["Modes", "missing_classes", "missing_modes"]

CHANCE = 1e-3
"""The probability at which a mode may be called missing that is not."""
CLEAR = 0.5
"""The share of samples that must be clearly some class before classes are called missing: of blurs and noise, a judge sees
what it likes."""
ALL = (*WAYS, "train for longer")


@final
class Modes:
    """What is known of the modes of some data. Where a judge sees them, it is read when it is first asked, and none is trained.

    Args:
        data: What a model learns from.
        x: Some of them, ``(M, *shape)``.
        patient: The model.
    """

    def __init__(self, data: Dataset, x: Tensor, patient: Patient) -> None:
        self.data, self.x, self.patient = data, x, patient

    @cached_property
    def judge(self) -> Judge | None:
        """The judge of the data's classes, if there is one."""
        return judge_at_hand(self.data)

    @cached_property
    def real(self) -> Tensor | None:
        """What it says of the data: class probabilities ``(M, K)``."""
        return None if self.judge is None else self.judge.probabilities(self.x)

    def missing(self, samples: Tensor) -> Diagnosis | None:
        """What there is to say if samples ``(N, *shape)`` lack modes or classes."""
        truth = self.data.truth
        if truth is not None:
            away = truth.away(samples.cpu())
            return None if away is None else missing_modes(away, self.patient)
        if self.judge is None or self.real is None:
            return None
        return missing_classes(self.judge.probabilities(samples), self.real, self.judge.class_names, self.patient)


def missing_modes(away: Tensor, patient: Patient) -> Diagnosis | None:
    """What there is to say if samples lie at none, or not at all, of the modes that are known.

    Args:
        away: Distances of samples to the modes in their standard deviations, ``(N, K)``.
        patient: The model.
    """
    found = found_modes(away)
    n, k = sum(found.counts), found.modes
    missing = absent(found.counts, [1 / k] * k, n)
    if n and not missing:
        return None
    lacks = f"none at {len(missing)} of {k} modes" if n else f"none at any of {k} modes"
    return Diagnosis(
        "missing modes",
        f"Of {found.n} samples there is {lacks} that the data are known to have; {n} lie at one.",
        remedy(ALL, patient.options),
        fatal=found.found <= 1,
    )


def missing_classes(samples: Tensor, data: Tensor, names: Sequence[str], patient: Patient) -> Diagnosis | None:
    """What there is to say if classes of the data do not come among samples.

    Args:
        samples: A judge's class probabilities of samples, ``(N, K)``.
        data: And of data, ``(M, K)``.
        names: Of the classes.
        patient: The model.
    """
    clear = int((samples.amax(1) >= CONFIDENT).sum())
    if clear < CLEAR * len(samples):
        return None
    counts, theirs = (torch.bincount(p.argmax(1), minlength=len(names)) for p in (samples, data))
    missing = absent(counts.tolist(), (theirs.double() / len(data)).tolist(), clear)
    if not missing:
        return None
    lost, share = ", ".join(repr(names[k]) for k in missing), sum(theirs[missing].tolist()) / len(data)
    return Diagnosis(
        "missing classes",
        f"Of {len(samples)} samples the judge takes none for {lost}; of the data {share:.0%} are.",
        remedy(ALL, patient.options),
    )


def absent(counts: Sequence[int], shares: Sequence[float], n: int) -> list[int]:
    """The values that do not occur among n samples, if it is more than chance that they do not."""
    missing = [k for k, count in enumerate(counts) if not count and shares[k] > 0]
    kinds, others = sum(share > 0 for share in shares), 1 - sum(shares[k] for k in missing)
    likely = others > 0 and math.log(math.comb(kinds, len(missing))) + n * math.log(others) >= math.log(CHANCE)
    return [] if likely or not n else missing
