"""Codes by search: modes and draws against their closed forms, slopes against finite differences, wrappers and refusals."""

import itertools

import pytest
import torch
from torch import nn

import pmodel
from pmodel.capability import Latent
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError, UnknownName
from pmodel.explicit.tractable.gaussian import Gaussian
from pmodel.implicit.dcgan import DCGAN
from pmodel.implicit.game.game import Game
from pmodel.implicit.game.inversion import SIGMA, Inversion, Target
from pmodel.implicit.game.pair import AdversarialPair
from pmodel.implicit.gan import GAN
from pmodel.implicit.progan import ProGAN
from pmodel.implicit.sagan import SAGAN
from pmodel.implicit.transgan import TransGAN
from pmodel.randomness import forked
from pmodel.tasks import few_labels
from pmodel.train.doctor import LEAST_STEPS, Doctor
from pmodel.wrappers import WithPrior

PICTURE = Discrete((1, 8, 8), 17)
LABEL = Discrete((), 3)
PAIRS = [(GAN, Real((3,))), (DCGAN, PICTURE), (SAGAN, PICTURE), (ProGAN, PICTURE), (TransGAN, Discrete((1, 4, 4), 17))]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def tiny(cls, domain, given=None):
    """A pair that is the same whatever tests came before."""
    with forked(0, "test"):
        return cls.tiny(domain, given).eval()


class Affine(AdversarialPair):
    """A pair whose generator is affine: p(z | x) is a normal in closed form."""

    natives = (Real,)

    def __init__(self, domain, given=None, *, latent=3):
        super().__init__(domain, given, latent=latent, game=Game())
        self.generator = Told(nn.Linear(latent, domain.entries))
        self.discriminator = Told(nn.Linear(domain.entries, 1))


class Told(nn.Module):
    """A layer that is told labels and does not listen."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, given):
        return self.layer(x)


@pytest.fixture
def affine():
    with forked(0, "test"):
        return Affine(Real((6,))).eval()


def posterior(model, x, observed):
    """Mean ``(latent,)`` and covariance of p(z | observed entries of one x), for an affine generator."""
    layer = model.generator.layer.double()
    weight, bias = layer.weight[observed].detach(), layer.bias[observed].detach()
    covariance = torch.linalg.inv(weight.T @ weight / SIGMA**2 + torch.eye(weight.shape[1], dtype=torch.float64))
    mean = covariance @ weight.T @ (x.double()[observed] - bias) / SIGMA**2
    layer.float()
    return mean, covariance


# the search


def test_the_mode_of_an_affine_generator_is_that_of_ridge_regression():
    """One step of it, whatever is observed and wherever the prior's centre is."""
    weight, bias, x, centre = normal(5, 12), normal(12, seed=1), normal(7, 12, seed=2), normal(7, 5, seed=3)
    observed = torch.rand(7, 12, generator=seeded()) < 0.6
    sigma = 0.3
    search = Inversion(lambda z, _: z @ weight + bias, 1, sigma)
    found = search(Target(x, observed, None, centre), normal(10, 5, seed=4))
    for z, datum, seen, m in zip(found, x, observed, centre, strict=True):
        w = weight[:, seen]
        normal_equations = w @ w.T / sigma**2 + torch.eye(5, dtype=torch.float64)
        expected = torch.linalg.solve(normal_equations, w @ (datum - bias)[seen] / sigma**2 + m)
        assert torch.allclose(z, expected, rtol=1e-9, atol=1e-9)


def test_the_end_of_a_search_is_a_minimum_below_all_starts():
    """Of a smooth generator: no slope is left, and no start was better."""
    first, second = normal(4, 16) / 2, normal(16, 9, seed=1) / 4
    search = Inversion(lambda z, _: torch.tanh(torch.tanh(z @ first) @ second), 200)
    target = Target(normal(6, 9, seed=2).tanh(), torch.ones(6, 9, dtype=torch.bool), None, torch.zeros(6, 4).double())
    starts = normal(50, 4, seed=3)
    z = search(target, starts).requires_grad_()
    energy = search.energy(z, target)
    (slope,) = torch.autograd.grad(energy.sum(), z)
    steps = torch.linalg.vector_norm(slope, dim=1) * SIGMA  # of Newton, nearly, where slopes of G are about one
    assert float(steps.max()) < 0.5
    for start in starts:
        assert bool((energy <= search.energy(start.expand(6, 4), target) + 1e-9).all())


