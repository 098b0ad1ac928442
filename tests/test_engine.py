"""What a run decides while it trains: plans, validation, early stops, rescues, warm starts, changes of data, repeats."""

import dataclasses
import json
import shutil
import signal

import pytest
import torch

import pmodel
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, Diverged, RunError, Stopped, UnknownName
from pmodel.learning import Batch, Loss, Phase, Recipe
from pmodel.randomness import generator
from pmodel.storage import digest
from pmodel.train import Finished, Plan, Rescued, Stepped, Training, Validated, plan, train
from pmodel.train.augmentation import augmented, binarised
from pmodel.train.batches import Batches
from pmodel.train.planning import seconds_a_step
from pmodel.train.precision import Arithmetic, fastest
from pmodel.train.stepper import Stepper
from test_train import Location

CPU = torch.device("cpu")
SPANS = (("early", (0.0, 0.4)), ("late", (0.6, 1.0)))


@pytest.fixture
def points():
    x = torch.randn((300, 2), generator=torch.Generator().manual_seed(1)) + torch.tensor([3.0, -2.0])
    return Dataset("points", Real((2,)), Split(x[:200]), Split(x[200:250]), Split(x[250:]))


@pytest.fixture
def misled():
    """Training data on the far side of the validation data: the best weights lie on the way."""
    x = torch.randn((300, 2), generator=torch.Generator().manual_seed(2))
    return Dataset("misled", Real((2,)), Split(x[:200] + 4.0), Split(x[200:250] + 2.0), Split(x[250:]))


def stepper_of(model, data, arithmetic):
    batches = Batches(data.train, data.domain, Recipe(batch=16), 0, CPU, conditional=False)
    return Stepper(model, batches, Recipe(batch=16), 0, arithmetic)


def events_of(model, data, **options):
    chosen = plan(model, data, **options)
    return list(train(model, data, chosen))


# Plans


def test_a_plan_comes_back_from_its_json(points):
    settings = {"augment": [], "betas": [0.5, 0.9], "rate": 0.3}
    chosen = plan(Location(points.domain), points, steps=70, seed=5, settings=settings, shards=2)
    assert Plan.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


@pytest.mark.parametrize("damage", [{"recipe": {"batch": 3, "colour": 1}}, {"recipe": 3}, {"fast": True}])
def test_a_damaged_plan_is_refused(points, damage):
    written = plan(Location(points.domain), points, steps=7).to_json() | damage
    with pytest.raises(RunError, match="no plan that this version can follow"):
        Plan.from_json(written)


class Paced(Location):
    """A model whose second half costs three times its first."""

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.units = []

    def phases(self):
        return (
            Phase("early", (self.mu,), self.loss, 1, (0.0, 0.5)),
            Phase("late", (self.mu,), self.loss, 3, (0.5, 1.0)),
        )


def test_the_time_of_a_step_is_measured_in_each_part_of_training(points, monkeypatch):
    model = Paced(points.domain)
    batches = Batches(points.train, points.domain, Recipe(batch=16), 0, CPU, conditional=False)
    stepper = Stepper(model, batches, Recipe(batch=16), 0, Arithmetic())
    asked = []

    def timed(progress, most):
        asked.append(progress)
        return 1.0 if progress < 0.5 else 3.0

    monkeypatch.setattr(stepper, "seconds_a_step", timed)
    assert seconds_a_step(stepper, 0.01, 1.0) == pytest.approx(2.0)
    assert asked == sorted(asked)
    assert len(asked) == 4


def test_timing_a_step_moves_no_weight(points):
    model = Location(points.domain)
    batches = Batches(points.train, points.domain, Recipe(batch=16), 0, CPU, conditional=False)
    Stepper(model, batches, Recipe(batch=16), 0, Arithmetic()).seconds_a_step(0.5, 0.01)
    assert torch.equal(model.mu, torch.zeros(2))


