"""The autoencoder against closed forms: principal components, the Wiener filter, and enumeration."""

import math

import pytest
import torch

from pmodel.construction import make
from pmodel.distribution import Bernoulli, Categorical, DiscretisedLogistic, Normal, Point
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.learning import Batch
from pmodel.representation.autoencoder import FLOOR, Autoencoder

BITS = Discrete((3,), 2)
PICTURE = Discrete((1, 8, 8), 17)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def correlated():
    """Data with well separated principal components, standardised only as a whole."""
    x = torch.randn(400, 5, generator=seeded(1), dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0, 0.7, 0.5])
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=seeded(2), dtype=torch.float64))
    return x @ turn + torch.arange(5.0)


def linear(latent, **options):
    model = Autoencoder(Real((5,)), latent=latent, architecture="dense", layers=0, likelihood="isotropic", **options)
    return model.double()


def learn(model, x, steps, rate=0.02):
    """Gradient descent on all data at once."""
    model.prepare(x, None, seeded())
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    (phase,), noise = model.phases(), seeded()
    for _ in range(steps):
        adam.zero_grad()
        loss = phase.loss(Batch(x), noise)
        loss.total.backward()
        adam.step()
        fall.step()
    return float(loss.total.detach())


def least_loss(x, latent):
    """By the Eckart–Young theorem: what is left is the variance of the other components, spread over all entries."""
    values = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)) / len(x))
    variance = values[:-latent].sum() / x.shape[1]
    return float(x.shape[1] / 2 * ((2 * math.pi * variance).log() + 1))


def principal_axes(x, latent):
    return torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))[1][:, -latent:]


# --- a linear autoencoder is principal components --------------------------------------------------------------------


@torch.no_grad()
def test_at_the_principal_components_the_loss_is_the_closed_form(correlated):
    axes, mean = principal_axes(correlated, 2), correlated.mean(0)
    mixing = torch.tensor([[2.0, 1.0], [0.0, 0.5]]).double()  # any invertible map of the codes
    model = linear(2)
    left = correlated - mean - (correlated - mean) @ axes @ axes.T
    model.observation.log_std.fill_(0.5 * (left.square().mean() - FLOOR**2).log())
    model.observation.offset.copy_(mean.unsqueeze(-1))
    model.encoder[-1].weight.copy_(mixing @ axes.T)
    model.encoder[-1].bias.copy_(-mixing @ axes.T @ mean)
    model.decoder[-1].weight.copy_(axes @ mixing.inverse())
    model.decoder[-1].bias.zero_()
    loss = model.phases()[0].loss(Batch(correlated), seeded()).total
    assert float(loss) == pytest.approx(least_loss(correlated, 2), rel=1e-9)


def test_a_linear_autoencoder_learns_the_principal_subspace(correlated):
    model = linear(2)
    loss = learn(model, correlated, steps=800)
    assert loss == pytest.approx(least_loss(correlated, 2), abs=2e-3)
    axes = principal_axes(correlated, 2)
    found, _ = torch.linalg.qr(model.decoder[-1].weight.detach())
    cosines = torch.linalg.svdvals(found.T @ axes)  # of the principal angles
    assert float(cosines.min()) > 0.999
    restored = model.decode(model.encode(correlated).mean).mean
    projected = correlated.mean(0) + (correlated - correlated.mean(0)) @ axes @ axes.T
    assert float((restored - projected).abs().max()) < 0.1


# --- denoising ---------------------------------------------------------------------------------------------------------


def test_a_linear_denoiser_learns_the_wiener_filter(correlated):
    """With a code as large as the datum: restored = mean + S (S + s² I)⁻¹ (x - mean)."""
    x = correlated.repeat(20, 1)  # so that the noise averages out
    model = linear(5, noise=1.0)
    learn(model, x, steps=600)
    covariance = torch.cov(x.T, correction=0)
    wiener = covariance @ (covariance + torch.eye(5)).inverse()
    found = (model.decoder[-1].weight @ model.encoder[-1].weight).detach()
    assert torch.allclose(found, wiener, atol=0.03)
    assert not torch.allclose(found, torch.eye(5).double(), atol=0.1)


