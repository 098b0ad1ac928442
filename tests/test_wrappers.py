"""Wrappers against closed forms: the change of volume, the cell integral, and the mixture over classes."""

import itertools
import math

import pytest
import scipy.stats
import torch

from pmodel import Column, Discrete, Real, Table, make
from pmodel.construction import build
from pmodel.errors import BadInput, NotSupported, UnknownName
from pmodel.explicit.tractable.flow.noise import CellNoise
from pmodel.learning import Batch
from pmodel.randomness import generator
from pmodel.testing import conformance
from pmodel.testing.fitting import learn
from pmodel.wrappers import ByClass, Dequantised, Standardised
from reference_models import Bell, Counted, Line

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


@pytest.mark.parametrize("given", [None, Discrete((), 2)], ids=["unconditional", "mixture"])
def test_what_the_inner_model_draws_for_all_data_of_a_call_is_drawn_once(given):
    """The constant of an energy is estimated, and the data come in parts."""
    model = make("ebm", Real((2,)), given, temperatures=10).eval()
    x = torch.randn(30, 2, generator=generator(0))
    whole = model.score(x, effort=2)
    model.chunk = 7 * 2
    assert torch.allclose(model.score(x, effort=2).values, whole.values, rtol=1e-5)
    assert float(whole.mc_stderr.min()) > 1e-3


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


# --- variational dequantisation ----------------------------------------------------------------------------------------

TINY_FLOW = {"layers": 4, "width": 16, "channels": 8, "blocks": 1, "dequantisation": "variational"}
BITS = Discrete((2,), 2)
PICTURES = [Discrete((1, 4, 4), 4), Discrete((3, 2, 2), 256), Discrete((1, 3, 5), 2), Discrete((1, 1, 1), 3)]


@pytest.mark.parametrize("check", [*conformance(make("realnvp", BITS, **TINY_FLOW))], ids=lambda check: check.name)
def test_with_learned_noise_a_model_keeps_the_laws(check):
    check()


def shaken(noise, by=0.3):
    draws = generator(1)
    with torch.no_grad():
        for parameter in noise.parameters():
            parameter += by * torch.randn(parameter.shape, generator=draws)
    return noise


