"""The convolutional adversarial pair: whose tensors move when, losses against their formulas, gradients against finite ones."""

import copy
import math

import pytest
import torch

from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.implicit.dcgan import DCGAN
from pmodel.implicit.game.losses import LOSSES
from pmodel.implicit.game.penalties import squared_slopes
from pmodel.learning import Batch

PICTURE = Discrete((1, 8, 8), 17)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(domain=PICTURE, given=None, n=6):
    x = torch.randint(0, domain.levels, (n, *domain.shape), generator=seeded())
    return Batch(x, None if given is None else torch.arange(n) % given.levels)


def moved(model, before):
    """The names of the parameters and buffers that differ."""
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("given", [None, LABEL])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_phase_moves_its_own_player_and_nothing_else(fresh, loss, given, player):
    model = DCGAN(PICTURE, given, latent=4, channels=4, width=8, loss=loss).train()
    phase = next(phase for phase in model.phases() if phase.name == player)
    optimiser = torch.optim.Adam(phase.parameters, lr=1e-2)
    before = copy.deepcopy(model.state_dict())
    for step in range(3):
        optimiser.zero_grad()
        phase.loss(batch(given=given), seeded(step)).total.backward(inputs=list(phase.parameters))
        optimiser.step()
    own = {name for name in before if name.startswith(player + ".")}
    assert moved(model, before) <= own
    weights = {name for name in own if name.endswith("weight")}
    assert weights <= moved(model, before)


def test_phases_share_no_parameter_and_miss_none():
    model = DCGAN.tiny(PICTURE, LABEL)
    discriminator, generator = model.phases()
    names = [id(p) for phase in (discriminator, generator) for p in phase.parameters]
    assert len(names) == len(set(names))
    assert set(names) == {id(p) for p in model.parameters()}
    assert (discriminator.name, generator.name) == ("discriminator", "generator")


def test_repeats_are_those_of_the_discriminator():
    assert [phase.repeat for phase in DCGAN(PICTURE, channels=2, repeats=5).phases()] == [5, 1]


def test_the_discriminator_minimises_game_and_half_gamma_penalties(fresh):
    model = DCGAN(PICTURE, latent=4, channels=4, width=8, penalty=3.0)
    loss = model.phases()[0].loss(batch(), seeded())
    parts = {name: value.item() for name, value in loss.parts.items()}
    assert parts["r1"] > 0
    assert parts["r2"] > 0
    assert loss.total.item() == pytest.approx(parts["loss"] + 1.5 * (parts["r1"] + parts["r2"]), rel=1e-5)


def test_r1_is_the_slope_found_by_finite_differences(fresh):
    model = DCGAN(PICTURE, latent=4, channels=4, width=8).double()
    x = torch.rand(1, 1, 8, 8, generator=seeded(), dtype=torch.float64) * 2 - 1
    network = model.discriminator.features
    head = model.discriminator.verdict.head
    eye = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8) * 1e-6
    with torch.no_grad():
        slopes = (head(network(x + eye)) - head(network(x - eye))).squeeze(1) / 2e-6
    x.requires_grad_()
    penalty = squared_slopes(head(network(x)).squeeze(1), x)[0].mean()
    assert penalty.item() == pytest.approx(slopes.square().sum().item(), rel=1e-3)


@pytest.mark.parametrize("domain", [Discrete((1, 28, 28), 256), Discrete((3, 9, 14), 256), Discrete((1, 2, 3), 2)])
@pytest.mark.parametrize("given", [None, LABEL])
def test_pictures_of_any_size_colours_and_levels(fresh, domain, given):
    model = DCGAN(domain, given, latent=4, channels=2, width=8)
    x = model.sample(5, generator=0)
    assert x.shape == (5, *domain.shape)
    domain.check(x)
    for phase in model.phases():
        phase.loss(batch(domain, given), seeded()).total.backward(inputs=list(phase.parameters))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_label_reaches_both_players(fresh):
    model = DCGAN(PICTURE, LABEL, latent=4, channels=4, width=8)
    assert not torch.equal(model.sample(4, given=0, generator=0), model.sample(4, given=1, generator=0))
    x = model._seen(batch().x)
    with torch.no_grad():
        logits = [model.discriminator(x, torch.full((6,), label)) for label in range(2)]
    assert not torch.equal(*logits)


def test_a_sample_does_not_depend_on_the_others_in_its_batch(fresh):
    generator, z = (
        DCGAN(PICTURE, latent=4, channels=4, width=8).generator.train(),
        torch.randn(8, 4, generator=seeded()),
    )
    with torch.no_grad():
        all_of_them = generator(z, None)
        assert torch.allclose(all_of_them[:2], generator(z[:2], None), atol=1e-5)
        assert torch.allclose(all_of_them, generator.eval()(z, None), atol=1e-5)


def test_tiny_is_tiny():
    assert 20 * DCGAN.tiny(PICTURE).size < DCGAN(PICTURE).size


@pytest.mark.parametrize(
    ("domain", "options", "error", "named"),
    [
        (Discrete((3,), 2), {}, BadInput, "levels=2"),
        (Real((1, 8, 8)), {}, BadInput, "Real"),
        (PICTURE, {"latent": 0}, RangeError, "latent"),
        (PICTURE, {"channels": 2.5}, RangeError, "2.5"),
        (PICTURE, {"repeats": True}, RangeError, "True"),
        (PICTURE, {"loss": "earth"}, BadInput, "earth"),
        (PICTURE, {"penalised": "nowhere"}, BadInput, "nowhere"),
        (PICTURE, {"changes": ["size"]}, BadInput, "size"),
        (PICTURE, {"changes": "hole"}, BadInput, "list of words"),
        (PICTURE, {"packing": 0}, RangeError, "packing"),
        (PICTURE, {"lead": 0.0}, RangeError, "lead"),
        (PICTURE, {"penalty": -1.0}, RangeError, "-1"),
        (PICTURE, {"penalty": math.inf}, RangeError, "inf"),
    ],
)
def test_bad_input_is_refused(domain, options, error, named):
    with pytest.raises(error, match=named):
        DCGAN(domain, **options)


@pytest.mark.slow
def test_a_minute_of_training_finds_every_digit():
    """A support vector machine names the samples: all ten digits, none rare."""
    sklearn = pytest.importorskip("sklearn.svm")
    import pmodel

    data = pmodel.load_data("digits")
    model = pmodel.fit("dcgan", data, steps=1500, seed=0)
    judge = sklearn.SVC(gamma=0.003, C=10).fit(data.train.x.flatten(1).numpy(), data.train.y.numpy())
    named = judge.predict(model.sample(1000, generator=0).flatten(1).numpy())
    assert int(torch.bincount(torch.as_tensor(named), minlength=10).min()) >= 30
