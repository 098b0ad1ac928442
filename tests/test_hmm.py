"""Hidden Markov models: against enumeration, against hmmlearn, and on data that break careless code."""

import itertools
import math

import numpy as np
import pytest
import torch

import pmodel
from pmodel import make
from pmodel.domain import Discrete, Real, Sequences
from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.explicit.tractable.hmm.hmm import HMM
from pmodel.learning import Batch
from pmodel.storage import save

NAMES = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
EMISSIONS = {
    "gaussian": (Sequences(Real((2,)), 4), {}),
    "mixture of Gaussians": (Sequences(Real((2,)), 4), {"emission": "mixture", "components": 2}),
    "categorical": (Sequences(Discrete((), 3), 4), {}),
    "several symbols": (Sequences(Discrete((2,), 3), 4), {}),
    "mixture of categories": (Sequences(Discrete((2,), 3), 4), {"emission": "mixture", "components": 2}),
    "categorical with an end": (Sequences(Discrete((), 3), 4, ends=True), {}),
}
emissions = pytest.mark.parametrize("name", EMISSIONS)


def drawn(domain, lengths, seed=0):
    """Sequences with structure: what an element is near follows from the one before."""
    g = torch.Generator().manual_seed(seed)
    n, element = len(lengths), domain.element
    kind = torch.randint(3, (n, domain.longest), generator=g).cumsum(1) // 2 % 3
    kind = kind.reshape(n, domain.longest, *[1] * len(element.shape)).expand(n, *domain.shape)
    if isinstance(element, Real):
        x = 5 + 3 * kind + torch.randn(kind.shape, generator=g, dtype=torch.float64)
    else:
        noise = torch.randint(element.levels, kind.shape, generator=g)
        x = torch.where(torch.rand(kind.shape, generator=g) < 0.7, kind % element.levels, noise)
    return domain.check(domain.cut(x, torch.as_tensor(lengths)))


