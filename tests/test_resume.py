"""Exact resume: whatever stops a run, wherever, the run that goes on ends with the bits of one that was never stopped.

Every test compares a resumed run with an uninterrupted one: the bytes of its model, the lines of its log, its record and the
names of its files (``outcome``). The models are those of ``structures``; ``faults`` breaks the disk.
"""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pmodel
import structures
from faults import NEEDS_ROOM, Crash, broken, count
from pmodel import catalogue
from pmodel.errors import RunError, Stopped
from pmodel.settings import parse_settings
from pmodel.storage import CHECKPOINT, RECORD, digest
from pmodel.train import Finished, Resumed, Sampled, Saved, Stepped, folder, loop, plan, planning
from pmodel.train.loop import Training
from pmodel.train.precision import Arithmetic
from pmodel.train.state import copied
from pmodel.train.stepper import Stepper

STRUCTURES = {
    "convolutional": "pictures",
    "adversarial": "points",
    "growing": "points",
    "carrying": "points",
    "staged": "points",
    "handed": "points",
    "mixture": "points",
}
OVERFITTING = {"ema": 0.0, "rate": 0.5, "schedule": "constant", "patience": 3}
"""Under these, ``growing`` is best early and then stopped."""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder that makes an installed package of the structures, and the catalogue with it."""
    place = structures.offered(tmp_path_factory.mktemp("package"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        catalogue.models.cache_clear()
        yield place
    catalogue.models.cache_clear()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Files of data."""
    place, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, n in (("points", 200), ("many", 10_000)):
        clusters = 3 * draw.integers(0, 2, (n, 1))
        np.save(place / f"{name}.npy", (draw.normal(size=(n, 2)) + clusters).astype("float32"))
    np.save(place / "pictures.npy", draw.random((160, 3, 4, 4)) < 0.3)
    return {path.stem: path for path in place.iterdir()}


@pytest.fixture(scope="module")
def data(sources):
    return {name: pmodel.load_data(str(path)) for name, path in sources.items()}


