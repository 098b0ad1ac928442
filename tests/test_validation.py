"""What validates a model without a likelihood: distances of its samples, and the weights and the stops chosen by them."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import pmodel
from pmodel.capability import Samples
from pmodel.data import Dataset, Split, unpaired
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput
from pmodel.learning import GradientTrained, Loss, Phase, Recipe
from pmodel.storage import digest
from pmodel.train import Training, Validated, plan, planning, train, validation
from pmodel.train.batches import Batches
from pmodel.train.precision import Arithmetic
from pmodel.train.stepper import Stepper
from pmodel.train.validation import ERRORS, Distances, Score, validation_of
from test_energy_distance import between_normals

PLANE = Real((2,))
LABEL = Discrete((), 2)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def points():
    x = normal(2000, 2, seed=1)
    return Dataset("points", PLANE, Split(x[:1000]), Split(x[1000:1500]), Split(x[1500:]))


@pytest.fixture
def labelled():
    """Two clouds, each with its label."""
    y = torch.arange(2000) % 2
    x = normal(2000, 2, seed=2) + 6.0 * y[:, None]
    parts = [Split(x[rows], y[rows]) for rows in (slice(1000), slice(1000, 1500), slice(1500, 2000))]
    return Dataset("labelled", PLANE, *parts, given=LABEL, label_names=("left", "right"))


class Sampler(Samples):
    """Samples that a function makes of normal noise and labels."""

    natives = (Real,)
    conditional = True

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.make = lambda z, given: z

    def _sample(self, n, given, generator):
        return self.make(torch.randn(n, 2, generator=generator), given)


def sampler(make, given=None):
    model = Sampler(PLANE, given)
    model.make = make
    return model


class Ruined(Samples, GradientTrained):
    """A generator that learns the data's mean, and from the middle of training on is driven away from it."""

    natives = (Real,)
    recipe_ = Recipe(batch=64, rate=0.05, ema=0.0, schedule="constant", select="last", steps=100)

    def __init__(self, domain, given=None, *, ruin=20.0):
        super().__init__(domain, given)
        self.mean, self.ruin = nn.Parameter(torch.full((2,), -2.0)), ruin

    def recipe(self):
        return self.recipe_

    def phases(self):
        return (
            Phase("learn", (self.mean,), lambda batch, _: self.near(batch.x.mean(0)), span=(0.0, 0.5)),
            Phase(
                "ruin", (self.mean,), lambda batch, _: self.near(batch.x.mean(0) + self.ruin), span=(0.5, 1.0), rate=5.0
            ),
        )

    def near(self, target):
        return Loss((self.mean - target).square().sum())

    def _sample(self, n, given, generator):
        return self.mean.detach() + torch.randn(n, 2, generator=generator)


def run(model, data, steps=100, **settings):
    """The model trained, the validations, and the last event."""
    events = list(train(model, data, plan(model, data, steps=steps, settings=settings)))
    return [event for event in events if isinstance(event, Validated)], events[-1]


# Scores


def test_the_distance_is_in_units_of_the_data(points):
    far = dataclasses.replace(points, **{k: Split(3 * s.x + 7) for k, s in points.splits.items()})
    found = Distances(far, 400, 0, conditional=False).score(
        sampler(lambda z, _: 3 * (z + torch.tensor([1.0, 0.0])) + 7)
    )
    near = Distances(points, 400, 0, conditional=False).score(sampler(lambda z, _: z + torch.tensor([1.0, 0.0])))
    assert found.value == pytest.approx(near.value, rel=1e-4)
    assert (found.kind, found.n) == ("distance", 400)
    assert found.told == -found.value > 5 * found.stderr


def test_the_distance_is_that_between_the_distributions():
    x = normal(9000, 1, seed=3)
    data = Dataset("line", Real((1,)), Split(x[:4000]), Split(x[4000:6000]), Split(x[6000:]))
    model = Sampler(Real((1,)))
    model.make = lambda z, _: 1 + z[:, :1]
    found = Distances(data, 1000, 0, conditional=False).score(model)
    assert found.told == pytest.approx(between_normals(1, 1), abs=4 * found.stderr)


def test_a_model_that_ignores_its_label_is_far_from_the_data(labelled):
    def right(z, given):
        return z + 6.0 * given[:, None]

    ways = {
        "right": right,
        "swapped": lambda z, given: right(z, 1 - given),
        "deaf": lambda z, given: right(z, given[torch.randperm(len(given))]),
    }
    found = {
        name: validation_of(sampler(make, LABEL), labelled, 400, 0).score(sampler(make, LABEL))
        for name, make in ways.items()
    }
    assert abs(found["right"].value) < 3 * found["right"].stderr
    assert found["swapped"].value < found["deaf"].value < -10 * found["deaf"].stderr


def test_samples_that_are_not_finite_are_never_the_best(points):
    found = Distances(points, 50, 0, conditional=False).score(sampler(lambda z, _: z / (z[:, :1] > 2).logical_not()))
    assert found.value == -math.inf
    assert not found.stands(None)
    assert not found.stands(torch.zeros(50))


