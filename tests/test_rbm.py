"""The model ``rbm``: gradients against enumeration, annealed estimates and samples, couplings, options."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from pmodel.construction import make
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.explicit.approximate.energy.ais import log_mean
from pmodel.explicit.approximate.energy.gradient import gradients, with_gradients
from pmodel.explicit.approximate.energy.rbm import RBM
from pmodel.explicit.approximate.energy.units import Bits, Levels, Reals, units_of
from pmodel.learning import Batch
from pmodel.testing import conformance
from pmodel.testing.fitting import learn
from pmodel.wrappers import Dequantised

BITS = Discrete((1, 2, 3), 2)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def all_bits(n):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


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


CASES = {
    "bits": (BITS, None, {}),
    "bits, given a label": (BITS, LABEL, {}),
    "levels": (Discrete((2,), 4), None, {}),
    "reals": (Real((2,)), None, {}),
    "reals, given a label": (Real((2,)), LABEL, {}),
    "bits, coupled": (BITS, None, {"lateral": "visible"}),
    "levels, coupled": (Discrete((2,), 4), LABEL, {"lateral": "visible"}),
    "hidden bits, coupled": (Real((2,)), None, {"lateral": "hidden"}),
    "both sides coupled": (BITS, LABEL, {"lateral": "both"}),
}


@pytest.mark.parametrize(("domain", "given", "options"), CASES.values(), ids=CASES)
def test_gradients_in_closed_form_are_those_of_autograd(domain, given, options):
    model, n = fitted(domain, given, **options), 40
    x = torch.randn(n, *domain.shape, generator=seeded())
    x = (x > 0).long() if isinstance(domain, Discrete) else x
    rows = torch.arange(n) % 4
    labels = None if given is None else rows % 2
    weights = torch.randn(n, generator=seeded(1))
    weights = weights - torch.zeros(4).index_add(0, rows, weights)[rows] / 10  # of sum zero over every label
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad((weights * model._energy(x, labels)).sum(), tuple(parameters.values()))
    with torch.no_grad():
        machine, u = model._machine(labels), model._features(x)
        found = gradients(machine, u, machine.activation(u), weights, labels, mean=model.offset, half=0.5, labels=3)
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)


def test_a_value_hands_its_gradients_on_once():
    w = torch.ones(3, requires_grad=True)
    value = with_gradients(torch.tensor(2.0), {"w": w}, {"w": torch.tensor([1.0, 2.0, 3.0])})
    (value * 3).backward()
    assert value.tolist() == 2
    assert w.grad.tolist() == [3, 6, 9]


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


@pytest.mark.parametrize("lateral", ["none", "both"])
@pytest.mark.parametrize("given", [None, LABEL], ids=["no label", "label"])
def test_persistent_chains_that_have_mixed_have_the_exact_gradient(given, lateral):
    model, batch = fitted(given=given, chains=9000, lateral=lateral), data_of(BITS, 3000, given)
    with torch.no_grad():
        for name in ("lateral_visible", "lateral_hidden")[: 2 * (lateral == "both")]:
            getattr(model, name).mul_(0.3)
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


def test_pseudo_values_are_those_of_the_definition():
    """K log Z̄ - (K - 1) log Z̄ without the k-th."""
    from pmodel.capability.energy import _pseudo_values

    values = 30 * torch.randn(16, 2, generator=seeded(), dtype=torch.float64)
    without = torch.stack([log_mean(torch.cat([values[:k], values[k + 1 :]]).T) for k in range(16)])
    torch.testing.assert_close(_pseudo_values(values), 16 * log_mean(values.T) - 15 * without, rtol=0, atol=1e-6)
    torch.testing.assert_close(_pseudo_values(values[:1]), values[:1])
    same = torch.tensor([0.0, -540.1], dtype=torch.float64).expand(3000, 2)
    torch.testing.assert_close(_pseudo_values(same), same, rtol=0, atol=1e-9)


@pytest.mark.parametrize("domain", [Discrete((), 2), Discrete((), 3), Real(())], ids=["bit", "levels", "real"])
def test_a_number_is_a_datum(domain):
    """Data of the shape () have the densities of those of the shape (1,)."""
    x = torch.arange(64) % 2
    x = x if isinstance(domain, Discrete) else x.double()
    model, same = RBM(domain, hidden=3), fitted(replace(domain, shape=(1,)), hidden=3)
    learn(model, Batch(x), steps=2)
    model.load_state_dict(same.state_dict())
    torch.testing.assert_close(model.log_prob(x), same.log_prob(x.unsqueeze(1)))
    assert model.log_prob(x[:0]).shape == (0,)
    assert model.sample(5, generator=0).shape == (5,)


def test_the_bracket_checks_what_it_is_asked():
    model = fitted(temperatures=10)
    samples = model.sample(4, generator=0)
    for option, value in (("chains", 1), ("chains", 2.0), ("temperatures", 1), ("temperatures", 0)):
        with pytest.raises(RangeError, match=option):
            model.bracket(samples, **{option: value})
    for n in (0, 1):
        with pytest.raises(BadInput, match="two samples"):
            model.bracket(samples[:n])
    found = model.bracket(samples[:2], chains=2, temperatures=2)
    assert math.isfinite(found.lower_stderr)
    assert math.isfinite(found.upper_stderr)
    labelled = fitted(given=LABEL, temperatures=10)
    assert labelled.bracket(samples, given=1, generator=3) == labelled.bracket(samples, given=1, generator=3)


def test_the_bracket_holds_log_z():
    model = fitted(temperatures=300)
    exact = float(model._log_partition(None).detach())
    found = model.bracket(model.sample(300, generator=0), chains=300, generator=1)
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


@pytest.mark.parametrize(
    ("given", "labels"),
    [(None, None), (LABEL, torch.arange(30) // 10), (LABEL, None)],
    ids=["unconditional", "labels", "mixture"],
)
def test_a_call_estimates_the_constant_once_in_however_many_parts(given, labels):
    """Else the data of one call would differ by the estimates' noise."""
    model = estimating(fitted(given=given), temperatures=10)
    x = torch.randint(2, (30, *BITS.shape), generator=seeded())
    whole = model.score(x, given=labels, effort=2)
    model.chunk = 7 * BITS.entries
    parts = model.score(x, given=labels, effort=2)
    assert torch.allclose(parts.values, whole.values, rtol=1e-6)
    assert torch.allclose(parts.mc_stderr, whole.mc_stderr, rtol=1e-6)
    assert float(whole.mc_stderr.min()) > 1e-3


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