def test_steps_too_slow_for_the_budget_are_not_tried_out(points, monkeypatch):
    model = Location(points.domain)
    monkeypatch.setattr(
        Stepper, "timed", lambda self, number, progress: model.__dict__.setdefault("timed", []).append(1) or 0.8
    )
    chosen = plan(model, points, budget=20.0, settings={"select": "last"})
    assert 15 <= chosen.steps <= 23
    assert len(model.timed) <= 4


def test_a_model_that_no_arithmetic_agrees_on_is_planned_in_float32(points):
    class Odd(Location):
        def loss(self, batch, generator):
            return Loss(super().loss(batch, generator).total * 0.0)  # two gradients of zero have no angle between them

    assert fastest(lambda tried: stepper_of(Odd(points.domain), points, tried)) == Arithmetic()


def test_steps_of_a_model_without_gradients_are_passes(points):
    assert plan(pmodel.make("mixture", points.domain), points, steps=500).iterations == 500


def test_parts_of_training_without_a_phase_pass_in_peace(points):
    class Pausing(Location):
        def phases(self):
            early, late = (Phase(name, (self.mu,), self.loss, 1, span) for name, span in SPANS)
            return early, late

    events = events_of(Pausing(points.domain), points, steps=20)
    assert events[-1].steps == 20
    assert events[-1].images == 16 * 16


def test_a_run_is_computed_with_the_planned_threads_and_leaves_them_as_they_were(points):
    before = torch.get_num_threads()
    chosen = dataclasses.replace(plan(Location(points.domain), points, steps=3), threads=before + 1)
    during = {torch.get_num_threads() for _ in train(Location(points.domain), points, chosen)}
    assert during == {before + 1}
    assert torch.get_num_threads() == before


# Validation


def test_the_best_weights_on_validation_data_are_kept(misled):
    best, last = Location(misled.domain), Location(misled.domain)
    settings = {"schedule": "constant", "ema": 0.0}
    events = events_of(best, misled, steps=200, settings=settings)
    events_of(last, misled, steps=200, settings={**settings, "select": "last"})
    validated = [event for event in events if isinstance(event, Validated)]
    assert len(validated) == 20
    assert max(event.value for event in validated) == [event.value for event in validated if event.best][-1]
    found = float(best.log_prob(misled.valid.x).mean())
    assert found == pytest.approx(max(event.value for event in validated), abs=1e-6)
    assert found > float(last.log_prob(misled.valid.x).mean()) + 0.5


def test_the_average_starts_from_the_prepared_weights(points):
    class Prepared(Location):
        def prepare(self, subset, given, generator):
            self.mu.copy_(torch.tensor([7.0, 7.0]))

    model = Prepared(points.domain)
    chosen = plan(model, points, steps=1, settings={"ema": 0.9, "rate": 1e-6})
    list(train(model, points, chosen))
    assert model.mu.tolist() == pytest.approx([7.0, 7.0])


def test_patience_ends_a_run_early(misled):
    events = events_of(Location(misled.domain), misled, steps=400, settings={"patience": 3, "ema": 0.0})
    assert events[-1].reason == "stopped early"
    assert events[-1].steps < 400
    stale = [event.best for event in events if isinstance(event, Validated)][-3:]
    assert stale == [False, False, False]


@pytest.mark.parametrize("shared", ["train", "test"])
def test_nothing_is_chosen_on_data_that_are_learned_or_reported(points, shared):
    data = dataclasses.replace(points, valid=points.splits[shared])
    events = events_of(Location(data.domain), data, steps=40)
    assert not any(isinstance(event, Validated) for event in events)


