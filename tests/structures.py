"""Small models with every structure that training can have: what the tests of resume train, stop, kill and resume.

``offered`` puts them into the catalogue as an installed package would, by an entry point, so that ``pmodel.fit`` and a
command in another process find them by name.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from pmodel.capability import Density, Latent, Samples
from pmodel.catalogue import Row
from pmodel.distribution import Bernoulli, Normal, Point
from pmodel.domain import Discrete, Real
from pmodel.explicit.tractable.flow.nice import NICE
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import ClosedForm, GradientTrained, Loss, Phase, Recipe
from pmodel.wrappers import Standardised, WithPrior

TINY = Recipe(batch=16, rate=0.01, ema=0.9, steps=12, iterations=8, tolerance=0.0)


class Convolutional(Samples, Latent, GradientTrained):
    """One phase: a convolutional autoencoder with a normal code; dropout draws from the global generator.

    With ``channels_last`` its weights have that memory layout from the start, whatever the plan says.
    """

    natives = (Discrete,)

    def __init__(self, domain, given=None, *, channels_last=True, dropout=0.2):
        super().__init__(domain, given)
        channels, height, width = domain.shape
        self.entries = 4 * (height // 2) * (width // 2)
        self.coder = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.Dropout(dropout), nn.SiLU(), nn.Conv2d(4, 4, 2, stride=2)
        )
        self.mu, self.log_std = nn.Linear(self.entries, 2), nn.Linear(self.entries, 2)
        self.spread = nn.Linear(2, self.entries)
        self.painter = nn.Sequential(
            nn.ConvTranspose2d(4, 4, 2, stride=2), nn.SiLU(), nn.Conv2d(4, channels, 3, padding=1)
        )
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def refuses(cls, domain):
        return (
            None if isinstance(domain, Discrete) and domain.levels == 2 and domain.image else "it takes binary images"
        )

    def _encode(self, x, given):
        h = self.coder(x.float()).flatten(1)
        return Normal(self.mu(h), self.log_std(h).exp())

    def _decode(self, z, given):
        h = F.silu(self.spread(z)).unflatten(1, (4, *(side // 2 for side in self.domain.shape[1:])))
        return Bernoulli(self.painter(h))

    def _sample(self, n, given, generator):
        return self._decode(torch.randn(n, 2, generator=generator), given).sample(generator)

    def phases(self):
        return (Phase("bound", tuple(self.parameters()), self.loss),)

    def loss(self, batch, generator):
        q = self._encode(batch.x, None)
        prior = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
        z = q.sample(generator)
        distortion = -self._decode(z, None).log_prob(batch.x).mean()
        rate = (q.log_prob(z) - prior.log_prob(z)).mean()
        return Loss(distortion + rate, {"distortion": distortion, "rate": rate})

    def recipe(self):
        return TINY


class Adversarial(Samples, GradientTrained):
    """Two phases, the first of them twice a step; batch norm has running statistics that move without a gradient."""

    natives = (Real,)

    def __init__(self, domain, given=None, *, width=8):
        super().__init__(domain, given)
        d = domain.entries
        self.painter = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, d))
        self.judge = nn.Sequential(nn.Linear(d, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def _sample(self, n, given, generator):
        return self.painter(torch.randn(n, 2, generator=generator)).reshape(n, *self.domain.shape)

    def phases(self):
        return (
            Phase("judge", tuple(self.judge.parameters()), self.tell, repeat=2),
            Phase("painter", tuple(self.painter.parameters()), self.fool),
        )

    def tell(self, batch, generator):
        z = torch.randn(len(batch.x), 2, generator=generator)
        buffers = {name: b.clone() for name, b in self.painter.named_buffers()}
        with torch.no_grad():
            fake = torch.func.functional_call(self.painter, buffers, z)
        return Loss(F.softplus(-self.judge(batch.x.float())).mean() + F.softplus(self.judge(fake)).mean())

    def fool(self, batch, generator):
        return Loss(F.softplus(-self.judge(self.painter(torch.randn(len(batch.x), 2, generator=generator)))).mean())

    def recipe(self):
        return TINY


class Growing(Samples, Density, GradientTrained):
    """Spans: the mean learns first, then mean and scale together with another optimiser, while ``advance`` cools the noise.

    A phase that has not begun has no moments yet, and the mean has those of two phases.
    """

    natives = (Real,)

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.mean = nn.Parameter(torch.randn(domain.entries))
        self.log_std = nn.Parameter(torch.zeros(domain.entries))
        self.temperature = 1.0

    def advance(self, progress):
        self.temperature = 1 - progress

    def _log_prob(self, x, given):
        return Normal(self.mean.expand(len(x), -1), self.log_std.exp().expand(len(x), -1)).log_prob(
            x.flatten(1).float()
        )

    def _sample(self, n, given, generator):
        noise = torch.randn(n, self.domain.entries, generator=generator)
        return (self.mean + self.log_std.exp() * noise).reshape(n, *self.domain.shape)

    def phases(self):
        return (
            Phase("low", (self.mean,), self.loss, span=(0.0, 0.5)),
            Phase("high", (self.mean, self.log_std), self.loss, span=(0.5, 1.0)),
        )

    def loss(self, batch, generator):
        noise = self.temperature * torch.randn(batch.x.shape, generator=generator)
        return Loss(-self._log_prob(batch.x + noise, None).mean())

    def recipe(self):
        return TINY


class Carrying(Samples, GradientTrained):
    """State that training carries: chains that walk on from step to step, needed by the loss and not by a sample.

    An energy :math:`E(x) = (x - b)^T (x - b) / 2`, whose gradient is the difference of the data's mean and the chains'
    mean after a step of Langevin's dynamics: persistent contrastive divergence.
    """

    natives = (Real,)

    def __init__(self, domain, given=None, *, chains=6):
        super().__init__(domain, given)
        self.centre = nn.Parameter(torch.zeros(domain.entries))
        self.register_buffer("chains", torch.zeros(chains, domain.entries), persistent=False)

    def training_state(self):
        return {"chains": self.chains}

    def energy(self, x):
        return 0.5 * (x.flatten(1) - self.centre).square().sum(1)

    def _sample(self, n, given, generator):
        noise = torch.randn(n, self.domain.entries, generator=generator)
        return (self.centre + noise).reshape(n, *self.domain.shape)

    def phases(self):
        return (Phase("contrast", (self.centre,), self.loss),)

    def loss(self, batch, generator):
        with torch.no_grad():
            drift = -0.1 * (self.chains - self.centre)
            self.chains += drift + 0.2**0.5 * torch.randn(self.chains.shape, generator=generator)
        return Loss(self.energy(batch.x.float()).mean() - self.energy(self.chains).mean())

    def recipe(self):
        return TINY


class Code(Latent, GradientTrained):
    """A linear autoencoder, and nothing that samples."""

    natives = (Real,)
    latent = 2

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.down, self.up = nn.Linear(domain.entries, 2), nn.Linear(2, domain.entries)

    def _encode(self, x, given):
        mu = self.down(x.flatten(1).float())
        return Normal(mu, torch.full_like(mu, 0.1))

    def _decode(self, z, given):
        mu = self.up(z.float()).reshape(len(z), *self.domain.shape)
        return Normal(mu, torch.full_like(mu, 0.1))

    def phases(self):
        return (Phase("code", tuple(self.parameters()), self.loss),)

    def loss(self, batch, generator):
        z = self._encode(batch.x, None).sample(generator)
        return Loss((self._decode(z, None).mean - batch.x.float()).square().mean())

    def recipe(self):
        return TINY


class Staged(Samples, GradientTrained, ClosedForm):
    """A change of stage: an autoencoder by gradients, then a mixture of its codes by expectation maximisation."""

    natives = (Real,)
    iterative = True

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.parts = WithPrior(Code(domain), Mixture(Real((2,)), components=3, covariance="diagonal", shrinkage=0.0))

    def prepare(self, subset, given, generator):
        self.parts.prepare(subset, given, generator)

    def phases(self):
        return self.parts.phases()

    def recipe(self):
        return TINY

    def initialise(self, subset, generator):
        self.parts.initialise(subset, generator)

    def statistics(self, batch, generator):
        return self.parts.statistics(batch, generator)

    def maximise(self, statistics):
        self.parts.maximise(statistics)

    def _sample(self, n, given, generator):
        return self.parts._sample(n, given, generator)


class Mapped(Code):
    """The linear autoencoder whose encoder is a map."""

    deterministic = True

    def _encode(self, x, given):
        return Point(self.down(x.flatten(1).float()))


class Handed(Samples, GradientTrained):
    """Two stages by gradients: an autoencoder, then a flow of its standardised codes."""

    natives = (Real,)

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.parts = WithPrior(Mapped(domain), Standardised(NICE(Real((2,)), layers=2, width=8)))

    def prepare(self, subset, given, generator):
        self.parts.prepare(subset, given, generator)

    def advance(self, progress):
        self.parts.advance(progress)

    def phases(self):
        return self.parts.phases()

    def recipe(self):
        return TINY

    def _sample(self, n, given, generator):
        return self.parts._sample(n, given, generator)


def _row(cls, domains):
    return Row(
        name=cls.__name__.lower(),
        target=f"structures:{cls.__name__}",
        family="tests",
        density="none",
        capabilities=("sample",),
        domains=domains,
        year=2025,
        paper="none",
        line=cls.__doc__.partition("\n")[0],
    )


def convolutional():
    return _row(Convolutional, ("discrete",))


def adversarial():
    return _row(Adversarial, ("real",))


def growing():
    return _row(Growing, ("real",))


def carrying():
    return _row(Carrying, ("real",))


def staged():
    return _row(Staged, ("real",))


def handed():
    return _row(Handed, ("real",))


OFFERED = (convolutional, adversarial, growing, carrying, staged, handed)


def offered(folder: Path) -> Path:
    """Write what an installed package would leave in ``folder``: with it on the path, the catalogue has the structures."""
    about = folder / "structures-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: structures\nVersion: 1\n")
    points = "".join(f"{row.__name__} = structures:{row.__name__}\n" for row in OFFERED)
    (about / "entry_points.txt").write_text(f"[pmodel.models]\n{points}")
    return folder
