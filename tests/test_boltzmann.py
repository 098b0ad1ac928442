"""The Boltzmann machine against enumeration: energies, conditionals, log Z, sweeps, annealed weights."""

import itertools
from dataclasses import replace

import pytest
import torch

from pmodel.explicit.approximate.energy.ais import anneal, descend, log_mean, spaced
from pmodel.explicit.approximate.energy.machine import Machine, Tempered
from pmodel.explicit.approximate.energy.sides import CoupledHidden, CoupledVisible, symmetric
from pmodel.explicit.approximate.energy.units import Bits, Levels, Reals


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def machine(units, hidden, scale=1.0, seed=0, rows=1):
    noise = seeded(seed)
    shapes = ((units.features, hidden), (rows, units.features), (rows, hidden))
    return Machine(units, *(scale * torch.randn(shape, generator=noise, dtype=torch.float64) for shape in shapes))


def coupled(units, hidden, *, visible=True, bits=True, seed=0):
    """A machine with couplings within one side, or both."""
    plain, noise = machine(units, hidden, seed=seed), seeded(seed + 1)
    of_visible, of_hidden = (torch.randn(n, n, generator=noise, dtype=torch.float64) for n in plain.weight.shape)
    return replace(
        plain,
        within_visible=CoupledVisible(symmetric(of_visible, units.each)) if visible else plain.within_visible,
        within_hidden=CoupledHidden(symmetric(of_hidden)) if bits else plain.within_hidden,
    )


def all_bits(n):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def joint_energies(m):
    """E(u, h) of all pairs of states, ``(visible states, hidden states)``, as the definition has it."""
    u, h = m.units.every(torch.device("cpu")), all_bits(m.weight.shape[1])
    of_sides = -(u @ m.visible[0]).unsqueeze(1) - (h @ m.hidden[0])
    if not m.within_visible.free:
        of_sides = of_sides - torch.einsum("ni,ij,nj->n", u, m.within_visible.couplings, u).unsqueeze(1) / 2
    if isinstance(m.within_hidden, CoupledHidden):
        of_sides = of_sides - torch.einsum("ni,ij,nj->n", h, m.within_hidden.couplings, h) / 2
    return of_sides - u @ m.weight @ h.T


SMALL = {"bits": machine(Bits((5,)), 4), "levels": machine(Levels((2,), 3), 3), "few": machine(Bits((3,)), 6)}
COUPLED = {
    "visible bits coupled": coupled(Bits((5,)), 4, bits=False),
    "levels coupled": coupled(Levels((2,), 3), 3, bits=False),
    "hidden bits coupled": coupled(Levels((2,), 3), 3, visible=False),
    "few hidden bits coupled": coupled(Bits((5,)), 4, visible=False),
    "both sides coupled": coupled(Bits((4,)), 4),
}
every = {**SMALL, **COUPLED}
restricted = pytest.mark.parametrize("m", SMALL.values(), ids=SMALL)
discrete = pytest.mark.parametrize("m", every.values(), ids=every)


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
    torch.testing.assert_close(m.within_hidden.mean(m.activation(u)), p_h @ h)
    if not m.within_visible.free:
        return
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


@restricted
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


BRIDGED = {**every, "reals": machine(Reals((2,)), 3, scale=0.7)}


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