def test_scores_have_the_same_noise_each_time_and_one_of_their_own(points):
    model, looked = sampler(lambda z, _: 2 * z), Distances(points, 100, 0, conditional=False)
    first, before = looked.score(model), torch.get_rng_state()
    assert torch.equal(looked.score(model).values, first.values)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(Distances(points, 100, 1, conditional=False).score(model).values, first.values)


def test_the_highest_likelihood_is_kept_and_the_latest_distance_that_is_not_worse():
    before = torch.tensor([0.0, 1.0, 2.0, 3.0]).double()
    for shift, likely, near in ((0.1, True, True), (0.0, False, True), (-0.1, False, False)):
        values = before + shift
        assert Score(values, 0.5, "exact").stands(before) is likely
        assert Score(values, 0.5, "distance").stands(before) is near
    noise = torch.tensor([1.0, -1.0, 1.0, -1.0]).double()
    error = float(noise.std()) / 2
    for lost in (0.99, 1.01):
        assert Score(before + noise - lost * ERRORS * error, 0.5, "distance").stands(before) is (lost < 1)
    assert Score(before, 0.5, "exact").stands(None)


def test_equal_models_are_not_told_apart_by_noise(points):
    """Rotations of the noise: different samples of one distribution."""
    looked = Distances(points, 200, 0, conditional=False)

    def turned(angle):
        c, s = math.cos(angle), math.sin(angle)
        return looked.score(sampler(lambda z, _: z @ torch.tensor([[c, -s], [s, c]])))

    scores = [turned(0.1 * k) for k in range(60)]
    worse = sum(not b.stands(a.values) for a in scores for b in scores)
    assert worse <= 0.003 * len(scores) ** 2


# What a run does with them


def test_the_best_weights_of_a_pair_that_is_ruined_late_are_kept(points):
    best, last = Ruined(PLANE), Ruined(PLANE)
    looks, _ = run(best, points, select="best")
    none, _ = run(last, points)
    assert not none  # a number of steps does not say how long they take
    assert len(looks) == 20
    kept = [event for event in looks if event.best][-1]
    assert 20 < kept.step <= 50
    assert float(best.mean.detach().norm()) < 0.3
    assert float(last.mean.detach().norm()) > 2
    assert kept.value < 0.05 < looks[-1].value
    assert all(event.kind == "distance" for event in looks)


def test_the_last_weights_are_kept_where_none_before_were_better(points):
    model, same = Ruined(PLANE, ruin=0.0), Ruined(PLANE, ruin=0.0)
    looks, _ = run(model, points, select="best")
    run(same, points)
    assert looks[-1].best
    assert torch.equal(model.mean, same.mean)


def test_patience_ends_a_run_that_is_ruined_and_no_other(points):
    looks, end = run(Ruined(PLANE), points, patience=3)
    assert end.reason == "stopped early"
    assert 55 < end.steps < 80
    assert [event.best for event in looks][-3:] == [False] * 3
    _, end = run(Ruined(PLANE, ruin=0.0), points, patience=3)
    assert end.reason == "finished"


@pytest.mark.parametrize("model", ["gan", "dcgan"])
def test_pairs_are_trained_alike_with_and_without_validation(model):
    data = pmodel.load_data("digits" if model == "dcgan" else "ring")
    made = [pmodel.make(model, data.domain, **pmodel.catalogue.find(model).load().sizes["tiny"]) for _ in range(2)]
    chosen = plan(made[0], data, steps=12, precision="float32")
    assert (chosen.recipe.select, chosen.validations) == ("last", 0)
    list(train(made[0], data, dataclasses.replace(chosen, validations=6, validated=40)))
    list(train(made[1], data, chosen))
    assert digest(made[0]) == digest(made[1])


def test_the_kept_weights_of_a_conditional_gan_have_the_score_that_was_told(labelled):
    model = pmodel.make("gan", PLANE, LABEL, width=16)
    looks, _ = run(model, labelled, steps=40, select="best")
    kept = [event for event in looks if event.best][-1]
    assert validation_of(model, labelled, kept.n, 0).score(model).told == pytest.approx(kept.value)