def mixed(domain, n=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    return drawn(domain, torch.randint(0 if domain.ends else 1, domain.longest + 1, (n,), generator=g), seed)


def iterate(model, x, iterations, observed=None):
    """Log-likelihoods before each of the iterations."""
    values = []
    for _ in range(iterations):
        sums = model.statistics(Batch(x, observed=observed), torch.Generator())
        values.append(sums["log_prob"].item() / len(x))
        model.maximise(sums)
    return values


def started(domain, x, observed=None, seed=0, iterations=3, **options):
    model = HMM(domain, **options)
    g = torch.Generator().manual_seed(seed)
    model.prepare(x, None, g)
    model.initialise(Batch(x, observed=observed), g)
    iterate(model, x, iterations, observed)
    return model


@pytest.fixture(scope="module")
def fitted():
    cache = {}

    def get(name):
        if name not in cache:
            domain, options = EMISSIONS[name]
            cache[name] = started(domain, mixed(domain), states=2, **options)
        return cache[name]

    return get


def emitted(model, element, k):
    """p(element | state k), from the parameters by formulas of its own."""
    parts, M = model.emission.parts, model.emission.each
    total = 0.0
    for m in range(M):
        i = k * M + m
        if isinstance(model.element, Real):
            covariance = torch.outer(model.emission.scale, model.emission.scale) * parts.covariance(i)
            mean = parts.means[i] * model.emission.scale + model.emission.loc
            p = torch.distributions.MultivariateNormal(mean, covariance).log_prob(element.double().flatten()).exp()
        else:
            p = parts.table[i, torch.arange(parts.entries), element.flatten()].prod()
        total = total + model.emission.weights[k, m] * p
    return float(total)


def onset(model, sequence, path):
    """p(x_1 … x_t, z_1 … z_t), whatever comes after."""
    p = 1.0
    for t, (element, z) in enumerate(zip(sequence, path, strict=True)):
        p *= float(model.initial[z] if t == 0 else model.transition[path[t - 1], z]) * emitted(model, element, z)
    return p


def joint(model, sequence, path):
    """p(x, z) of one sequence without padding."""
    p = onset(model, sequence, path)
    if model.ends and len(sequence) < model.sequences.longest:
        p *= float(model.transition[path[-1], -1] if len(path) else model.initial[-1])
    return p


def paths(model, sequence):
    return list(itertools.product(range(model.states), repeat=len(sequence)))


@emissions
class TestAgainstAllPaths:
    def test_log_prob(self, fitted, name):
        model = fitted(name)
        x = mixed(model.sequences, 8, seed=1)
        for sequence, found in zip(model.sequences.listed(x), model.log_prob(x), strict=True):
            expected = sum(joint(model, sequence, path) for path in paths(model, sequence))
            assert found.exp().item() == pytest.approx(expected, rel=1e-10)

    def test_posteriors_and_viterbi(self, fitted, name):
        model = fitted(name)
        x = mixed(model.sequences, 6, seed=2)
        posteriors, best = model.posteriors(x), model.viterbi(x)
        for n, sequence in enumerate(model.sequences.listed(x)):
            T, every = len(sequence), paths(model, sequence)
            p = torch.tensor([joint(model, sequence, path) for path in every], dtype=torch.float64)
            states = torch.tensor(every).reshape(len(every), T)
            for k in range(model.states):
                expected = (p[:, None] * (states == k)).sum(0) / p.sum()
                assert torch.allclose(posteriors[n, :T, k], expected, atol=1e-12)
            assert (posteriors[n, T:] == 0).all()
            assert best[n].tolist() == [*every[int(p.argmax())], *[-1] * (model.sequences.longest - T)]

    def test_filtering_knows_nothing_of_the_future(self, fitted, name):
        model = fitted(name)
        x = mixed(model.sequences, 6, seed=3)
        filtered, smoothed = model.filtered(x), model.posteriors(x)
        for n, sequence in enumerate(model.sequences.listed(x)):
            for t in range(len(sequence)):
                expected = torch.zeros(model.states, dtype=torch.float64)
                for path in itertools.product(range(model.states), repeat=t + 1):
                    expected[path[-1]] += onset(model, sequence[: t + 1], path)
                assert torch.allclose(filtered[n, t], expected / expected.sum(), atol=1e-12)
        assert torch.allclose(filtered.sum(2), smoothed.sum(2), atol=1e-12)

    def test_the_likelihood_never_falls(self, name):
        domain, options = EMISSIONS[name]
        x = mixed(domain, 80)
        values = iterate(started(domain, x, states=3, shrinkage=0.0, floor=1e-12, iterations=0, **options), x, 30)
        assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
        assert values[-1] > values[0] + 1e-3

    def test_passes_out_of_core_give_the_same_answer(self, fitted, name):
        model = fitted(name)
        x = mixed(model.sequences, 200, seed=4)
        whole = model.statistics(Batch(x), torch.Generator())
        parts = [model.statistics(Batch(part), torch.Generator()) for part in torch.split(x, 33)]
        for key, value in whole.items():
            assert torch.allclose(value, sum(part[key] for part in parts), rtol=1e-12, atol=1e-10), key

    def test_missing_entries_in_training(self, name):
        domain, options = EMISSIONS[name]
        x = mixed(domain, 80)
        seen = domain.observed(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.7)
        if domain.ends:
            seen |= ~domain.present(x)  # in training it is known where a text ends
        values = iterate(
            started(domain, x, seen, states=2, shrinkage=0.0, floor=1e-12, iterations=0, **options), x, 20, seen
        )
        assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))


DISCRETE = [name for name, (domain, _) in EMISSIONS.items() if isinstance(domain.element, Discrete)]


def everything(domain):
    """Every sequence of a discrete domain, of every length."""
    longest, levels = domain.longest, domain.element.levels
    elements = list(itertools.product(range(levels), repeat=domain.element.entries))
    lengths = range(0 if domain.ends else 1, longest + 1)
    rows = [
        [*sequence, *[(domain.end,) * domain.element.entries] * (longest - length)]
        for length in lengths
        for sequence in itertools.product(elements, repeat=length)
    ]
    return torch.tensor(rows).reshape(-1, *domain.shape)


