"""The energy-based model: its gradient, buffer, density in low dimension, denoised pictures; and chains that diverge."""

import math

import pytest
import torch

from pmodel.construction import make
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.explicit.approximate.energy.ebm import EBM, WIDE
from pmodel.learning import Batch
from pmodel.testing.fitting import learn
from pmodel.train import Stepped, plan, train
from pmodel.train.doctor import Doctor
from pmodel.train.verdicts.chains import diverging
from pmodel.train.verdicts.remedies import Patient

PLANE = Real((2,))
LABEL = Discrete((), 3)
PATIENT = Patient(frozenset({"sweeps", "step"}))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _same_start():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def quadrature(model, given=None, side=8.0, cells=321):
    """log Z on the plane by the trapezoid rule, which is as good as exact for a smooth function that vanishes at the edge."""
    axis = torch.linspace(-side, side, cells, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    labels = None if given is None else torch.full((len(x),), given)
    with torch.no_grad():
        energy = model._energy(x, labels).double()
    return float((-energy).logsumexp(0)) + 2 * math.log(float(axis[1] - axis[0]))


def test_a_flat_network_leaves_the_normal():
    model = EBM(PLANE, width=8, layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x = torch.randn(20, 2, generator=seeded())
    expected = torch.distributions.Normal(0, WIDE).log_prob(x.double()).sum(1)
    found = model.score(x, effort=2)
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-5)
    assert found.kind == "estimate"
    assert not model.can("log_prob")


@pytest.mark.parametrize("given", [None, LABEL], ids=["no label", "label"])
def test_estimates_of_log_z_agree_with_quadrature(given):
    model = EBM(PLANE, given, width=16, layers=2, temperatures=60)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    labels = None if given is None else torch.tensor([0, 2])
    with torch.no_grad():
        found = model._log_partition_estimates(40, labels, seeded()).exp()
    expected = torch.tensor([quadrature(model, label) for label in ([None] if given is None else [0, 2])]).exp()
    z = (found.mean(0) - expected) / (found.std(0) / math.sqrt(40))
    assert float(z.abs().max()) < 4.5
    assert float((found.std(0) / found.mean(0)).max()) < 0.5


def test_the_loss_has_the_gradient_of_data_less_chains():
    model = EBM(PLANE, width=8, layers=1, chains=64, penalty=0.0)
    model.prepare(torch.zeros(1, 2), None, seeded())
    batch = Batch(torch.randn(64, 2, generator=seeded(1)))
    loss = model._loss(batch, seeded(2)).total
    found = torch.autograd.grad(loss, list(model.parameters()))
    expected = torch.autograd.grad(
        model._energy(batch.x, None).mean() - model._energy(model.replay, None).mean(), list(model.parameters())
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_buffer_keeps_its_chains_and_starts_some_anew():
    model = EBM(PLANE, width=8, layers=1, chains=500, restart=0.2, sweeps=1, step=1e-4)
    model.prepare(torch.zeros(1, 2), None, seeded())
    before = model.replay.clone()
    model._loss(Batch(torch.randn(100, 2, generator=seeded(1))), seeded(2))
    moved = (model.replay - before).norm(dim=1)
    assert int((moved > 0).sum()) == 100
    anew = int((moved > 0.01).sum())
    assert 5 < anew < 40
    assert model.training_state().keys() == {"replay"}
    assert "replay" not in model.state_dict()


def test_a_clean_picture_is_the_mean_given_the_noisy_one():
    """The last act of sampling is x - tau² grad E, which is E[x | noisy x] where E is the energy of noisy data.

    Of data N(mu, s²) with noise tau the energy is quadratic with the variance s² + tau².
    """
    model = EBM(Real((1, 2, 2)), noise=0.5, width=4, channels=2)
    mu, variance = 0.7, 0.25 + 0.25
    model._energy = lambda x, given: ((x - mu).square() / (2 * variance)).flatten(1).sum(1)
    model.step = 0.3
    found = model.sample(2000, generator=0, steps=150)
    assert float(found.mean()) == pytest.approx(mu, abs=0.02)
    shrunk = 0.25 / variance  # E[x | noisy] = mu + s² / (s² + tau²) (noisy - mu)
    assert float(found.std()) == pytest.approx(math.sqrt(variance) * shrunk, rel=0.1)


def test_it_learns_two_clusters():
    noise = seeded()
    left = torch.rand(2000, 1, generator=noise) < 0.3
    x = torch.where(left, -1.2, 0.8) + 0.35 * torch.randn(2000, 2, generator=noise)
    model = learn(EBM(PLANE, width=32, layers=2, chains=512, sweeps=10, step=0.15), Batch(x), steps=300)
    drawn = model.sample(500, generator=0, steps=150)
    near = torch.cdist(drawn, torch.tensor([[-1.2, -1.2], [0.8, 0.8]])).min(1).values
    assert float((near < 1.2).double().mean()) > 0.9
    with torch.no_grad():
        exact = -model._energy(x, None).double().mean() - quadrature(model)
    found = model.score(x, effort=16)
    assert found.mean == pytest.approx(float(exact), abs=5 * float(found.mc_stderr[0]) + 0.02)
    assert found.mean > -2.2  # the best is about -1.3, a single normal about -2.5


def test_it_scores_in_few_dimensions_only():
    assert EBM.tiny(Real((8,))).can("score")
    large = EBM.tiny(Real((9,)))
    assert large.can("energy")
    with pytest.raises(NotSupported):
        large.score(torch.zeros(1, 9))
    pictures = make("ebm", Discrete((1, 8, 8), 17), **EBM.sizes["tiny"])
    assert not pictures.can("score")
    assert pictures.sample(3, generator=0, steps=2).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (1, 5, 9), (3, 2, 1)])