@pytest.mark.parametrize("domain", [*PICTURES, Discrete((1,), 6), Discrete((3,), 2)], ids=str)
def test_learned_noise_starts_uniform(domain):
    x = torch.randint(domain.levels, (500, *domain.shape), generator=generator(0))
    u, log_q = CellNoise(domain)(x, generator(1))
    assert u.shape == x.shape
    torch.testing.assert_close(log_q, torch.zeros(500), atol=1e-4, rtol=0)
    assert scipy.stats.kstest(u.detach().flatten()[:2000], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("domain", [*PICTURES, Discrete((1,), 6), Discrete((3,), 2)], ids=str)
def test_learned_noise_stays_in_its_cell_and_its_density_integrates_to_one(domain):
    """E_q[1 / q] is the volume of the cell, which is one."""
    noise = shaken(CellNoise(domain), by=0.03)
    x = torch.randint(domain.levels, (1, *domain.shape), generator=generator(0)).expand(5000, *domain.shape)
    u, log_q = noise(x, generator(1))
    assert float(u.detach().min()) >= 0
    assert float(u.detach().max()) <= 1
    inverse = (-log_q).exp().detach().double()
    assert float(inverse.std()) > 0.003
    assert float(inverse.mean()) == pytest.approx(1, abs=6 * float(inverse.std()) / len(x) ** 0.5)


def test_density_of_learned_noise_is_that_of_its_map():
    """The flow from logistic variables has the Jacobian that log q says."""
    noise = shaken(CellNoise(Discrete((1, 2, 2), 4))).double()
    picture = torch.randn(1, *noise.shape, generator=generator(0), dtype=torch.float64)
    epsilon = torch.randn(1, *noise.shape, generator=generator(1), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda e: noise.flow(e, picture)[0], epsilon).reshape(4, 4)
    _, ladj = noise.flow(epsilon, picture)
    assert ladj.item() == pytest.approx(jacobian.slogdet().logabsdet.item(), abs=1e-8)
    assert not torch.allclose(jacobian, torch.diag(jacobian.diagonal()))


@pytest.fixture(scope="module")
def narrow_normal():
    """Levels 0, 1, 2 under a fixed normal density that is narrower than a cell, with noise that has learned to suit it."""
    model = make("realnvp", Discrete((1,), 3), quantiles=0, dequantisation="variational")
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if name.endswith("mu"):
                parameter.fill_(1.2 if ".2." in name else 0.0)
            if name.endswith("log_sigma"):
                parameter.fill_(math.log(0.25) if ".2." in name else 0.0)
    states = torch.arange(3).unsqueeze(1)
    (phase,) = model.phases()
    adam = torch.optim.Adam(model.noise.parameters(), lr=0.01)
    for step in range(400):
        adam.zero_grad()
        phase.loss(Batch(states.repeat(40, 1)), generator(0, "noise", step)).total.backward()
        adam.step()
    edges = scipy.stats.norm(1.2, 0.25).logcdf([[-0.5], [0.5], [1.5], [2.5]])
    exact = edges[1:] + torch.log1p(-torch.exp(torch.as_tensor(edges[:-1] - edges[1:]))).numpy()
    return model, states, torch.as_tensor(exact).squeeze(1)


def test_learned_noise_bounds_the_mass_more_tightly_than_uniform_noise(narrow_normal):
    model, states, exact = narrow_normal
    learned = model.elbo(states, effort=1000)
    uniform = Dequantised(model.model, model.domain).elbo(states, effort=1000)
    assert bool((learned.values < exact + 4 * learned.mc_stderr + 1e-4).all())
    assert bool((learned.values > uniform.values + 0.2).all())
    assert bool((learned.values > exact - 0.15).all())


def test_more_draws_of_learned_noise_rise_to_the_mass(narrow_normal):
    model, states, exact = narrow_normal
    means = []
    for k in (1, 8, 64):  # groups of the same 64 draws
        noise = generator(0)
        means.append(
            torch.stack([model.score(states, effort=k, generator=noise).values for _ in range(64 // k)]).mean(0)
        )
    assert all(bool((more > fewer).all()) for fewer, more in itertools.pairwise(means))
    torch.testing.assert_close(model.score(states, effort=2048).values, exact, atol=0.02, rtol=0)


def test_noise_learns_with_the_model_and_is_saved_with_it():
    x = torch.randint(4, (300, 1, 4, 4), generator=generator(0))
    model = learn(make("glow", PICTURES[0], layers=2, channels=8, dequantisation="variational"), Batch(x), steps=8)
    assert model.size == model.model.size + sum(p.numel() for p in model.noise.parameters())
    assert any(bool(part.conditioner.net.last.weight.any()) for part in model.noise.flow)
    again = build(model.spec())
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.score(x[:5]).values, model.score(x[:5]).values)
    assert not model.can("marginalise")
    assert not model.can("log_prob")


@pytest.mark.parametrize(
    ("name", "domain", "error", "words"),
    [
        ("gaussian", BITS, NotSupported, "exact density that is learned by gradients"),
        ("vae", Table((Column("a", "stepped", step=1.0),)), NotSupported, "discrete data"),
        ("vae", BITS, BadInput, "nothing to dequantise"),
        ("realnvp", Real((2,)), BadInput, "nothing to dequantise"),
    ],
)
def test_where_noise_cannot_be_learned_it_is_refused(name, domain, error, words):
    with pytest.raises(error, match=words):
        make(name, domain, dequantisation="variational")


def test_unknown_noise_is_refused():
    with pytest.raises(BadInput, match="uniform or variational"):
        make("realnvp", BITS, dequantisation="gaussian")
    with pytest.raises(UnknownName, match="dequantisation"):
        make("realnvp", BITS, dequantization="variational")


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