@pytest.mark.parametrize("name", DISCRETE)
class TestEverySequence:
    def test_probabilities_sum_to_one(self, fitted, name):
        model = fitted(name)
        every = everything(model.sequences)
        lengths, mass = model.sequences.lengths(every), model.log_prob(every).exp()
        sums = torch.zeros(model.sequences.longest + 1, dtype=torch.float64).index_add_(0, lengths, mass)
        assert (sums.sum() if model.ends else sums[1:].mean()).item() == pytest.approx(1.0, abs=1e-12)

    def test_a_marginal_is_the_sum_over_what_is_not_observed(self, fitted, name):
        model = fitted(name)
        domain, every = model.sequences, everything(model.sequences)
        mass = model.log_prob(every).exp()
        x = mixed(domain, 6, seed=5)
        masks = torch.rand(x.shape, generator=torch.Generator().manual_seed(6)) < 0.5
        found = model.log_prob(x, observed=masks).exp()
        for datum, mask, p in zip(x, masks, found, strict=True):
            same = (every == datum) | ~mask
            agrees = same.flatten(1).all(1)
            if not domain.ends:  # the length is given
                agrees &= domain.lengths(every) == domain.lengths(datum[None])
            assert p.item() == pytest.approx(mass[agrees].sum().item(), rel=1e-10)

    def test_completions_follow_the_conditional(self, fitted, name):
        model, n = fitted(name), 20_000
        domain, every = model.sequences, everything(model.sequences)
        x = drawn(domain, [domain.longest - 1], seed=7)
        mask = torch.zeros(domain.shape, dtype=torch.bool)
        mask[1] = True
        filled = model.complete(x.expand(n, *domain.shape), mask, generator=0)
        assert torch.equal(domain.check(filled), filled)
        agrees = (every == x)[:, 1].reshape(len(every), -1).all(1)
        if not domain.ends:
            agrees &= domain.lengths(every) == domain.longest - 1
        p = model.log_prob(every[agrees]).exp()
        expected = n * p / p.sum()
        places = {tuple(row.flatten().tolist()): i for i, row in enumerate(every[agrees])}
        counts = torch.zeros(len(p), dtype=torch.float64)
        for row, count in zip(*torch.unique(filled, dim=0, return_counts=True), strict=True):
            counts[places[tuple(row.flatten().tolist())]] = count.item()
        many = expected >= 5
        observed = torch.cat([counts[many], counts[~many].sum()[None]])
        predicted = torch.cat([expected[many], expected[~many].sum()[None]])
        chi2 = ((observed - predicted).square() / predicted.clamp_min(1e-9)).sum().item()
        assert chi2 < len(observed) + 5 * math.sqrt(2 * len(observed))


def test_a_prefix_is_forecast_from_its_filtered_state():
    domain = Sequences(Real((1,)), 5)
    model = started(domain, mixed(domain, 200), states=3)
    x, n = drawn(domain, [5]), 40_000
    mask = torch.zeros(5, 1, dtype=torch.bool)
    mask[:3] = True
    future = model.complete(x.expand(n, 5, 1), mask, generator=0)
    state = model.filtered(domain.cut(x, torch.tensor([3])))[0, 2] @ model.transition @ model.transition
    mean = (state @ model.means).item()
    assert future[:, 4, 0].mean().item() == pytest.approx(mean, abs=5 * future[:, 4, 0].std().item() / n**0.5)
    assert torch.equal(future[:, :3], x[:, :3].expand(n, 3, 1))


def test_missing_values_are_left_out_of_every_answer():
    domain = Sequences(Real((2,)), 4, missing=True)
    x = drawn(domain, [4, 3, 2])
    model = started(domain, x, states=2)
    holes = x.clone()
    holes[0, 1], holes[1, 0, 1] = torch.nan, torch.nan
    mask = ~holes.isnan()
    assert torch.equal(model.log_prob(holes), model.log_prob(x, observed=mask))
    assert torch.allclose(model.posteriors(holes).sum(2), domain.present(x).double())
    assert model.complete(holes, torch.ones(4, 2, dtype=torch.bool), generator=0).isnan().sum() == 0