@pytest.fixture
def trial(package, data, tmp_path):
    return Trial(data, tmp_path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Runs in this process do not wait for the disk: what a sync is good for, ``faults`` knows without it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Trial:
    """A run that is done once without a stop, and then as often as one likes with stops."""

    def __init__(self, data, place):
        self.data, self.reference, self.run = data, place / "reference", place / "run"

    def of(self, name, steps, **options):
        self.name, self.options = name, {"steps": steps, "save_every": 0, **options}
        self.operations = count(self.reference, lambda: self.fit(self.reference))
        self.expected = outcome(self.reference)
        return self

    def fit(self, out, **more):
        return pmodel.fit(self.name, self.data[STRUCTURES[self.name]], out=out, **self.options, **more)

    def resumed(self):
        """What differs once the run has gone on to its end."""
        self.fit(self.run, resume=True)
        found = outcome(self.run)
        return [what for what in found if found[what] != self.expected[what]]

    def fresh(self):
        shutil.rmtree(self.run, ignore_errors=True)

    def failures(self, how, most=10_000):
        """The operations at whose failure the resumed run differs, and how; of at most so many, each is reached."""
        found = {}
        for at in range(1, len(self.operations) + 1, 1 + len(self.operations) // most):
            self.fresh()
            assert broken(self.run, at, how, lambda: self.fit(self.run)), f"operation {at} was not reached"
            if different := self.resumed():
                found[at, self.operations[at - 1]] = different
        return found


def outcome(run):
    """All that a run leaves behind, but for the times and the marks of stops."""
    record = json.loads((run / RECORD).read_text())
    for part in (record, record["result"], record["validation"] or {}, *record["health"]):
        for name in ("begun", "written", "seconds"):
            part.pop(name, None)
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return {
        "bits": hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest(),
        "log": [line | {"seconds": 0} for line in lines if line["event"] not in ("started", "resumed", "saved")],
        "record": record,
        "files": sorted(str(path.relative_to(run)) for path in run.rglob("*")),
    }


# The disk


EVERYWHERE = [
    pytest.param(name, marks=[pytest.mark.slow] if name in ("staged", "handed", "convolutional") else [])
    for name in STRUCTURES
]
"""Those that take longest are slow tests; they are killed by ``kill -9`` in the fast ones."""


@pytest.mark.parametrize("name", EVERYWHERE)
def test_killed_at_any_operation_a_run_goes_on_to_the_same_end(trial, name):
    assert trial.of(name, 2).failures("kill") == {}


@pytest.mark.parametrize("how", ["interrupt", "power"])
def test_whichever_way_the_process_ends_a_run_goes_on_to_the_same_end(trial, how):
    assert trial.of("growing", 2, settings=OVERFITTING).failures(how) == {}


@pytest.mark.parametrize("name", ["growing", "mixture"])
def test_a_full_disk_leaves_the_state_before_it(trial, name):
    trial.of(name, 3)
    held = []
    for at in range(1, len(trial.operations) + 1):
        trial.fresh()
        if any(work.split()[0] in NEEDS_ROOM for work in trial.operations[at - 1 :]):
            with pytest.raises(RunError, match="No space left on device") as error:
                broken(trial.run, at, "full", lambda: trial.fit(trial.run))
            assert "choose another" in error.value.hint
            held.append((trial.run / CHECKPOINT).exists())
            if held[-1]:
                pmodel.load(trial.run)
        assert trial.resumed() == []
    assert held.count(True) > len(held) / 2


def test_killed_again_and_again_a_run_arrives(trial):
    trial.of("staged", 6)
    died = [broken(trial.run, 70, "kill", lambda: trial.fit(trial.run, resume=True)) for _ in range(20)]
    assert 4 < sum(died) < 20
    assert trial.resumed() == []


def test_a_run_that_never_comes_to_its_first_checkpoint_begins_again_each_time(trial):
    trial.of("growing", 3)
    for at in (1, 2, 3, 5, 8, 13, 8, 5):
        assert broken(trial.run, at, "kill", lambda: trial.fit(trial.run, resume=True))
    assert trial.resumed() == []


# Variants of a run, killed here and there

VARIANTS = {
    "bfloat16": ("convolutional", 4, {"precision": "bfloat16"}),
    "contiguous weights": ("convolutional", 4, {"channels_last": False}),
    "no moving average": ("convolutional", 4, {"settings": {"ema": 0.0}}),
    "clipped and decayed": ("convolutional", 4, {"settings": {"clip": 0.1, "decay": 0.01}}),
    "last weights": ("growing", 8, {"settings": {"select": "last"}}),
    "no moving average, best": ("growing", 8, {"settings": {"ema": 0.0}}),
    "stopped early": ("growing", 30, {"settings": OVERFITTING}),
    "two shards": ("convolutional", 4, {"shards": 2}),
    "two shards, two phases": ("adversarial", 4, {"shards": 2}),
    "shifted and mirrored": ("convolutional", 4, {"settings": {"augment": ["shift", "flip"]}}),
    "a partial last pass": ("adversarial", 12, {"settings": {"batch": 70}}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_a_run_resumes(trial, name):
    model, steps, options = VARIANTS[name]
    assert trial.of(model, steps, **options).failures("kill", most=15) == {}


def test_the_variants_are_what_they_are_called(trial):
    trial.of("growing", 30, settings=OVERFITTING)
    result = trial.expected["record"]["result"]
    assert result["reason"] == "stopped early"
    assert trial.expected["record"]["validation"]["step"] < result["steps"] < 30


def test_a_pair_is_chosen_by_the_distance_of_its_samples(trial):
    trial.of("adversarial", 4)
    assert trial.expected["record"]["validation"]["kind"] == "distance"
    assert any(line.get("kind") == "distance" for line in trial.expected["log"])


def test_a_layout_that_was_measured_resumes(trial, monkeypatch):
    monkeypatch.setattr(planning, "TRIALS", 0)
    monkeypatch.setattr(planning, "fastest", lambda stepper: Arithmetic("bfloat16", "channels_last"))
    trial.of("convolutional", 4, channels_last=False)
    assert trial.expected["record"]["plan"]["layout"] == "channels_last"
    assert trial.failures("kill", most=15) == {}


# The middle of a step, and of a pass

INSIDE = {
    "judge": ("adversarial", structures.Adversarial, "tell"),
    "painter": ("adversarial", structures.Adversarial, "fool"),
    "chains": ("carrying", structures.Carrying, "loss"),
    "pass": ("mixture", structures.Mixture, "statistics"),
    "update": ("mixture", structures.Mixture, "maximise"),
    "start of the second stage": ("staged", structures.Staged, "initialise"),
    "pass of the second stage": ("staged", structures.Staged, "statistics"),
}


def calling(monkeypatch, cls, method, at, act):
    """Have the ``at``-th call of a method do something first."""
    calls, original = [0], getattr(cls, method)

    def counted(self, *values):
        calls[0] += 1
        if calls[0] == at:
            act()
        return original(self, *values)

    monkeypatch.setattr(cls, method, counted)


def crash():
    raise Crash


@pytest.mark.parametrize("where", INSIDE)
def test_killed_inside_a_step_or_a_pass(trial, where):
    name, cls, method = INSIDE[where]
    trial.of(name, 4)
    for at in (1, 2) if method == "initialise" else (1, 2, 3, 4):
        trial.fresh()
        with pytest.MonkeyPatch.context() as patch:
            calling(patch, cls, method, at, crash)
            try:
                trial.fit(trial.run)
            except Crash:
                pass
            else:
                assert method == "initialise"
        assert trial.resumed() == []


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_state_after_any_event_is_the_whole_state(package, data, name):
    """In memory: what a fresh training goes on with ends as the old one does."""

    def fresh():
        model = pmodel.make(name, data[STRUCTURES[name]].domain, seed=0)
        chosen = plan(model, data[STRUCTURES[name]], steps=6, precision="float32")
        return Training(model, data[STRUCTURES[name]], chosen)

    first, states = fresh(), []
    for event in first:
        if not isinstance(event, Finished):
            states.append((event, copied(first.state())))
    for event, state in states:
        second = fresh()
        second.restore(state)
        events = list(second)
        assert isinstance(events[0], Resumed)
        assert digest(second.model) == digest(first.model), event


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("name", "cls", "method", "settings"),
    [
        ("growing", structures.Growing, "loss", OVERFITTING),
        ("adversarial", structures.Adversarial, "fool", {}),
        ("mixture", structures.Mixture, "statistics", {}),
        ("staged", structures.Staged, "statistics", {}),
    ],
)
def test_a_signal_ends_the_step_saves_and_the_run_resumes(trial, number, name, cls, method, settings):
    trial.of(name, 40, settings=settings)
    trial.options["save_every"] = 1000.0
    for at in (1, 2, 5, 7):
        trial.fresh()
        with pytest.MonkeyPatch.context() as patch:
            calling(patch, cls, method, at, lambda: os.kill(os.getpid(), number))
            with pytest.raises(Stopped, match=f"Stopped by {number.name}.*everything is saved"):
                trial.fit(trial.run)
        different = trial.resumed()
        assert set(different) <= {"log"}, "one report more, where it stopped, and nothing else"


def test_the_handlers_of_signals_are_put_back(trial):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trial.of("growing", 2)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# The clock


def saved_at(step):
    def die(event):
        if isinstance(event, Saved) and max(event.step, event.iteration) == step:
            raise Crash

    return die


@pytest.mark.parametrize("name", ["growing", "staged"])
def test_a_run_that_the_clock_has_cut_does_not_train_on(trial, monkeypatch, name):
    trial.of(name, 2)
    trial.options = {"save_every": 0, "budget": 3.0}
    monkeypatch.setattr(loop, "PATIENCE", 0)
    with pytest.raises(Crash):
        trial.fit(trial.run, on_event=saved_at(1))
    monkeypatch.setattr(loop, "PATIENCE", 1.5)
    trial.fit(trial.run, resume=True)
    result = outcome(trial.run)["record"]["result"]
    assert (result["steps"], result["reason"]) == (1, "cut by the clock")


def test_passes_that_the_clock_has_cut_do_not_go_on(trial, monkeypatch):
    trial.of("mixture", 2)
    trial.options = {"save_every": 0, "budget": 1e-6}
    with pytest.raises(Crash):
        trial.fit(trial.run, on_event=saved_at(1))
    record = json.loads((trial.run / RECORD).read_text())
    record["plan"]["budget"] = 1000.0
    (trial.run / RECORD).write_text(json.dumps(record))
    trial.fit(trial.run, resume=True)
    result = outcome(trial.run)["record"]["result"]
    assert (result["iterations"], result["reason"]) == (1, "cut by the clock")


# A rescue


@pytest.fixture
def poisoned(monkeypatch):
    """From the middle of training on, ``growing`` has no finite loss in bfloat16."""
    original = structures.Growing.loss

    def loss(self, batch, generator):
        found = original(self, batch, generator)
        bad = torch.is_autocast_enabled("cpu") and self.temperature < 0.6
        return structures.Loss(found.total * float("nan")) if bad else found

    monkeypatch.setattr(structures.Growing, "loss", loss)


@pytest.mark.parametrize("settings", [{"retry": 1}, {"retry": 2, **OVERFITTING, "patience": 0}])
def test_a_rescued_run_resumes_before_and_after_its_rescue(trial, poisoned, settings):
    trial.of("growing", 12, precision="bfloat16", settings=settings)
    assert trial.expected["record"]["result"]["rescues"] == 1
    assert trial.failures("kill", most=20) == {}


# The memory layout


def test_the_fused_update_is_wrong_where_layouts_differ():
    """Why moments are given the layout of their parameter: PyTorch says nothing, and the step goes elsewhere."""
    start = torch.linspace(-1, 1, 72).reshape(2, 4, 3, 3).to(memory_format=torch.channels_last)
    moved = {}
    for fused in (True, False):
        for layout in (torch.channels_last, torch.contiguous_format):
            weight = torch.nn.Parameter(start.clone())
            weight.grad = start.square() - 0.3
            update = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0, fused=fused)
            first = (0.1 * weight.grad).clone(memory_format=layout)
            second = (0.001 * weight.grad.square()).clone(memory_format=layout)
            update.state[weight] = {"step": torch.tensor(1.0), "exp_avg": first, "exp_avg_sq": second}
            update.step()
            moved[fused, layout] = weight.detach() - start
    right = moved[False, torch.channels_last]
    assert torch.allclose(moved[False, torch.contiguous_format], right, atol=1e-6)
    assert torch.allclose(moved[True, torch.channels_last], right, atol=1e-6)
    assert float((moved[True, torch.contiguous_format] - right).abs().max()) > 0.01


def test_a_naive_restore_of_moments_is_caught(trial, monkeypatch):
    """The planted fault: moments as a file holds them, contiguous, beside a channels-last parameter."""

    def naive(self, moments):
        for phase in self.phases:
            for index, parameter in enumerate(phase.parameters):
                names = {name: f"{phase.name}.{index}.{name}" for name in ("step", "exp_avg", "exp_avg_sq")}
                if names["step"] in moments:
                    state = {name: moments[key].clone().contiguous() for name, key in names.items()}
                    self.optimisers[phase.name].state[parameter] = state

    found = {}
    for channels_last in (True, False):
        trial.of("convolutional", 4, channels_last=channels_last)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stepper, "restore_moments", naive)
            found[channels_last] = trial.failures("kill", most=6)
        shutil.rmtree(trial.reference)
    assert [at for at, different in found[True].items() if "bits" in different]
    assert found[False] == {}


def test_moments_come_back_in_the_layout_of_their_parameter(package, data):
    model = pmodel.make("convolutional", data["pictures"].domain, seed=0)
    training = Training(model, data["pictures"], plan(model, data["pictures"], steps=3))
    next(event for event in training if isinstance(event, Stepped))
    stepper = training.stepper
    stepper.restore_moments({name: t.contiguous().clone() for name, t in stepper.moments().items()})
    state = stepper.optimisers["bound"].state
    strides = [
        (p.stride(), state[p][name].stride())
        for p in stepper.phases[0].parameters
        for name in ("exp_avg", "exp_avg_sq")
    ]
    assert all(parameter == moment for parameter, moment in strides)
    assert not all(p.is_contiguous() for p in stepper.phases[0].parameters)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 2])
