r"""The distributions of a pixel's channels given its features f: red, then green given red, then blue given both.

.. math:: p(x_i \mid x_{<i}) = \prod_c p(x_{ic} \mid x_{i,<c},\, f_i)

The network is evaluated once for each pixel. The paper splits its channels into three groups with masks between them, so that
green sees red through every layer and sampling needs three evaluations; here what the earlier channels say comes in at the
output, which is enough for two or three numbers. Two outputs:

*Categorical*, which knows of no order among the levels: channel c has logits
:math:`W_c \, \mathrm{relu}(H_c \, \mathrm{relu}(f) + \sum_{c' < c} E_{cc'}[x_{c'}])` with an embedding E of each level.

*Mixture of discretised logistics* (Salimans et al. 2017, https://arxiv.org/abs/1701.05517): M components k of weight
:math:`\pi_k`, shared by the channels, whose means are linear in the earlier channels,

.. math::

    \mu_{gk} = m_{gk} + \alpha_k x_r, \qquad \mu_{bk} = m_{bk} + \beta_k x_r + \gamma_k x_g, \qquad
    p(x_c \mid x_{<c}) = \sum_k r_{ck} P(x_c \mid \mu_{ck}, s_{ck}), \quad
    r_{ck} \propto \pi_k \prod_{c' < c} P(x_{c'} \mid \mu_{c'k}, s_{c'k}),

with P the mass that a logistic variable has in the bin of a level, the edge bins owning the tails. The coefficients are
:math:`\tanh` of network outputs.

Both draw by the inverse of the cumulative distribution from uniform numbers that the caller passes: one or two for each entry,
whatever is drawn. So the same numbers give the same picture however the features were computed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .....distribution import DiscretisedLogistic, wide
from ..categories import inverse_cdf, scaled

__all__ = ["CategoricalOutput", "LogisticOutput", "Output"]


class Output(nn.Module, ABC):
    """From features ``(…, F)`` to a distribution of levels ``(…, C)``."""

    uniforms: ClassVar[int]
    """Uniform numbers that the draw of one entry takes."""
    levels: int
    """Values of an entry."""

    @abstractmethod
    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        """The log-probability of the levels x, summed over the channels, ``(…)`` in float32 or better."""

    @abstractmethod
    def draw(self, features: Tensor, u: Tensor, x: Tensor, forced: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Draw the channels of a pixel in order; where an entry is forced, take it from x instead.

        Args:
            features: ``(N, F)``.
            u: Uniform numbers, ``(N, C, uniforms)``.
            x: Levels, ``(N, C)``; read only where they are forced.
            forced: A mask, ``(N, C)``, or None for no entry.

        Returns:
            The levels ``(N, C)``, and the log-probability of those that were forced, each given the earlier channels, ``(N,)``.
        """

    @abstractmethod
    def prepare(self, x: Tensor) -> None:
        """Set biases so that training starts near the distribution that fits all pixels of the data ``(N, C, H, W)`` alike.

        What features say stays, small and random: were it zero, no gradient would reach them at first.
        """


