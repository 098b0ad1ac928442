"""The engine: plans, batches, the moving average, the loop and run folders."""

import dataclasses
import json

import pytest
import torch
from torch import nn

import pmodel
from pmodel.capability import Density, Samples
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, Diverged, RunError, UnknownName
from pmodel.learning import ClosedForm, GradientTrained, Loss, Phase, Recipe
from pmodel.train import Finished, Iterated, Plan, Sampled, Started, Stepped, plan, train
from pmodel.train.batches import Batches
from pmodel.train.ema import MovingAverage
from pmodel.train.planning import recipe_with
from pmodel.train.stepper import learning_rate


class Location(Samples, Density, GradientTrained):
    """N(mu, 1) by gradient descent: its optimum is the mean of the data."""

    natives = (Real,)

    def __init__(self, domain, given=None, *, poison: int = -1):
        super().__init__(domain, given)
        self.mu = nn.Parameter(torch.zeros(domain.shape))
        self.poison = poison
        self.calls = 0

    def _log_prob(self, x, given):
        return -0.5 * ((x - self.mu) ** 2 + torch.log(torch.tensor(2 * torch.pi))).sum(1)

    def _sample(self, n, given, generator):
        return self.mu + torch.randn((n, *self.domain.shape), generator=generator)

    def phases(self):
        return (Phase("fit", (self.mu,), self.loss),)

    def loss(self, batch, generator):
        self.calls += 1
        noise = 0.01 * torch.randn(batch.x.shape, generator=generator)
        nll = -self._log_prob(batch.x + noise, None).mean()
        return Loss(nll * float("nan") if self.calls == self.poison else nll, {"nll": nll})

    def recipe(self):
        return Recipe(batch=16, rate=0.1, ema=0.9, steps=60)


class Mean(Samples, Density, ClosedForm):
    """N(mu, 1) from sums, with a needlessly repeated pass."""

    natives = (Real,)
    iterative = True

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.register_buffer("mu", torch.zeros(domain.shape, dtype=torch.float64))

    def _log_prob(self, x, given):
        return -0.5 * ((x.double() - self.mu) ** 2 + torch.log(torch.tensor(2 * torch.pi))).sum(1)

    def _sample(self, n, given, generator):
        return (self.mu + torch.randn((n, *self.domain.shape), generator=generator)).float()

    def initialise(self, subset, generator):
        self.mu.copy_(subset.x[0])

    def statistics(self, batch, generator):
        return {
            "n": torch.tensor(len(batch.x)).double(),
            "x": batch.x.double().sum(0),
            "log_prob": self._log_prob(batch.x, None).sum(),
        }

    def maximise(self, statistics):
        self.mu.copy_(statistics["x"] / statistics["n"])


@pytest.fixture(scope="module")
def points():
    x = torch.randn((300, 2), generator=torch.Generator().manual_seed(1)) + torch.tensor([3.0, -2.0])
    splits = (Split(x[:200]), Split(x[200:250]), Split(x[250:]))
    return Dataset("points", Real((2,)), *splits)


def batches_of_16(data):
    return Batches(data.train, data.domain, Recipe(batch=16), 0, torch.device("cpu"), conditional=False)


def run(model, data, **options):
    chosen = plan(model, data, **options)
    return list(train(model, data, chosen))


def test_events_come_in_order_and_count_what_was_seen(points):
    events = run(Location(points.domain), points, steps=40)
    assert isinstance(events[0], Started)
    assert events[0].steps == 40
    assert isinstance(events[-1], Finished)
    assert (events[-1].steps, events[-1].images, events[-1].reason) == (40, 40 * 16, "finished")
    steps = [event.step for event in events if isinstance(event, Stepped)]
    assert steps == sorted(steps)
    assert steps[-1] == 40
    pictures = [event.progress for event in events if isinstance(event, Sampled)]
    assert pictures == sorted(pictures)
    assert pictures[-1] == 1.0


def test_gradient_training_finds_the_mean(points):
    model = Location(points.domain)
    run(model, points, steps=400, settings={"select": "last"})
    assert torch.allclose(model.mu, points.train.x.mean(0), atol=0.05)
    assert not model.training