class TestHmmlearn:
    """The same log-likelihoods, posteriors and updates, where hmmlearn's priors are set to those of maximum likelihood."""

    LENGTHS = (30, 7, 1, 50)

    @pytest.fixture
    def numbers(self):
        domain = Sequences(Real((3,)), 50)
        x = drawn(domain, self.LENGTHS)
        g = np.random.default_rng(0)
        start, transitions = g.dirichlet(np.ones(3)), g.dirichlet(np.ones(3), 3)
        return domain, x, np.concatenate([s.numpy() for s in domain.listed(x)]), start, transitions

    @pytest.fixture(params=NAMES)
    def pair(self, request, numbers):
        from hmmlearn.hmm import GaussianHMM

        domain, x, rows, start, transitions = numbers
        oracle = GaussianHMM(
            3,
            NAMES[request.param],
            min_covar=0,
            means_weight=0,
            covars_prior=0,
            covars_weight={"full": 0, "tied": 0, "diagonal": 1, "spherical": 1}[request.param],
            init_params="",
            n_iter=1,
        )
        oracle.startprob_, oracle.transmat_, oracle.means_ = start, transitions, rows[[0, 10, 40]]
        identity = {"full": np.tile(np.eye(3), (3, 1, 1)), "tied": np.eye(3), "diagonal": np.ones((3, 3))}
        oracle.covars_ = identity.get(request.param, np.ones(3))
        model = HMM(domain, states=3, covariance=request.param, shrinkage=0.0, floor=1e-300)
        model.emission.parts.anchor(torch.from_numpy(rows))
        model.emission.parts.means.copy_(torch.from_numpy(oracle.means_))
        model.initial.copy_(torch.from_numpy(start))
        model.transition.copy_(torch.from_numpy(transitions))
        return model, oracle, x, rows

    def test_gaussian(self, pair):
        model, oracle, x, rows = pair
        found = model.log_prob(x)
        expected = [oracle.score(s.numpy()) for s in model.sequences.listed(x)]
        assert found.tolist() == pytest.approx(expected, abs=1e-8)
        posteriors = model.posteriors(x)[model.sequences.present(x)]
        assert np.abs(posteriors.numpy() - oracle.predict_proba(rows, self.LENGTHS)).max() < 1e-8
        path = model.viterbi(x)[model.sequences.present(x)]
        assert path.tolist() == oracle.predict(rows, self.LENGTHS).tolist()

    def test_gaussian_update(self, pair):
        model, oracle, x, rows = pair
        oracle.fit(rows, self.LENGTHS)
        iterate(model, x, 1)
        covariances = torch.stack([model.emission.parts.covariance(k) for k in range(3)])
        theirs = (
            np.array([np.diag(v) for v in oracle._covars_]) if oracle.covariance_type == "spherical" else oracle.covars_
        )
        assert np.abs(model.initial.numpy() - oracle.startprob_).max() < 1e-8
        assert np.abs(model.transition.numpy() - oracle.transmat_).max() < 1e-8
        assert np.abs(model.means.numpy() - oracle.means_).max() < 1e-8
        assert np.abs(covariances.numpy() - theirs).max() < 1e-8

    def test_categorical(self):
        from hmmlearn.hmm import CategoricalHMM

        domain = Sequences(Discrete((), 5), 50)
        x, g = drawn(domain, self.LENGTHS), np.random.default_rng(0)
        rows = np.concatenate([s.numpy() for s in domain.listed(x)])[:, None]
        oracle = CategoricalHMM(3, init_params="", n_iter=1, n_features=5)
        oracle.startprob_, oracle.transmat_ = g.dirichlet(np.ones(3)), g.dirichlet(np.ones(3), 3)
        oracle.emissionprob_ = g.dirichlet(np.ones(5), 3)
        model = HMM(domain, states=3, shrinkage=0.0)
        model.initial.copy_(torch.from_numpy(oracle.startprob_))
        model.transition.copy_(torch.from_numpy(oracle.transmat_))
        model.emission.parts.table[:, 0] = torch.from_numpy(oracle.emissionprob_)
        assert model.log_prob(x).sum().item() == pytest.approx(oracle.score(rows, self.LENGTHS), abs=1e-8)
        posteriors = model.posteriors(x)[domain.present(x)]
        assert np.abs(posteriors.numpy() - oracle.predict_proba(rows, self.LENGTHS)).max() < 1e-8
        oracle.fit(rows, self.LENGTHS)
        iterate(model, x, 1)
        assert np.abs(model.emission.parts.table[:, 0].numpy() - oracle.emissionprob_).max() < 1e-8
        assert np.abs(model.transition.numpy() - oracle.transmat_).max() < 1e-8


