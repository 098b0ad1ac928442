"""The variational autoencoder against closed forms: probabilistic PCA, the Gaussian KL, and enumeration."""

import copy
import math

import pytest
import torch

from pmodel.construction import make
from pmodel.distribution import Bernoulli, Categorical, DiscretisedLogistic, Normal, kl
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.approximate.vae.vae import VAE
from pmodel.learning import Batch

BITS = Discrete((3,), 2)
PICTURE = Discrete((1, 8, 8), 17)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# --- the linear VAE is probabilistic PCA -------------------------------------------------------------------------------


def principal_components(x, latent):
    """Tipping & Bishop's maximum: loadings W (orthogonal columns), noise variance, mean, and the exact log-likelihood."""
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    values, vectors = torch.linalg.eigh(covariance)
    noise = values[:-latent].mean()
    loadings = vectors[:, -latent:] * (values[-latent:] - noise).sqrt()
    marginal = torch.distributions.MultivariateNormal(
        mean, loadings @ loadings.T + noise * torch.eye(x.shape[1]).double()
    )
    return loadings, noise, mean, marginal.log_prob(x)


@pytest.fixture
def correlated():
    x = torch.randn(400, 5, generator=seeded(1), dtype=torch.float64)
    mixing = torch.randn(5, 5, generator=seeded(2), dtype=torch.float64)
    return x @ mixing + torch.arange(5.0)


@torch.no_grad()
def at_the_optimum(x, latent=2):
    """A linear VAE with the closed-form weights: decoder W, posterior N(M^-1 W^T (x - mean), noise M^-1)."""
    loadings, noise, mean, exact = principal_components(x, latent)
    model = VAE(Real((x.shape[1],)), latent=latent, architecture="dense", layers=0, likelihood="isotropic").double()
    inverse = (loadings.T @ loadings + noise * torch.eye(latent).double()).inverse()
    project = inverse @ loadings.T
    encoder, decoder = model.encoder[-1], model.decoder[-1]
    decoder.weight.copy_(loadings)
    decoder.bias.zero_()
    model.observation.offset.copy_(mean.unsqueeze(-1))
    model.observation.log_std.fill_(0.5 * noise.log())
    encoder.weight.copy_(torch.cat([project, torch.zeros_like(project)]))
    encoder.bias.copy_(torch.cat([-project @ mean, 0.5 * (noise * inverse.diagonal()).log()]))
    return model, exact


def test_linear_vae_at_its_optimum_is_probabilistic_pca(fresh, correlated):
    model, exact = at_the_optimum(correlated)
    weights = model.elbo(correlated, effort=4)
    assert torch.allclose(weights.values, exact, atol=1e-3)
    assert float(weights.mc_stderr.max()) < 1e-6  # the posterior is the true one: every draw has the same weight


def test_linear_vae_bounds_are_ordered_away_from_the_optimum(fresh, correlated):
    model, _ = at_the_optimum(correlated)
    with torch.no_grad():
        model.encoder[-1].bias += 0.4
        model.decoder[-1].weight *= 0.9
        loadings, std = model.decoder[-1].weight, model.observation.log_std.exp()
        covariance = loadings @ loadings.T + std.square() * torch.eye(5).double()
        exact = (
            torch.distributions.MultivariateNormal(model.observation.offset.squeeze(-1), covariance)
            .log_prob(correlated)
            .mean()
        )
    elbo = model.elbo(correlated, effort=64).values.mean()
    few = model.score(correlated, effort=8).values.mean()
    many = model.score(correlated, effort=512).values.mean()
    assert elbo < few - 0.01
    assert few < many
    assert many <= exact + 0.01
    assert exact - many < 0.1


def test_linear_vae_learns_probabilistic_pca(fresh, correlated):
    standard = (correlated - correlated.mean(0)) / correlated.std(0)
    exact = principal_components(standard, 2)[-1].mean()
    model = VAE(Real((5,)), latent=2, architecture="dense", layers=0, likelihood="isotropic", warmup=0.0).double()
    model.prepare(standard, None, seeded())
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 600)
    (phase,) = model.phases()
    noise = seeded()
    for _ in range(600):
        optimiser.zero_grad()
        phase.loss(Batch(standard), noise).total.backward()
        optimiser.step()
        schedule.step()
    found = model.score(standard, effort=64).values.mean()
    assert abs(float(found - exact)) < 0.02