def test_more_iterations_never_raise_the_energy():
    first, second = normal(4, 16), normal(16, 9, seed=1) / 4
    target = Target(normal(6, 9, seed=2), torch.ones(6, 9, dtype=torch.bool), None, torch.zeros(6, 4).double())
    energies = []
    for iterations in (0, 1, 2, 5, 20):
        search = Inversion(lambda z, _: torch.relu(z @ first) @ second, iterations)
        energies.append(search.energy(search(target, normal(20, 4, seed=3)), target))
    assert all(bool((later <= earlier).all()) for earlier, later in itertools.pairwise(energies))
    assert float(energies[-1].sum()) < float(energies[0].sum())


def test_a_generator_that_is_not_finite_ends_the_search():
    target = Target(normal(3, 4), torch.ones(3, 4, dtype=torch.bool), None, torch.zeros(3, 2).double())
    z = Inversion(lambda z, _: torch.full((len(z), 4), torch.nan, dtype=torch.float64), 5)(target, normal(5, 2))
    assert bool(z.isfinite().all())


@pytest.mark.parametrize(("cls", "domain"), PAIRS)
def test_slopes_are_those_of_finite_differences(cls, domain):
    pair = tiny(cls, domain).double().requires_grad_(False)
    z, direction = normal(3, pair.latent), normal(3, pair.latent, seed=1)
    search = Inversion(lambda z, given: pair._made(z, given).flatten(1), 1)
    with torch.no_grad():
        y, slopes = search._linearised(z, None)
        ahead, behind = (search.made(z + h * direction, None) for h in (1e-6, -1e-6))
    assert torch.allclose(y, search.made(z, None))
    assert torch.allclose(torch.einsum("dne,nd->ne", slopes, direction), (ahead - behind) / 2e-6, atol=1e-6)


# codes of pairs


@pytest.mark.parametrize(("cls", "domain"), PAIRS)
def test_a_sample_is_found_again(cls, domain):
    """Its code makes the same sample, nearly: far nearer than samples are to each other."""
    model = tiny(cls, domain)
    x = model.sample(6, generator=1)
    again = model.decode(model.encode(x).mean).mean
    missed, apart = ((x - other).double().square().mean() for other in (again, x.roll(1, 0)))
    assert float(missed) < 0.2 * float(apart)


@pytest.mark.parametrize("given", [None, LABEL])
def test_a_code_does_not_depend_on_the_batch(given):
    model = tiny(DCGAN, PICTURE, given)
    labels = None if given is None else torch.tensor([2, 0, 1, 0])
    x = model.sample(4, given=labels, generator=1)
    codes = model.encode(x, given=labels).mean
    alone = [
        model.encode(x[i : i + 1], given=None if labels is None else labels[i : i + 1]).mean for i in range(len(x))
    ]
    assert torch.allclose(codes, torch.cat(alone), rtol=1e-6, atol=1e-6)
    assert model.encode(x[:0], given=None if labels is None else labels[:0]).mean.shape == (0, model.latent)


def test_what_is_not_observed_plays_no_part(affine):
    x = affine.sample(3, generator=0)
    mask = torch.tensor([True, False] * 3)
    other = torch.where(mask, x, 100.0)
    assert torch.equal(affine.complete(x, mask, generator=0)[:, mask], x[:, mask])
    assert torch.equal(affine.complete(x, mask, generator=0), affine.complete(other, mask, generator=0))


def test_codes_of_an_affine_generator_are_modes(affine):
    x = 2 * torch.randn(5, 6, generator=seeded())
    for z, datum in zip(affine.encode(x).mean, x, strict=True):
        mean, _ = posterior(affine, datum, torch.ones(6, dtype=torch.bool))
        assert torch.allclose(z.double(), mean, rtol=1e-5, atol=1e-5)