@pytest.mark.parametrize("name", ["mixture of Gaussians", "mixture of categories"])
def test_one_update_of_mixture_emissions_is_the_one_by_enumeration(name):
    domain, options = EMISSIONS[name]
    x = mixed(domain, 6)
    model = started(domain, x, states=2, floor=1e-12, **options)
    model.emission.parts.shrinkage = 0.0
    K, M = 2, model.emission.each
    weights = torch.zeros(K * M, dtype=torch.float64)
    first, second = (torch.zeros(K * M, *shape, dtype=torch.float64) for shape in ((2,), (2, 2)))
    for sequence in domain.listed(x):
        states = paths(model, sequence)
        p = torch.tensor([joint(model, sequence, path) for path in states], dtype=torch.float64)
        for path, share in zip(states, p / p.sum(), strict=True):
            for element, k in zip(sequence, path, strict=True):
                for m in range(M):
                    alone = started_copy(model, k, m)
                    r = share * model.emission.weights[k, m] * emitted(alone, element, 0) / emitted(model, element, k)
                    weights[k * M + m] += r
                    first[k * M + m] += r * element
                    second[k * M + m] += r * torch.outer(element.double(), element.double())
    iterate(model, x, 1)
    counts = weights.reshape(K, M)
    assert torch.allclose(model.emission.weights, counts / counts.sum(1, keepdim=True), atol=1e-8)
    means = first / weights[:, None]
    scale, loc = model.emission.scale, model.emission.loc
    assert torch.allclose(model.emission.parts.expectations() * scale + loc, means, atol=1e-8)
    if isinstance(domain.element, Real):
        expected = second / weights[:, None, None] - means[:, :, None] * means[:, None, :]
        found = torch.stack([model.emission.parts.covariance(i) for i in range(K * M)]) * torch.outer(scale, scale)
        assert torch.allclose(found, expected, atol=1e-8)


def started_copy(model, k, m):
    """A model whose only emission is component m of state k."""
    import copy

    alone = copy.deepcopy(model)
    alone.emission.weights.zero_()
    alone.emission.weights[0, 0] = 1.0
    source, parts = k * model.emission.each + m, alone.emission.parts
    for tensor in parts.state_dict().values():
        if tensor.ndim > 1:
            tensor[0] = tensor[source]
    return alone


REAL3 = Sequences(Real((3,)), 6)
AWKWARD = {
    "one sequence of one element": [torch.zeros(1, 3)],
    "sequences of one element": [torch.full((1, 3), float(i)) for i in range(5)],
    "fewer elements than states": [torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])],
    "duplicates": [torch.tensor([[1.0, 2.0, 3.0]]).expand(6, 3)] * 8,
    "a constant column": [torch.cat([torch.arange(12.0).reshape(6, 2) % 5, torch.full((6, 1), 7.0)], 1)] * 8,
    "a duplicated column": [(torch.arange(12.0).reshape(6, 2) % 5)[:, [0, 1, 1]]] * 8,
    "tiny": [1e-12 * torch.arange(18.0).reshape(6, 3) % 5] * 4,
    "huge": [1e12 * (torch.arange(18.0).reshape(6, 3) % 5)] * 4,
}


