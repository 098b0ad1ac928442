"""Several layers of latents and learned priors: the bound against quadrature, and every divergence against its integral."""

import math

import pytest
import torch

from pmodel.capability import active_units
from pmodel.construction import make
from pmodel.distribution import Normal, kl
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.explicit.approximate.vae.ladder import Chained
from pmodel.explicit.approximate.vae.prior import Prior, divergence
from pmodel.explicit.approximate.vae.vae import VAE
from pmodel.explicit.tractable.gaussian import Gaussian
from pmodel.learning import Batch
from pmodel.randomness import forked
from pmodel.testing import conformance

BITS = Discrete((3,), 2)
LABEL = Discrete((), 3)
WORDS = torch.cartesian_prod(*[torch.arange(2)] * 3)
REACH, CELLS = 12.0, 241


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@torch.no_grad()
def lively(model):
    """Far from the start, where layers of zeros make posteriors the prior and flows the identity."""
    noise = seeded(1)
    for name, p in model.named_parameters():
        p += (0.02 if "flow" in name else 0.2) * torch.randn(p.shape, generator=noise, dtype=p.dtype)
    return model.double().eval()


def two_units(**options):
    """A code of two entries, in one layer or two."""
    latent = 1 if options.get("ladder") == 2 else 2
    return lively(VAE(BITS, latent=latent, layers=1, width=8, **options))


FAMILIES = ({}, {"ladder": 2}, {"flow": 4}, {"ladder": 2, "flow": 1})


def nodes():
    """The midpoints of a grid over two dimensions, and the logarithm of the area of a cell."""
    axis = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS * 2 * REACH - REACH
    return torch.cartesian_prod(axis, axis), 2 * math.log(2 * REACH / CELLS)


@torch.no_grad()
def log_prior(model, z):
    top, rest = z[:, : model.code[0]], z[:, model.code[0] :]
    return model.prior.log_prob(top, None) + Normal(torch.zeros_like(rest), torch.ones_like(rest)).log_prob(rest)


@torch.no_grad()
def by_quadrature(model, x):
    """Log p(x), KL(q || p(z)) and KL(q || p(z | x)) of one datum, from decoder, prior and posterior on a grid of z."""
    z, area = nodes()
    many = x.expand(len(z), -1)
    joint = model._decode(z, None).log_prob(many) + log_prior(model, z)
    log_p = torch.logsumexp(joint, 0) + area
    log_q = model._encode(many, None).log_prob(z)
    q = (log_q + area).exp()
    assert float(q.sum()) == pytest.approx(1, abs=1e-6)
    return float(log_p), float((q * (log_q - log_prior(model, z))).sum()), float((q * (log_q - joint + log_p)).sum())


@pytest.mark.parametrize("options", FAMILIES, ids=str)
def test_log_p_is_the_bound_plus_the_divergence_from_the_true_posterior(options):
    model, x = two_units(**options), torch.tensor([[0, 1, 1]])
    log_p, _, gap = by_quadrature(model, x)
    bound = model.elbo(x.repeat(2000, 1), effort=20).values
    assert gap > 0.05  # there is something to be seen
    assert abs(log_p - float(bound.mean()) - gap) < 4 * float(bound.std()) / math.sqrt(2000) + 1e-6
    weights = model.score(x.repeat(2000, 1), effort=20).values.exp()
    assert abs(math.exp(log_p) - float(weights.mean())) < 4 * float(weights.std()) / math.sqrt(2000)


@pytest.mark.parametrize("options", FAMILIES, ids=str)
def test_divergence_of_the_loss_is_the_integral(options):
    model, x = two_units(warmup=0.0, **options), torch.tensor([[0, 1, 1]])
    expected = by_quadrature(model, x)[1]
    with torch.no_grad():
        parts = model.phases()[0].loss(Batch(x.repeat(40_000, 1)), seeded()).parts
    assert float(parts["kl"]) == pytest.approx(expected, abs=0.01)
    assert float(parts["bound"]) == pytest.approx(float(parts["reconstruction"] - parts["kl"]), rel=1e-6)