def test_gradients_have_the_layout_of_their_parameter(package, data, shards, precision):
    """The fused update would go wrong with them as with moments."""
    model = pmodel.make("convolutional", data["pictures"].domain, seed=0)
    chosen = plan(model, data["pictures"], steps=2, shards=shards, precision=precision)
    training = Training(model, data["pictures"], chosen)
    next(event for event in training if isinstance(event, Stepped))
    strides = [(p.stride(), p.grad.stride()) for p in training.stepper.phases[0].parameters]
    assert all(parameter == gradient for parameter, gradient in strides)
    assert not all(p.is_contiguous() for p in model.parameters())


class Tied(structures.Growing):
    """A weight under two names, and weights without entries, of two shapes: all of one address."""

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.same = self.mean
        self.nothing, self.labels = torch.nn.Parameter(torch.zeros(0)), torch.nn.Parameter(torch.zeros(2, 0))

    def phases(self):
        return (structures.Phase("all", tuple(self.parameters()), self.loss),)


def test_tied_and_empty_weights_come_back(data):
    def fresh():
        torch.manual_seed(0)
        model = Tied(data["points"].domain)
        return Training(model, data["points"], plan(model, data["points"], steps=4))

    first, states = fresh(), []
    for event in first:
        if isinstance(event, Stepped):
            states.append(copied(first.state()))
    for state in states:
        second = fresh()
        second.restore(state)
        list(second)
        assert digest(second.model) == digest(first.model)
        assert state.model["same"].equal(state.model["mean"])
        assert state.model["labels"].shape == (2, 0)


