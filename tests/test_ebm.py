"""The energy-based model: its two objectives, its chains, its density in low dimension; and chains that diverge."""

import math

import pytest
import torch

from pmodel.construction import make
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.explicit.approximate.energy.chains import matched, written
from pmodel.explicit.approximate.energy.contrast import Contrast
from pmodel.explicit.approximate.energy.denoising import Denoising
from pmodel.explicit.approximate.energy.ebm import EBM, WIDE
from pmodel.explicit.approximate.energy.mcmc import potential
from pmodel.learning import Batch
from pmodel.testing.fitting import learn
from pmodel.train import Stepped, fit, plan, train
from pmodel.train.doctor import Doctor
from pmodel.train.verdicts.chains import diverging
from pmodel.train.verdicts.remedies import Patient

PLANE = Real((2,))
LABEL = Discrete((), 3)
PATIENT = Patient(dict.fromkeys(("sweeps", "step")))


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


@pytest.mark.parametrize("noise", range(3))
def test_chains_have_the_labels_of_the_data(noise):
    """A network that tells a label alone: chains of the labels of the batch stand for them as often, and the gap is 0."""
    of_label = torch.tensor([5.0, -1.0, 30.0, 2.0])
    given = torch.tensor([0] * 20 + [3] * 11 + [2])
    network = lambda x, t, given: of_label[given]  # noqa: E731
    model = Contrast(network, WIDE, 0.0, torch.randn(25, 2, generator=seeded()), 4, 1, 0.05, 0.1, 1e-3)
    loss = model.loss(Batch(torch.randn(32, 2, generator=seeded(1)), given), seeded(noise))
    assert float(loss.parts["gap"]) == pytest.approx(0, abs=1e-5)
    assert float(loss.total) == pytest.approx(2e-3 * float(of_label[given].square().mean()), rel=1e-5)


def test_each_datum_is_set_against_a_chain_of_its_label():
    given, drawn = torch.tensor([2, 0, 2, 2, 0, 2]), torch.zeros(11)
    for seed in range(300):
        rows = matched(given, 11, 3, seeded(seed))
        assert (rows % 3).tolist() == given.tolist()
        assert len(set(rows[given == 2].tolist())) == 3  # all there are: 2, 5, 8; one of them twice
        assert len(set(rows[given == 0].tolist())) == 2
        drawn += torch.bincount(rows, minlength=11)
    torch.testing.assert_close(drawn[[0, 3, 6, 9]], torch.full((4,), 150.0), rtol=0.25, atol=0)
    torch.testing.assert_close(drawn[[2, 5, 8]], torch.full((3,), 400.0), rtol=0.1, atol=0)
    assert float(drawn[1::3].sum()) == 0