@pytest.mark.parametrize("options", FAMILIES, ids=str)
def test_words_have_a_mass_of_one(options):
    model = two_units(**options)
    z, area = nodes()
    with torch.no_grad():
        mass = [
            (model._decode(z, None).log_prob(w.expand(len(z), -1)) + log_prior(model, z) + area).exp() for w in WORDS
        ]
    assert float(torch.stack(mass).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("options", FAMILIES, ids=str)
def test_samples_follow_the_quadrature(options):
    model = two_units(**options)
    mass = torch.tensor([by_quadrature(model, w.unsqueeze(0))[0] for w in WORDS]).exp()
    counts = torch.bincount(model.sample(40_000, generator=1) @ torch.tensor([4, 2, 1]), minlength=8)
    assert float(((counts - 40_000 * mass) ** 2 / (40_000 * mass)).sum()) < 24.3  # chi-squared, 7 degrees, p = .001


def test_divergence_of_a_normal_is_its_integral():
    q = Normal(torch.tensor([[0.7]]).double(), torch.tensor([[0.4]]).double())
    z = (torch.arange(20_000, dtype=torch.float64).unsqueeze(1) + 0.5) / 1000 - 10
    inside, standard = q.log_prob(z), Normal(torch.zeros(1, 1).double(), torch.ones(1, 1).double()).log_prob(z)
    assert float(divergence(q)) == pytest.approx(float((inside.exp() * (inside - standard)).sum() / 1000), abs=1e-9)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4, 4)])
def test_divergence_by_channel_adds_up_to_that_of_the_distributions(shape):
    mu, std = torch.randn(shape, generator=seeded()), torch.rand(shape, generator=seeded(1)) + 0.1
    q = Normal(mu, std)
    assert divergence(q).shape == shape[:2]
    assert torch.allclose(divergence(q).sum(1), kl(q, Normal(torch.zeros(shape), torch.ones(shape))), rtol=1e-5)


def test_units_of_the_prior_are_those_of_the_paper():
    """The code in units of its prior, or the variable itself: the same divergence, and the state reads the latter."""
    model = lively(VAE(BITS, latent=2, ladder=2, width=8))
    (rung,) = model.ladder.rungs
    h, d = torch.randn(4, 8, generator=seeded(), dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    with torch.no_grad():
        q = rung.posterior(h, d)
        mu, log_std = rung.prior(torch.relu(h)).chunk(2, 1)
        prior = Normal(mu, log_std.exp())
        paper = Normal(prior.mu + prior.std * q.mu, prior.std * q.std)
        assert torch.allclose(divergence(q).sum(1), kl(paper, prior))
        told = rung.told(paper.mu)
        assert torch.allclose(rung(h, q.mu), rung.block(h + told))


@pytest.mark.parametrize(
    ("domain", "given"),
    [(BITS, None), (BITS, LABEL), (Discrete((1, 5, 9), 17), LABEL), (Real((2,)), None), (Discrete((), 4), None)],
)
def test_weights_are_made_of_encode_and_decode(domain, given):
    """The code is all of z: with it, anyone can write the bound from the public verbs."""
    model = VAE(domain, given, latent=2, ladder=3, width=8, channels=2, units=2)
    label = None if given is None else torch.tensor([0, 2, 1])
    x = model.sample(3, given=label, generator=0)
    q = model.encode(x, given=label)
    assert isinstance(q, Chained)
    z = q.sample(seeded())
    assert z.shape == q.mean.shape == (3, model.latent)
    p = model.decode(z, given=label)
    weight = p.log_prob(x) + Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z) - q.log_prob(z)
    with torch.no_grad():
        found = model._log_weight(x, label, seeded())
    assert torch.allclose(weight, found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["dense", "conv", "residual"])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (28, 28)])
def test_ladders_keep_any_size_and_train_every_parameter(architecture, size):
    domain = Discrete((1, *size), 4)
    model = VAE(domain, LABEL, latent=2, architecture=architecture, ladder=3, flow=2, width=8, channels=2, units=3)
    x = torch.randint(0, 4, (6, *domain.shape), generator=seeded())
    with torch.no_grad():
        for p in model.parameters():  # much begins at zero
            p += 0.1 * torch.randn(p.shape, generator=seeded(2))
    model.phases()[0].loss(Batch(x, torch.arange(6) % 3), seeded()).total.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []


def test_each_layer_is_reported_and_a_new_one_says_nothing():
    model = VAE(BITS, latent=2, ladder=3, width=8)
    parts = model.phases()[0].loss(Batch(WORDS), seeded()).parts
    layers = [parts[f"kl_{layer}"].item() for layer in (1, 2, 3)]
    assert sum(layers) == pytest.approx(parts["kl"].item())
    assert layers[0] > 0
    assert layers[1:] == [0, 0]


def test_free_bits_are_not_paid_for():
    model = VAE(BITS, latent=3, ladder=2, units=4, width=8, warmup=0.0, free_bits=0.5)
    with torch.no_grad():
        loss = model.phases()[0].loss(Batch(WORDS), seeded())
        q = model._encode(WORDS, None).walk(lambda _, q: q.sample(seeded())).posteriors
        assert max(float(divergence(part).mean(0).max()) for part in q) < 0.5
    assert float(loss.total + loss.parts["reconstruction"]) == pytest.approx(7 * 0.5)
    assert float(loss.parts["bound"] + loss.parts["kl"]) == pytest.approx(float(loss.parts["reconstruction"]))
    bound = model.elbo(WORDS).values
    paid = VAE(BITS, latent=3, ladder=2, units=4, width=8)
    paid.load_state_dict(model.state_dict())
    assert torch.equal(paid.elbo(WORDS).values, bound)  # the score is of the bound