def test_completions_of_an_affine_generator_are_draws_from_the_conditional(affine):
    """Their mean and covariance are those of G(z) under p(z | observed)."""
    n, observed = 4000, torch.tensor([True, False, True, False, False, False])
    x = affine.sample(1, generator=3)[0]
    drawn = affine.complete(x.expand(n, 6), observed, generator=0).double()[:, ~observed]
    mean, covariance = posterior(affine, x, observed)
    weight, bias = (
        t.detach().double()[~observed] for t in (affine.generator.layer.weight, affine.generator.layer.bias)
    )
    expected, spread = weight @ mean + bias, weight @ covariance @ weight.T
    errors = (drawn.mean(0) - expected).abs() / (spread.diagonal() / n).sqrt()
    assert float(errors.max()) < 4.5
    scale = spread.diagonal().sqrt()
    assert torch.allclose(drawn.T.cov() / scale / scale[:, None], spread / scale / scale[:, None], atol=0.12)


def test_with_nothing_observed_completions_are_samples(affine):
    """z is then the draw of the centre itself."""
    x = affine.complete(torch.zeros(2000, 6), torch.zeros(6, dtype=torch.bool), generator=0).double()
    weight = affine.generator.layer.weight.detach().double()
    assert torch.allclose(x.T.cov(), weight @ weight.T, atol=0.12)
    assert not bool(affine.exact_completions(x, torch.zeros(6, dtype=torch.bool)).any())


