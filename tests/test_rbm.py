"""The restricted Boltzmann machine against enumeration: energies, conditionals, log Z, gradients, annealed estimates."""

import itertools
import math

import pytest
import torch

from pmodel.construction import make
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.explicit.approximate.energy.ais import anneal, descend, log_mean, spaced
from pmodel.explicit.approximate.energy.machine import Machine, Tempered
from pmodel.explicit.approximate.energy.rbm import RBM
from pmodel.explicit.approximate.energy.units import Bits, Levels, Reals, units_of
from pmodel.learning import Batch
from pmodel.testing.fitting import learn
from pmodel.wrappers import Dequantised

BITS = Discrete((1, 2, 3), 2)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def machine(units, hidden, scale=1.0, seed=0, rows=1):
    noise = seeded(seed)
    shapes = ((units.features, hidden), (rows, units.features), (rows, hidden))
    return Machine(units, *(scale * torch.randn(shape, generator=noise, dtype=torch.float64) for shape in shapes))


def all_bits(n):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def joint_energies(m):
    """E(u, h) of all pairs of states, ``(visible states, hidden states)``, as the definition has it."""
    u, h = m.units.every(torch.device("cpu")), all_bits(m.weight.shape[1])
    return -(u @ m.visible[0]).unsqueeze(1) - (h @ m.hidden[0]) - u @ m.weight @ h.T


SMALL = {"bits": machine(Bits((5,)), 4), "levels": machine(Levels((2,), 3), 3), "few": machine(Bits((3,)), 6)}
discrete = pytest.mark.parametrize("m", SMALL.values(), ids=SMALL)


@discrete
def test_free_energy_sums_over_hidden_bits(m):
    u = m.units.every(torch.device("cpu"))
    torch.testing.assert_close(m.free_energy(u), -(-joint_energies(m)).logsumexp(1))


@discrete
def test_partition_function_is_the_sum_over_all_pairs(m):
    expected = (-joint_energies(m)).flatten().logsumexp(0)
    torch.testing.assert_close(m.log_partition(), expected)
    u = m.units.every(torch.device("cpu"))
    torch.testing.assert_close((-m.free_energy(u)).logsumexp(0), expected)


@discrete
def test_conditionals_are_those_of_the_joint(m):
    u, h = m.units.every(torch.device("cpu")), all_bits(m.weight.shape[1])
    joint = (-joint_energies(m)).exp()
    p_h = joint / joint.sum(1, keepdim=True)
    torch.testing.assert_close(m.activation(u).sigmoid(), p_h @ h)
    p_u = joint / joint.sum(0)
    first = m.units.data(u[:1]).expand(len(h), -1)
    torch.testing.assert_close(m.units.distribution(m.natural(h), torch.ones(())).log_prob(first), p_u[0].log())