def test_pictures_of_any_size_have_an_energy(shape):
    model = EBM(Real(shape), LABEL, channels=2, width=4)
    energy = model.energy(torch.randn(3, *shape, generator=seeded()), given=1)
    assert energy.shape == (3,)
    assert bool(energy.isfinite().all())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("layers", 0),
        ("sweeps", 0),
        ("restart", 1.5),
        ("step", 0.0),
        ("noise", -1.0),
        ("penalty", math.inf),
        ("chains", 0),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(RangeError, match=option):
        EBM(PLANE, **{option: value})
    with pytest.raises(BadInput, match="steps"):
        EBM.tiny(PLANE).sample(1, generator=0, steps=0)


def report(above, spread=2.0):
    return {"likelihood.data_energy": 5.0, "likelihood.chain_energy": 5.0 + above, "likelihood.energy_spread": spread}


@pytest.mark.parametrize(("sign", "where"), [(1, "above"), (-1, "below")])
def test_chains_far_from_the_data_are_named_with_their_remedy(sign, where):
    (verdict,) = diverging([report(sign * (20.0 + n)) for n in range(10)], 10, 4, PATIENT)
    assert verdict.name == "diverging chains"
    assert verdict.fatal
    assert f"10 standard deviations or more {where} that of the data over the last 10 reports" in verdict.words
    assert "--set train.rate" in verdict.remedy


def test_energies_that_run_away_are_named():
    (verdict,) = diverging([report(5.0 * (-1) ** n, spread=100.0 + n) for n in range(10)], 10, 16, PATIENT)
    assert "standard deviation of 100 nats or more" in verdict.words
    assert "16 entries have one of about 4" in verdict.words


@pytest.mark.parametrize(
    "reports",
    [
        [report(20.0)] * 9,
        [report(20.0)] * 9 + [report(1.0)],
        [report(20.0), report(-20.0)] * 5,
        [report(2.0, spread=0.1)] * 10,
        [report(2.0, spread=100.0)] * 9 + [report(2.0)],
        [report(float("nan"))] * 10,
        [{"likelihood.loss": 1.0}] * 10,
    ],
    ids=["too few", "not all", "to and fro", "no spread to speak of", "once not wide", "not a number", "no chains"],
)
def test_chains_are_not_called_diverging_without_cause(reports):
    assert diverging(reports, 10, 16, PATIENT) == []


def verdicts(name, data, settings, **options):
    """What the doctor says of chains at the end of a short training."""
    model = make(name, data.domain, **options)
    doctor = Doctor(model, data, 0)
    for event in train(model, data, plan(model, data, steps=120, settings=settings, precision="float32")):
        if isinstance(event, Stepped):
            doctor.listen(event)
    return [verdict for verdict in doctor.examine() if verdict.name == "diverging chains"]


@pytest.fixture(scope="module")
def stripes():
    x = (torch.rand(1000, 1, 4, 4, generator=seeded()) < 0.3).long()
    x[:, :, 1:] = x[:, :, :1]
    split = Split(x)
    return Dataset("stripes", Discrete((1, 4, 4), 2), split, split, split)


@pytest.fixture(scope="module")
def points():
    split = Split(torch.randn(500, 2, generator=seeded()))
    return Dataset("points", PLANE, split, split, split)


def test_a_machine_that_outruns_its_chains_is_found_in_training(stripes):
    rates = {"rate": 1.0, "schedule": "constant", "warmup": 0.0, "ema": 0.0}
    (verdict,) = verdicts("rbm", stripes, rates, hidden=16, chains=64)
    assert "runs ahead of its chains" in verdict.words


def test_chains_whose_steps_are_too_large_are_found_in_training(points):
    (verdict,) = verdicts("ebm", points, {}, width=16, layers=1, chains=128, sweeps=5, step=3.7)
    assert "above that of the data" in verdict.words
    assert "--set step" in verdict.remedy


def test_healthy_chains_are_not_diverging(stripes, points):
    assert verdicts("rbm", stripes, {}, hidden=16, chains=64) == []
    assert verdicts("ebm", points, {}, width=16, layers=1, chains=128, sweeps=5) == []