def test_a_score_without_a_standard_error_is_no_obstacle(trial):
    """One validation datum has none: the record says null, which JSON can."""
    points = trial.data["points"]
    trial.data = {"points": dataclasses.replace(points, valid=points.valid.take(torch.arange(1)))}
    trial.of("growing", 3)
    assert trial.expected["record"]["validation"]["stderr"] is None
    assert trial.failures("kill", most=8) == {}


@pytest.mark.parametrize("named", [True, False])
def test_a_warm_start_resumes(trial, tmp_path, named):
    """Whether the run that it started from is named again or not."""
    trial.of("growing", 3)
    source = trial.reference.rename(tmp_path / "source")
    trial.of("growing", 3, warm_start=source)
    options = dict(trial.options)
    for at in range(1, len(trial.operations), 9):
        trial.fresh()
        trial.options = options
        assert broken(trial.run, at, "kill", lambda: trial.fit(trial.run))
        if not named and (trial.run / RECORD).exists():
            trial.options = {k: v for k, v in options.items() if k != "warm_start"}
        assert trial.resumed() == []


# What is refused


@pytest.fixture
def unfinished(trial):
    """A run that was killed after its third step."""
    trial.of("growing", 6, settings={"batch": 20})
    with pytest.raises(Crash):
        trial.fit(trial.run, on_event=saved_at(3))
    return trial