def test_validation_does_not_touch_training(points):
    with_it, without = Location(points.domain), Location(points.domain)
    chosen = plan(with_it, points, steps=40, settings={"select": "last"})
    list(train(with_it, points, dataclasses.replace(chosen, validations=10, validated=20)))
    list(train(without, points, dataclasses.replace(chosen, validations=0)))
    assert torch.equal(with_it.mu, without.mu)


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_the_average_takes_the_last_weights_in(points, steps):
    averaged, raw = Location(points.domain), Location(points.domain)
    for model, ema in ((averaged, 0.999), (raw, 0.0)):
        settings = {"ema": ema, "select": "last", "rate": 1.0, "schedule": "constant", "warmup": 0.0}
        events_of(model, points, steps=steps, settings=settings)
    assert not torch.equal(averaged.mu, torch.zeros(2))
    assert torch.sign(averaged.mu.detach()).tolist() == torch.sign(raw.mu.detach()).tolist()


# Rescues


def test_a_run_that_diverges_ends(points):
    with pytest.raises(Diverged):
        events_of(Location(points.domain, poison=30), points, steps=60)


def test_a_rescue_goes_back_to_the_last_good_state_with_half_the_rate(points):
    model = Location(points.domain, poison=30)
    events = events_of(model, points, steps=60, settings={"retry": 1})
    rescued = [event for event in events if isinstance(event, Rescued)]
    assert [(event.step, event.rate, event.precision) for event in rescued] == [(27, 0.5, "float32")]
    assert isinstance(events[-1], Finished)
    assert events[-1].steps == 60
    twin = Location(points.domain, poison=30)
    events_of(twin, points, steps=60, settings={"retry": 1})
    assert torch.equal(model.mu, twin.mu)


def test_a_run_is_rescued_no_more_often_than_asked(points):
    class Doomed(Location):
        def loss(self, batch, generator):
            found = super().loss(batch, generator)
            return Loss(found.total * float("nan")) if self.calls > 20 else found

    model, found = Doomed(points.domain), []
    chosen = plan(model, points, steps=60, settings={"retry": 2})
    with pytest.raises(Diverged):
        found.extend(train(model, points, chosen))
    assert sum(isinstance(event, Rescued) for event in found) == 2


# Warm starts


def test_a_warm_start_goes_on_from_the_other_runs_weights(tmp_path):
    first = pmodel.fit("gaussian", "heights", out=tmp_path / "first")
    events = []
    again = pmodel.fit(
        "gaussian", "heights", out=tmp_path / "again", warm_start=tmp_path / "first", on_event=events.append
    )
    x = pmodel.load_data("heights").test.x
    assert torch.allclose(again.log_prob(x), first.log_prob(x), atol=1e-9)
    record = json.loads((tmp_path / "again" / "run.json").read_text())
    assert record["from"] == {"run": str(tmp_path / "first"), "sha256": digest(first)}
    assert pmodel.replay(tmp_path / "again").same


def test_a_warm_start_of_a_network_begins_where_the_other_ended(tmp_path):
    options = {"size": "tiny", "settings": {"select": "last"}}
    pmodel.fit("vae", "digits", out=tmp_path / "long", steps=300, **options)
    losses = {}
    for name, start in (("cold", None), ("warm", tmp_path / "long")):
        events = []
        pmodel.fit("vae", "digits", steps=10, warm_start=start, on_event=events.append, **options)
        losses[name] = next(e for e in events if isinstance(e, Stepped)).losses
    assert losses["warm"]["bound.bound"] > losses["cold"]["bound.bound"] + 50


def test_a_warm_start_with_a_checkpoint_no_longer_needs_the_other_run(tmp_path):
    options = {"size": "tiny", "steps": 20}
    pmodel.fit("vae", "digits", out=tmp_path / "other", **options)
    warm = {"warm_start": tmp_path / "other", **options}
    pmodel.fit("vae", "digits", out=tmp_path / "whole", **warm)

    def stop(event):
        if isinstance(event, Stepped) and event.step == 8:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match=r"SIGTERM after step \d+ of 20"):
        pmodel.fit("vae", "digits", out=tmp_path / "run", on_event=stop, **warm)
    shutil.rmtree(tmp_path / "other")
    pmodel.fit("vae", "digits", out=tmp_path / "run", resume=True)
    hashes = {json.loads((tmp_path / k / "run.json").read_text())["result"]["sha256"] for k in ("run", "whole")}
    assert len(hashes) == 1