def test_completions_differ_by_seed_and_agree_with_what_is_observed():
    model = tiny(GAN, Real((3,)))
    x = model.sample(1, generator=0).expand(50, 3)
    mask = torch.tensor([True, True, False])
    first, again, other = (model.complete(x, mask, generator=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first[:, 2].unique()) > 40


def test_a_generator_of_directions_has_codes_on_the_sphere():
    model = tiny(ProGAN, PICTURE)
    x = model.sample(4, generator=1)
    z = model.encode(x).mean
    assert torch.allclose(z.square().sum(1), torch.tensor(float(model.latent)), rtol=1e-5)
    assert torch.equal(model.decode(z).mean, model.decode(2 * z).mean)


def test_where_nothing_is_observed_the_steps_lead_along_the_sphere_to_the_centre():
    centre, weight = normal(5, 4), normal(4, 6, seed=1)
    unseen = torch.zeros(5, 6, dtype=torch.bool)
    search = Inversion(lambda z, given: z @ weight, iterations=50, spherical=True)
    z = search(Target(torch.zeros(5, 6, dtype=torch.float64), unseen, None, centre), -centre + normal(5, 4, seed=2))
    assert torch.allclose(z, 2 * torch.nn.functional.normalize(centre, dim=1), atol=0.1)


def test_an_overflow_is_infinitely_far():
    search = Inversion(lambda z, given: z * 1e200, iterations=1)
    target = Target(normal(2, 3), torch.ones(2, 3, dtype=torch.bool), None, torch.zeros(2, 3, dtype=torch.float64))
    assert search.energy(torch.ones(2, 3, dtype=torch.float64), target).tolist() == [torch.inf] * 2


def test_a_pair_that_is_half_grown_finds_its_samples_again():
    model = tiny(ProGAN, PICTURE)
    model.advance(0.1)
    x = model.sample(3, generator=1)
    assert x.shape == (3, *PICTURE.shape)
    assert float((model.decode(model.encode(x).mean).mean - x).double().abs().mean()) < 1
    mask = torch.zeros(PICTURE.shape, dtype=torch.bool)
    mask[:, :4] = True
    assert torch.equal(model.complete(x, mask, generator=0)[:, :, :4], x[:, :, :4])


@pytest.mark.parametrize(("cls", "domain"), PAIRS[1:])
def test_codes_do_not_depend_on_the_layout_that_training_left(cls, domain):
    model = tiny(cls, domain)
    x, upper = model.sample(2, generator=0), torch.arange(domain.entries).reshape(domain.shape) < domain.entries // 2
    codes, completed = model.encode(x).mean, model.complete(x, upper, generator=0)
    model.to(memory_format=torch.channels_last)
    assert torch.equal(model.encode(x).mean, codes)
    assert torch.equal(model.complete(x, upper, generator=0), completed)


def test_a_search_leaves_the_model_as_it_was():
    model = tiny(DCGAN, PICTURE).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.encode(model.sample(2, generator=0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert model.training


# around pairs


def test_codes_of_standardised_data_are_those_of_the_model_within():
    model = pmodel.make("gan", Real((3,)), latent=4, layers=2, width=16)
    x = 50 + 7 * torch.randn(200, 3, generator=seeded())
    model.prepare(x, None, seeded())
    z = model.encode(x[:5]).mean
    assert torch.allclose(z, model.model.encode(((x[:5] - model.loc) / model.scale).float()).mean, atol=1e-5)
    assert torch.allclose(model.decode(z).mean, (model.model.decode(z).mean * model.scale + model.loc).float())
    mask = torch.tensor([True, False, True])
    completed = model.complete(x[:5], mask, generator=0, iterations=5)
    assert torch.equal(completed[:, mask], x[:5, mask])


def test_codes_of_dequantised_data():
    model = pmodel.make("gan", Discrete((2,), 5), latent=4, layers=2, width=16)
    assert model.searched
    x = torch.randint(0, 5, (6, 2), generator=seeded())
    model.domain.check(model.decode(model.encode(x).mean).mode)
    completed = model.complete(x, torch.tensor([True, False]), generator=0)
    assert torch.equal(completed[:, 0], x[:, 0])


def test_nothing_is_encoded_unasked(monkeypatch):
    """The doctor of a run looks at samples only, through wrappers too."""
    x = torch.randn(300, 3, generator=seeded())
    data = Dataset("cloud", Real((3,)), Split(x[:200]), Split(x[200:250]), Split(x[250:]))
    model = pmodel.make("gan", data.domain, latent=4, layers=2, width=16)
    doctor = Doctor(model, data, 0)
    doctor.step = LEAST_STEPS
    monkeypatch.setattr(Latent, "encode", lambda *_, **__: pytest.fail("a search that nobody asked for"))
    doctor.examine()


def test_no_prior_learns_from_codes_that_are_searched():
    model = tiny(GAN, Real((3,)))
    with pytest.raises(NotSupported, match="searched"):
        WithPrior(model, Gaussian(model.codes))
    with pytest.raises(UnknownName, match="prior"):
        pmodel.make("gan", Real((3,)), prior="gaussian")


def test_there_is_no_encoder_to_tune():
    x = torch.randn(60, 3, generator=seeded())
    part = Split(x, (x[:, 0] > 0).long())
    data = Dataset("halves", Real((3,)), part, part, part, given=Discrete((), 2))
    model = tiny(GAN, data.domain)
    with pytest.raises(NotSupported, match="searched for"):
        few_labels(model, data, labels=20, seeds=1, ways=["fine-tuned"])
    found = few_labels(model, data, labels=20, seeds=1, ways=["linear probe"])
    assert found.accuracy("linear probe")[0] > 0.5


@pytest.mark.parametrize("iterations", [-1, 1.5, True, "many"])
def test_a_number_of_iterations_that_is_none_is_refused(iterations):
    model = tiny(GAN, Real((3,)))
    with pytest.raises(RangeError, match="iterations"):
        model.complete(torch.zeros(1, 3), torch.ones(3, dtype=torch.bool), iterations=iterations)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda model: model.encode(torch.zeros(2, 4), given=0), "4"),
        (lambda model: model.encode(torch.zeros(2, 3)), "given"),
        (lambda model: model.encode(torch.full((2, 3), torch.nan), given=0), "nan|finite"),
        (lambda model: model.decode(torch.zeros(2, 5), given=0), "5"),
        (lambda model: model.decode(torch.zeros(2, 4)), "given"),
        (lambda model: model.complete(torch.zeros(2, 3), torch.ones(2, dtype=torch.bool), given=0), "observed"),
        (
            lambda model: model.complete(torch.zeros(2, 3), torch.ones(3, dtype=torch.bool), given=0, iterations=0.5),
            "iterations",
        ),
    ],
)
def test_bad_input_is_refused(call, named):
    model = tiny(GAN, Real((3,)), LABEL)
    assert model.latent == 4
    with pytest.raises(BadInput, match=named):
        call(model)