@pytest.mark.parametrize("domain", [Real((50,)), Discrete((50,), 9)])
def test_the_corruption_is_what_it_says(domain):
    x = torch.zeros(400, 50)
    noisy = Autoencoder.tiny(domain)
    noisy.noise = 0.3
    assert float(noisy._corrupted(x, seeded()).std()) == pytest.approx(0.3, rel=0.02)
    masked = Autoencoder.tiny(domain)
    masked.masking = 0.25
    seen = masked._corrupted(x + 0.5, seeded())
    nothing = -1.0 if isinstance(domain, Discrete) else 0.0  # the lowest level; the mean of standardised data
    assert seen.unique().tolist() == [nothing, 0.5]
    assert float((seen == nothing).float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("options", [{"noise": 0.5}, {"masking": 0.5}, {"jitter": 0.5}])
def test_only_training_is_corrupted(options):
    model, plain = Autoencoder(PICTURE, width=8, channels=2, **options), Autoencoder(PICTURE, width=8, channels=2)
    plain.load_state_dict(model.state_dict())
    x = torch.randint(0, 17, (6, 1, 8, 8), generator=seeded())
    assert torch.equal(model.encode(x).mean, plain.encode(x).mean)
    losses = [float(model.phases()[0].loss(Batch(x), seeded(seed)).total.detach()) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


@torch.no_grad()
def test_jitter_costs_what_the_decoder_makes_of_it(correlated):
    """Of a linear decoder W with noise s on its code: s² tr(WᵀW) / 2σ² more squared error, and the size of the codes."""
    model = linear(2, jitter=0.5)
    plain = linear(2)
    plain.load_state_dict(model.state_dict())
    many = correlated.repeat(500, 1)
    loss, without = (one.phases()[0].loss(Batch(many), seeded()).total for one in (model, plain))
    variance = model.observation.log_std.exp().square() + FLOOR**2
    blur = 0.5 * 0.25 * model.decoder[-1].weight.square().sum() / variance
    size = 0.5 * model.encode(correlated).mean.square().sum(1).mean()
    assert float(loss - without) == pytest.approx(float(blur + size), rel=0.01)


# --- painting pixel by pixel ---------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("axis", [0, 1])
def test_a_broadcast_picture_moves_with_a_code_that_weighs_as_much_as_the_place(axis):
    """Pixels see A z + B (u, v) and no more: with A = -B, a step of the code by two pixels is a shift by two pixels."""
    model = Autoencoder(Real((1, 8, 10)), latent=2, architecture="broadcast", channels=4)
    model.decoder[-1].weight.copy_(-model.outward[0].placed.weight)
    z = torch.randn(5, 2, generator=seeded())
    step = torch.eye(2)[axis] * 2 * 2 / (8, 10)[axis]
    here, there = (model.decode(code).mean.movedim(2 + axis, 0) for code in (z, z + step))
    assert torch.allclose(there[2:], here[:-2], atol=1e-5)
    assert not torch.allclose(there, here, atol=1e-2)


@torch.no_grad()
def test_a_wall_where_the_code_says_is_two_rectified_units():
    """max(0, a) - max(0, a - 1) is a ramp of one pixel; a is linear in code and place."""
    model = Autoencoder(Real((1, 1, 16)), latent=1, architecture="broadcast", channels=1)
    painter, pixels = model.outward[0], 8.0  # pixels for each unit of a place
    model.decoder[-1].weight.copy_(torch.tensor([[-pixels], [-pixels]]))
    model.decoder[-1].bias.copy_(torch.tensor([0.5, -0.5]))
    painter.placed.weight.copy_(torch.tensor([[0.0, pixels], [0.0, pixels]]))
    _, second, _, last = painter.painter
    for layer, weight in ((second, torch.eye(2)), (last, torch.tensor([[1.0, -1.0]]))):
        layer.weight.copy_(weight)
        layer.bias.zero_()
    places = torch.tensor([-3.0, 0.25, 5.5])  # in pixels from the middle
    covered = (torch.arange(16) - 7 - places[:, None]).clamp(0, 1)  # of each pixel, right of the wall
    assert torch.allclose(model.decode(places[:, None] / pixels).mean[:, 0, 0], covered, atol=1e-5)


# --- code, likelihood, what it cannot -----------------------------------------------------------------------------------


def test_the_code_is_a_point():
    model = Autoencoder(PICTURE, width=8, channels=2)
    x = torch.randint(0, 17, (6, 1, 8, 8), generator=seeded())
    q = model.encode(x)
    assert isinstance(q, Point)
    assert torch.equal(q.sample(seeded(0)), q.sample(seeded(1)))
    assert model.deterministic
    assert model.codes == Real((32,))


def test_the_loss_is_the_likelihood_of_the_data_given_their_codes():
    model = Autoencoder(BITS, latent=2, width=8)
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    loss = model.phases()[0].loss(Batch(x), seeded())
    expected = model.decode(model.encode(x).mean).log_prob(x).mean()
    assert float(loss.total.detach()) == pytest.approx(-float(expected), rel=1e-6)
    assert float(loss.parts["reconstruction"].detach()) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "logistic"])