def files(run):
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("name", "source", "changed", "said"),
    [
        ("growing", "many", {}, "data"),
        ("carrying", "points", {}, "name"),
        ("growing", "points", {"seed": 1}, "seed"),
        ("growing", "points", {"steps": 7}, "steps"),
        ("growing", "points", {"budget": 7.0}, "budget"),
        ("growing", "points", {"settings": {"batch": 21}}, "train.batch"),
        ("growing", "points", {"settings": {"rate": 0.5}}, "train.rate"),
        ("growing", "points", {"precision": "bfloat16"}, "precision"),
        ("growing", "points", {"shards": 2}, "shards"),
    ],
)
def test_another_run_is_not_resumed(unfinished, name, source, changed, said):
    before = files(unfinished.run)
    with pytest.raises(RunError, match=f"its {said} is another"):
        pmodel.fit(name, unfinished.data[source], out=unfinished.run, resume=True, **changed)
    assert files(unfinished.run) == before


def test_an_unfinished_run_is_not_begun_again_unasked(unfinished):
    before = files(unfinished.run)
    with pytest.raises(RunError, match="has not finished") as refused:
        unfinished.fit(unfinished.run)
    assert "--resume" in refused.value.hint
    assert files(unfinished.run) == before


def test_what_is_left_out_is_as_it_was(unfinished):
    pmodel.fit("growing", unfinished.data["points"], out=unfinished.run, resume=True)
    assert outcome(unfinished.run) == unfinished.expected


def test_a_finished_run_says_so_and_stays(trial):
    trial.of("growing", 3)
    before, events = files(trial.reference), []
    model = trial.fit(trial.reference, resume=True, on_event=events.append)
    assert [type(event) for event in events] == [Finished]
    assert files(trial.reference) == before
    assert digest(model) == trial.expected["record"]["result"]["sha256"]


def test_an_unfinished_run_loads_as_its_last_checkpoint_is(unfinished):
    model = pmodel.load(unfinished.run)
    assert model.sample(5, generator=0).shape == (5, 2)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("part", ["model", "training"])