def test_a_warm_start_from_another_model_is_refused(tmp_path):
    pmodel.fit("gaussian", "heights", out=tmp_path / "run")
    with pytest.raises(RunError, match="a run of another model: its inner differs"):
        pmodel.fit("gaussian", "heights", warm_start=tmp_path / "run", covariance="diagonal")


# Repeats


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mixture", {"components": 3}),
        ("vae", {"size": "tiny", "steps": 30}),
        ("dcgan", {"size": "tiny", "steps": 12, "shards": 2, "precision": "bfloat16"}),
        ("vae", {"size": "tiny", "steps": 400, "settings": {"patience": 1, "rate": 0.05}}),
    ],
)
def test_a_repeat_has_the_same_bits(name, options, tmp_path):
    pmodel.fit(name, "digits", out=tmp_path / "run", seed=4, **options)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    found = pmodel.replay(tmp_path / "run")
    assert found.same
    assert found.hash == found.recorded
    assert found.differences == ()
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_repeat_of_a_run_that_was_cut_ends_where_it_was_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("pmodel.train.loop.PATIENCE", 0.02)
    pmodel.fit("vae", "digits", out=tmp_path / "run", size="tiny", budget=1.0)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["result"]["reason"] == "cut by the clock"
    assert 0 < record["result"]["steps"] < record["plan"]["steps"]
    monkeypatch.setattr("pmodel.train.loop.PATIENCE", 1.5)
    assert pmodel.replay(tmp_path / "run").same


def test_a_repeat_on_other_arithmetic_says_so(tmp_path):
    pmodel.fit("vae", "digits", out=tmp_path / "run", size="tiny", steps=20)
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    record["plan"]["precision"] = "bfloat16"
    record["versions"]["torch"] = "0.1"
    path.write_text(json.dumps(record))
    found = pmodel.replay(tmp_path / "run")
    assert not found.same
    assert any(difference.startswith("torch 0.1 then") for difference in found.differences)


def test_a_repeat_needs_the_same_data(tmp_path, points):
    pmodel.fit("gaussian", points, out=tmp_path / "run")
    with pytest.raises(RunError, match="data in memory"):
        pmodel.replay(tmp_path / "run")
    other = dataclasses.replace(points, train=Split(points.train.x + 1))
    with pytest.raises(RunError, match="not those that this run learned from"):
        pmodel.replay(tmp_path / "run", data=other)
    assert pmodel.replay(tmp_path / "run", data=points).same


# Folders


def test_two_trainings_in_one_folder_do_not_write_over_each_other(tmp_path):
    refused = []

    def meddle(event):
        if isinstance(event, Stepped) and not refused:
            with pytest.raises(RunError, match="Another process is training") as caught:
                pmodel.fit("vae", "digits", out=tmp_path / "run", resume=True)
            refused.append(caught)

    pmodel.fit("vae", "digits", out=tmp_path / "run", size="tiny", steps=10, on_event=meddle)
    assert refused
    assert pmodel.replay(tmp_path / "run").same


def test_a_run_that_diverged_says_so_in_its_record_and_log(tmp_path, capsys):
    with pytest.raises(Diverged) as caught:
        pmodel.fit("vae", "digits", out=tmp_path / "run", steps=300, settings={"rate": 10.0})
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "training"
    assert [verdict["name"] for verdict in record["health"]] == ["divergence"]
    assert record["health"][0]["words"] == caught.value.problem
    assert "--from this run" in record["health"][0]["remedy"]
    last = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["diagnosis"]["name"]) == ("diagnosed", "divergence")
    assert pmodel.load(tmp_path / "run").can("sample")


# Changes of data


