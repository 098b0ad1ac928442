"""Small models whose mathematics fits on a line each: the suite's own ground, and what the planted bugs are planted in."""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F

from pmodel.capability import Bound, Completes, Density, Energy, Latent, Marginalises, Samples
from pmodel.distribution import Normal
from pmodel.domain import Discrete, Real, Sequences
from pmodel.learning import Batch, ClosedForm, GradientTrained, Loss, Phase, Recipe
from pmodel.model import Model


def one_hot_label(given, labels):
    return F.one_hot(given, labels).float()


class Counted(Samples, Completes, Marginalises, ClosedForm):
    """P(x | y) = (count + smoothing) / total over all enumerated states."""

    natives = (Discrete,)
    conditional = True

    def __init__(self, domain, given=None, *, smoothing=0.5):
        super().__init__(domain, given)
        self.smoothing = smoothing
        states = list(itertools.product(range(domain.levels), repeat=domain.entries))
        self.register_buffer("states", torch.tensor(states).reshape(-1, domain.entries))
        self.register_buffer(
            "p", torch.full((max(1, len(self.given_frequencies)), len(states)), 1 / len(states)).double()
        )

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, smoothing=0.25)

    @classmethod
    def refuses(cls, domain):
        if isinstance(domain, Discrete) and domain.levels**domain.entries <= 64:
            return None
        return "it lists at most 64 states"

    def initialise(self, subset, generator):
        pass

    def statistics(self, batch, generator):
        hits = self._hits(batch.x, torch.ones_like(batch.x, dtype=torch.bool)).double()
        rows = torch.zeros(len(batch.x), dtype=torch.int64, device=self.device) if batch.given is None else batch.given
        counts = torch.zeros_like(self.p).index_add_(0, rows, hits)
        return {"counts": counts, "n": torch.tensor(len(batch.x)).double()}

    def maximise(self, statistics):
        counts = statistics["counts"] + self.smoothing
        self.p.copy_(counts / counts.sum(1, keepdim=True))

    def _hits(self, x, observed):
        """Whether each state agrees with the observed entries of each datum, (N, S)."""
        x, observed = x.flatten(1).unsqueeze(1), observed.flatten(1).unsqueeze(1)
        return ((x == self.states) | ~observed).all(2)

    def _rows(self, given, n):
        return self.p[torch.zeros(n, dtype=torch.int64, device=self.device) if given is None else given]

    def _log_prob(self, x, given):
        return self._log_marginal(x, torch.ones_like(x, dtype=torch.bool), given)

    def _log_marginal(self, x, observed, given):
        return (self._hits(x, observed) * self._rows(given, len(x))).sum(1).clamp(max=1).log()

    def _sample(self, n, given, generator):
        return self._chosen(self._rows(given, n), generator)

    def _complete(self, x, observed, given, generator):
        return self._chosen(self._hits(x, observed) * self._rows(given, len(x)), generator)

    def _chosen(self, p, generator):
        if len(p) == 0:
            return torch.zeros(0, *self.domain.shape, dtype=torch.int64, device=self.device)
        return self.states[torch.multinomial(p, 1, generator=generator).squeeze(1)].reshape(-1, *self.domain.shape)


class Bell(Samples, Completes, Marginalises, ClosedForm):
    """p(x) = prod_d N(x_d; mu_d, std_d^2)."""

    natives = (Real,)

    def __init__(self, domain, given=None, *, floor=1e-3):
        super().__init__(domain, given)
        self.floor = floor
        self.register_buffer("mu", torch.zeros(domain.shape, dtype=torch.float64))
        self.register_buffer("std", torch.ones(domain.shape, dtype=torch.float64))

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given)

    def initialise(self, subset, generator):
        pass

    def statistics(self, batch, generator):
        seen = torch.ones_like(batch.x, dtype=torch.bool) if batch.observed is None else batch.observed
        x = torch.where(seen, batch.x, 0).double()
        sums = {"count": seen.sum(0).double(), "x": x.sum(0), "xx": x.square().sum(0)}
        return sums | {"n": torch.tensor(len(x)).double()}

    def maximise(self, statistics):
        mu = statistics["x"] / statistics["count"]
        self.mu.copy_(mu)
        self.std.copy_((statistics["xx"] / statistics["count"] - mu.square()).sqrt().clamp(min=self.floor))

    def _log_prob(self, x, given):
        return self._log_marginal(x, torch.ones_like(x, dtype=torch.bool), given)

    def _log_marginal(self, x, observed, given):
        entries = -0.5 * ((x - self.mu) / self.std).square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(observed, entries, 0).flatten(1).sum(1)

    def _sample(self, n, given, generator):
        return self.mu + self.std * torch.randn(
            n, *self.domain.shape, generator=generator, device=self.device, dtype=torch.float64
        )

    def _complete(self, x, observed, given, generator):
        return self._sample(len(x), given, generator)