@pytest.mark.parametrize("options", [{}, {"shrinkage": 0.0}, {"emission": "mixture", "components": 2}])
@pytest.mark.parametrize("covariance", NAMES)
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_data_stay_finite(name, covariance, options):
    x = REAL3.check(AWKWARD[name])
    model = started(REAL3, x, states=4, covariance=covariance, iterations=0, **options)
    values = iterate(model, x, 8)
    assert all(math.isfinite(value) for value in values)
    assert all(buffer.isfinite().all() for buffer in model.buffers())
    assert model.initial.sum().item() == pytest.approx(1)
    assert model.transition.sum(1).tolist() == pytest.approx([1.0] * 4)
    assert model.sample(3, generator=0, lengths=6).isfinite().all()


def test_a_state_that_lost_its_data_is_put_to_use():
    domain = Sequences(Real((2,)), 20)
    x = mixed(domain, 60)
    model = started(domain, x, states=3, iterations=0)
    model.emission.parts.means[2] = 1e6
    values = iterate(model, x, 40)
    assert values[-1] == pytest.approx(iterate(started(domain, x, states=3), x, 40)[-1], abs=0.5)
    assert (model.posteriors(x).sum((0, 1)) > 1).all()


def test_a_state_that_is_never_entered_changes_nothing_else():
    domain = Sequences(Discrete((), 3), 6)
    x = mixed(domain, 40)
    two = started(domain, x, states=2)
    three = HMM(domain, states=3)
    three.initial[:2], three.initial[2] = two.initial, 0.0
    three.transition.zero_()
    three.transition[:2, :2], three.transition[2, 2] = two.transition, 1.0
    three.emission.parts.table[:2] = two.emission.parts.table
    assert torch.allclose(three.log_prob(x), two.log_prob(x), atol=1e-12)
    assert (three.posteriors(x)[:, :, 2] == 0).all()
    assert all(math.isfinite(value) for value in iterate(three, x, 10))


def test_a_symbol_that_was_never_seen_is_unlikely_and_without_a_prior_impossible():
    domain = Sequences(Discrete((), 4), 6)
    x = drawn(domain, [6] * 30).clamp_max(2)
    new = torch.full((1, 6), 3)
    assert -100 < started(domain, x, states=2).log_prob(new).item() < -6 * math.log(4)
    bare = started(domain, x, states=2, shrinkage=0.0)
    assert bare.log_prob(new).item() == -math.inf
    assert bare.posteriors(new).isfinite().all()
    values = iterate(bare, torch.cat([x, new]), 1)
    assert values == [-math.inf]
    assert all(buffer.isfinite().all() for buffer in bare.buffers())


def test_an_outlier_far_from_every_state_has_its_exact_density():
    domain = Sequences(Real((1,)), 3)
    model = started(domain, mixed(domain, 60), states=2)
    model.initial.copy_(torch.tensor([1.0, 0.0]))
    model.transition.copy_(torch.eye(2))
    x = torch.tensor([[[5.0], [500.0], [5.0]]], dtype=torch.float64)
    parts, emission = model.emission.parts, model.emission
    std = parts.covariance(0).sqrt().item() * emission.scale.item()
    expected = torch.distributions.Normal(model.means[0].item(), std).log_prob(x).sum().item()
    assert expected < -2000
    assert model.log_prob(x).item() == pytest.approx(expected, rel=1e-8)


def test_length_zero_and_unequal_features_are_refused():
    domain = Sequences(Real((2,)), 4)
    model = HMM(domain, states=2)
    with pytest.raises(RangeError, match="length 0"):
        model.log_prob([torch.zeros(3, 2), torch.zeros(0, 2)])
    with pytest.raises(ShapeError, match="as many features in each"):
        model.log_prob([torch.zeros(3, 2), torch.zeros(3, 3)])
    with pytest.raises(BadInput, match="no data"):
        model.initialise(Batch(torch.zeros(0, 4, 2)), torch.Generator())