# --- identities of the bound -------------------------------------------------------------------------------------------


def test_mean_log_weight_is_reconstruction_minus_kl(fresh):
    model = VAE(BITS, latent=2, width=8)
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    noise, n = seeded(), 20_000
    many = x.repeat_interleave(n, 0)
    with torch.no_grad():
        weights = model._log_weight(many, None, noise).reshape(2, n)
        q = model._encode(x, None)
        z = q.mu.repeat_interleave(n, 0) + q.std.repeat_interleave(n, 0) * torch.randn(2 * n, 2, generator=noise)
        reconstruction = model._decode(z, None).log_prob(many).reshape(2, n)
        bound = reconstruction.mean(1) - kl(q, Normal(torch.zeros(2, 2), torch.ones(2, 2)))
    stderr = (weights.std(1) ** 2 + reconstruction.std(1) ** 2).sqrt() / math.sqrt(n)
    assert bool(((weights.mean(1) - bound).abs() < 4 * stderr + 1e-5).all())


@torch.no_grad()
def mass_of_words(model, n=4000):
    """p(x) of all eight words of three bits, as the mean importance weight."""
    words = torch.cartesian_prod(*[torch.arange(2)] * 3)
    return model._log_weight(words.repeat(n, 1), None, seeded()).reshape(n, 8).exp().mean(0)


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "logistic"])
def test_importance_weights_average_to_a_mass_function(fresh, likelihood):
    """Over all eight words, E[w] sums to one: the weights estimate p(x) itself."""
    model = VAE(BITS, latent=2, width=8, likelihood=likelihood)
    assert abs(float(mass_of_words(model).sum()) - 1) < 0.02


def test_samples_follow_the_score(fresh):
    model = VAE(BITS, latent=2, width=8)
    with torch.no_grad():
        model.decoder[-1].weight *= 8  # far from independent bits
    mass = mass_of_words(model)
    draws = model.sample(40_000, generator=1)
    counts = torch.bincount(draws @ torch.tensor([4, 2, 1]), minlength=8)
    expected = 40_000 * mass / mass.sum()
    assert float(((counts - expected) ** 2 / expected).sum()) < 24.3  # chi-squared, 7 degrees of freedom, p = .001


@pytest.mark.parametrize("given", [None, LABEL])
def test_scores_encode_once_and_agree_with_single_draws(fresh, given):
    model = VAE(BITS, given, latent=2, width=8)
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    label = None if given is None else torch.tensor([0, 2])
    noise = seeded()
    with torch.no_grad():
        single = torch.stack([model._log_weight(x, label, noise) for _ in range(3)]).double()
        together = model._log_weights(x, label, None, seeded(), 3)
    assert torch.allclose(single, together)


def test_without_a_label_the_score_is_the_mixture_over_labels(fresh):
    model = VAE(BITS, LABEL, latent=2, width=8)
    model.record_frequencies(torch.tensor([0, 0, 0, 0, 0, 0, 1, 2]))
    with torch.no_grad():
        model.decoder[0].weight[:, 2:] *= 8  # the labels differ
        model.decoder[-1].weight *= 3
    words = torch.cartesian_prod(*[torch.arange(2)] * 3)
    each = torch.stack([model.score(words, given=label, effort=2000).values for label in range(3)])
    mixed = torch.logsumexp(each + torch.tensor([0.75, 0.125, 0.125]).double().log().unsqueeze(1), 0)
    even = torch.logsumexp(each, 0) - math.log(3)
    found = model.score(words, effort=2000).values
    assert torch.allclose(found, mixed, atol=0.05)
    assert not torch.allclose(found, even, atol=0.1)