def test_a_damaged_checkpoint_is_told_from_a_whole_one(unfinished, part):
    file = next((unfinished.run / CHECKPOINT.parent).glob(f"*-{part}.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="not what was written"):
        unfinished.fit(unfinished.run, resume=True)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 1, "serial": 1, "files": {}}'])
def test_a_damaged_manifest_is_refused(unfinished, content):
    (unfinished.run / CHECKPOINT).write_text(content)
    with pytest.raises(RunError):
        unfinished.fit(unfinished.run, resume=True)


def test_a_folder_of_something_else_is_not_resumed(trial):
    trial.of("growing", 2)
    trial.run.mkdir()
    (trial.run / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run to resume"):
        trial.fit(trial.run, resume=True)
    assert files(trial.run) == {"letter.txt": b"mine"}


# The disk that a run needs


def test_a_folder_holds_one_checkpoint_and_two_while_one_is_written(trial, monkeypatch):
    most, write = [], folder.write_checkpoint

    def counted(place, *values):
        write(place, *values)
        most.append(len(list((place / CHECKPOINT.parent).glob("*.safetensors"))))

    monkeypatch.setattr(folder, "write_checkpoint", counted)
    trial.of("growing", 6)
    assert most == [2] * len(most)
    assert len(most) > 5
    assert not (trial.reference / CHECKPOINT.parent).exists()


def test_checkpoints_of_a_run_say_where_it_was(trial):
    saved = []
    trial.of("growing", 3, on_event=lambda event: saved.append(event) if isinstance(event, Saved) else None)
    assert [event.step for event in saved] == [0, 1, 2, 3]


def test_pictures_of_a_resumed_run_are_those_of_the_whole(trial):
    shown = []
    trial.of("convolutional", 4)
    with pytest.raises(Crash):
        trial.fit(trial.run, on_event=saved_at(2))
    trial.fit(
        trial.run, resume=True, on_event=lambda event: shown.append(event) if isinstance(event, Sampled) else None
    )
    assert shown
    assert (trial.run / "samples" / "1000.png").read_bytes() == (trial.reference / "samples" / "1000.png").read_bytes()


# Real processes that are really killed

LARGER = {**STRUCTURES, "mixture": "many"}
LONG = {
    "convolutional": ["--steps", "400"],
    "adversarial": ["--steps", "400"],
    "growing": ["--steps", "1200"],
    "handed": ["--steps", "1200"],
    "carrying": ["--steps", "1200"],
    "staged": ["--steps", "600", "--set", "train.iterations=40"],
    "mixture": ["--steps", "60", "--set", "components=8", "--set", "train.tolerance=0"],
}


@pytest.fixture(scope="module")
def command(package, sources):
    """Starts ``pmodel fit``, or goes on with it, in a process of its own."""
    path = os.pathsep.join([str(package), str(Path(structures.__file__).parent), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}

    def start(name, out):
        fixed = ["--precision", "float32", "--save-every", "0.001", "--out", str(out), "--resume"]
        words = [sys.executable, "-m", "pmodel", "fit", name, "--data", str(sources[LARGER[name]])]
        return subprocess.Popen([*words, *LONG[name], *fixed], env=environment, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def whole(command, data, tmp_path):
    """The bits of a run that nobody has killed, in this process; and of a killed one once it has gone on to its end here."""

    def bits(name, run):
        asked = parse_settings([word for word in LONG[name] if "=" in word])
        steps, settings = int(LONG[name][1]), {"settings": asked.train, **asked.options}
        pmodel.fit(name, data[LARGER[name]], out=run, steps=steps, precision="float32", resume=True, **settings)
        return outcome(run)["bits"]

    return bits


def killed(command, name, run, wait):
    """Kill a run ``wait`` seconds after it has a checkpoint; whether it was still under way."""
    process = command(name, run)
    while not (run / CHECKPOINT).exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(wait)
    process.kill()
    said = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), said
    return json.loads((run / RECORD).read_text())["status"] == "training"


@pytest.mark.parametrize("name", STRUCTURES)
def test_kill_9_of_the_command(command, whole, tmp_path, name):
    assert killed(command, name, tmp_path / "run", 0.05)
    assert whole(name, tmp_path / "run") == whole(name, tmp_path / "reference")


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_twenty_random_kills(command, whole, tmp_path, name):
    expected, draw = whole(name, tmp_path / "reference"), random.Random(name)
    run, deaths = tmp_path / "0", 0
    while deaths < 20:
        if killed(command, name, run, draw.uniform(0, 0.5)):
            deaths += 1
        if draw.random() < 0.7:  # else the same run is killed once more
            assert whole(name, run) == expected, f"after death {deaths}"
            run = tmp_path / str(deaths + 1)
            shutil.rmtree(run, ignore_errors=True)