def test_the_same_seed_gives_the_same_bits_and_another_does_not(points):
    weights = []
    for seed in (0, 0, 1):
        model = Location(points.domain)
        run(model, points, steps=30, seed=seed)
        weights.append(model.mu.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_leaves_the_global_generator_alone(points):
    before = torch.get_rng_state()
    run(Location(points.domain), points, steps=5)
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_left_is_the_moving_average(points):
    averaged, raw = Location(points.domain), Location(points.domain)
    run(averaged, points, steps=50)
    run(raw, points, steps=50, settings={"ema": 0.0})
    assert not torch.equal(averaged.mu, raw.mu)


def test_moving_average_is_the_recursion_it_says():
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average = MovingAverage(module, 0.5)
    expected = 1.0
    for step in range(12):
        with torch.no_grad():
            module.weight.fill_(float(step))
        average.update(step)
        if step in (3, 7, 11):
            decay = min(0.5, (1 + step) / (10 + step)) ** 4
            expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert module.weight.item() == pytest.approx(expected, abs=1e-5)
    assert module.weight.item() == 11.0


def test_batches_of_a_pass_hold_every_datum_once(points):
    batches = batches_of_16(points)
    seen = torch.cat([batches.shard(number, 0).x for number in range(200 * 2 // 16)])
    first = seen[:200]
    assert torch.equal(first.sort(0).values, points.train.x.sort(0).values)
    assert torch.equal(batches.shard(7, 0).x, batches.shard(7, 0).x)
    assert not torch.equal(seen[:200], seen[200:])


def test_blocks_are_the_data_in_order(points, monkeypatch):
    monkeypatch.setattr("pmodel.train.batches.BLOCK", 64)
    batches = batches_of_16(points)
    blocks = [block.x for _, block in batches.blocks()]
    assert len(blocks) == 7
    assert torch.equal(torch.cat(blocks), points.train.x)


def test_expectation_maximisation_stops_when_it_stands_still(points):
    model = Mean(points.domain)
    events = run(model, points)
    passes = [event for event in events if isinstance(event, Iterated)]
    assert events[-1].reason == "converged"
    assert len(passes) == 3
    assert torch.allclose(model.mu, points.train.x.double().mean(0))
    assert passes[1].log_prob == pytest.approx(float(model.log_prob(points.train.x).mean()))


def test_statistics_do_not_depend_on_the_blocks(points, monkeypatch):
    whole, split = Mean(points.domain), Mean(points.domain)
    run(whole, points)
    monkeypatch.setattr("pmodel.train.batches.BLOCK", 30)
    run(split, points)
    assert torch.allclose(whole.mu, split.mu, rtol=0, atol=1e-12)


def test_a_loss_that_is_not_finite_names_step_phase_and_cure(points):
    with pytest.raises(Diverged, match=r"phase 'fit' is not finite at step 4") as caught:
        run(Location(points.domain, poison=5), points, steps=20)
    assert "train.rate" in str(caught.value)


def test_a_budget_becomes_a_number_of_steps(points):
    small = plan(Location(points.domain), points, budget=0.5)
    large = plan(Location(points.domain), points, budget=2.0)
    assert 1 < small.steps < large.steps
    assert small.budget == 0.5


def test_a_run_that_is_far_too_slow_is_cut_and_says_so(points):
    model = Location(points.domain)
    chosen = dataclasses.replace(plan(model, points, steps=10**6), budget=0.2)
    last = list(train(model, points, chosen))[-1]
    assert last.reason == "cut by the clock"
    assert last.steps < 10**6


@pytest.mark.parametrize(("progress", "rate"), [(0.5, 1.0), (0.0, 1e-3 / 0.101), (0.55, 0.5 * (1 + 0.9510565))])
def test_learning_rate(progress, rate):
    schedule = "constant" if progress == 0.5 else "cosine"
    recipe = Recipe(rate=1.0, warmup=0.1 if progress != 0.55 else 0.5, schedule=schedule)
    expected = rate if progress != 0.55 else 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 0.1)).item())
    assert learning_rate(recipe, progress) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"steps": 0}, BadInput, "0"),
        ({"steps": True}, BadInput, "True"),
        ({"steps": 5, "budget": 1.0}, BadInput, "not both"),
        ({"budget": -3.0}, BadInput, "-3.0"),
        ({"budget": float("nan")}, BadInput, "nan"),
        ({"precision": "float16"}, BadInput, "float16"),
        ({"device": "tpu"}, BadInput, "tpu"),
        ({"settings": {"batch": 0}}, BadInput, "train.batch"),
        ({"settings": {"batch": "many"}}, BadInput, "many"),
        ({"settings": {"rate": -1.0}}, BadInput, "-1.0"),
        ({"settings": {"schedule": "linear"}}, BadInput, "linear"),
        ({"settings": {"ratee": 0.1}}, UnknownName, "did you mean rate"),
    ],
)
def test_a_bad_plan_is_refused(points, options, error, text):
    with pytest.raises(error) as caught:
        plan(Location(points.domain), points, **options)
    assert text in str(caught.value)


def test_settings_change_the_recipe():
    recipe = recipe_with(Location(Real((2,))), {"batch": 7, "betas": [0.5, 0.9], "rate": 1})
    assert (recipe.batch, recipe.betas, recipe.rate) == (7, (0.5, 0.9), 1.0)


def test_data_of_another_domain_are_refused(points):
    chosen = Plan(seed=0, steps=1, iterations=0, recipe=Recipe())
    with pytest.raises(BadInput, match="is of"):
        next(train(Location(Real((3,))), points, chosen))


def test_a_run_folder_holds_everything(tmp_path):
    model = pmodel.fit("histogram", "dice", out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["name"] == "histogram"
    assert record["data"]["name"] == "dice"
    assert record["data"]["n"] == 10
    assert record["result"]["reason"] == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["log", "started", "saved", "iterated", "sampled", "finished"]
    loaded = pmodel.load(tmp_path / "run")
    faces = torch.arange(6)[:, None]
    assert torch.equal(loaded.log_prob(faces), model.log_prob(faces))
    assert loaded.log_prob(faces).exp().tolist() == pytest.approx([0.2, 0.1, 0.2, 0.1, 0.3, 0.1], abs=1e-12)


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    pmodel.fit("histogram", "dice", out=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RunError, match="holds a run already"):
        pmodel.fit("gaussian", "heights", out=tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_conditional_needs_labels():
    with pytest.raises(BadInput, match="no labels"):
        pmodel.fit("histogram", "dice", conditional=True)


def test_a_conditional_fit_learns_each_class_and_its_share():
    x = torch.tensor([[0], [0], [1], [2], [2], [2]], dtype=torch.uint8)
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    split = Split(x, y)
    data = Dataset("labelled", Discrete((1,), 3), split, split, split, given=Discrete((), 2), label_names=("a", "b"))
    model = pmodel.fit("histogram", data, conditional=True)
    assert model.given_frequencies.tolist() == [0.5, 0.5]
    values = torch.tensor([[0], [1], [2]])
    assert model.log_prob(values, given=0).exp().tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert model.log_prob(values).exp().tolist() == pytest.approx([1 / 3, 1 / 6, 1 / 2])