def test_a_shift_moves_each_picture_as_a_whole_and_repeats_its_border():
    x = torch.arange(256).reshape(1, 1, 16, 16).repeat(64, 1, 1, 1)
    moved = augmented(x, ("shift",), generator(0))
    offsets = set()
    for picture in moved[:, 0]:
        dy, dx = divmod(int(picture[8, 8]) - 8 * 16 - 8 + 2 * 17, 16)
        dy, dx = dy - 2, dx - 2
        rows, columns = (torch.arange(16) + dy).clamp(0, 15), (torch.arange(16) + dx).clamp(0, 15)
        assert torch.equal(picture, x[0, 0][rows][:, columns])
        offsets.add((dy, dx))
    assert {dy for dy, _ in offsets} == {dx for _, dx in offsets} == {-2, -1, 0, 1, 2}


def test_a_flip_mirrors_about_half_of_the_pictures():
    x = torch.arange(6).reshape(1, 1, 2, 3).repeat(400, 1, 1, 1)
    moved = augmented(x, ("flip",), generator(0))
    mirrored = (moved == x.flip(3)).flatten(1).all(1)
    assert torch.equal(moved[~mirrored], x[~mirrored])
    assert 160 < int(mirrored.sum()) < 240


def test_binarised_pictures_have_the_intensities_for_means():
    grey = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).repeat(20_000, 1)
    means = binarised(grey, generator(0)).double().mean(0)
    assert means.tolist() == pytest.approx([0, 0.2, 0.8, 1], abs=0.01)
    assert (float(means[0]), float(means[3])) == (0.0, 1.0)


def binary(n=64):
    grey = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator(1))
    train_split = Split(binarised(grey, generator(2)), intensities=grey)
    return Dataset("binary", Discrete((1, 8, 8), 2), train_split, train_split, train_split)


def test_bits_are_drawn_anew_where_their_intensities_are_known():
    model, known = pmodel.make("fvbn", binary().domain), binary()
    unknown = dataclasses.replace(known, train=Split(known.train.x))
    assert plan(model, known, steps=2, precision="float32", device="cpu").recipe.binarise
    assert not plan(model, unknown, steps=2, precision="float32", device="cpu").recipe.binarise


def test_changes_are_a_function_of_seed_and_step():
    data = binary()
    recipe = Recipe(batch=16, augment=("shift", "flip"), binarise=True)

    def batch(number, seed=0, shard=0) -> Batch:
        return Batches(data.train, data.domain, recipe, seed, CPU, conditional=False, shards=2).shard(number, shard)

    assert torch.equal(batch(5).x, batch(5).x)
    pass_later = 5 + len(data.train) // 16 * 3
    for other in (batch(pass_later), batch(5, seed=1), batch(5, shard=1)):
        assert not torch.equal(batch(5).x, other.x)
    assert set(batch(5).x.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"augment": "turn"}, BadInput, "some of shift, flip"),
        ({"augment": 3}, BadInput, "must be names"),
        ({"augment": "shift"}, BadInput, "changes pictures"),
        ({"binarise": True}, BadInput, "mnist-binary"),
        ({"select": "first"}, BadInput, "best or last"),
        ({"retry": 11}, BadInput, "train.retry"),
        ({"clip": float("inf")}, BadInput, "finite numbers"),
        ({"patience": -1}, BadInput, "train.patience"),
        ({"patients": 1}, UnknownName, "did you mean patience"),
    ],
)
def test_settings_that_these_data_do_not_allow_are_refused(points, settings, error, words):
    with pytest.raises(error) as caught:
        plan(Location(points.domain), points, steps=5, settings=settings)
    assert words in str(caught.value)


# Shards


@pytest.mark.parametrize("shards", [0, -1, 17, True, 1.5])
def test_shards_that_a_batch_cannot_have_are_refused(points, shards):
    with pytest.raises(BadInput, match="shard"):
        plan(Location(points.domain), points, steps=5, shards=shards)


def test_the_shards_of_a_batch_are_the_batch(points):
    whole, parts = (
        Batches(points.train, points.domain, Recipe(batch=16), 0, CPU, conditional=False, shards=shards)
        for shards in (1, 4)
    )
    joined = torch.cat([parts.shard(3, shard).x for shard in range(4)])
    assert torch.equal(joined, whole.shard(3, 0).x)