def test_a_translation_is_compared_with_the_other_set():
    pictures = torch.randint(0, 4, (300, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    domain = Discrete((1, 8, 8), 4)
    a, b = (
        Dataset(name, domain, Split(x[:200]), Split(x[200:260]), Split(x[260:]))
        for name, x in (("a", pictures), ("b", 3 - pictures))
    )
    data = unpaired(dataclasses.replace(a, valid=a.valid.take(torch.arange(30))), b)
    looks, _ = run(pmodel.make("cyclegan", domain, domain, channels=4, blocks=1, pool=4), data, steps=4, select="best")
    assert {(event.kind, event.n) for event in looks} == {("distance", 30)}


def test_an_autoencoder_with_a_flow_of_its_codes_is_chosen_by_its_samples():
    data = pmodel.load_data("digits")
    model = pmodel.make("autoencoder", data.domain, prior="nice", **{"prior.layers": 2, "prior.width": 8})
    looks, _ = run(model, data, steps=40, select="best")
    assert {event.kind for event in looks} == {"distance"}


# Growth


def stepper_of(model, data):
    batches = Batches(data.train, data.domain, model.recipe(), 0, torch.device("cpu"), conditional=False)
    return Stepper(model, batches, model.recipe(), 0, Arithmetic())


def test_each_doubling_of_a_growing_pair_is_a_stage_of_its_own():
    data = pmodel.load_data("digits")
    stepper = stepper_of(pmodel.make("progan", data.domain, latent=8, channels=6, widest=6), data)
    assert stepper.openings == {"discriminator 8x8", "generator 8x8"}
    assert not stepper.last_stage(0.1)
    assert stepper.last_stage(0.5)
    assert stepper.turn(26, 0.24, 0.26, warm=False)
    assert not stepper.turn(27, 0.26, 0.27, warm=False)


def test_phases_that_move_what_was_moved_before_open_no_stage(points):
    assert stepper_of(Ruined(PLANE), points).openings == frozenset()


# Plans


@pytest.mark.parametrize("settings", [{"select": "best"}, {"patience": 2}])
@pytest.mark.parametrize("shared", ["train", "test"])
def test_a_choice_without_validation_data_is_refused(points, shared, settings):
    data = dataclasses.replace(points, valid=points.splits[shared])
    with pytest.raises(BadInput, match=r"(?s)no validation data of its own.*train\."):
        plan(Ruined(PLANE), data, steps=10, settings=settings)
    assert plan(Ruined(PLANE), data, steps=10, settings={"select": "last", "patience": 0}).validations == 0


def test_a_choice_that_a_model_does_not_allow_is_refused():
    data = pmodel.load_data("digits")
    for options, words in (({}, "neither score nor sample"), ({"prior": "gaussian"}, "passes over the data")):
        model = pmodel.make("autoencoder", data.domain, **options)
        with pytest.raises(BadInput, match=words):
            plan(model, data, steps=10, settings={"select": "best"})
        assert plan(model, data, steps=10, precision="float32").validations == 0


def test_too_few_data_for_a_distance_are_refused(points):
    data = dataclasses.replace(points, valid=points.valid.take(torch.arange(2)))
    with pytest.raises(BadInput, match="2 validation data, of at least 3"):
        plan(Ruined(PLANE), data, steps=10, settings={"select": "best"})


@pytest.fixture
def clock(monkeypatch):
    """A look at n samples takes n hundredths of a second, and a step takes a tenth of one."""
    asked = []

    def seconds(model, data, n, seed):
        asked.append(n)
        return 0.01 * n

    monkeypatch.setattr(validation, "_seconds", seconds)
    monkeypatch.setattr(Stepper, "timed", lambda self, number, progress: 0.1)
    monkeypatch.setattr(planning, "TRIALS", 10**9)
    return asked


@pytest.mark.parametrize(("select", "share"), [("last", 0.01), ("best", 0.05)])
def test_looks_keep_to_their_share_of_a_budget(points, clock, select, share):
    budget = 2000.0
    chosen = plan(Ruined(PLANE), points, budget=budget, settings={"select": select})
    assert chosen.validations == 20
    assert chosen.validated == (100 if select == "last" else 500)
    spent = 0.01 * chosen.validations * chosen.validated
    assert spent <= share * budget + 1e-9
    assert chosen.steps == pytest.approx((0.92 * budget - spent) / 0.1, rel=0.01)


def test_a_budget_too_short_for_a_look_is_without_and_refuses_to_choose(points, clock):
    assert plan(Ruined(PLANE), points, budget=5.0).validations == 0
    assert max(clock) == 3
    with pytest.raises(BadInput, match="too short to validate"):
        plan(Ruined(PLANE), points, budget=5.0, settings={"patience": 1})


# Resume


def test_a_run_goes_on_with_the_same_choice(points):
    """From every state, before and after the ruin, with the peak and the weights that are kept."""

    def fresh():
        model = Ruined(PLANE)
        return Training(model, points, plan(model, points, steps=30, settings={"select": "best", "patience": 4}))

    whole, states = fresh(), []
    for event in whole:
        if isinstance(event, Validated):
            states.append(json.dumps(dataclasses.asdict(event)))
    for stop in range(1, len(states)):
        first, told = fresh(), []
        for event in first:
            if isinstance(event, Validated):
                told.append(json.dumps(dataclasses.asdict(event)))
            if len(told) == stop and type(event).__name__ == "Stepped":
                break
        again = fresh()
        again.restore(first.state())
        told += [json.dumps(dataclasses.asdict(event)) for event in again if isinstance(event, Validated)]
        assert [json.loads(t) | {"seconds": 0} for t in told] == [json.loads(t) | {"seconds": 0} for t in states]
        assert digest(again.model) == digest(whole.model)
