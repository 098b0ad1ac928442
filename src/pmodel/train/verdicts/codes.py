r"""Discrete codes that are not used, or say nothing.

*Dead codes*: of the K values of an entry of the code, some stand at no place of any datum. The perplexity of their frequencies
over the data says as how many equally frequent ones the others count.

*Posterior collapse*, or a *silent code* where no KL weighs on it: what place i says of the datum is
:math:`I(x; z_i) = H\big(\tfrac1N \sum_n q(z_i \mid x_n)\big) - \tfrac1N \sum_n H\big(q(z_i \mid x_n)\big)` nats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...capability.activity import Usage
from ...distribution import Bernoulli, Categorical, Distribution
from ...domain import Discrete
from ..diagnosis import Diagnosis
from .remedies import Patient, remedy

__all__ = ["dead_codes", "levels_of", "silent_codes"]

SILENT = 0.01
"""Nats below which no place of a code says anything."""
DEAD = 0.5
"""The part of the codes that may be dead: a VQ-VAE on MNIST that restarts them had none, and one that does not most."""
PLACES = 10
"""So many places for each code must have been looked at, or codes may be rare and not dead: of as many draws of equally
frequent codes, one in 20 000 codes is missing."""
UNDER_A_KL = (
    "lower the weight of the KL (--set beta=0.5 or less)",
    "warm it up for longer (--set warmup=0.5)",
    "start warmer (--set temperature=2)",
)
"""What helps where a KL weighs on the code."""
FOLLOWING = (
    "start dead codes anew (--set restart=0.05)",
    "take fewer codes (--set codes=…)",
    "let the codebook follow faster (--set decay=0.95)",
)
"""What helps a codebook."""
SLOWER = "lower the learning rate (--set train.rate=…)"


def levels_of(model: Any) -> int:
    """The values of an entry of the model's code; 0 where codes are not discrete, or the model has none."""
    codes = getattr(model, "codes", None) if model.can("encode") else None
    return codes.levels if isinstance(codes, Discrete) else 0


def silent_codes(q: Distribution, levels: int, different: Callable[[], bool], patient: Patient) -> Diagnosis | None:
    """What there is to say if no place of the codes says anything.

    Args:
        q: The posteriors of some data.
        levels: Values of an entry of the code.
        different: Whether the model's samples differ from data.
        patient: The model.
    """
    said = _said(q, levels)
    if not float(said.max()) < SILENT:
        return None
    fatal, n = different(), len(said)
    places = f"None of the {n} entries of the code says" if n > 1 else "The code does not say"
    follows = "its samples differ from data" if fatal else "its samples look like data: they may need no code"
    ways = UNDER_A_KL if patient.variational else FOLLOWING
    return Diagnosis(
        patient.silence,
        f"{places} more than {float(said.max()):.2g} nats of the datum, and {follows}.",
        remedy((*ways, SLOWER, "train for longer"), patient.options),
        fatal=fatal,
    )


def dead_codes(codes: Tensor, levels: int, patient: Patient) -> Diagnosis | None:
    """What there is to say if most codes stand nowhere.

    Args:
        codes: Of some data, ``(N, *shape)``.
        levels: How many there are.
        patient: The model.
    """
    usage = Usage(torch.bincount(codes.flatten(), minlength=levels))
    dead = int((usage.counts == 0).sum())
    if codes.numel() < PLACES * levels or dead <= DEAD * levels:
        return None
    return Diagnosis(
        "dead codes",
        f"{dead} of {levels} codes stand at none of the {codes.numel()} places of {len(codes)} data; the others count as "
        f"{usage.perplexity:.3g} equally frequent ones.",
        remedy((*FOLLOWING, SLOWER), patient.options),
    )


def _said(q: Distribution, levels: int) -> Tensor:
    """What each entry of the code says of the datum, in nats."""
    p = _probabilities(q, levels).double()
    entropy = torch.special.entr
    said: Tensor = entropy(p.mean(0)).sum(-1) - entropy(p).sum(-1).mean(0)
    return said.flatten()


def _probabilities(q: Distribution, levels: int) -> Tensor:
    """The probability of each value of each entry, ``(N, *shape, levels)``."""
    if isinstance(q, Categorical):
        return q.logits.softmax(-1)
    if isinstance(q, Bernoulli):
        return torch.stack([1 - q.mean, q.mean], -1)
    return F.one_hot(q.mode, levels)