@pytest.mark.parametrize(
    ("domain", "options", "error", "match"),
    [
        (Sequences(Real((2,)), 3), {"states": 0}, RangeError, "states"),
        (Sequences(Real((2,)), 3), {"components": 0, "emission": "mixture"}, RangeError, "components"),
        (Sequences(Real((2,)), 3), {"smoothing": -1.0}, RangeError, "smoothing"),
        (Sequences(Real((2,)), 3), {"emission": "categorical"}, BadInput, "discrete elements"),
        (Sequences(Real((2,)), 3), {"emission": "poisson"}, BadInput, "emission must be"),
        (Sequences(Real((2,)), 3), {"covariance": "lowrank"}, BadInput, "covariance must be"),
        (Sequences(Discrete((), 3), 3), {"emission": "gaussian"}, BadInput, "real elements"),
        (Real((3,)), {}, BadInput, "takes sequences"),
    ],
)
def test_refuses_an_option(domain, options, error, match):
    with pytest.raises(error, match=match):
        HMM(domain, **options)


def test_labels_have_a_model_each():
    domain = Sequences(Discrete((), 3), 5)
    x = torch.cat([mixed(domain, 40).clamp_max(3), mixed(domain, 40, seed=1)])
    y = torch.arange(80) // 40
    model = make("hmm", domain, Discrete((), 2), states=2)
    g = torch.Generator().manual_seed(0)
    model.record_frequencies(y)
    model.prepare(x, y, g)
    model.initialise(Batch(x, y), g)
    model.maximise(model.statistics(Batch(x, y), g))
    assert model.log_prob(x, given=y).isfinite().all()
    assert model.sample(4, given=1, lengths=2, generator=0).shape == (4, 5)


def test_a_state_that_the_future_brings_back_keeps_its_probability():
    """Two closed worlds: 1000 symbols are likelier in the first, 1500 in the second, each by one nat."""
    domain = Sequences(Discrete((), 2), 2500)
    model = HMM(domain, states=2)
    likely = 1 / (1 + math.exp(-1))
    model.emission.parts.table.copy_(
        torch.tensor([[[likely, 1 - likely]], [[1 - likely, likely]]], dtype=torch.float64)
    )
    model.initial.fill_(0.5)
    model.transition.copy_(torch.eye(2))
    x = torch.tensor([[0] * 1000 + [1] * 1500])
    second = 1000 * math.log(1 - likely) + 1500 * math.log(likely)
    assert model.log_prob(x).item() == pytest.approx(second - math.log(2), rel=1e-12)


@pytest.mark.parametrize("element", [Discrete((), 3), Real((2,))])
def test_sequences_without_elements_are_no_start(element):
    domain = Sequences(element, 4)
    x = torch.full((5, *domain.shape), domain.end)
    with pytest.raises(BadInput, match="without elements"):
        started(domain, x, states=2)


def test_threads_do_not_change_the_answer():
    domain = Sequences(Real((2,)), 400)
    x = mixed(domain, 400)
    model = started(domain, x[:50], states=32)  # 400 × 32² products a step: PyTorch's, on its threads
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, scores = model.statistics(Batch(x), torch.Generator()), model.log_prob(x)
        torch.set_num_threads(2)
        together, again = (model.statistics(Batch(x), torch.Generator()) for _ in range(2))
        assert torch.allclose(model.log_prob(x), scores, rtol=1e-12)
    finally:
        torch.set_num_threads(threads)
    for name, value in alone.items():
        assert torch.allclose(value, together[name], rtol=1e-10, atol=1e-9), name
        assert torch.equal(together[name], again[name]), name


def test_saved_and_loaded_it_answers_alike(tmp_path):
    domain = Sequences(Discrete((), 3), 5, ends=True)
    x = mixed(domain, 40)
    model = started(domain, x, states=2)
    save(model, tmp_path)
    assert torch.equal(pmodel.load(tmp_path).log_prob(x), model.log_prob(x))