class Charged(Energy, Bell):
    """A bell that says its energy too."""

    def _energy(self, x, given):
        return 7 - self._log_prob(x, given)


class Box(Bell):
    """p(x) = 1 / volume in the box mu +- sqrt(3) std, 0 outside: there, data are impossible."""

    @property
    def low(self):
        return self.mu - math.sqrt(3) * self.std

    def _log_marginal(self, x, observed, given):
        width = 2 * math.sqrt(3) * self.std
        inside = ((x >= self.low) & (x <= self.low + width)) | ~observed
        volume = torch.where(observed, width.log(), 0).flatten(1).sum(1)
        return torch.where(inside.flatten(1).all(1), -volume, -math.inf)

    def _sample(self, n, given, generator):
        u = torch.rand(n, *self.domain.shape, generator=generator, device=self.device, dtype=torch.float64)
        return self.low + 2 * math.sqrt(3) * self.std * u


class Chain(Samples, Density, GradientTrained):
    """P(x | y) = prod_i softmax(b_i + sum_{j < i} W_ij onehot(x_j) + V_i onehot(y))_{x_i}."""

    natives = (Discrete,)
    conditional = True

    def __init__(self, domain, given=None, *, scale=0.1):
        super().__init__(domain, given)
        self.scale = scale
        d, levels, labels = domain.entries, domain.levels, len(self.given_frequencies)
        self.bias = nn.Parameter(torch.zeros(d, levels))
        self.weight = nn.Parameter(scale * torch.randn(d, levels, d, levels))
        self.label = nn.Parameter(scale * torch.randn(d, levels, labels)) if labels else None
        self.register_buffer("mask", self.allowed(d))

    @staticmethod
    def allowed(d):
        """Whether entry i may look at entry j."""
        return torch.ones(d, d).tril(-1)

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, scale=0.2)

    @classmethod
    def refuses(cls, domain):
        return None if isinstance(domain, Discrete) and domain.entries == 2 else "it takes two discrete entries"

    def logits(self, x, given):
        seen = F.one_hot(x.flatten(1), self.domain.levels).float()
        weight = self.weight * self.mask.unsqueeze(1).unsqueeze(3)
        logits = self.bias + torch.einsum("iljm,njm->nil", weight, seen)
        if self.label is not None:
            logits = logits + torch.einsum("ilk,nk->nil", self.label, one_hot_label(given, self.label.shape[2]))
        return logits

    def _log_prob(self, x, given):
        return self.logits(x, given).log_softmax(2).gather(2, x.flatten(1).unsqueeze(2)).sum((1, 2))

    def order(self):
        return range(self.domain.entries)

    def _sample(self, n, given, generator):
        x = torch.zeros(n, self.domain.entries, dtype=torch.int64, device=self.device)
        for i in self.order() if n else ():
            p = self.logits(x, given)[:, i].softmax(1)
            x[:, i] = torch.multinomial(p, 1, generator=generator).squeeze(1)
        return x.reshape(n, *self.domain.shape)

    def phases(self):
        return (Phase("likelihood", tuple(self.parameters()), self.loss),)

    def loss(self, batch, generator):
        return Loss(-self._log_prob(batch.x, batch.given).mean())


class Line(Samples, Bound, Latent, GradientTrained):
    """z ~ N(0, 1), x ~ N(W z + b, std^2), q(z | x) = N(V x + c, s^2)."""

    natives = (Real,)

    def __init__(self, domain, given=None, *, latent=1):
        super().__init__(domain, given)
        self.latent = latent
        self.encoder = nn.Linear(domain.entries, latent)
        self.decoder = nn.Linear(latent, domain.entries)
        self.log_std = nn.Parameter(torch.zeros(()))
        self.log_s = nn.Parameter(torch.zeros(()))

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, latent=1)

    @classmethod
    def refuses(cls, domain):
        return None if isinstance(domain, Real) and domain.entries <= 2 else "it takes one or two real entries"

    def _encode(self, x, given):
        mu = self.encoder(x.flatten(1).float())
        return Normal(mu, self.log_s.exp().expand_as(mu))

    def _decode(self, z, given):
        mu = self.decoder(z).reshape(len(z), *self.domain.shape)
        return Normal(mu, self.log_std.exp().expand_as(mu))

    def _log_weight(self, x, given, generator):
        q = self._encode(x, given)
        z = q.sample(generator)
        prior = Normal(torch.zeros_like(z), torch.ones_like(z))
        return self._decode(z, given).log_prob(x) + prior.log_prob(z) - q.log_prob(z)

    def _sample(self, n, given, generator):
        return self._decode(torch.randn(n, self.latent, generator=generator, device=self.device), given).sample(
            generator
        )

    def phases(self):
        return (Phase("bound", tuple(self.parameters()), self.loss),)

    def loss(self, batch, generator):
        return Loss(-self._log_weight(batch.x, batch.given, generator).mean())