def test_of_copies_of_a_chain_the_last_goes_on():
    replay = torch.zeros(4, 2)
    written(replay, torch.tensor([3, 1, 3]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert replay.tolist() == [[0, 0], [3, 4], [0, 0], [5, 6]]


def test_few_labels_of_many_are_learned():
    """A chain for each of many labels, of which two occur: no batch is without chains of its labels."""
    y = 7 * (torch.arange(200) % 8 == 0).long()
    split = Split(torch.randn(200, 2, generator=seeded()) + 0.2 * y.unsqueeze(1), y)
    data = Dataset("two of many", PLANE, split, split, split, given=Discrete((), 1000))
    options = {"objective": "likelihood", "width": 8, "layers": 1, "chains": 1000, "sweeps": 2}
    model = fit("ebm", data, conditional=True, steps=40, **options)
    assert bool(model.energy(split.x, given=y).isfinite().all())


def test_every_label_needs_a_chain():
    many = Discrete((), 129)
    with pytest.raises(RangeError, match=r"(?s)each label.*129.*got:  128.*chains=129"):
        EBM.tiny(PLANE, many)
    EBM(PLANE, many, objective="denoising", layers=1, width=4, chains=128)  # has no chains


def contrast(energy, std=WIDE, tau=0.0, step=0.1):
    """Chains under an energy that is known."""
    network = lambda x, t, given: energy(x) - x.square().flatten(1).sum(1) / (2 * std**2)  # noqa: E731
    return Contrast(network, std, tau, torch.zeros(1, 1), 0, 20, 0.05, step, 0.0)


def test_a_clean_picture_is_the_mean_given_the_noisy_one():
    """The last act of sampling is x - tau² grad E, which is E[x | noisy x] where E is the energy of noisy data.

    Of data N(mu, s²) with noise tau the energy is quadratic with the variance s² + tau².
    """
    mu, variance = 0.7, 0.25 + 0.25
    model = contrast(lambda x: ((x - mu).square() / (2 * variance)).flatten(1).sum(1), tau=0.5, step=0.3)
    found = model.sample(torch.randn(2000, 1, 2, 2, generator=seeded()), None, 150, seeded(1))
    assert float(found.mean()) == pytest.approx(mu, abs=0.02)
    shrunk = 0.25 / variance  # E[x | noisy] = mu + s² / (s² + tau²) (noisy - mu)
    assert float(found.std()) == pytest.approx(math.sqrt(variance) * shrunk, rel=0.1)


@pytest.mark.parametrize("step", [0.2, 0.4])
def test_the_chains_fit_and_the_density_is_narrower(step):
    """A feature with the variance v = s²/2 (1 + sqrt(1 - step²/s²)) under the density has s² among the chains."""
    std = 0.4
    variance = std**2 / 2 * (1 + math.sqrt(1 - step**2 / std**2))
    model = contrast(lambda x: x.square().flatten(1).sum(1) / (2 * variance), step=step)
    found = model.sample(torch.randn(40_000, 1, generator=seeded()), None, 200, seeded(1))
    assert float(found.var()) == pytest.approx(std**2, rel=0.03)


CENTRES, WEIGHTS, SPREAD, TAU, LOUD = torch.tensor([-1.3, 0.7]), torch.tensor([0.35, 0.65]), 0.2, 0.1, 10.0


def two_points(u, t, given=None):
    """The tilt of two normals with noise, in closed form, at the level that a time stands for."""
    passed = (t - 1e-3) / (1 - 1e-3)
    sigma = (LOUD * (TAU / LOUD) ** passed).unsqueeze(-1)
    variance, x = SPREAD**2 + sigma**2, u * (1 + sigma**2).sqrt()
    log_p = torch.logsumexp(WEIGHTS.log() - (x - CENTRES).square() / (2 * variance), 1) - 0.5 * variance[:, 0].log()
    return sigma[:, 0] * (-log_p - 0.5 * u.square()[:, 0])


def test_what_denoising_answers_does_not_cancel_at_little_noise():
    """The slope of g is to be (eps - s x) / sqrt(1 + s²); a network that answers nothing is as wrong as that is large."""
    tau, loud, x = 1e-5, 2e-5, 10 * torch.randn(64, 2, generator=seeded())
    model = Denoising(lambda u, t, given: 0 * u.sum(1), math.sqrt(1 + tau**2), tau, loud)
    found = float(model.loss(Batch(x), seeded(1)).total)
    noise = seeded(1)
    places = (torch.rand(1, generator=noise) + torch.arange(64) / 64) % 1
    eps, s = torch.randn(x.shape, generator=noise).double(), (loud * (tau / loud) ** places.double()).unsqueeze(1)
    expected = (eps - s * x.double()).square() / (1 + s.square())
    assert found == pytest.approx(float(expected.mean()), rel=1e-6)


def test_led_chains_have_the_law_of_the_data_with_both_modes():
    model = Denoising(two_points, math.sqrt(1 + TAU**2), TAU, LOUD)
    found = model.sample(torch.randn(20_000, 1, generator=seeded()), None, 300, seeded(1))
    left = found < -0.3
    assert float(left.double().mean()) == pytest.approx(0.35, abs=0.015)
    shrunk = SPREAD**2 / math.sqrt(SPREAD**2 + TAU**2)  # the last act is a mean, as in the test above
    for side, centre in ((left, -1.3), (~left, 0.7)):
        assert float(found[side].mean()) == pytest.approx(centre, abs=0.02)
        assert float(found[side].std()) == pytest.approx(shrunk, rel=0.06)


def test_the_energy_of_denoising_is_that_of_the_least_noise():
    model = Denoising(two_points, math.sqrt(1 + TAU**2), TAU, LOUD)
    x = torch.linspace(-2, 2, 9).unsqueeze(1)
    components = torch.distributions.Normal(CENTRES, math.sqrt(SPREAD**2 + TAU**2))
    total = model.energy(x, None) + torch.logsumexp(WEIGHTS.log() + components.log_prob(x), 1)
    torch.testing.assert_close(total, total[:1].expand(9), rtol=0, atol=1e-4)


@pytest.mark.parametrize("domain", [PLANE, Real((1, 9, 9))], ids=["vectors", "pictures"])
def test_denoising_minimises_the_error_of_the_denoised_datum(domain):
    """The loss is the mean of (1 + s²) / s² · |x + s eps - s² grad E - x|² over entries, for every level s of the batch."""
    tiny = EBM(domain, objective="denoising", layers=1, width=16, channels=8)
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(3)))
    model, x = tiny.tilted, torch.randn(8, *domain.shape, generator=seeded(1))
    found = model.loss(Batch(x), seeded(2)).total
    noise = seeded(2)
    places = (torch.rand(1, generator=noise) + torch.arange(8) / 8) % 1
    eps, errors = torch.randn(x.shape, generator=noise), []
    for row, place in enumerate(places.tolist()):
        s = LOUD * (TAU / LOUD) ** place
        noisy = x[row : row + 1] + s * eps[row : row + 1]
        clean = noisy - s**2 * potential(model._at(s, None), noisy)[1]
        errors.append(float((1 + s**2) / s**2 * (clean - x[row]).square().mean()))
    assert float(found.detach()) == pytest.approx(sum(errors) / 8, rel=1e-3)