def test_the_reconstruction_is_a_mass_function(likelihood):
    model = Autoencoder(BITS, latent=2, width=8, likelihood=likelihood)
    words = torch.cartesian_prod(*[torch.arange(2)] * 3)
    z = torch.randn(1, 2, generator=seeded()).expand(8, 2)
    assert float(model.decode(z).log_prob(words).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_a_code_that_holds_everything_does_not_make_the_likelihood_infinite(correlated):
    model = linear(5)
    with torch.no_grad():
        model.encoder[-1].weight.copy_(torch.eye(5))
        model.decoder[-1].weight.copy_(torch.eye(5))
        for layer in (model.encoder[-1], model.decoder[-1]):
            layer.bias.zero_()
        model.observation.log_std.fill_(-20)
        loss = model.phases()[0].loss(Batch(correlated), seeded()).total
    assert float(loss) == pytest.approx(5 * math.log(FLOOR * math.sqrt(2 * math.pi)), rel=1e-6)


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (Discrete((1, 4, 4), 2), Bernoulli),
        (Discrete((5,), 17), Categorical),
        (Discrete((3, 7, 5), 256), DiscretisedLogistic),
        (Discrete((), 4), Categorical),
        (Real((2,)), Normal),
        (Real((1, 6, 6)), Normal),
    ],
)
@pytest.mark.parametrize("given", [None, LABEL])
def test_every_domain_is_encoded_and_decoded(domain, kind, given):
    model = Autoencoder(domain, given, latent=3, width=8, channels=2)
    labels = None if given is None else 1
    x = torch.zeros(5, *domain.shape, dtype=torch.int64 if isinstance(domain, Discrete) else torch.float32)
    q = model.encode(x, given=labels)
    assert q.mean.shape == (5, 3)
    decoded = model.decode(q.mean, given=labels)
    assert isinstance(decoded, kind)
    assert decoded.mean.shape == x.shape
    assert decoded.log_prob(x).isfinite().all()


def test_by_itself_it_neither_draws_nor_scores_and_says_what_does():
    model = make("autoencoder", PICTURE, latent=2)
    assert model.capabilities == ("encode", "decode")
    hints = {"sample": "prior=gaussian", "score": "decode(encode(x).mean).log_prob(x)", "log_prob": "models that can"}
    for verb, hint in hints.items():
        with pytest.raises(NotSupported, match=f"Autoencoder cannot {verb}") as caught:
            getattr(model, verb)(3)
        assert hint in caught.value.hint
        assert "gaussian" in caught.value.hint


def test_with_a_prior_it_draws():
    model = make("autoencoder", PICTURE, latent=2, prior="gaussian")
    x = model.sample(5, generator=0)
    assert torch.equal(PICTURE.check(x), x)
    assert not model.can("score")  # a point among real codes has no density


@pytest.mark.parametrize(
    ("domain", "options", "error"),
    [
        (BITS, {"latent": 0}, RangeError),
        (BITS, {"layers": -1}, RangeError),
        (BITS, {"noise": -1.0}, RangeError),
        (BITS, {"noise": math.inf}, RangeError),
        (BITS, {"jitter": -1.0}, RangeError),
        (BITS, {"masking": 1.0}, RangeError),
        (BITS, {"masking": -0.5}, RangeError),
        (BITS, {"architecture": "conv"}, BadInput),
        (BITS, {"architecture": "broadcast"}, BadInput),
        (BITS, {"likelihood": "normal"}, BadInput),
    ],
)
def test_bad_options_are_refused(domain, options, error):
    with pytest.raises(error) as caught:
        Autoencoder(domain, **options)
    assert str(next(iter(options.values()))) in str(caught.value)