def test_every_label_needs_a_persistent_chain():
    with pytest.raises(RangeError, match=r"(?s)each label.*200.*got:  128.*chains=200"):
        RBM(BITS, Discrete((), 200), hidden=2)
    assert RBM(BITS, Discrete((), 200), hidden=2, chains=200).kind == "exact"
    assert RBM(BITS, Discrete((), 200), hidden=2, persistent=False).kind == "exact"


@pytest.mark.parametrize("lateral", ["none", "visible"])
def test_no_samples_of_labels_are_none(lateral):
    model = RBM(Discrete((30,), 2), LABEL, hidden=21, lateral=lateral)
    model.steps = 4
    assert model.kind == "estimate"
    assert model.sample(0, generator=0).shape == (0, 30)
    assert model.sample(0, given=1, generator=0).shape == (0, 30)


def test_it_learns_a_small_distribution():
    """Words of five bits of which all are equal, or all but the last: four modes far apart."""
    words = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    x = words[torch.randint(4, (2000,), generator=seeded())]
    model = learn(RBM(Discrete((5,), 2), hidden=4, chains=256), Batch(x), steps=1500)
    mass = model.log_prob(words).exp()
    assert float(mass.sum()) > 0.85
    assert float(mass.min()) > 0.12


def test_couplings_between_neighbours_need_no_hidden_units():
    """A chain of bits, each like the one before with probability .9, is a machine of couplings alone."""
    turns = torch.rand(4000, 8, generator=seeded()) < 0.1
    turns[:, 0] = torch.rand(4000, generator=seeded(1)) < 0.5
    x = turns.long().cumsum(1) % 2
    found = {}
    for lateral in ("none", "visible"):
        model = learn(RBM(Discrete((8,), 2), hidden=2, chains=256, lateral=lateral), Batch(x[:3000]), steps=700)
        assert model.kind == "exact"
        found[lateral] = float(model.log_prob(x[3000:]).mean())
    best = -math.log(2) + 7 * (0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found["visible"] > best - 0.15
    assert found["visible"] > found["none"] + 0.2


@pytest.mark.parametrize("lateral", ["visible", "both"])
def test_estimates_and_brackets_of_coupled_machines_hold_log_z(lateral):
    model = fitted(temperatures=300, lateral=lateral)
    exact = float(model._log_partition(None).detach())
    found = model.bracket(model.sample(300, generator=0), chains=300, generator=1)
    assert found.lower - 4 * found.lower_stderr < exact < found.upper + 4 * found.upper_stderr
    estimates = estimating(model)._log_partition_estimates(4, None, seeded()).detach()
    assert float(estimates.logsumexp(0) - math.log(4)) == pytest.approx(exact, abs=0.1)


def test_what_couplings_take_away_is_refused():
    assert RBM(BITS, hidden=4, lateral="none").can("decode")
    semi, hidden = RBM(BITS, hidden=4, lateral="visible"), RBM(BITS, hidden=4, lateral="hidden")
    assert [m.can(verb) for m in (semi, hidden) for verb in ("encode", "decode")] == [True, False, False, True]
    with pytest.raises(BadInput, match="discrete data"):
        RBM(Real((2,)), lateral="visible")
    with pytest.raises(BadInput, match=r"(?s)one of.*all"):
        RBM(BITS, lateral="all")
    with pytest.raises(RangeError, match=r"(?s)sum over all their states.*got:  13.*hidden=12 with lateral=both"):
        RBM(BITS, hidden=13, lateral="both")
    with pytest.raises(RangeError, match=r"(?s)got:  500.*hidden=12 with lateral=hidden"):
        RBM(BITS, lateral="hidden")
    assert RBM(Discrete((30,), 2), hidden=5, lateral="visible").kind == "estimate"
    assert RBM(Discrete((30,), 2), hidden=5, lateral="hidden").kind == "exact"


@pytest.mark.parametrize(
    "check", list(conformance(RBM(BITS, hidden=3, chains=64, lateral="both"))), ids=lambda c: c.name
)
def test_a_general_machine_keeps_every_law(check):
    check()


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
    found = model.bracket(samples, chains=1000, temperatures=10_000, generator=1)
    assert abs(found.lower - exact) < 0.1
    assert abs(found.upper - exact) < 0.1
    assert found.lower - 4 * found.lower_stderr < exact < found.upper + 4 * found.upper_stderr
    assert math.isfinite(found.lower_stderr)