def test_real_units_have_their_quadrature():
    m = machine(Reals((1,)), 3)
    grid = torch.linspace(-15, 15, 6001, dtype=torch.float64)
    total = torch.trapezoid((-m.free_energy(grid.unsqueeze(1))).exp(), grid)
    torch.testing.assert_close(m.log_partition(), total.log())
    eta = m.natural(all_bits(3)[5:6])
    x = m.units.sample(eta.expand(100_000, 1), seeded())
    assert float(x.mean()) == pytest.approx(float(eta), abs=0.02)
    assert float(x.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("units", [Bits((3,)), Levels((2,), 3)], ids=["bits", "levels"])
def test_units_draw_from_their_family(units):
    eta = torch.randn(1, units.features, generator=seeded())
    u = units.every(torch.device("cpu"))
    p = ((u @ eta[0].double()) - units.log_norm(eta.double())).exp()
    assert float(p.sum()) == pytest.approx(1)
    drawn = units.sample(eta.expand(50_000, -1), seeded(1)).double()
    frequency = (torch.cdist(drawn, u) < 0.5).double().mean(0)
    assert float(((frequency - p) / (p / 50_000).sqrt()).abs().max()) < 4.5
    assert torch.equal(units.of(units.data(drawn)).double(), drawn)


@discrete
def test_sweeps_and_exact_samples_follow_the_masses(m):
    u = m.units.every(torch.device("cpu"))
    p = (-m.free_energy(u) - m.log_partition()).exp()
    x = m.exact_samples(40_000, seeded())
    for drawn in (x, m.sweep(m.sweep(x, seeded(1)), seeded(2))):
        frequency = (torch.cdist(drawn, u) < 0.5).double().mean(0)
        assert float(((frequency - p) / (p * (1 - p) / 40_000).sqrt()).abs().max()) < 4.5


@discrete
def test_a_sweep_is_reversible(m):
    """p(u) T(u, u') is symmetric, with T(u, u') the sum over h of p(h | u) p(u' | h)."""
    joint = (-joint_energies(m)).exp()
    transition = (joint / joint.sum(1, keepdim=True)) @ (joint / joint.sum(0)).T
    flow = joint.sum(1, keepdim=True) * transition
    torch.testing.assert_close(flow, flow.T)
    u = m.units.every(torch.device("cpu"))
    n = 20_000
    ahead = m.sweep(u[:1].expand(n, -1), seeded())
    frequency = (torch.cdist(ahead, u) < 0.5).double().mean(0)
    assert float(((frequency - transition[0]) / (transition[0] / n).sqrt()).abs().max()) < 4.5


BRIDGED = {**SMALL, "reals": machine(Reals((2,)), 3, scale=0.7)}


@pytest.mark.parametrize("m", BRIDGED.values(), ids=BRIDGED)
def test_annealed_weights_are_unbiased_however_few_the_temperatures(m):
    bridge = Tempered(m, torch.zeros(m.units.features, dtype=torch.float64))
    ratio = float(m.log_partition() - bridge.log_start()[0])
    betas = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    forwards, _ = anneal(bridge, betas, 40_000, seeded())
    backwards = descend(bridge, bridge.state(m.exact_samples(40_000, seeded(1))), betas, seeded(2))
    for log_weights, log_mean_weight in ((forwards, ratio), (backwards, -ratio)):
        weights = (log_weights - log_mean_weight).exp()
        z = (weights.mean() - 1) / (weights.std() / len(weights) ** 0.5)
        assert abs(float(z)) < 4.5


def test_annealing_brackets_log_z_more_tightly_with_more_temperatures():
    m = machine(Bits((12,)), 8, scale=1.2)
    bridge = Tempered(m, torch.zeros(12, dtype=torch.float64))
    exact, samples = m.log_partition() - bridge.log_start()[0], bridge.state(m.exact_samples(200, seeded()))
    gaps = []
    for count in (10, 100, 1000):
        betas = spaced(bridge, count, seeded(1))
        mean_up = anneal(bridge, betas, 200, seeded(2))[0].mean()  # the mean of logs lies below on average, whatever n
        mean_down = -descend(bridge, samples, betas, seeded(3)).mean()
        assert float(mean_up) < float(exact) < float(mean_down)
        gaps.append(float(mean_down - mean_up))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_temperatures_are_dense_where_the_weight_changes_unevenly():
    m = machine(Bits((12,)), 8, scale=1.5)
    bridge = Tempered(m, torch.zeros(12, dtype=torch.float64))
    betas = spaced(bridge, 200, seeded())
    assert betas[0] == 0
    assert betas[-1] == 1
    assert bool((betas.diff() > 0).all())
    even = torch.linspace(0, 1, 200, dtype=torch.float64)
    spread = [float(anneal(bridge, b, 2000, seeded(1))[0].std()) for b in (betas, even)]
    assert spread[0] < 1.1 * spread[1]


def test_a_bridge_of_several_machines_is_several_bridges():
    together = machine(Bits((6,)), 4, rows=3)
    bridge = Tempered(together, torch.zeros(6, dtype=torch.float64))
    found = (
        log_mean(anneal(bridge, spaced(bridge, 200, seeded()), 400, seeded(1))[0].reshape(3, 400)) + bridge.log_start()
    )
    for row in range(3):
        alone = Machine(
            together.units, together.weight, together.visible[row : row + 1], together.hidden[row : row + 1]
        )
        assert float(found[row]) == pytest.approx(float(alone.log_partition()), abs=0.05)


def fitted(domain=BITS, given=None, **options):
    """A machine with weights that matter."""
    torch.manual_seed(0)
    model = RBM(domain, given, **{"hidden": 5, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(parameter.numel())))
        model.offset.fill_(0.3)
    return model.eval()


@pytest.fixture(autouse=True)
def _same_start():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("domain", [BITS, Discrete((2,), 4), Real((2,))], ids=["bits", "levels", "reals"])
def test_a_fresh_machine_is_independent_units(domain):
    x = torch.randint(2, (500, *domain.shape), generator=seeded())
    x = x if isinstance(domain, Discrete) else x.double()
    model = RBM(domain, hidden=5)
    model.prepare(x, None, seeded())
    with torch.no_grad():
        model.visible.sub_(0.5 * model.weight.sum(1))
        model.weight.zero_()
    found = model.log_prob(x[:20])
    if isinstance(domain, Real):
        mean, std = x.mean(0), x.std(0, correction=0)
        expected = torch.distributions.Normal(mean, std).log_prob(x[:20]).sum(1)
    else:
        levels = domain.levels
        counts = torch.nn.functional.one_hot(x, levels).double().sum(0)
        half = 0.5 if levels == 2 else 1 / levels
        p = (counts + half) / (len(x) + levels * half)
        expected = p.log().expand(20, *p.shape).gather(-1, x[:20].unsqueeze(-1)).flatten(1).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", [None, LABEL], ids=["no label", "label"])
def test_centred_and_plain_energies_have_the_same_differences(given):
    model = fitted(given=given)
    x = torch.randint(2, (50, *BITS.shape), generator=seeded())
    labels = None if given is None else torch.full((50,), 2)
    plain = model._energy(x, labels)
    centred, activation = model._centred(model._features(x), labels)
    torch.testing.assert_close(plain - plain[0], centred - centred[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(activation, model._machine(labels).activation(model._features(x)), rtol=1e-4, atol=1e-4)


def exact_gradient(model, batch):
    loss = -model._log_prob(batch.x, batch.given).mean()
    return [g.clone() for g in torch.autograd.grad(loss, list(model.parameters()))]


def stacked(gradients):
    return torch.cat([g.flatten().double() for g in gradients])


def chain_gradient(model, batch, draws=12):
    """The mean of the gradients of the model's own loss."""
    parameters, total = list(model.parameters()), 0.0
    for seed in range(draws):
        loss = model._loss(batch, seeded(seed)).total
        total = total + stacked(torch.autograd.grad(loss, parameters)) / draws
    return total


def data_of(domain, n, given=None):
    x = (torch.rand(n, *domain.shape, generator=seeded(3)) < 0.3).long()
    x[:, ..., :1] = x[:, ..., 1:2]
    return Batch(x, None if given is None else torch.randint(3, (n,), generator=seeded(4)))


def test_contrastive_divergence_approaches_the_gradient_with_more_sweeps():
    batch, errors = data_of(BITS, 4000), []
    for sweeps in (1, 3, 10, 40):
        model = fitted(persistent=False, sweeps=sweeps)
        exact = stacked(exact_gradient(model, batch))
        found = chain_gradient(model, batch)
        errors.append(float((found - exact).norm() / exact.norm()))
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]
    assert errors[3] < 0.05


@pytest.mark.parametrize("given", [None, LABEL], ids=["no label", "label"])
def test_persistent_chains_that_have_mixed_have_the_exact_gradient(given):
    model, batch = fitted(given=given, chains=9000), data_of(BITS, 3000, given)
    if given is not None:
        model.record_frequencies(batch.given)
    for seed in range(60):
        with torch.no_grad():
            model._loss(batch, seeded(100 + seed))
    exact = stacked(exact_gradient(model, batch))
    found = chain_gradient(model, batch)
    assert float((found - exact).norm() / exact.norm()) < 0.05


def test_the_std_of_reals_has_its_gradient():
    model = fitted(Real((2,)), chains=20_000)
    with torch.no_grad():
        model.log_std.copy_(torch.tensor([0.3, -0.2]))
        model.weight.mul_(0.5)
    batch = Batch(torch.randn(3000, 2, generator=seeded(3)))
    for seed in range(60):
        with torch.no_grad():
            model._loss(batch, seeded(100 + seed))
    exact, found = stacked(exact_gradient(model, batch)), chain_gradient(model, batch)
    assert float((found - exact).norm() / exact.norm()) < 0.05


def estimating(model, **attributes):
    """The same weights, and as if they were too many to be summed over."""
    model.enumerated, model.weighted = False, False
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize("given", [None, LABEL], ids=["no label", "label"])
def test_an_estimate_is_near_the_exact_score_within_its_error(given):
    model = fitted(given=given, temperatures=200)
    x = torch.randint(2, (30, *BITS.shape), generator=seeded())
    labels = None if given is None else torch.arange(30) % 3
    exact = model.log_prob(x, given=labels)
    found = estimating(model).score(x, given=labels, effort=16)
    assert found.kind == "estimate"
    assert "16 chains and 200 temperatures a draw, 16 draws" in found.estimator
    z = (found.values - exact) / found.mc_stderr
    assert float(z.abs().max()) < 5
    assert float(found.mc_stderr.max()) < 0.1
    with pytest.raises(NotSupported):
        model.log_prob(x, given=labels)
    alone = model.score(x, given=labels, effort=1)
    assert alone.mc_stderr is None


def test_the_jackknife_takes_the_bias_of_a_logarithm():
    """Of the logarithm of a mean of noisy weights: the plain one is too low by about half the variance of the mean."""
    from pmodel.capability.energy import _pseudo_values

    noise = torch.randn(4000, 16, generator=seeded(), dtype=torch.float64)
    log_weights = (noise - 0.5).T  # exponentials of mean one
    values = _pseudo_values(log_weights)
    plain = log_mean(log_weights.T)
    assert float(plain.mean()) < -0.03
    assert abs(float(values.mean())) < 0.01
    stderr = values.std(0) / 4
    assert float(stderr.square().mean().sqrt()) == pytest.approx(float(values.mean(0).std()), rel=0.15)


def test_the_bracket_holds_log_z():
    model = fitted(temperatures=300)
    exact = float(model._log_partition(None).detach())
    found = model.bracket(model.sample(300, generator=0), chains=300, seed=1)
    assert found.lower - 4 * found.lower_stderr < exact < found.upper + 4 * found.upper_stderr
    assert found.upper - found.lower < 0.2
    labelled = fitted(given=LABEL)
    with pytest.raises(BadInput, match="needs given="):
        labelled.bracket(labelled.sample(3, generator=0))


@pytest.mark.parametrize("given", [None, 1], ids=["no label", "label"])
def test_annealed_samples_follow_the_masses(given):
    model = fitted(given=None if given is None else LABEL)
    with torch.no_grad():
        model.weight.mul_(0.7)
    states = all_bits(6).long().reshape(-1, *BITS.shape)
    p = model.log_prob(states, given=given).exp()
    n = 20_000
    x = estimating(model).sample(n, given=given, generator=0, steps=40)
    codes = (x.flatten(1) * 2 ** torch.arange(5, -1, -1)).sum(1)
    frequency = torch.bincount(codes, minlength=64) / n
    assert float(((frequency - p) / (p * (1 - p) / n).sqrt()).abs().max()) < 5
    with pytest.raises(RangeError, match="steps"):
        model.sample(1, given=given, steps=0)


def test_codes_are_probabilities_of_hidden_bits_and_decode_to_visible_ones():
    model = fitted()
    x = torch.randint(2, (7, *BITS.shape), generator=seeded())
    q = model.encode(x)
    assert q.mean.shape == (7, 5)
    assert model.codes == Discrete((5,), 2)
    h = q.sample(seeded())
    eta = model._machine(None).natural(h.float())
    torch.testing.assert_close(model.decode(h).mean.flatten(1), eta.sigmoid())


def test_which_data_stand_as_they_are():
    assert isinstance(units_of(Discrete((4,), 2)), Bits)
    assert isinstance(units_of(Discrete((4,), 17)), Levels)
    assert isinstance(units_of(Real((4,))), Reals)
    assert isinstance(make("rbm", Discrete((1, 8, 8), 17)), RBM)
    grey = make("rbm", Discrete((1, 28, 28), 256), hidden=30)
    assert isinstance(grey, Dequantised)
    assert grey.kind == "estimate"
    assert not grey.can("energy")
    assert not grey.can("elbo")


def test_size_decides_what_the_likelihood_is():
    small, large = (RBM(Discrete((64,), 2), hidden=hidden) for hidden in (20, 21))
    assert (small.kind, large.kind) == ("exact", "estimate")
    assert small.can("log_prob")
    assert not large.can("log_prob")
    assert RBM(Discrete((784,), 2), hidden=16).kind == "exact"
    assert RBM(Discrete((784,), 2), hidden=17).kind == "estimate"
    assert RBM(Discrete((17,), 2), hidden=500).kind == "exact"
    assert RBM(Discrete((4,), 17), hidden=500).kind == "exact"


@pytest.mark.parametrize(
    ("option", "value"), [("hidden", 0), ("sweeps", 0), ("chains", 0), ("temperatures", 1), ("hidden", 1.5)]
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(RangeError, match=option):
        RBM(BITS, **{option: value})


def test_it_learns_a_small_distribution():
    """Words of five bits of which all are equal, or all but the last: four modes far apart."""
    words = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    x = words[torch.randint(4, (2000,), generator=seeded())]
    model = learn(RBM(Discrete((5,), 2), hidden=4, chains=256), Batch(x), steps=1500)
    mass = model.log_prob(words).exp()
    assert float(mass.sum()) > 0.85
    assert float(mass.min()) > 0.12


@pytest.mark.slow
def test_annealing_a_trained_machine_of_twenty_hidden_units_is_within_a_tenth_of_a_nat():
    """1000 chains and 10 000 temperatures on digits in two levels, against the sum over all hidden states; and the bracket."""
    import pmodel

    data = pmodel.load_data("digits")
    x = (data.train.x > 7).long()
    model = learn(RBM(Discrete((1, 8, 8), 2), hidden=20, chains=256), Batch(x), steps=8000)
    assert float(model.log_prob((data.test.x > 7).long()).mean()) > -24
    exact = float(model._log_partition(None).detach())
    samples = model.sample(1000, generator=0)
    found = model.bracket(samples, chains=1000, temperatures=10_000, seed=1)
    assert abs(found.lower - exact) < 0.1
    assert abs(found.upper - exact) < 0.1
    assert found.lower - 4 * found.lower_stderr < exact < found.upper + 4 * found.upper_stderr
    assert math.isfinite(found.lower_stderr)
