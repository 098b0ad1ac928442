r"""Codes that say nothing of the datum: all of them (posterior collapse, or a silent code), or whole layers.

What unit j says is measured by :math:`\tfrac12 \log(1 + \mathrm{Var}_x[\mu_j(x)] / E_x[\sigma_j^2(x)])` nats. Of all codes with
these variances and a noise that is the same for all x, a normal one says most, and it says just that. The scale of the code
does not matter to it, as it does to the number of active units, which is told beside it.

Layers are known by their divergences among the losses: ``kl_1``, the topmost's, to ``kl_L``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from ...capability.activity import active
from ..diagnosis import Diagnosis
from .remedies import Patient, remedy

__all__ = ["posterior_collapse", "silent_layers"]

SILENT = 0.01
"""Nats below which a unit of a code, or a whole layer, says nothing. Trained units of healthy VAEs on digits said 0.04 to 1.5,
those of collapsed ones 0.0004 or less."""
UNDER_A_KL = (
    "lower the weight of the KL (--set beta=1 or less)",
    "warm it up for longer (--set warmup=0.5)",
    "give each unit some nats for nothing (--set free_bits=0.1)",
    "weaken the decoder",
)
"""What helps where a KL weighs on the code."""
LAYER = re.compile(r"(?:.*\.)?kl_([1-9]\d{0,3})")
"""The divergence of a layer, among losses named ``phase.part``."""


def posterior_collapse(
    means: Tensor, codes: Tensor, different: Callable[[], bool], patient: Patient
) -> Diagnosis | None:
    """What there is to say if no unit of the code says anything.

    Args:
        means: Of the posteriors of some data, ``(N, *shape)``.
        codes: A draw from each.
        different: Whether the model's samples differ from data.
        patient: The model.
    """
    mu, z = means.flatten(1).double(), codes.flatten(1).double()
    said, noise = mu.var(0), (z - mu).square().mean(0)
    nats = 0.5 * torch.where(said > 0, said / noise, 0.0).log1p()
    if not float(nats.max()) < SILENT:
        return None
    fatal, n = different(), len(nats)
    units = f"None of the {n} units of the code says" if n > 1 else "The code does not say"
    follows = "its samples differ from data" if fatal else "its samples look like data: they may need no code"
    ways = UNDER_A_KL if patient.variational else ()
    return Diagnosis(
        patient.silence,
        f"{units} more than {float(nats.max()):.2g} nats of the datum ({int(active(mu).sum())} of {n} active), and {follows}.",
        remedy((*ways, "lower the learning rate (--set train.rate=…)", "train for longer"), patient.options),
        fatal=fatal,
    )


def silent_layers(reports: Iterable[Mapping[str, float]], patient: Patient) -> Diagnosis | None:
    """What there is to say if some layers of several say nothing in any of the reports of losses, and others do."""
    most: dict[int, float] = {}
    for losses in reports:
        for name, value in losses.items():
            if match := LAYER.fullmatch(name):
                most[int(match[1])] = max(value, most.get(int(match[1]), value))
    silent = [layer for layer in sorted(most) if most[layer] < SILENT]
    if not silent or len(silent) == len(most):
        return None
    which = f"layers {', '.join(map(str, silent))}" if len(silent) > 1 else f"layer {silent[0]}"
    ways = (
        "give each unit some nats for nothing (--set free_bits=0.05)",
        "warm the KL up for longer (--set warmup=0.5)",
        "train for longer",
        f"do with fewer layers (--set ladder={len(most) - len(silent)})",
    )
    return Diagnosis(
        "silent layers",
        f"Of {len(most)} layers of latents, counted from the top, {which} says nothing: less than {SILENT} nats of the datum.",
        remedy(ways, patient.options),
    )