class Hops(Samples, Bound, GradientTrained):
    """x' is x with probability 1/2, else anything; p(x') and p(x | x') are tables. A draw is twice one of two terms."""

    natives = (Discrete,)
    conditional = True
    weighted = False
    TERMS = 2

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        tables = max(1, len(self.given_frequencies))
        self.first = nn.Parameter(torch.zeros(tables, domain.levels))
        self.second = nn.Parameter(torch.zeros(tables, domain.levels, domain.levels))

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given)

    @classmethod
    def refuses(cls, domain):
        return None if isinstance(domain, Discrete) and domain.entries == 1 else "it takes one discrete entry"

    def hop(self, x, generator):
        anything = torch.randint(self.domain.levels, x.shape, generator=generator, device=self.device)
        return torch.where(torch.rand(x.shape, generator=generator, device=self.device) < 0.5, x, anything)

    def terms(self, x, given, generator):
        x, y = x.flatten(), torch.zeros(len(x), dtype=torch.int64, device=self.device) if given is None else given
        hopped = self.hop(x, generator)
        log_q = (0.5 / self.domain.levels + 0.5 * (hopped == x)).log()
        prior = self.first.log_softmax(-1)[y, hopped] - log_q
        return prior, self.second.log_softmax(-1)[y, hopped, x]

    def _log_weight(self, x, given, generator):
        which = torch.rand(len(x), generator=generator, device=self.device) < 0.5
        return self.TERMS * torch.where(which, *self.terms(x, given, generator))

    def _sample(self, n, given, generator):
        y = torch.zeros(n, dtype=torch.int64, device=self.device) if given is None else given
        if n == 0:
            return torch.zeros(0, *self.domain.shape, dtype=torch.int64, device=self.device)
        hopped = torch.multinomial(self.first.softmax(-1)[y], 1, generator=generator).flatten()
        x = torch.multinomial(self.second.softmax(-1)[y, hopped], 1, generator=generator)
        return x.reshape(n, *self.domain.shape)

    def phases(self):
        return (Phase("bound", tuple(self.parameters()), self.loss),)

    def loss(self, batch, generator):
        return Loss(-sum(self.terms(batch.x, batch.given, generator)).mean())

    def recipe(self):
        return Recipe(rate=0.1)


class Pair(Samples, GradientTrained):
    """A generator against a discriminator, with batch norm in both."""

    natives = (Real,)
    conditional = True

    def __init__(self, domain, given=None, *, width=8):
        super().__init__(domain, given)
        labels, d = len(self.given_frequencies), domain.entries
        self.g = nn.Sequential(nn.Linear(2 + labels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, d))
        self.d = nn.Sequential(nn.Linear(d + labels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 1))

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, width=6)

    @classmethod
    def refuses(cls, domain):
        return None if isinstance(domain, Real) and domain.entries <= 2 else "it takes one or two real entries"

    def told(self, x, given):
        return x if given is None else torch.cat([x, one_hot_label(given, len(self.given_frequencies))], 1)

    def made(self, given, n, generator):
        return self.g(self.told(torch.randn(n, 2, generator=generator, device=self.device), given))

    def judged(self, x, given):
        """The discriminator on batch statistics that are not recorded."""
        return torch.func.functional_call(
            self.d, {k: b.clone() for k, b in self.d.named_buffers()}, self.told(x, given)
        )

    def _sample(self, n, given, generator):
        return self.made(given, n, generator).reshape(n, *self.domain.shape)

    def fake(self, batch, generator):
        """What the discriminator learns from: no gradient, and no trace in the generator's running statistics."""
        buffers = {k: b.clone() for k, b in self.g.named_buffers()}
        z = self.told(torch.randn(len(batch.x), 2, generator=generator, device=self.device), batch.given)
        with torch.no_grad():
            return torch.func.functional_call(self.g, buffers, z)

    def phases(self):
        return (
            Phase("discriminator", tuple(self.d.parameters()), self.tell),
            Phase("generator", tuple(self.g.parameters()), self.fool),
        )

    def tell(self, batch, generator):
        real = self.d(self.told(batch.x.flatten(1).float(), batch.given))
        fake = self.judged(self.fake(batch, generator), batch.given)
        return Loss(F.softplus(-real).mean() + F.softplus(fake).mean())

    def fool(self, batch, generator):
        return Loss(F.softplus(-self.judged(self.made(batch.given, len(batch.x), generator), batch.given)).mean())