@final
class CategoricalOutput(Output):
    """A logit for each level.

    Args:
        features: F of a pixel.
        channels: C of the picture.
        levels: L of an entry.
        width: Hidden units for each channel.
    """

    uniforms = 1

    def __init__(self, features: int, channels: int, levels: int, width: int) -> None:
        super().__init__()
        self.channels, self.levels, self.width = channels, levels, width
        self.hidden = nn.Linear(features, channels * width)
        self.earlier = nn.ModuleList(nn.Embedding(levels, later * width) for later in range(channels - 1, 0, -1))
        self.logits = nn.ModuleList(nn.Linear(width, levels) for _ in range(channels))

    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        """Log-softmax of all channels at once: the earlier ones are known."""
        hidden = self._hidden(features)
        for c in range(self.channels - 1):
            hidden = self._told(hidden, c, x[..., c])
        return torch.stack([_log_softmax(self._logits(hidden, c), x[..., c]) for c in range(self.channels)]).sum(0)

    def draw(self, features: Tensor, u: Tensor, x: Tensor, forced: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The level at which the cumulative distribution passes u, channel after channel."""
        hidden, levels, log_weight = self._hidden(features), list[Tensor](), None
        for c in range(self.channels):
            logits = self._logits(hidden, c)
            level = inverse_cdf(logits, u[:, c])
            if forced is not None:
                level = torch.where(forced[:, c], x[:, c], level)
                log_p = torch.where(forced[:, c], _log_softmax(logits, level), 0)
                log_weight = log_p if log_weight is None else log_weight + log_p
            levels.append(level)
            hidden = self._told(hidden, c, level) if c < self.channels - 1 else hidden
        return torch.stack(levels, 1), log_weight

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """The frequencies of the levels in each channel."""
        for c, logits in enumerate(self.logits):
            counts = torch.bincount(x[:, c].flatten(), minlength=self.levels)
            cast(nn.Linear, logits).bias.copy_(((counts + 1) / (counts.sum() + self.levels)).log())

    def _hidden(self, features: Tensor) -> Tensor:
        """What features say to each channel, ``(…, C, width)``, before the rectifier."""
        hidden: Tensor = self.hidden(features.relu())
        return hidden.reshape(*hidden.shape[:-1], self.channels, self.width)

    def _told(self, hidden: Tensor, c: int, level: Tensor) -> Tensor:
        """The hidden units after channel c has told the later ones its level."""
        told: Tensor = self.earlier[c](level).to(hidden.dtype)
        told = told.reshape(*level.shape, self.channels - 1 - c, self.width)
        return torch.cat([hidden[..., : c + 1, :], hidden[..., c + 1 :, :] + told], -2)

    def _logits(self, hidden: Tensor, c: int) -> Tensor:
        return cast(Tensor, self.logits[c](hidden[..., c, :].relu()))


@final
class LogisticOutput(Output):
    """A mixture of discretised logistics.

    Args:
        features: F of a pixel.
        channels: C of the picture.
        levels: L of an entry, at least 2.
        width: Hidden units.
        mixtures: Components M.
    """

    uniforms = 2

    def __init__(self, features: int, channels: int, levels: int, width: int, mixtures: int) -> None:
        super().__init__()
        self.channels, self.levels, self.mixtures = channels, levels, mixtures
        self.finest = DiscretisedLogistic.finest(levels)
        self.hidden = nn.Linear(features, width)
        self.sizes = [1, channels, channels, channels * (channels - 1) // 2]
        self.heads = nn.Linear(width, sum(self.sizes) * mixtures)

    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        """The log-mass of the channels under each component, mixed."""
        log_pi, m, log_scale, coefficients = self._mixture(features)
        earlier = scaled(x, self.levels, m.dtype)
        mu = torch.stack([self._mean(m, coefficients, earlier, c) for c in range(self.channels)], -2)
        return (log_pi + self._log_mass(x, mu, log_scale).sum(-2)).logsumexp(-1)

    def draw(self, features: Tensor, u: Tensor, x: Tensor, forced: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A component from its weights given the earlier channels, then its logistic variable, channel after channel."""
        log_r, m, log_scale, coefficients = self._mixture(features)
        levels, log_weight = torch.zeros_like(x), None
        for c in range(self.channels):
            mu = self._mean(m, coefficients, scaled(levels, self.levels, m.dtype), c)
            k = inverse_cdf(log_r, u[:, c, :1]).unsqueeze(1)
            location, log_s = (t.gather(1, k).squeeze(1) for t in (mu, log_scale[:, c]))
            level = DiscretisedLogistic(location, log_s, self.levels).quantile(u[:, c, 1])
            levels[:, c] = level if forced is None else torch.where(forced[:, c], x[:, c], level)
            if forced is None and c == self.channels - 1:
                break  # nobody asks how likely it was
            log_r = log_r + self._log_mass(levels[:, c, None], mu.unsqueeze(1), log_scale[:, c : c + 1]).squeeze(1)
            log_p = log_r.logsumexp(1, keepdim=True)
            log_r = log_r - log_p
            if forced is not None:
                log_p = torch.where(forced[:, c], log_p.squeeze(1), 0)
                log_weight = log_p if log_weight is None else log_weight + log_p
        return levels, log_weight

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """A histogram of M wide bins, smoothed: a component in the middle of each, twice the finest at least."""
        bins = self.mixtures
        counts = torch.bincount((x.flatten() * bins) // self.levels, minlength=bins)
        middles = (torch.arange(bins, device=x.device) + 0.5) * (self.levels / bins) - 0.5  # in levels
        log_pi, m, log_scale, coefficients = torch.split(self.heads.bias, [size * bins for size in self.sizes])
        log_pi.copy_(((counts + 1) / (counts.sum() + bins)).log())
        m.copy_(scaled(middles, self.levels, m.dtype).repeat(self.channels))
        log_scale.fill_(math.log(0.5 / min(bins, self.levels - 1)))
        coefficients.zero_()

    def _mixture(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""``log pi (…, M)``, ``m (…, C, M)``, ``log s (…, C, M)`` and the coefficients ``(…, C(C - 1)/2, M)``."""
        hidden: Tensor = self.hidden(features.relu()).relu()
        # near 1, locations in bfloat16 are up to a bin of 256 levels apart: eight times the finest scale
        with torch.autocast(hidden.device.type, enabled=False):
            outputs = cast(Tensor, self.heads(hidden.to(self.heads.weight.dtype)))
        parts = torch.split(outputs.reshape(*outputs.shape[:-1], sum(self.sizes), self.mixtures), self.sizes, -2)
        return parts[0].squeeze(-2).log_softmax(-1), parts[1], parts[2].clamp(self.finest, 7.0), parts[3].tanh()

    @staticmethod
    def _mean(m: Tensor, coefficients: Tensor, x: Tensor, c: int) -> Tensor:
        """The components' locations in channel c, ``(…, M)``, given the scaled channels x before it."""
        first = c * (c - 1) // 2
        return m[..., c, :] + (coefficients[..., first : first + c, :] * x[..., :c, None]).sum(-2)

    def _log_mass(self, x: Tensor, mu: Tensor, log_scale: Tensor) -> Tensor:
        """The log-mass of levels ``(…, C)`` under components ``(…, C, M)``."""
        levels = x.unsqueeze(-1).expand_as(mu)
        logistic = DiscretisedLogistic(mu.flatten(), log_scale.flatten(), self.levels)
        return logistic.log_prob(levels.flatten()).reshape(mu.shape)


def _log_softmax(logits: Tensor, level: Tensor) -> Tensor:
    """The log-probability of one level each, ``(…)``, in float32 or better."""
    flat = -F.cross_entropy(wide(logits).flatten(0, -2), level.flatten(), reduction="none")
    return flat.reshape(level.shape)
