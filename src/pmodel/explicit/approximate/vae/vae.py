r"""The variational autoencoder (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114; Rezende et al. 2014).

.. math::

    z \sim p(z), \quad x \sim p_\theta(x \mid z), \qquad
    q_\phi(z \mid x) = N(z; \mu_\phi(x), \mathrm{diag}\,\sigma_\phi^2(x)), \quad
    z = \mu + \sigma \epsilon, \;\; \epsilon \sim N(0, I)

    -\mathrm{ELBO} = -E_q[\log p_\theta(x \mid z)] + \mathrm{KL}(q \| p), \qquad
    \mathrm{KL} = \tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2) \text{ for } p(z) = N(0, I).

The first term is summed over the entries of a datum and the second over those of z, in nats; the batch is averaged. p(z) may
be a flow (``prior.py``), z may come in several layers (``ladder.py``), and p(x | z) is in ``nn/observation.py``. Three slips:

- The noise has standard deviation 1. Training with 0.1 breaks the KL: the reported bound holds for no model, and codes drawn
  from the prior fall where the decoder never was.
- Binary cross-entropy on grey pixels is no likelihood: :math:`\sigma(l)^x (1-\sigma(l))^{1-x}` does not sum to one over the 256
  levels. Grey levels have a discretised logistic or a categorical likelihood here.
- Means and log-stds are two numbers for each entry of z: an encoder of d of them has 2d outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....capability import Samples, Variational
from ....capability.activity import active
from ....distribution import Distribution, Normal
from ....domain import Discrete, Domain, Real
from ....errors import BadInput, RangeError, require_whole
from ....learning import Batch, GradientTrained, Loss, Phase, Recipe
from ....nn.observation import LikelihoodName, Observation
from ....nn.trunks import DEPTH, Architecture, architecture_for, deep, perceptron, trunk
from .ladder import Chained, Choice, Ladder, Walk, normal
from .prior import Prior, divergence

__all__ = ["VAE"]


Seen = tuple[Normal, Sequence[Tensor]]
"""What the encoder has seen of the data: the posterior of the topmost layer, and features for each layer below it."""


@final
class VAE(Samples, Variational[Seen], GradientTrained):
    r"""A variational autoencoder with diagonal Gaussian posteriors.

    ``sample`` draws z from the prior and then x from p(x | z), pixel noise and all; ``sample(n, mean=True)`` shows the middle
    of p(x | z) as a datum instead, which is no draw of the model; the smooth grey picture of bits that papers show is
    ``decode(z).mean``. ``score(effort=K)`` is the importance-weighted bound of Burda et al. (2016), which rises to log p(x).

    The code is all of z. With a ladder it is every layer side by side, the top first, each in units of its own prior
    (``ladder.py``): only all layers together say what p(x | z) is. ``encode(x).mean`` then takes the mean of each layer given
    the means above it; the first ``latent`` entries are the topmost layer's.

    Args:
        domain: Discrete or real data of any shape.
        given: A class label, which encoder and decoder are both told; or None.
        latent: Entries of z, with a ladder of its topmost layer. None takes 32, and fewer for data of less than 32 entries.
        architecture: ``dense``: perceptrons only. ``conv``: four 3×3 convolutions of 1, 2, 2, 2 times ``channels``, strides
            1, 2, 2, 1, and their mirror. ``residual``: strided convolutions down to 7×7 and a residual block there, cheaper
            and better. ``broadcast``: the same encoder, and a decoder that paints every pixel from the code and the place.
            ``auto``: residual for pictures.
        ladder: Layers of latent variables. Those below the topmost are ``units`` at each position of the smallest picture, or
            so many in all of a ``dense`` architecture.
        units: Variables of a layer of the ladder. None takes 8 for pictures, and ``latent`` elsewhere.
        layers: Hidden layers of the perceptrons between convolutions and code. None takes the architecture's own; with
            ``dense`` and one layer of latents, 0 makes encoder and decoder linear.
        width: Units of a hidden layer.
        channels: Channels of the outermost convolution.
        likelihood: p(x | z). Discrete data: ``bernoulli`` (two levels), ``categorical``, or ``logistic`` (ordered levels).
            Real data: ``normal`` with a learned std for each entry, or ``isotropic`` with one for all; where some entries
            follow from others, that likelihood has no upper end. ``auto``: the first that fits, but logistic for grey or
            coloured pictures and for more than 32 levels.
        flow: Coupling layers of the prior of z, with a ladder of its topmost layer; 0 for a standard normal. One
            entry alone has nothing to be coupled with.
        beta: Weight of the KL in training (Higgins et al. 2017); 1 is the bound. Scores are always of the bound.
        free_bits: Nats of KL that each unit of the code has for nothing in training (Kingma et al. 2016): its share of
            the KL counts as so many where it is less. A unit is an entry of z, or a channel of a layer of pictures.
        particles: Draws of z for each datum in training; more than one trains on the importance-weighted bound, which has
            no KL to warm up.
        warmup: The part of training in which the KL's weight grows linearly to ``beta``.

    Raises:
        BadInput: if an architecture or likelihood does not fit the domain, or options exclude each other.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Real)
    conditional: ClassVar[bool] = True
    adjustable = showing = ("mean",)
    mean: bool = False
    """Whether ``sample`` shows the mean of p(x | z), as a value of the domain: levels rounded, of categories the likeliest."""
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"latent": 2, "architecture": "dense", "layers": 1, "width": 8},
        "small": {"latent": 16, "width": 128, "channels": 8},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        latent: int | None = None,
        architecture: Architecture | Literal["auto"] = "auto",
        ladder: int = 1,
        units: int | None = None,
        layers: int | None = None,
        width: int = 256,
        channels: int = 16,
        likelihood: LikelihoodName = "auto",
        flow: int = 0,
        beta: float = 1.0,
        free_bits: float = 0.0,
        particles: int = 1,
        warmup: float = 0.1,
    ) -> None:
        super().__init__(domain, given)
        whole = {"latent": (latent, 1), "units": (units, 1), "layers": (layers, 0), "ladder": (ladder, 1)}
        whole |= {"width": (width, 1), "channels": (channels, 1), "flow": (flow, 0), "particles": (particles, 1)}
        _check_options(whole, beta, free_bits, warmup)
        if particles > 1 and (free_bits or beta != 1):
            got = f"particles={particles}, beta={beta}, free_bits={free_bits}"
            raise BadInput(
                "The importance-weighted bound has no KL to weigh: it goes without beta and free_bits.", got=got
            )
        self.beta, self.free_bits, self.particles, self.warmup = beta, free_bits, particles, warmup
        self.annealing = 1.0
        self.labels = len(self.given_frequencies)
        self.observation = Observation(domain, likelihood)
        chosen = architecture_for(architecture, domain)
        if chosen == "broadcast" and ladder > 1:
            problem = "A ladder needs a decoder that passes the encoder's shapes on its way."
            raise BadInput(problem, got=f"architecture={chosen}, ladder={ladder}", hint="architecture=residual")
        layers = DEPTH[chosen] if layers is None else layers
        if chosen == "dense" and ladder > 1:
            parts, layers = deep(domain, [width] * max(0, layers - 1), width, self.observation.heads), min(layers, 1)
        else:
            parts = trunk(chosen, domain, channels, self.observation.heads)
        self.inward, self.outward, self.seen, self.state = parts.inward, parts.outward, parts.seen, parts.state
        top = min(32, max(2, domain.entries)) if latent is None else latent
        hidden = [width] * layers
        self.encoder = perceptron(math.prod(self.seen) + self.labels, hidden, 2 * top)
        self.decoder = perceptron(top + self.labels, hidden, math.prod(self.state))
        self.prior = Prior(top, flow, self.labels, width)
        each = units or (8 if self.state[1:] else top)
        self.ladder = Ladder(ladder - 1, self.state[0], each, self.state[1:])
        self.code = (top, *[self.ladder.size] * (ladder - 1))

    @property
    def latent(self) -> int:
        """Entries of the whole code."""
        return sum(self.code)

    def recipe(self) -> Recipe:
        """AdamW, with a cosine schedule and a moving average; more and smaller steps with a ladder, whose layers wake up late.

        After 80 seconds of one core on ``mnist-binary``, three layers are at 88.5 nats (50 draws) with batches of 64, at 90.5
        with 128, and at 94.8 with Muon, whose steps cost more and leave the lower layers asleep; one layer is at 91.8.
        """
        return Recipe(batch=64 if len(self.code) > 1 else 128, rate=2e-3, ema=0.999, clip=100.0)

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start the decoder at the best likelihood that ignores z."""
        self.observation.prepare(subset)

    def _encode(self, x: Tensor, given: Tensor | None) -> Distribution:
        """q(z | x)."""
        seen, graded = self._infer(x, given), torch.is_grad_enabled()
        if len(self.code) == 1:
            return seen[0]

        def walk(choose: Choice) -> Walk:
            with torch.set_grad_enabled(graded):
                return self._walk(seen, given, choose)

        return Chained(walk, self.code)

    def _decode(self, z: Tensor, given: Tensor | None) -> Distribution:
        """p(x | z)."""
        top, *rest = torch.split(z.to(self._dtype), [*self.code], 1)
        return self._show(self.ladder.down(self._begin(top, given), rest))

    def _infer(self, x: Tensor, given: Tensor | None) -> Seen:
        features = self.inward(self.observation.scaled(x)).reshape(len(x), *self.seen)
        features, rest = self.ladder.up(features)
        raw = self.encoder(self._told(features.flatten(1), given))
        return normal(raw.to(self._dtype)), rest

    def _walk(self, seen: Seen, given: Tensor | None, choose: Choice) -> Walk:
        """From the top down, with the code of each layer as it is chosen."""
        top, rest = seen
        z = choose(0, top)
        state, posteriors, codes = self.ladder.infer(self._begin(z, given), rest, choose)
        return Walk(state, (top, *posteriors), (z, *codes))

    def _begin(self, z: Tensor, given: Tensor | None) -> Tensor:
        """The state below the topmost layer."""
        return cast(Tensor, self.decoder(self._told(z, given))).reshape(len(z), *self.state)

    def _show(self, state: Tensor) -> Distribution:
        """p(x | z) from the state below the last layer."""
        return cast(Distribution, self.observation(self.outward(state)))

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        top = self.prior.sample(n, self._context(given), generator, self.device)
        rest = torch.randn(n, self.latent - self.code[0], generator=generator, device=self.device)
        p = self._decode(torch.cat([top, rest], 1), given)
        return self._taken(p, generator)

    def _taken(self, p: Distribution, generator: Generator) -> Tensor:
        return p.mode if self.mean else p.sample(generator)

    def _check_sampling(self) -> None:
        if not isinstance(self.mean, bool):
            raise BadInput("mean is true, for the decoder's mean, or false, for a draw.", got=self.mean)

    def _log_weight_under(self, seen: Seen, x: Tensor, given: Tensor | None, generator: Generator) -> Tensor:
        walk = self._walk(seen, given, lambda _, q: q.sample(generator))
        top, *rest = walk.codes
        log_prior = self.prior.log_prob(top, self._context(given))
        for code in rest:
            log_prior = log_prior + Normal(torch.zeros_like(code), torch.ones_like(code)).log_prob(code)
        return self._show(walk.state).log_prob(x) + log_prior - walk.log_prob()

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder, decoder and prior climb the same bound."""
        return (Phase("bound", tuple(self.parameters()), self._loss),)

    def advance(self, progress: float) -> None:
        """Grow the KL's weight, so that the decoder finds a use for z before the prior makes z expensive."""
        self.annealing = min(1.0, progress / self.warmup) if self.warmup else 1.0

    def _loss(self, batch: Batch, generator: Generator) -> Loss:
        seen = self._infer(batch.x, batch.given)
        if self.particles > 1:
            draws = [self._log_weight_under(seen, batch.x, batch.given, generator) for _ in range(self.particles)]
            bound = (torch.logsumexp(torch.stack(draws), 0) - math.log(self.particles)).mean()
            return Loss(-bound, {"weighted_bound": bound})
        walk = self._walk(seen, batch.given, lambda _, q: q.sample(generator))
        reconstruction = self._show(walk.state).log_prob(batch.x).mean()
        units = [self.prior.divergence(walk.posteriors[0], walk.codes[0], self._context(batch.given)).mean(0)]
        units += [divergence(q).mean(0) for q in walk.posteriors[1:]]
        kl = torch.stack([each.sum() for each in units])
        paid = torch.stack([self._beyond_free(each, q) for each, q in zip(units, walk.posteriors, strict=True)]).sum()
        parts = {"bound": reconstruction - kl.sum(), "reconstruction": reconstruction, "kl": kl.sum()}
        parts["active_units"] = active(torch.cat([q.mu.detach().flatten(1) for q in walk.posteriors], 1)).sum().float()
        if len(kl) > 1:
            parts |= {f"kl_{layer}": share for layer, share in enumerate(kl, start=1)}
        return Loss(self.annealing * self.beta * paid - reconstruction, parts)

    def _beyond_free(self, units: Tensor, q: Normal) -> Tensor:
        """The KL that is paid for, from that of each unit: a unit has ``free_bits`` nats for nothing."""
        if not self.free_bits:
            return units.sum()
        return units.clamp_min(self.free_bits * q.mu.shape[1] / len(units)).sum()

    def _context(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else F.one_hot(given, self.labels).to(self._dtype)

    def _told(self, features: Tensor, given: Tensor | None) -> Tensor:
        """Features with the label beside them, one-hot: the next linear layer adds an embedding of it."""
        context = self._context(given)
        return features if context is None else torch.cat([features, context.to(features.dtype)], 1)

    @property
    def _dtype(self) -> torch.dtype:
        """Of the weights, and of all arithmetic of codes and likelihoods."""
        return self.observation.offset.dtype


def _check_options(whole: dict[str, tuple[int | None, int]], beta: float, free_bits: float, warmup: float) -> None:
    for name, (value, low) in whole.items():
        if value is not None:
            require_whole(name, value, low, 2**16)
    if not (0 <= beta < math.inf and 0 <= free_bits < math.inf and 0 <= warmup <= 1):
        got = f"beta={beta}, free_bits={free_bits}, warmup={warmup}"
        raise RangeError("beta and free_bits must be 0 or more and finite, warmup from 0 to 1.", got=got)
