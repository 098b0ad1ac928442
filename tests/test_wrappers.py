"""Wrappers against closed forms: the change of volume, the cell integral, the mixture over classes, and codes with a prior."""

import math

import pytest
import scipy.stats
import torch

from pmodel import Column, Discrete, Real, Table, make
from pmodel.construction import build
from pmodel.errors import BadInput, NotSupported
from pmodel.learning import Batch
from pmodel.randomness import generator
from pmodel.testing.fitting import learn
from pmodel.wrappers import ByClass, Dequantised, Standardised, WithPrior
from reference_models import Bell, Chain, Counted, Line, Pair

LABEL = Discrete((), 3)


def data(n=400, d=2, seed=0):
    return 30 + 5 * torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


def test_standardised_density_is_in_the_units_of_the_data():
    x = data()
    model = learn(Standardised(Bell(Real((2,)))), Batch(x))
    expected = scipy.stats.norm(x.mean(0), x.std(0, correction=0)).logpdf(x).sum(1)
    torch.testing.assert_close(model.log_prob(x), torch.as_tensor(expected))


def test_change_of_units_changes_the_density_by_its_volume():
    x = data()
    metres, millimetres = (learn(Standardised(Bell(Real((2,)))), Batch(s * x)) for s in (1, 1000))
    torch.testing.assert_close(metres.log_prob(x), millimetres.log_prob(1000 * x) + 2 * math.log(1000))


def test_image_has_one_scale_and_a_constant_entry_scale_one():
    x = torch.randn(50, 1, 4, 4, generator=generator(0), dtype=torch.float64) * torch.arange(16).reshape(1, 4, 4)
    image = Standardised(Bell(Real((1, 4, 4))))
    image.prepare(x, None, generator(0))
    assert image.scale.unique().numel() == 1
    vector = Standardised(Bell(Real((16,))))
    vector.prepare(x.reshape(50, 16), None, generator(0))
    assert vector.scale.unique().numel() == 16
    assert float(vector.scale[0]) == 1


def test_scale_ignores_what_is_missing():
    x = data()
    gaps = x.clone()
    gaps[::2, 0] = torch.nan
    model = Standardised(Bell(Real((2,))))
    model.prepare(gaps, None, generator(0))
    torch.testing.assert_close(model.loc, torch.stack([x[1::2, 0].mean(), x[:, 1].mean()]))


def test_dequantised_score_approaches_the_mass_of_the_cell():
    x = torch.randint(6, (500, 1), generator=generator(0))
    model = learn(Dequantised(Bell(Real((1,))), Discrete((1,), 6)), Batch(x))
    inner = scipy.stats.norm(float(model.model.mu), float(model.model.std))
    states = torch.arange(6).unsqueeze(1)
    exact = torch.as_tensor(inner.cdf(states + 0.5) - inner.cdf(states - 0.5)).log().squeeze(1)
    score = model.score(states, effort=4096)
    assert score.kind == "lower_bound"
    assert bool(((score.values - exact).abs() < 6 * score.mc_stderr + 1e-6).all())
    assert bool((model.elbo(states, effort=1024).values < exact + 1e-3).all())


@pytest.mark.parametrize("step", [0.5, 10.0])
def test_stepped_column_is_scored_as_mass_at_its_step(step):
    table = Table((Column("a", "stepped", step=step),))
    x = (torch.randn(500, 1, generator=generator(0), dtype=torch.float64) * 3).round() * step
    model = learn(Dequantised(Bell(Real((1,))), table), Batch(x))
    grid = torch.arange(-30, 31, dtype=torch.float64).unsqueeze(1) * step
    assert float(model.score(grid, effort=2000).values.exp().sum()) == pytest.approx(1, abs=5e-3)
    samples = model.sample(200, generator=0)
    torch.testing.assert_close(samples, (samples / step).round() * step)


def test_dequantised_samples_stay_in_range_and_edges_own_the_tails():
    model = Dequantised(Bell(Real((1,))), Discrete((1,), 2))
    model.model.mu.fill_(-8)
    assert model.sample(1000, generator=0).unique().tolist() == [0]


def test_categories_are_clamped_and_real_columns_pass_through():
    table = Table((Column("a"), Column("b", "category", categories=("x", "y"))))
    model = Dequantised(Bell(Real((2,))), table)
    model.model.std.fill_(5)
    x = model.sample(500, generator=0)
    assert x[:, 1].unique().tolist() == [0, 1]
    assert x[:, 0].unique().numel() == 500
    assert not model.can("log_prob")
    assert Dequantised(Bell(Real((1,))), Table((Column("a"),))).can("log_prob")


