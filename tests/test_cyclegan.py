"""Translation between two unpaired sets: the cycle, the pool's law, whose tensors move, both directions, and exact resume."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from pmodel.construction import make
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, NotSupported, RangeError
from pmodel.implicit.cyclegan import CycleGAN
from pmodel.implicit.game.losses import LOSSES
from pmodel.implicit.game.pool import Pool
from pmodel.learning import Batch
from pmodel.storage import load, save

PICTURE = Discrete((3, 8, 8), 17)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pictures(n=6, domain=PICTURE, seed=0):
    return torch.randint(0, domain.levels, (n, *domain.shape), generator=seeded(seed))


def batch(n=6, domain=PICTURE):
    return Batch(pictures(n, domain), pictures(n, domain, seed=1))


def phase_of(model, name):
    return next(phase for phase in model.phases() if phase.name == name)


class Turned(nn.Module):
    """A map that has an inverse: colours are permuted, and dark is made light."""

    def __init__(self, *order):
        super().__init__()
        self.order = list(order)

    def forward(self, x):
        return -x[:, self.order]


def test_the_cycle_vanishes_for_maps_that_invert_each_other(fresh):
    model = CycleGAN(PICTURE, channels=4, blocks=1)
    model.forth, model.back = Turned(1, 2, 0), Turned(2, 0, 1)
    parts = phase_of(model, "generators").loss(batch(), seeded()).parts
    assert float(parts["cycle"]) == 0
    assert float(parts["identity"]) > 0
    model.back = Turned(1, 2, 0)
    assert float(phase_of(model, "generators").loss(batch(), seeded()).parts["cycle"]) > 0


def test_the_identity_vanishes_for_maps_that_leave_everything(fresh):
    model = CycleGAN(PICTURE, channels=4, blocks=1)
    model.forth = model.back = nn.Identity()
    parts = phase_of(model, "generators").loss(batch(), seeded()).parts
    assert float(parts["cycle"]) == float(parts["identity"]) == 0


def test_the_generators_minimise_their_formula(fresh):
    model, data = CycleGAN(PICTURE, channels=4, blocks=1, cycle=7.0, identity=3.0), batch()
    a, b = (x.float() / 8 - 1 for x in (data.given, data.x))
    with torch.no_grad():
        to_b, to_a = model.forth(a), model.back(b)
        games = [
            (judge(fake) - 1).square().mean() / 2 for judge, fake in ((model.judge_a, to_a), (model.judge_b, to_b))
        ]
        cycle = (model.back(to_b) - a).abs().mean() + (model.forth(to_a) - b).abs().mean()
        identity = (model.forth(b) - b).abs().mean() + (model.back(a) - a).abs().mean()
    loss = phase_of(model, "generators").loss(data, seeded())
    assert loss.total.item() == pytest.approx((sum(games) + 7 * cycle + 3 * identity).item(), rel=1e-5)
    assert loss.parts["game_a"].item() == pytest.approx(games[0].item(), rel=1e-5)


@pytest.mark.parametrize(("side", "own", "other"), [("a", "given", "x"), ("b", "x", "given")])
def test_a_discriminator_tells_its_own_kind_from_translations(fresh, side, own, other):
    model, data = CycleGAN(PICTURE, channels=4, blocks=1, pool=0), batch()
    real, source = (getattr(data, name).float() / 8 - 1 for name in (own, other))
    judge, translator = getattr(model, f"judge_{side}"), model.back if side == "a" else model.forth
    loss = phase_of(model, f"discriminator_{side}").loss(data, seeded())
    with torch.no_grad():
        expected = ((judge(real) - 1).square().mean() + judge(translator(source)).square().mean()) / 2
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert {"loss", "real", "fake"} <= loss.parts.keys()


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "wasserstein"])
@pytest.mark.parametrize("name", ["discriminator_a", "discriminator_b", "generators"])
def test_a_phase_moves_its_own_players_and_nothing_else(fresh, loss, name):
    players = {"discriminator_a": ("judge_a",), "discriminator_b": ("judge_b",), "generators": ("forth", "back")}[name]
    model = CycleGAN(PICTURE, channels=4, blocks=1, loss=loss).train()
    phase, before = phase_of(model, name), copy.deepcopy(model.state_dict())
    optimiser = torch.optim.Adam(phase.parameters, lr=1e-2)
    for step in range(2):
        optimiser.zero_grad()
        phase.loss(batch(), seeded(step)).total.backward(inputs=list(phase.parameters))
        optimiser.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    own = {key for key in before if key.startswith(tuple(f"{player}." for player in players))}
    assert moved <= own
    assert {key for key in own if key.endswith("weight")} <= moved
    pools = {"discriminator_a": ("pool_a.",), "discriminator_b": ("pool_b.",), "generators": ()}[name]
    carried = {key for key, tensor in model.training_state().items() if tensor.any()}
    assert carried == {key for key in model.training_state() if key.startswith(pools)} if pools else not carried


def test_phases_share_no_parameter_and_miss_none():
    model = CycleGAN.tiny(PICTURE)
    names = [id(p) for phase in model.phases() for p in phase.parameters]
    assert len(names) == len(set(names))
    assert set(names) == {id(p) for p in model.parameters()}


def numbered(first, n):
    """Samples that are told apart by their number."""
    return torch.arange(first, first + n).float().reshape(n, 1, 1, 1)


def test_a_pool_passes_on_what_it_takes_until_it_is_full():
    pool = Pool(5, (1, 1, 1))
    for first in (0, 2):
        assert torch.equal(pool.exchanged(numbered(first, 2), seeded()), numbered(first, 2))
    assert pool.filled == 4
    mixed = pool.exchanged(numbered(4, 3), seeded())
    assert mixed[0] == 4  # the last free place
    assert pool.filled == 5


def test_a_full_pool_passes_on_half_of_the_new_and_swaps_the_rest():
    pool, noise = Pool(8, (1, 1, 1)), seeded()
    pool.exchanged(numbered(0, 8), noise)
    kept, ages, rounds, n = 0, [], 4000, 4
    for number in range(rounds):
        fresh, before = numbered(8 + number * n, n), set(pool.stored.flatten().tolist())
        passed = pool.exchanged(fresh, noise)
        new, after = set(fresh.flatten().tolist()), set(pool.stored.flatten().tolist())
        shown = set(passed.flatten().tolist())
        assert len(shown) == n
        assert shown <= new | before
        assert after == (before | new) - shown  # nothing is lost, nothing is twice
        kept += len(shown & new)
        ages += [8 + number * n - old for old in shown & before]
    total = rounds * n
    assert abs(kept / total - 0.5) < 4 * 0.5 / math.sqrt(total)
    mean = sum(ages) / len(ages)  # a place is left with probability 1 / (2 m) for each new one: 2 m of them on average
    assert mean == pytest.approx(2 * 8, rel=0.1)


def test_each_new_sample_is_swapped_by_itself():
    """Of four, every pattern of swaps is equally likely."""
    noise, counts = seeded(), dict.fromkeys(itertools.product([False, True], repeat=4), 0)
    pool = Pool(16, (1, 1, 1))
    pool.exchanged(torch.full((16, 1, 1, 1), -1.0), noise)
    for _ in range(4000):
        pool.stored.fill_(-1)
        counts[tuple((pool.exchanged(numbered(0, 4), noise).flatten() < 0).tolist())] += 1
    chi2 = sum((count - 250) ** 2 / 250 for count in counts.values())
    assert chi2 < 37.7  # the 99.9 % quantile at 15 degrees of freedom


@pytest.mark.parametrize("n", [1, 3, 7, 20])
def test_batches_of_any_size_go_through_a_pool(n):
    pool = Pool(3, (1, 1, 1))
    for step in range(4):
        assert pool.exchanged(numbered(step * n, n), seeded(step)).shape == (n, 1, 1, 1)
    none = Pool(0, (1, 1, 1))
    assert torch.equal(none.exchanged(numbered(0, n), seeded()), numbered(0, n))
    assert none.state == {}


def test_the_pools_are_no_part_of_the_model_file(fresh, tmp_path):
    model = CycleGAN.tiny(PICTURE)
    phase_of(model, "discriminator_a").loss(batch(), seeded())
    assert model.training_state()["pool_a.filled"] == 4
    assert not [name for name in model.state_dict() if "pool" in name]
    save(model, tmp_path)
    again = load(tmp_path)
    assert torch.equal(again.sample(given=pictures(), generator=0), model.sample(given=pictures(), generator=0))


def test_both_directions(fresh):
    model = CycleGAN.tiny(PICTURE)
    a = pictures()
    there, back = model.sample(given=a), model.sample(given=a, backwards=True)
    for x, translator in ((there, model.forth), (back, model.back)):
        with torch.no_grad():
            expected = ((translator(a.float() / 8 - 1) + 1) * 8).round().long()
        assert torch.equal(x, expected)
    assert not torch.equal(there, back)
    assert model.backwards is False


def test_a_picture_for_all_and_one_by_one(fresh):
    model, a = CycleGAN.tiny(PICTURE), pictures(1)
    one = model.sample(given=a)
    assert torch.equal(model.sample(given=a[0]), one)
    assert torch.equal(model.sample(3, given=a[0]), one.expand(3, *PICTURE.shape))
    assert model.sample(0, given=a[:0]).shape == (0, *PICTURE.shape)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14), (1, 2, 3), (1, 1, 1)])
def test_pictures_of_any_size_and_colours(fresh, shape):
    domain = Discrete(shape, 256)
    model = CycleGAN(domain, channels=4, blocks=1, pool=2)
    domain.check(model.sample(given=pictures(5, domain)))
    for phase in model.phases():
        phase.loss(batch(5, domain), seeded()).total.backward(inputs=list(phase.parameters))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_translation_does_not_depend_on_the_others_in_its_batch(fresh):
    forth, x = CycleGAN.tiny(PICTURE).forth.train(), pictures().float() / 8 - 1
    with torch.no_grad():
        all_of_them = forth(x)
        assert torch.allclose(all_of_them[:2], forth(x[:2]), atol=1e-5)
        assert torch.allclose(all_of_them, forth.eval()(x), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "options", "error", "named"),
    [
        (Discrete((1, 8, 8), 17), {}, BadInput, "both kinds"),
        (Discrete((3, 8, 8), 256), {}, BadInput, "both kinds"),
        (LABEL, {}, BadInput, "second set"),
        (PICTURE, {"channels": 0}, RangeError, "channels"),
        (PICTURE, {"blocks": -1}, RangeError, "-1"),
        (PICTURE, {"pool": 1.5}, RangeError, "1.5"),
        (PICTURE, {"cycle": -1.0}, RangeError, "cycle"),
        (PICTURE, {"identity": math.inf}, RangeError, "identity"),
        (PICTURE, {"loss": "earth"}, BadInput, "earth"),
    ],
)
def test_bad_options_are_refused(given, options, error, named):
    with pytest.raises(error, match=named):
        CycleGAN(PICTURE, given, **options)


@pytest.mark.parametrize("domain", [Discrete((3,), 2), Real((1, 8, 8))])
def test_what_is_no_picture_is_refused(domain):
    with pytest.raises(BadInput, match="pictures"):
        CycleGAN(domain)


def test_bad_conditions_are_refused():
    model, a = CycleGAN.tiny(PICTURE), pictures()
    for given, named in (
        (a[:, :1], "shape"),
        (a + 17, "whole numbers"),
        (a[:2], "one condition for each"),
        (3, "shape"),
        (None, "translates"),
    ):
        with pytest.raises(BadInput, match=named):
            model.sample(6, given=given)
    with pytest.raises(BadInput, match="backwards"):
        model.sample(given=a, backwards="yes")
    with pytest.raises(BadInput, match="two sets"):
        phase_of(model, "generators").loss(Batch(a), seeded())


def test_made_only_for_what_can_be_translated():
    assert make("cyclegan", PICTURE, PICTURE, channels=2, blocks=0).given == PICTURE
    with pytest.raises(NotSupported, match="datum of a second set"):
        make("cyclegan", PICTURE, LABEL)
    with pytest.raises(NotSupported, match="class label"):
        make("dcgan", PICTURE, PICTURE)
    with pytest.raises(NotSupported, match="pictures"):
        make("cyclegan", Real((2,)), Real((2,)))
