"""FVBN, NADE and MADE alike: what depends on what, that they are distributions, sampling, completion, and what they refuse."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autoregressive import LABELS, every_datum, naive_sample, noise, numbers_of, random_data, random_model
from pmodel.catalogue import find
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.autoregressive.vectors import conditionals
from pmodel.explicit.tractable.autoregressive.vectors.conditionals import Gaussians, Levels, Logistics, factor_of
from pmodel.testing.measure import Masses, Nodes, chi_square

NAMES = ("fvbn", "nade", "made")
MODELS = [("fvbn", {}), ("nade", {}), ("made", {}), ("made", {"orderings": 3})]
MODEL = pytest.mark.parametrize(("name", "options"), MODELS, ids=["fvbn", "nade", "made", "made of three orders"])
BITS = Discrete((10,), 2)
DOMAINS = [BITS, Discrete((1, 2, 3), 5), Discrete((3,), 30_000), Real((4,))]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_factors_depend_on_every_earlier_entry_and_on_no_other(name, domain, labelled):
    model = random_model(name, domain, labelled=labelled, **({} if name == "fvbn" else {"width": 64}))
    x = random_data(domain, 1)
    codes = model.factor.code(x.flatten(1), torch.float64)
    codes = codes + 0.1 * torch.rand(codes.shape, generator=noise(), dtype=torch.float64)  # off the rectifiers' corners
    label = model._label(torch.tensor([1])) if labelled else None
    effect = torch.autograd.functional.jacobian(lambda codes: model._numbers(codes, label)[0], codes)
    effect = effect[:, :, 0].abs().amax((1, 3))
    earlier = torch.ones(domain.entries, domain.entries).tril(-1).bool()
    assert (effect[earlier] > 1e-9).all()
    assert (effect[~earlier] == 0).all()


@MODEL
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("domain", [BITS, Discrete((1, 2, 2), 5), Discrete((1,), 7), Discrete((1,), 30_000)], ids=str)
def test_probabilities_sum_to_one(name, options, domain, labelled):
    model, every = random_model(name, domain, labelled=labelled, **options), every_datum(domain)
    for label in range(LABELS) if labelled else [None]:
        assert float(model.log_prob(every, given=label).exp().sum()) == pytest.approx(1, abs=1e-9)


@MODEL
def test_densities_integrate_to_one(name, options):
    model = random_model(name, Real((2,)), scale=0.5, **options)
    side = torch.linspace(-1, 1, 701, dtype=torch.float64) * math.asinh(400)
    axis, weight = side.sinh(), side.cosh() * (side[1] - side[0])  # fine near 0, and far out
    x = torch.cartesian_prod(axis, axis)
    weights = (weight.unsqueeze(1) * weight).flatten()
    assert float(model.log_prob(x).exp() @ weights) == pytest.approx(1, abs=2e-3)


@MODEL
def test_samples_follow_the_enumerated_probabilities(name, options):
    domain = Discrete((6,), 2)
    model, every = random_model(name, domain, **options), every_datum(domain)
    p = model.log_prob(every).exp()
    drawn = model.sample(50_000, generator=1)
    masses = Masses(Nodes(every, torch.ones_like(p)), p, torch.zeros_like(p))
    assert chi_square(drawn, masses, domain, clamped=False) < 4
    generator = noise()
    apart = torch.stack([column[torch.randperm(50_000, generator=generator)] for column in drawn.T], 1)
    assert chi_square(apart, masses, domain, clamped=False) > 8


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_samples_are_those_of_a_whole_pass_for_every_entry(name, domain, labelled):
    model = random_model(name, domain, labelled=labelled)
    given = torch.arange(40) % LABELS if labelled else None
    found = model.sample(40, given=given, generator=noise(5))
    expected = naive_sample(model, 40, noise(5), given)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert len(found.unique()) > 1


# Completion


def hole_misfit(model, drawn, x, observed):
    """By how many standard deviations completions of one datum differ from p(missing | observed), enumerated."""
    every = every_datum(model.domain)
    same = (every == x)[:, observed].all(1)
    log_p = model.log_prob(every[same])
    p = log_p.softmax(0)
    states = every[same][:, ~observed]
    masses = Masses(Nodes(states, torch.ones_like(p)), p, torch.zeros_like(p))
    return chi_square(drawn[:, ~observed], masses, Discrete(states.shape[1:], model.domain.levels), clamped=False)


@MODEL
@pytest.mark.parametrize("missing", [[0, 4], [8, 9], [0, 1, 2, 5, 6, 7, 8, 9]], ids=str)
def test_few_missing_entries_are_drawn_exactly(name, options, missing):
    model, x = random_model(name, BITS, **options), random_data(BITS, 1)
    observed = torch.ones(10, dtype=torch.bool)
    observed[missing] = False
    drawn = model.complete(x.repeat(20_000, 1), observed, generator=1)
    assert hole_misfit(model, drawn, x, observed) < 4
    assert torch.equal(drawn[:, observed], x.repeat(20_000, 1)[:, observed])


@MODEL
def test_what_comes_last_is_drawn_from_the_conditionals(name, options):
    model, x = random_model(name, BITS, particles=64, **options), random_data(BITS, 1)
    observed = torch.zeros(10, dtype=torch.bool)
    observed[0] = True  # nine bits have 512 states: too many to be listed
    drawn = model.complete(x.repeat(2000, 1), observed, generator=1)
    assert hole_misfit(model, drawn, x, observed) < 4


@MODEL
def test_particles_approach_the_posterior(name, options):
    model, x = random_model(name, BITS, particles=256, **options), random_data(BITS, 1)
    observed = torch.zeros(10, dtype=torch.bool)
    observed[9] = True
    drawn = model.complete(x.repeat(1000, 1), observed, generator=1)
    assert hole_misfit(model, drawn, x, observed) < 4


@MODEL
def test_completions_are_exact_where_few_are_missing_or_the_last(name, options):
    """Two bits of ten; the last nine; and what is observed after nine bits that are not, which takes particles."""
    model, x = random_model(name, BITS, **options), random_data(BITS, 3)
    observed = torch.ones(3, 10, dtype=torch.bool)
    observed[0, [8, 9]] = False
    observed[1, 1:] = False
    observed[2, :9] = False
    orders = [model._order(k) for k in range(model.orderings)] if name == "made" else [model._order()]
    last = all(order[0] == 0 for order in orders)
    assert model.exact_completions(x, observed).tolist() == [True, last, all(order[0] == 9 for order in orders)]
    assert not random_model(name, Real((2,)), **options).exact_completions(torch.zeros(1, 2), [False, True]).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_real_entry_is_completed_by_the_bayes_rule(name):
    model = random_model(name, Real((2,)), scale=0.7, particles=256)
    x, observed = torch.tensor([[0.0, 0.4]], dtype=torch.float64), torch.tensor([False, True])
    axis = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
    p = model.log_prob(torch.stack([axis, torch.full_like(axis, 0.4)], 1)).softmax(0)
    drawn = model.complete(x.repeat(4000, 1), observed, generator=1)[:, 0]
    for at in (-1.0, 0.0, 1.0):
        expected = float(p[axis < at].sum())
        assert float((drawn < at).double().mean()) == pytest.approx(expected, abs=0.035)


# The distributions of one entry


def test_a_domain_has_the_distribution_that_fits_it():
    assert type(factor_of(Discrete((784,), 2), 5)).__name__ == "Bits"
    assert isinstance(factor_of(Discrete((64,), 17), 5), Levels)
    assert isinstance(factor_of(Discrete((784,), 256), 5), Logistics)
    assert isinstance(factor_of(Real((3,)), 5), Gaussians)


@pytest.mark.parametrize("levels", [2, 3, 17, 256, 5000])
def test_codes_of_levels_differ_and_level_zero_is_nothing(levels):
    factor = factor_of(Discrete((3,), levels), 5)
    codes = factor.code(torch.arange(levels), torch.float64)
    assert codes.shape == (levels, factor.inputs)
    assert (codes[0] == 0).all()
    assert (codes.diff(dim=0).sum(1) > 0).all()
    if levels <= 17:
        assert torch.linalg.matrix_rank(codes) == levels - 1  # a linear map of them is any function of the level


@pytest.mark.parametrize("domain", [Discrete((2,), 2), Discrete((2,), 9), Discrete((2,), 9000), Real((2,))], ids=str)
def test_training_starts_near_the_entries_own_distributions(domain):
    generator = noise(2)
    t = torch.rand(4000, 2, generator=generator, dtype=torch.float64).pow(2)
    x = 3 * t - 1 if isinstance(domain, Real) else (t * domain.levels).long()
    factor = factor_of(domain, 8)
    numbers = factor.fitted(x).expand(4000, -1, -1)
    flat = torch.zeros_like(numbers) if isinstance(domain, Discrete) else torch.zeros(4000, 2, 3, dtype=torch.float64)
    fitted, other = factor.log_prob(numbers, x).mean(), (factor if domain.measure == "mass" else Gaussians(1))
    assert float(fitted) > float(other.log_prob(flat, x).mean()) + 0.05


class Largest(TorchDispatchMode):
    """How many entries the largest tensor has that is computed meanwhile."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        parts = found if isinstance(found, tuple) else (found,)
        self.entries = max([self.entries, *(part.numel() for part in parts if isinstance(part, torch.Tensor))])
        return found