class Walk(Samples, Completes, Marginalises, ClosedForm):
    """P(x | y) = prod_t P(x_t | x_{t-1}, y), with the end among the symbols where sequences end; parts by listing them all."""

    natives = (Sequences,)
    conditional = True

    def __init__(self, domain, given=None, *, smoothing=0.5):
        super().__init__(domain, given)
        self.smoothing = smoothing
        self.start = self.end = domain.end
        tables, self.symbols = max(1, len(self.given_frequencies)), domain.end + domain.ends
        self.register_buffer("p", torch.full((tables, domain.end + 1, self.symbols), 1 / self.symbols).double())
        everything = torch.cartesian_prod(*[torch.arange(domain.end + 1)] * domain.longest)
        there = everything != domain.end
        whole = (there[:, 1:] <= there[:, :-1]).all(1) & (there[:, 0] | domain.ends)
        self.register_buffer("states", everything[whole])

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, smoothing=0.25)

    @classmethod
    def refuses(cls, domain):
        if isinstance(domain, Sequences) and isinstance(domain.element, Discrete) and domain.end**domain.longest < 256:
            return None
        return "it lists few short sequences of symbols"

    def initialise(self, subset, generator):
        pass

    def steps_of(self, x, given):
        """Table, state before, symbol and whether it is scored, for each position."""
        before = F.pad(x[:, :-1], (1, 0), value=self.start)
        scored = F.pad(x[:, :-1] != self.end, (1, 0), value=True) if self.domain.ends else x != self.end
        rows = torch.zeros(len(x), dtype=torch.int64, device=x.device) if given is None else given
        return rows.unsqueeze(1).expand(x.shape), before, x.clamp(max=self.symbols - 1), scored

    def statistics(self, batch, generator):
        rows, before, symbol, scored = self.steps_of(batch.x, batch.given)
        counts = torch.zeros_like(self.p).index_put_((rows, before, symbol), scored.double(), accumulate=True)
        return {"counts": counts, "n": torch.tensor(len(batch.x)).double()}

    def maximise(self, statistics):
        counts = statistics["counts"] + self.smoothing
        self.p.copy_(counts / counts.sum(2, keepdim=True))

    def _log_prob(self, x, given):
        rows, before, symbol, scored = self.steps_of(x, given)
        return torch.where(scored, self.p[rows, before, symbol].log(), 0).sum(1)

    def _possible(self, x, observed, given):
        """The probability of every sequence that agrees with what is observed of each datum, (N, S)."""
        agrees = ((x.unsqueeze(1) == self.states) | ~observed.unsqueeze(1)).all(2)
        if not self.domain.ends:  # the length is known, also where nothing is left that ends
            agrees = agrees & (self.domain.lengths(x).unsqueeze(1) == self.domain.lengths(self.states))
        labels = torch.arange(len(self.p), device=x.device).repeat_interleave(len(self.states))
        p = self._log_prob(self.states.repeat(len(self.p), 1), labels).exp().view(len(self.p), -1)
        return agrees * p[torch.zeros(len(x), dtype=torch.int64, device=x.device) if given is None else given]

    def _log_marginal(self, x, observed, given):
        return self._possible(x, observed, given).sum(1).clamp(max=1).log()

    def _complete(self, x, observed, given, generator):
        if len(x) == 0:
            return x
        return self.states[torch.multinomial(self._possible(x, observed, given), 1, generator=generator).squeeze(1)]

    def _sample(self, n, given, generator):
        x = torch.full((n, self.domain.longest), self.end, device=self.device)
        rows = torch.zeros(n, dtype=torch.int64, device=self.device) if given is None else given
        before, alive = torch.full_like(rows, self.start), torch.ones_like(rows, dtype=torch.bool)
        for t in range(self.domain.longest) if n else ():
            x[:, t] = torch.multinomial(self.p[rows, before], 1, generator=generator).squeeze(1)
            x[~alive, t] = self.end
            before, alive = x[:, t], alive & (x[:, t] != self.end)
        return x


class Track(Bell):
    """Bell for every element of a sequence alike; what comes after the end is no part of it."""

    natives = (Sequences,)

    def __init__(self, domain, given=None, *, floor=1e-3):
        Model.__init__(self, domain, given)
        self.floor = floor
        self.register_buffer("mu", torch.zeros(domain.element.shape, dtype=torch.float64))
        self.register_buffer("std", torch.ones(domain.element.shape, dtype=torch.float64))

    @classmethod
    def refuses(cls, domain):
        return None if isinstance(domain, Sequences) and isinstance(domain.element, Real) else "it takes real sequences"

    def statistics(self, batch, generator):
        rows = self.domain.present(batch.x)
        observed = None if batch.observed is None else batch.observed[rows]
        sums = super().statistics(Batch(batch.x[rows], None, observed), generator)
        return sums | {"n": torch.tensor(len(batch.x)).double()}

    def _log_marginal(self, x, observed, given):
        there = x != self.domain.end
        return super()._log_marginal(torch.where(there, x, 0), observed & there, given)
