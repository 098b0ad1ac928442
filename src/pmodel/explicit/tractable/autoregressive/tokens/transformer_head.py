r"""The entries of a token one after the other, given the transformer's feature of the token.

With the feature f and the entries :math:`x_1, \dots, x_P` of a token,

.. math::

    a_j = A f + b_j + \sum_{i < j} E_{ij}[x_i], \qquad
    p(x_j = l \mid x_{<j}, f) \propto \exp\left( V_{jl} \cdot \mathrm{relu}(a_j) + c_{jl} \right) :

so the token's joint distribution is exact and sums to one. Training computes all factors at once. Drawing goes entry by entry,
and adds what each new entry says to the later a; f is computed once for a token.

Between bits each pair has its own E, as in MADE (Germain et al. 2015, https://arxiv.org/abs/1502.03509). Where there are more
than two levels, an entry says the same to all later ones, as in NADE (Larochelle and Murray 2011,
https://proceedings.mlr.press/v15/larochelle11a).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .....distribution import wide
from ..categories import inverse_cdf, scaled

__all__ = ["Head"]


@final
class Head(nn.Module):
    """From features ``(…, W)`` of tokens to distributions of their entries ``(…, P)``.

    Args:
        features: W.
        entries: P of a token.
        levels: L of an entry, at least 2.
        hidden: Units of each a.
    """

    def __init__(self, features: int, entries: int, levels: int, hidden: int) -> None:
        super().__init__()
        self.entries, self.levels, self.hidden = entries, levels, hidden
        outputs = 1 if levels == 2 else levels
        self.feature = nn.Linear(features, hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(entries, hidden))
        pairs = (entries, entries, hidden) if levels == 2 else (entries, levels, hidden)
        self.earlier = nn.Parameter(torch.empty(pairs).normal_(std=entries**-0.5)) if entries > 1 else None
        self.logits = nn.Parameter(torch.empty(entries, hidden, outputs).normal_(std=0.5 * hidden**-0.5))
        self.offset = nn.Parameter(torch.zeros(entries, outputs))

    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        """The log-probability of each entry of tokens ``(…, P)`` given the earlier ones of its token, ``(…, P)``."""
        levels = x.flatten(0, -2)
        a = self.feature(features.flatten(0, -2)).unsqueeze(1) + self.bias
        if self.earlier is not None:
            a = a + self._said(levels, self.earlier)
        logits = torch.einsum("mph,phl->mpl", a.relu(), self.logits) + self.offset
        return _log_mass(logits, levels).reshape(x.shape)

    def first(self, features: Tensor) -> Tensor:
        """The logits ``(N, L)`` of the first entry of tokens, from features ``(N, W)``."""
        return self._logits(self.feature(features) + self.bias[0], 0)

    def draw(
        self,
        features: Tensor,
        u: Tensor,
        x: Tensor,
        forced: Tensor | None,
        real: list[bool],
        draws: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor | None]:
        """Draw the entries of a token in order; where an entry is forced, take it from x instead.

        Args:
            features: ``(N, W)``.
            u: Uniform numbers, ``(N, P)``.
            x: Levels, ``(N, P)``; read only where they are forced.
            forced: A mask, ``(N, P)``, or None for no entry.
            real: Which entries there are; the others are 0, and have no factor.
            draws: From logits ``(N, L)`` to those that are drawn from.

        Returns:
            The levels ``(N, P)``, and the log-probability of those that were forced, each given the earlier entries, ``(N,)``.
        """
        a, levels, log_weight = self.feature(features).unsqueeze(1) + self.bias, torch.zeros_like(x), None
        for j, there in enumerate(real):
            if there:
                logits = self._logits(a[:, j], j)
                levels[:, j] = inverse_cdf(draws(logits), u[:, j : j + 1])
                if forced is not None:
                    levels[:, j] = torch.where(forced[:, j], x[:, j], levels[:, j])
                    log_p = logits.log_softmax(1).gather(1, levels[:, j : j + 1]).squeeze(1)
                    log_p = torch.where(forced[:, j], log_p, 0)
                    log_weight = log_p if log_weight is None else log_weight + log_p
            if self.earlier is not None:
                a[:, j + 1 :] += self._says(j, levels[:, j], self.earlier)
        return levels, log_weight

    @torch.no_grad()
    def prepare(self, tokens: Tensor, there: Tensor) -> None:
        """Set the offsets to the frequencies of the levels ``(N, T, P)`` at each place of a token, where they are there."""
        for j in range(self.entries):
            levels = tokens[..., j][there[..., j].expand(tokens.shape[:2])]
            p = (torch.bincount(levels, minlength=self.levels) + 1) / (len(levels) + self.levels)
            self.offset[j] = p.logit()[1:] if self.levels == 2 else p.log()

    def _logits(self, a: Tensor, j: int) -> Tensor:
        logits = torch.addmm(self.offset[j], a.relu(), self.logits[j])
        return F.pad(logits, (1, 0)) if self.levels == 2 else logits

    def _said(self, levels: Tensor, earlier: Tensor) -> Tensor:
        """What the earlier entries of tokens ``(M, P)`` say to each, ``(M, P, hidden)``."""
        if self.levels == 2:
            later = torch.ones(self.entries, self.entries, device=levels.device, dtype=earlier.dtype).triu(1)
            weight = (earlier * later.unsqueeze(2)).flatten(1)
            return (scaled(levels, 2, weight.dtype) @ weight).reshape(-1, self.entries, self.hidden)
        first = self.levels * torch.arange(self.entries, device=levels.device)
        said = F.embedding(levels + first, earlier.flatten(0, 1))
        return F.pad(said.cumsum(1)[:, :-1], (0, 0, 1, 0))

    def _says(self, j: int, level: Tensor, earlier: Tensor) -> Tensor:
        """What entry j with these levels ``(N,)`` says to the later entries, ``(N, P - 1 - j or 1, hidden)``."""
        if self.levels == 2:
            return scaled(level, 2, earlier.dtype)[:, None, None] * earlier[j, j + 1 :]
        return earlier[j][level].unsqueeze(1)


def _log_mass(logits: Tensor, levels: Tensor) -> Tensor:
    """The log-probability of levels ``(M, P)`` under logits ``(M, P, 1 or L)``, in float32 or better."""
    logits = wide(logits)
    if logits.shape[-1] == 1:
        return -F.binary_cross_entropy_with_logits(logits.squeeze(-1), levels.to(logits.dtype), reduction="none")
    return -F.cross_entropy(logits.flatten(0, 1), levels.flatten(), reduction="none").reshape(levels.shape)