def test_a_batch_larger_than_the_data_goes_round(points):
    batches = Batches(points.train, points.domain, Recipe(batch=10_000), 0, CPU, conditional=False, shards=3)
    assert batches.size == 198
    assert sum(len(batches.shard(1, shard).x) for shard in range(3)) == 198


class Still(Location):
    """A loss without noise, so that shards change nothing but the order of sums."""

    def loss(self, batch, generator):
        return Loss(-self._log_prob(batch.x, None).mean())


def test_without_noise_shards_change_rounding_only(points):
    one, four = Still(points.domain), Still(points.domain)
    events_of(one, points, steps=40)
    events_of(four, points, steps=40, shards=4)
    assert torch.allclose(one.mu, four.mu, atol=1e-5)
    assert float(one.mu.detach().abs().max()) > 0.5


class Spell(Location):
    """Losses that start high, fall, and are large for a short while: only who knows the start can tell that it is nothing."""

    def loss(self, batch, generator):
        nll = -self._log_prob(batch.x, None).mean()
        self.stage += 1
        scale = 500.0 if self.stage < 10 else 2e5 if 40 <= self.stage < 46 else 50.0
        return Loss(nll, {"nll": nll.detach() * 0 + scale})

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))


def test_a_resumed_run_is_judged_as_if_it_had_never_been_stopped(points):
    chosen = plan(Spell(points.domain), points, steps=60)
    training = Training(Spell(points.domain), points, chosen)
    events = iter(training)
    while training.position.step < 30:
        next(events)
    state = training.state()
    json.dumps(state.position, allow_nan=False)
    twin = Training(Spell(points.domain), points, chosen)
    twin.restore(state)
    assert twin.doctor.memory() == training.doctor.memory()
    list(events)
    list(twin)
    assert twin.doctor.memory() == training.doctor.memory()
    assert torch.equal(training.model.mu, twin.model.mu)


def test_a_signal_leaves_the_next_report_as_it_would_have_been(points):
    chosen = plan(Location(points.domain), points, steps=2000)
    whole = {e.step: e.losses for e in train(Location(points.domain), points, chosen) if isinstance(e, Stepped)}

    class Stopping(Location):
        def loss(self, batch, generator):
            if self.calls == 1003:
                training.halt()
            return super().loss(batch, generator)

    training = Training(Stopping(points.domain), points, chosen)
    list(training)
    assert training.position.step == 1004
    twin = Training(Location(points.domain), points, chosen)
    twin.restore(training.state())
    after = next(e for e in twin if isinstance(e, Stepped))
    assert after.step == 1010
    assert after.losses == pytest.approx(whole[1010], rel=1e-12)


def test_a_log_that_is_left_out_for_a_while_goes_on_where_it_was(tmp_path):
    def stop_at(step):
        def stop(event):
            if isinstance(event, Stepped) and event.step == step:
                signal.raise_signal(signal.SIGTERM)

        return stop

    where = {"out": tmp_path / "run", "size": "tiny", "steps": 60}
    for step, logs, resume in ((20, ("jsonl",), False), (40, (), True)):
        with pytest.raises(Stopped):
            pmodel.fit("vae", "digits", logs=logs, resume=resume, on_event=stop_at(step), **where)
    pmodel.fit("vae", "digits", resume=True, **where)
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "log"
    steps = [line["step"] for line in lines if line["event"] == "stepped"]
    assert steps == sorted(set(steps))
    assert (min(steps), max(steps)) == (1, 60)
    assert 30 not in steps


def test_a_training_put_back_gives_the_same_bits(points):
    model = Location(points.domain)
    chosen = plan(model, points, steps=60)
    training = Training(model, points, chosen)
    events = iter(training)
    while training.position.step < 30:
        next(events)
    twin = Training(Location(points.domain), points, chosen)
    twin.restore(training.state())
    list(events)
    list(twin)
    assert torch.equal(model.mu, twin.model.mu)