def test_levels_are_counted_one_by_one():
    x = torch.randint(7, (500, 6), generator=noise())
    factor = factor_of(Discrete((6,), 7), 5)
    with Largest() as largest:
        found = factor.fitted(x)
    counts = torch.nn.functional.one_hot(x, 7).sum(0).double()
    assert torch.equal(found, ((counts + 1) / 507).log())
    assert largest.entries <= x.numel()
    torch.testing.assert_close(factor.fitted(x[:0]), torch.full((6, 7), 1 / 7, dtype=torch.float64).log())


@pytest.mark.parametrize("domain", [Discrete((60,), 9000), Real((60,))], ids=str)
def test_quantiles_of_many_data_are_found_part_by_part(domain, monkeypatch):
    x = torch.rand(100, 60, generator=noise())
    x = x if isinstance(domain, Real) else (x * domain.levels).long()
    factor = factor_of(domain, 5)
    expected = factor.fitted(x)
    monkeypatch.setattr(conditionals, "TOGETHER", 1000)
    with Largest() as largest:
        found = factor.fitted(x)
    assert torch.equal(found, expected)
    assert largest.entries <= 1000


# What they refuse


@pytest.mark.parametrize("name", NAMES)
def test_a_single_level_is_refused(name):
    with pytest.raises(BadInput, match="at least two levels"):
        find(name).load()(Discrete((3,), 1))


@pytest.mark.parametrize("name", NAMES)
def test_too_many_weights_are_refused_with_their_number(name):
    with pytest.raises(BadInput, match=r"would have [\d,]{9,} weights"):
        find(name).load()(Discrete((3, 256, 256), 256))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("fvbn", {"mixtures": 0}, "mixtures must be a whole number from 1"),
        ("fvbn", {"particles": 0}, "particles must be a whole number from 1"),
        ("nade", {"width": 1.5}, "width must be a whole number from 1"),
        ("nade", {"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ("made", {"layers": 0}, "layers must be a whole number from 1"),
        ("made", {"orderings": True}, "orderings must be a whole number from 1"),
        ("made", {"dropout": math.nan}, "dropout must be at least 0 and below 1"),
    ],
)
def test_bad_options_are_refused(name, options, sentence):
    with pytest.raises(RangeError, match=sentence):
        find(name).load()(BITS, **options)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_do_not_depend_on_the_batch(name):
    model, x = random_model(name, BITS), random_data(BITS, 7)
    torch.testing.assert_close(numbers_of(model, x)[2:3], numbers_of(model, x[2:3]))
