r"""p(x | z): what a decoder's numbers mean for data of a domain.

==============  ==============================  ===========================================================
likelihood      data                            the decoder's numbers, for each entry
==============  ==============================  ===========================================================
``bernoulli``   two levels                      the log-odds of a one
``categorical`` levels                          the logit of each level
``logistic``    ordered levels                  location and log-scale of a logistic variable cut into bins
``normal``      real                            the mean; each entry's std is learned, the same for all z
``isotropic``   real                            the mean; one std for all entries is learned
==============  ==============================  ===========================================================

A squared error stands for a normal of a fixed variance. Here the variance is learned: at its best it is the mean squared error.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ..distribution import Bernoulli, Categorical, DiscretisedLogistic, Distribution, Normal
from ..domain import Discrete, Domain
from ..errors import BadInput

__all__ = ["LikelihoodName", "Observation"]

LikelihoodName = Literal["auto", "bernoulli", "categorical", "logistic", "normal", "isotropic"]

FEW_LEVELS = 32
"""Up to so many levels of data that are not pictures are told apart one by one; more are bins of a logistic variable."""
COARSE = -4.0
"""The smallest log-scale of a logistic variable at the start: the gradient of its location is one over its scale, or so."""


class Observation(nn.Module):
    """From a decoder's outputs to p(x | z), and from data to what an encoder takes.

    Args:
        domain: Discrete or real data of any shape.
        likelihood: A name of the table. ``auto``: the first that fits, but logistic for grey or coloured pictures and for more
            than 32 levels.

    Raises:
        BadInput: if the likelihood does not fit the domain.
    """

    def __init__(self, domain: Domain, likelihood: LikelihoodName = "auto") -> None:
        super().__init__()
        self.levels = domain.levels if isinstance(domain, Discrete) else 0
        self.likelihood = _likelihood(likelihood, self.levels, picture=domain.image)
        self.heads = {"categorical": self.levels, "logistic": 2}.get(self.likelihood, 1)
        self.offset = nn.Parameter(torch.zeros(*domain.shape, self.heads))
        if self.likelihood in ("normal", "isotropic"):
            sides = domain.shape if self.likelihood == "normal" else (1,) * len(domain.shape)
            self.log_std = nn.Parameter(torch.zeros(sides))

    @torch.no_grad()
    def prepare(self, subset: Tensor) -> None:
        """Start at the best likelihood that ignores z: each entry's frequencies, or its mean and spread."""
        x = self.scaled(subset)
        if self.likelihood == "bernoulli":
            self.offset.copy_(((subset.sum(0) + 0.5) / (len(x) + 1)).logit().unsqueeze(-1))
        elif self.likelihood == "categorical":
            counts = torch.stack([(subset == level).sum(0) for level in range(self.levels)], -1)
            self.offset.copy_(((counts + 1) / (len(x) + self.levels)).log())
        elif self.likelihood == "logistic":
            coarse = max(COARSE, DiscretisedLogistic.finest(self.levels))
            scale = x.std(0, correction=0) * (math.sqrt(3) / math.pi)  # a logistic's std is pi s / sqrt 3
            self.offset.copy_(torch.stack([x.mean(0), scale.log().clamp_min(coarse)], -1))
        else:
            variance = x.var(0, correction=0)
            variance = variance.mean() if self.likelihood == "isotropic" else variance
            self.offset.copy_(x.mean(0).unsqueeze(-1))
            self.log_std.copy_(0.5 * variance.clamp_min(1e-8).log().expand_as(self.log_std))

    def forward(self, outputs: Tensor) -> Distribution:
        """p(x | z) from outputs ``(N, *shape, heads)``, which are added to what ``prepare`` found."""
        outputs = outputs.to(self.offset.dtype) + self.offset
        if self.likelihood == "bernoulli":
            return Bernoulli(outputs.squeeze(-1))
        if self.likelihood == "categorical":
            return Categorical(outputs)
        if self.likelihood == "logistic":
            mu, log_scale = outputs.unbind(-1)
            finest = DiscretisedLogistic.finest(self.levels)
            return DiscretisedLogistic(mu, log_scale.clamp(finest, 7.0), self.levels)
        return Normal(outputs.squeeze(-1), self.log_std.exp())

    def scaled(self, x: Tensor) -> Tensor:
        """Levels on [-1, 1]; real data as they are."""
        x = x.to(self.offset.dtype)
        return x * (2 / max(1, self.levels - 1)) - 1 if self.levels else x


def _likelihood(name: str, levels: int, *, picture: bool) -> str:
    fitting = ["categorical", "logistic"] if levels else ["normal", "isotropic"]
    if levels == 1:
        fitting = ["categorical"]
    elif levels == 2:
        fitting.insert(0, "bernoulli")
    elif picture or levels > FEW_LEVELS:
        fitting = fitting[::-1] if levels else fitting
    if name != "auto" and name not in fitting:
        what = f"data of {levels} levels" if levels else "real data"
        raise BadInput(f"The likelihood of {what} is {' or '.join(fitting)}.", got=name)
    return fitting[0] if name == "auto" else name