def test_by_class_is_one_model_a_class_and_their_mixture():
    x, y = data(), torch.arange(400) % 3
    x[:, 0] += 10 * y
    model = learn(ByClass(Standardised(Bell(Real((2,)))), LABEL), Batch(x, y))
    alone = [learn(Standardised(Bell(Real((2,)))), Batch(x[y == label])) for label in range(3)]
    parts = torch.stack([m.log_prob(x) for m in alone], 1)
    torch.testing.assert_close(model.log_prob(x, given=y), parts.gather(1, y.unsqueeze(1)).squeeze(1))
    frequencies = torch.bincount(y).double() / 400
    torch.testing.assert_close(model.log_prob(x), torch.logsumexp(parts + frequencies.log(), 1))


def test_by_class_without_data_of_a_class_still_learns_the_others():
    x, y = data(), torch.arange(400) % 2
    model = learn(ByClass(Standardised(Bell(Real((2,)))), LABEL), Batch(x, y))
    assert bool(model.log_prob(x).isfinite().all())
    assert model.given_frequencies.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    "inner",
    [lambda: Line(Real((2,))), lambda: Standardised(Line(Real((2,)))), lambda: Counted(Discrete((1,), 2), LABEL)],
)
def test_by_class_refuses_what_it_cannot_fit(inner):
    with pytest.raises(NotSupported, match="unconditional model that is fitted in closed form"):
        ByClass(inner(), LABEL)


def test_by_class_says_what_it_needs():
    model = ByClass(Bell(Real((2,))), LABEL)
    with pytest.raises(BadInput, match="labelled data"):
        model.statistics(Batch(data()), generator(0))
    with pytest.raises(BadInput, match="labelled data"):
        model.prepare(data(), None, generator(0))
    with pytest.raises(BadInput, match="at most 10000"):
        ByClass(Bell(Real((2,))), Discrete((), 20_000))


def test_with_prior_bound_is_that_of_a_vae_with_this_prior():
    autoencoder, prior = Line(Real((2,))), Bell(Real((1,)))
    prior.mu.fill_(0.4)
    prior.std.fill_(0.8)
    model = WithPrior(autoencoder, prior)
    x = torch.randn(5, 2, generator=generator(0))
    cov = autoencoder.decoder.weight @ (0.64 * torch.eye(1)) @ autoencoder.decoder.weight.T + torch.eye(2)
    mean = autoencoder.decoder(torch.tensor([[0.4]]))[0]
    exact = scipy.stats.multivariate_normal(mean.detach(), cov.detach()).logpdf(x)
    score = model.score(x, effort=20_000)
    assert bool(((score.values - torch.as_tensor(exact)).abs() < 6 * score.mc_stderr + 1e-4).all())
    assert bool((model.elbo(x, effort=2000).values < torch.as_tensor(exact) + 1e-2).all())


def test_with_prior_learns_the_codes_after_the_autoencoder():
    model = learn(WithPrior(Line(Real((2,))), Bell(Real((1,)))), Batch(data() / 5 - 6))
    codes = model.autoencoder.encode(data() / 5 - 6).mean
    assert float(model.prior.mu) == pytest.approx(float(codes.mean()), abs=0.2)
    assert model.learns == ("phases", "statistics")


def test_gradient_prior_takes_the_last_part_of_training():
    model = WithPrior(Line(Real((2,))), Line(Real((1,))))
    assert [(p.name, p.span) for p in model.phases()] == [("bound", (0.0, 0.7)), ("prior.bound", (0.7, 1.0))]


@pytest.mark.parametrize(
    ("autoencoder", "prior"),
    [
        (Bell(Real((2,))), Bell(Real((1,)))),
        (Line(Real((2,))), Pair(Real((1,)))),
        (Line(Real((2,))), Chain(Discrete((2,), 2), LABEL)),
    ],
)
def test_with_prior_refuses_other_pairs(autoencoder, prior):
    with pytest.raises(NotSupported):
        WithPrior(autoencoder, prior)


@pytest.mark.parametrize(
    ("name", "domain", "given", "expected"),
    [
        ("gaussian", Real((2,)), None, "Standardised Gaussian"),
        ("gaussian", Discrete((2,), 4), None, "Dequantised Standardised Gaussian"),
        ("gaussian", Real((2,)), LABEL, "ByClass Standardised Gaussian"),
        ("gaussian", Discrete((2,), 4), LABEL, "ByClass Dequantised Standardised Gaussian"),
        ("histogram", Discrete((2,), 4), None, "Histogram"),
        ("uniform", Real((2,)), None, "Uniform"),
        ("vae", Real((2,)), LABEL, "Standardised VAE"),
        ("vae", Discrete((2,), 4), LABEL, "VAE"),
        ("vae", Table((Column("a"),)), LABEL, "Dequantised Standardised VAE"),
    ],
)
def test_make_puts_the_right_wrappers_around(name, domain, given, expected):
    model = make(name, domain, given)
    names, spec = [], model.spec()
    while spec is not None:
        names.append(spec["model"])
        spec = spec.get("inner")
    assert " ".join(names) == expected
    assert build(model.spec()).spec() == model.spec()
    assert (model.domain, model.given) == (domain, given)
