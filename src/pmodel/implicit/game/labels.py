"""How players are told a label: beside z, and by projection (Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Verdict", "told"]


def told(x: Tensor, given: Tensor | None, labels: int) -> Tensor:
    """Rows ``(N, D)`` with their labels ``(N,)`` beside them, one-hot of so many, if there are any."""
    return x if given is None else torch.cat([x, F.one_hot(given, labels).to(x.dtype)], 1)


@final
class Verdict(nn.Module):
    r"""From features and label to a logit: :math:`w^\top \phi + b`, plus :math:`e_y^\top \phi / \sqrt d` for a label y.

    Args:
        head: The linear map to the first part. A loss that does not see b has no use for its bias (``Game.biased``).
        labels: How many there are, or 0.
    """

    def __init__(self, head: nn.Linear, labels: int) -> None:
        super().__init__()
        self.head = head
        self.embedding = nn.Embedding(labels, head.in_features) if labels else None

    def forward(self, phi: Tensor, given: Tensor | None) -> Tensor:
        """From ``(N, d)`` to ``(N,)``."""
        logits: Tensor = self.head(phi).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(given) * phi).sum(1) / math.sqrt(phi.shape[1])
        return logits.float()