def test_loss_is_the_negative_bound(fresh):
    model = VAE(BITS, latent=2, width=8, warmup=0.0)
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    loss = model.phases()[0].loss(Batch(x), seeded(3))
    assert loss.total.item() == pytest.approx(-loss.parts["bound"].item(), rel=1e-6)
    q = model._encode(x, None)
    by_hand = 0.5 * (q.mu**2 + q.std**2 - 1 - 2 * q.std.log()).sum(1).mean()
    assert loss.parts["kl"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_more_particles_give_a_tighter_training_bound(fresh):
    x = torch.tensor([[0, 1, 1], [1, 0, 0]]).repeat(500, 1)
    one = VAE(BITS, latent=2, width=8)
    many = VAE(BITS, latent=2, width=8, particles=16)
    many.load_state_dict(one.state_dict())
    with torch.no_grad():
        for model in (one, many):
            model.encoder[-1].bias[:2] += 1.0  # a bad posterior, so that there is something to tighten
        loose = one.phases()[0].loss(Batch(x), seeded()).parts["bound"]
        tight = many.phases()[0].loss(Batch(x), seeded()).parts["weighted_bound"]
    assert loose < tight - 0.05


def test_warmup_and_beta_weigh_the_kl_in_training_only(fresh):
    model = VAE(BITS, latent=2, width=8, beta=4.0, warmup=0.5)
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    before = model.elbo(x).values
    for progress, weight in ((0.0, 0.0), (0.25, 2.0), (1.0, 4.0)):
        model.advance(progress)
        loss = model.phases()[0].loss(Batch(x), seeded())
        expected = weight * loss.parts["kl"] - loss.parts["reconstruction"]
        assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(model.elbo(x).values, before)


# --- likelihoods, shapes, labels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (Discrete((1, 4, 4), 2), Bernoulli),
        (Discrete((1, 8, 8), 17), DiscretisedLogistic),
        (Discrete((5,), 17), Categorical),
        (Discrete((3, 7, 5), 256), DiscretisedLogistic),
        (Discrete((1,), 6), Categorical),
        (Discrete((), 4), Categorical),
        (Discrete((2,), 1), Categorical),
        (Real((2,)), Normal),
        (Real((1, 6, 6)), Normal),
    ],
)
@pytest.mark.parametrize("given", [None, LABEL])
def test_every_domain_is_encoded_decoded_sampled_and_scored(fresh, domain, kind, given):
    model = VAE(domain, given, latent=3, width=8, channels=2)
    labels = None if given is None else 1
    x = model.sample(5, given=labels, generator=0)
    assert x.shape == (5, *domain.shape)
    domain.check(x)
    q = model.encode(x, given=labels)
    assert q.mean.shape == (5, 3)
    decoded = model.decode(q.mean, given=labels)
    assert isinstance(decoded, kind)
    assert decoded.mean.shape == x.shape
    assert model.score(x, given=labels, effort=2).values.isfinite().all()


@pytest.mark.parametrize("architecture", ["dense", "conv", "residual", "broadcast"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 9), (28, 28)])
def test_architectures_keep_any_size_and_train_every_parameter(fresh, architecture, size):
    domain = Discrete((1, *size), 4)
    model = VAE(domain, LABEL, latent=2, architecture=architecture, width=8, channels=2)
    x = torch.randint(0, 4, (6, *domain.shape), generator=seeded())
    given = torch.arange(6) % 3
    for name, p in model.named_parameters():
        if "second" in name:
            torch.nn.init.normal_(p, std=0.1)  # residual blocks begin as the identity
    model.phases()[0].loss(Batch(x, given), seeded()).total.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []


def test_the_notes_architecture():
    model = VAE(Discrete((1, 28, 28), 2), architecture="conv", latent=32, channels=32)
    widths = [m.out_channels for m in model.inward if isinstance(m, torch.nn.Conv2d)]
    strides = [m.stride[0] for m in model.inward if isinstance(m, torch.nn.Conv2d)]
    assert widths == [32, 64, 64, 64]
    assert strides == [1, 2, 2, 1]
    assert math.prod(model.seen) == 3136
    assert model.encoder[-1].out_features == 2 * 32