@pytest.mark.parametrize("shape", [(3,), (1, 8, 8), (1, 28, 28)])
def test_no_network_outgrows_the_normal(shape):
    """Tilts grow linearly at most, so that Z is finite."""
    model = EBM(Real(shape), layers=1, width=16, channels=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(3)))
        x = 1e4 * torch.randn(4, *shape, generator=seeded())
        near, far = (model.tilted.tilt(scale * x, None).abs() for scale in (1, 10))
    assert bool((far < 11 * near + 1e4).all())


def test_it_learns_two_clusters():
    noise = seeded()
    left = torch.rand(2000, 1, generator=noise) < 0.3
    x = torch.where(left, -1.2, 0.8) + 0.35 * torch.randn(2000, 2, generator=noise)
    model = learn(EBM(PLANE, width=32, layers=2, chains=512, sweeps=10, step=0.15), Batch(x), steps=600)
    drawn = model.sample(500, generator=0, steps=150)
    near = torch.cdist(drawn, torch.tensor([[-1.2, -1.2], [0.8, 0.8]])).min(1).values
    assert float((near < 1.2).double().mean()) > 0.9
    with torch.no_grad():
        exact = -model._energy(x, None).double().mean() - quadrature(model)
    found = model.score(x, effort=16)
    assert found.mean == pytest.approx(float(exact), abs=5 * float(found.mc_stderr[0]) + 0.02)
    assert found.mean > -2.2  # the best is about -1.3, a single normal about -2.5


def test_it_learns_two_clusters_by_denoising():
    """Both in their proportions, which chains that do not mix would not find."""
    noise = seeded()
    left = torch.rand(2000, 1, generator=noise) < 0.3
    x = torch.where(left, -1.2, 0.8) + 0.25 * torch.randn(2000, 2, generator=noise)
    model = learn(EBM(PLANE, objective="denoising", width=32), Batch(x), steps=600)
    drawn = model.sample(1000, generator=0)
    to = torch.cdist(drawn, torch.tensor([[-1.2, -1.2], [0.8, 0.8]]))
    assert float((to.min(1).values < 1).double().mean()) > 0.95
    assert float((to.argmin(1) == 0).double().mean()) == pytest.approx(0.3, abs=0.08)


def test_it_scores_in_few_dimensions_and_without_noise_only():
    assert EBM.tiny(Real((8,))).can("score")
    large = EBM.tiny(Real((9,)))
    assert large.can("energy")
    with pytest.raises(NotSupported):
        large.score(torch.zeros(1, 9))
    assert not EBM(PLANE, noise=0.3).can("score")  # samples are denoised, and the energy is of the noisy ones
    assert not EBM(PLANE, objective="denoising").can("score")
    pictures = make("ebm", Discrete((1, 8, 8), 17), **EBM.sizes["tiny"])
    assert not pictures.can("score")
    assert pictures.sample(3, generator=0, steps=2).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("objective", ["likelihood", "denoising"])
def test_either_objective_is_for_everything(objective):
    for domain in (PLANE, Real(()), Real((1, 5, 4))):
        model = EBM(domain, LABEL, objective=objective, layers=1, width=16, channels=4, chains=64, sweeps=2)
        x = torch.randn(96, *domain.shape, generator=seeded())
        learn(model, Batch(x, torch.arange(96) % 3), steps=3)
        assert model.sample(2, given=1, generator=0, steps=3).shape == (2, *domain.shape)
        assert len(model.training_state()) == (objective == "likelihood")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (1, 5, 9), (3, 2, 1), (1, 1, 40), (1, 40, 1)])
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
        ("loud", 0.1),
        ("objective", "scores"),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(BadInput, match=option):
        EBM(PLANE, **{"objective": "denoising" if option == "loud" else "likelihood", option: value})
    with pytest.raises(BadInput, match="steps"):
        EBM.tiny(PLANE).sample(1, generator=0, steps=0)


@pytest.mark.parametrize("objective", ["likelihood", "denoising"])
@pytest.mark.parametrize("loud", [-1.0, 0.0, math.inf, math.nan])
def test_levels_of_noise_are_checked_whatever_is_learned(objective, loud):
    with pytest.raises(RangeError, match="loud"):
        EBM(PLANE, objective=objective, loud=loud)


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