def test_active_units_are_those_whose_means_vary():
    """Codes of four units of which the encoder moves two, one of them too little to count."""
    model = VAE(Real((4,)), latent=4, architecture="dense", layers=0)
    x = torch.randn(3000, 4, generator=seeded())
    with torch.no_grad():
        model.encoder[0].weight.copy_(torch.zeros(8, 4))
        model.encoder[0].weight[:4] = torch.diag(torch.tensor([1.0, 0.11, 0.09, 0.0]))
    assert active_units(model, x).tolist() == [True, True, False, False]
    with torch.no_grad():
        parts = model.phases()[0].loss(Batch(x), seeded()).parts
    assert float(parts["active_units"]) == 2


def test_active_units_of_a_ladder_are_those_of_the_whole_code():
    model = VAE(BITS, LABEL, latent=2, ladder=3, width=8)
    x, given = torch.randint(0, 2, (50, 3), generator=seeded()), torch.arange(50) % 3
    found = active_units(model, x, given=given)
    assert found.shape == (6,)
    assert not bool(found[2:].any())  # lower layers begin at their prior
    with pytest.raises(BadInput, match="two data or more"):
        active_units(model, x[:1], given=given[:1])
    with pytest.raises(NotSupported, match="Gaussian"):
        active_units(Gaussian(Real((2,))), torch.zeros(3, 2))


@pytest.mark.parametrize("latent", [1, 2, 5])
@pytest.mark.parametrize("contexts", [0, 3])
def test_a_flow_prior_draws_what_it_scores(latent, contexts):
    prior = lively(Prior(latent, 4, contexts, 8))
    context = torch.eye(3, dtype=torch.float64)[torch.full((4000,), 1)] if contexts else None
    with torch.no_grad():
        z = prior.sample(4000, context, seeded(), torch.device("cpu")).double()
        noise, ladj = prior.flow(z, context)
        exact = torch.autograd.functional.jacobian(
            lambda y: prior.flow(y, None if context is None else context[:1])[0], z[:1]
        )
    assert torch.allclose(noise.mean(0), torch.zeros(latent).double(), atol=0.1)
    assert torch.allclose(noise.std(0), torch.ones(latent).double(), atol=0.1)
    assert float(ladj[0]) == pytest.approx(float(torch.linalg.slogdet(exact[0, :, 0])[1]), abs=1e-6)


def test_a_flow_prior_follows_its_codes():
    """Codes that a standard normal fits badly: the flow's prior gains what it should."""
    model = VAE(BITS, latent=2, layers=1, width=8, flow=4, warmup=0.0)
    z = torch.randn(1000, 2, generator=seeded()) * 0.3 + torch.tensor([2.0, -1.0])
    optimiser = torch.optim.Adam(model.prior.parameters(), lr=0.05)
    for _ in range(80):
        optimiser.zero_grad()
        (-model.prior.log_prob(z, None).mean()).backward()
        optimiser.step()
    entropy = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3))
    assert model.prior.log_prob(z, None).mean().item() == pytest.approx(-entropy, abs=0.1)


CONFORMING = {
    "ladder of bits": lambda: VAE(Discrete((2,), 2), latent=1, ladder=2, width=8, layers=1),
    "ladder of labelled pictures": lambda: VAE(
        Discrete((1, 4, 4), 3), LABEL, latent=2, ladder=2, width=8, channels=4, units=1
    ),
    "flow of points": lambda: make("vae", Real((2,)), latent=2, width=8, flow=2, layers=1),
}


def conforming():
    """The checks of each, whose weights are the same in every run."""
    for name, build in CONFORMING.items():
        with forked(0, "conforming"):
            model = build()
        for check in conformance(model):
            yield pytest.param(check, id=f"{name}-{check.law}")


@pytest.mark.parametrize("check", list(conforming()))
def test_conformance(check):
    check()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ladder": 0}, RangeError),
        ({"units": 0}, RangeError),
        ({"flow": -1}, RangeError),
        ({"free_bits": -1.0}, RangeError),
        ({"free_bits": math.inf}, RangeError),
        ({"particles": 4, "beta": 2.0}, BadInput),
        ({"particles": 4, "free_bits": 0.5}, BadInput),
    ],
)
def test_bad_options_are_refused(options, error):
    with pytest.raises(error) as caught:
        VAE(BITS, **options)
    assert str([*options.values()][-1]) in str(caught.value)