@pytest.mark.parametrize("size", [(5, 9), (28, 28)])
def test_convolutions_may_be_rectified_in_place(fresh, size):
    model = VAE(Discrete((1, *size), 2), architecture="conv", latent=2, channels=2).double()
    plain = copy.deepcopy(model)
    for part in plain.modules():
        if isinstance(part, torch.nn.ReLU):
            part.inplace = False
    x = torch.randint(0, 2, (3, 1, *size), generator=seeded())
    losses = [each.phases()[0].loss(Batch(x), seeded()).total for each in (model, plain)]
    found, expected = (
        torch.autograd.grad(loss, list(m.parameters())) for loss, m in zip(losses, (model, plain), strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_label_reaches_encoder_and_decoder(fresh):
    model = VAE(PICTURE, LABEL, latent=2, width=8, channels=2)
    x = model.sample(2, given=0, generator=0)
    assert not torch.equal(model.encode(x, given=0).mean, model.encode(x, given=1).mean)
    z = torch.zeros(2, 2)
    assert not torch.equal(model.decode(z, given=0).mean, model.decode(z, given=1).mean)


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_prepared_decoder_starts_at_the_frequencies(fresh, likelihood):
    model = VAE(BITS, latent=2, width=8, likelihood=likelihood)
    x = torch.tensor([[0, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1]]).repeat(250, 1)
    model.prepare(x, None, seeded())
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.zero_()
    mean = model.decode(torch.zeros(1, 2)).mean[0]
    assert torch.allclose(mean, torch.tensor([0.0, 1.0, 0.75]), atol=2e-3)


@torch.no_grad()
def test_bfloat16_loss_agrees_with_float32(fresh):
    model = VAE(Discrete((1, 28, 28), 2), channels=4, width=32)
    x = (torch.rand(16, 1, 28, 28, generator=seeded()) < 0.2).long()
    loss = model.phases()[0].loss
    exact = loss(Batch(x), seeded()).total
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss(Batch(x), seeded()).total
    assert rough.dtype == torch.float32
    assert float(rough) == pytest.approx(float(exact), rel=1e-2)


@pytest.mark.parametrize("domain", [BITS, PICTURE, Discrete((5,), 17), Real((2,))])
def test_samples_are_draws_or_means_for_one_call(fresh, domain):
    model = VAE(domain, latent=2, width=8, channels=2)
    draws, means = (model.sample(64, generator=seeded(), mean=mean) for mean in (False, True))
    domain.check(means)
    assert means.dtype == draws.dtype
    z = torch.randn(64, 2, generator=seeded())
    assert torch.equal(means, model.decode(z).mode)
    assert not torch.equal(means, draws)
    assert not model.mean
    with pytest.raises(BadInput, match="draw"):
        model.sample(2, mean=1)


@pytest.mark.parametrize("levels", [3, 17, 256])
def test_logistic_scales_are_as_fine_as_the_levels_need(fresh, levels):
    model = VAE(Discrete((1, 2, 2), levels), latent=2, width=8, channels=2, likelihood="logistic")
    with torch.no_grad():
        model.observation.offset[..., 1] = -50.0  # as narrow as it gets
        p = model.decode(torch.zeros(1, 2))
    eighth = 2 / (levels - 1) / 8
    assert torch.allclose(p.log_scale.exp(), torch.tensor(eighth))


def test_default_vae_standardises_real_data(fresh):
    model = make("vae", Real((2,)), latent=2, width=8)
    assert model.can("encode")
    assert model.sample(3, generator=0).shape == (3, 2)


def test_tiny_is_tiny():
    assert VAE.tiny(BITS).size < 300


@pytest.mark.parametrize(
    ("domain", "options", "error"),
    [
        (BITS, {"latent": 0}, RangeError),
        (BITS, {"latent": 1.5}, RangeError),
        (BITS, {"layers": -1}, RangeError),
        (BITS, {"width": True}, RangeError),
        (BITS, {"beta": -1.0}, RangeError),
        (BITS, {"beta": math.nan}, RangeError),
        (BITS, {"warmup": 2.0}, RangeError),
        (BITS, {"particles": 0}, RangeError),
        (BITS, {"architecture": "conv"}, BadInput),
        (BITS, {"architecture": "resnet"}, BadInput),
        (PICTURE, {"architecture": "broadcast", "ladder": 2}, BadInput),
        (BITS, {"likelihood": "normal"}, BadInput),
        (PICTURE, {"likelihood": "bernoulli"}, BadInput),
        (Real((2,)), {"likelihood": "categorical"}, BadInput),
    ],
)
def test_bad_options_are_refused(domain, options, error):
    with pytest.raises(error) as caught:
        VAE(domain, **options)
    assert str(next(iter(options.values()))) in str(caught.value)
