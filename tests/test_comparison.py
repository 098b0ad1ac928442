"""``compare``: entries with options, failures as rows, interrupted comparisons that go on, and a report that says all."""

import itertools
import json
import math
import os
import shlex
import signal

import pytest
import torch

from pmodel.comparison import Entry, compare, running
from pmodel.comparison.job import plain_name
from pmodel.data import from_arrays, load_data
from pmodel.errors import BadInput, NotSupported, RangeError, RunError, Stopped, UnknownName
from pmodel.report import SCHEMA
from pmodel.settings import parse_settings
from pmodel.storage import digest, load, read_json
from pmodel.train import Resumed, Stepped
from pmodel.train.diagnosis import Diagnosis
from pmodel.train.preparation import threads_set


@pytest.fixture(scope="module")
def data():
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(400, 2, generator=g) - 3, torch.randn(400, 2, generator=g) + 3])
    return from_arrays(x.numpy(), name="two")


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    told = []
    models = ["gaussian", ("mixture", {"components": 2}), "uniform", "dcgan"]
    found = compare(models, data, out=tmp_path_factory.mktemp("out"), n=100, steps=20, seeds=2, on_progress=told.append)
    return found, told


@pytest.mark.parametrize(
    ("text", "options", "settings", "label"),
    [
        ("mixture", {}, {}, "mixture"),
        ("mixture:components=20", {"components": 20}, {}, "mixture:components=20"),
        ("vae:latent=2,beta=4.0", {"latent": 2, "beta": 4.0}, {}, "vae:latent=2,beta=4.0"),
        ("vae:latent=2,train.batch=64", {"latent": 2}, {"batch": 64}, "vae:latent=2,train.batch=64"),
    ],
)
def test_entries_are_read_and_spelt(text, options, settings, label):
    entry = Entry.of(text)
    assert (dict(entry.options), dict(entry.settings), entry.label) == (options, settings, label)
    assert Entry.of((entry.name, entry.spelling)) == entry


def test_entries_know_conditional_and_size():
    entry = Entry.of("gaussian:conditional=true,size=tiny")
    assert (entry.conditional, entry.size, dict(entry.options)) == (True, "tiny", {})
    assert entry.label == "gaussian:conditional=true,size=tiny"


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ("gaussian", BadInput, "list of models"),
        ([], BadInput, "list of models"),
        (["gausian"], UnknownName, "gaussian"),
        (["mixture:component=2"], UnknownName, "components"),
        (["gaussian:seed=3"], BadInput, "same for all models"),
        (["gaussian", "gaussian"], BadInput, "stands twice"),
        (["mixture:components"], BadInput, "key=value"),
    ],
)
def test_bad_models_are_refused_before_anything_is_trained(data, tmp_path, models, error, words):
    with pytest.raises(error, match=words):
        compare(models, data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", [0, -1, True, 1.0, 10**6])
def test_seeds_are_a_whole_number(data, tmp_path, seeds):
    with pytest.raises(RangeError, match="seeds"):
        compare(["gaussian"], data, out=tmp_path / "out", seeds=seeds)


def test_the_report_has_the_documented_schema(result):
    found, _ = result
    written = json.loads((found.folder / "report.json").read_text())
    assert written == json.loads(json.dumps(found.report, allow_nan=False))
    assert written["schema"] == SCHEMA
    assert {"data", "models", "protocol", "order", "commands"} <= set(written)
    for model in written["models"]:
        assert {"name", "options", "seeds", "likelihood", "metrics", "speed", "health", "run"} <= set(model)
    assert [m["label"] for m in written["models"]] == ["gaussian", "mixture:components=2", "uniform", "dcgan"]
    for model in written["models"][:3]:
        assert (found.folder / model["run"] / "model.safetensors").is_file()
        assert [seed["seed"] for seed in model["seeds"]] == [0, 1]
    assert found.page.is_file()


def test_what_follows_is_ranked(result):
    gaussian, mixture, uniform, _ = result[0].report["models"]
    assert mixture["place"]["likelihood"] == {"best": 1, "worst": 1}
    assert gaussian["likelihood"]["value"] < mixture["likelihood"]["value"]
    assert uniform["place"]["likelihood"]["best"] > 1
    verdicts = result[0].report["order"]["likelihood"]
    assert [(v["first"], v["second"]) for v in verdicts] == [
        ("gaussian", "mixture:components=2"),
        ("gaussian", "uniform"),
        ("mixture:components=2", "uniform"),
    ]
    assert verdicts[0]["outcome"] == "second"


KINDS = {
    "digits": {
        "gaussian": "lower_bound",
        "mixture": "exact",
        "realnvp": "lower_bound",
        "pixelcnn": "exact",
        "vae": "lower_bound",
        "ddpm": "lower_bound",
        "dcgan": None,
    },
    "moons": {"gaussian": "exact", "mixture": "exact", "realnvp": "exact", "vae": "lower_bound", "ddpm": "lower_bound"},
}


@pytest.fixture(scope="module", params=[*KINDS, pytest.param("mnist", marks=pytest.mark.slow)])
def branches(request, tmp_path_factory):
    if request.param == "mnist" and "PMODEL_DATA" not in os.environ:
        pytest.skip("needs MNIST: set PMODEL_DATA")
    kinds = KINDS["moons" if request.param == "moons" else "digits"]
    names = list(kinds) if request.param != "mnist" else ["gaussian", "vae", "pixelcnn", "ddpm", "dcgan"]
    models = [name if name in ("gaussian", "mixture") else f"{name}:size=tiny" for name in names]
    out = tmp_path_factory.mktemp("out")
    found = compare(models, request.param, out=out, steps=3, n=50, effort=2, judges=out / "judges")
    return found.report, {model: kinds[name] for model, name in zip(models, names, strict=True)}


def test_likelihoods_of_all_branches_are_in_one_measure_and_say_what_they_are(branches):
    report, kinds = branches
    found = {model["label"]: model["likelihood"] for model in report["models"]}
    assert {name: written and written["kind"] for name, written in found.items()} == kinds
    assert len({json.dumps(written["measure"]) for written in found.values() if written}) == 1


def test_exact_numbers_are_compared_in_pairs_and_bounds_only_where_it_follows(branches):
    report, kinds = branches
    values = {model["label"]: model["likelihood"]["value"] for model in report["models"] if model["likelihood"]}
    order = {(v["first"], v["second"]): v for v in report["order"]["likelihood"]}
    assert len(order) == math.comb(len(values), 2)
    for (first, second), verdict in order.items():
        exact = [kinds[name] == "exact" for name in (first, second)]
        if all(exact):
            assert verdict["interval"][0] < verdict["difference"] < verdict["interval"][1]
        elif not any(exact):
            assert verdict["outcome"] == "undecided"
        elif verdict["outcome"] != "undecided":  # only a bound can be above an exact number, never below it
            above = first if verdict["outcome"] == "first" else second
            assert kinds[above] == "lower_bound"
            assert values[above] == max(values[first], values[second])


def test_a_model_that_fails_is_a_row_that_says_why(result):
    row = result[0].report["models"][3]
    assert row["run"] is None
    assert row["likelihood"] is None
    assert "takes pictures" in row["error"]
    assert not list((result[0].folder / "runs").glob("*dcgan*"))


def test_numbers_of_seeds_are_means_with_the_spread_in_the_error(result):
    model = result[0].report["models"][1]
    own = [seed["metrics"]["fid"] for seed in model["seeds"]]
    fid = model["metrics"]["fid"]
    assert fid["value"] == pytest.approx(sum(f["value"] for f in own) / 2)
    between = abs(own[0]["value"] - own[1]["value"]) / 2
    within = math.hypot(own[0]["stderr"], own[1]["stderr"]) / 2
    assert fid["stderr"] == pytest.approx(math.hypot(between, within))
    likelihoods = [seed["likelihood"]["value"] for seed in model["seeds"]]
    assert model["likelihood"]["value"] == pytest.approx(sum(likelihoods) / 2)


def test_progress_is_told(result):
    stages = [(p.stage, p.label, p.seed) for p in result[1] if p.stage != "fit"]
    assert stages[:2] == [("evaluate", "gaussian", 0), ("done", "gaussian", 0)]
    assert stages[-1][0] == "report"
    assert ("failed", "dcgan", 1) in stages
    events = [p.event for p in result[1] if p.stage == "fit" and p.label == "gaussian"]
    assert [type(e).__name__ for e in events][:: len(events) - 1][0] == "Started"
    assert {(p.number, p.runs) for p in result[1] if p.number} == {(k, 8) for k in range(1, 9)}


def test_an_interrupted_comparison_goes_on(data, tmp_path, monkeypatch):
    fitted = []
    fit = running.fit

    def interrupted(name, *args, **kwargs):
        fitted.append(name)
        if name == "uniform":
            raise KeyboardInterrupt
        return fit(name, *args, **kwargs)

    monkeypatch.setattr(running, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(["gaussian", "uniform"], data, out=tmp_path, n=50)
    assert json.loads((tmp_path / "report.json").read_text())["models"][0]["label"] == "gaussian"
    monkeypatch.setattr(running, "fit", lambda name, *a, **k: (fitted.append(name), fit(name, *a, **k)))
    before = (tmp_path / "runs/gaussian-s0/model.safetensors").stat().st_mtime_ns
    found = compare(["gaussian", "uniform"], data, out=tmp_path, n=50)
    assert fitted == ["gaussian", "uniform", "uniform"]
    assert (tmp_path / "runs/gaussian-s0/model.safetensors").stat().st_mtime_ns == before
    assert [m["error"] for m in found.report["models"]] == [None, None]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["gaussian-s0", "uniform-s0"]


VAE = "vae:size=tiny"
STEPS = 40


@pytest.fixture
def stopped(data, tmp_path):
    """A comparison that a signal has ended in its second run, half way."""

    def interrupt(progress):
        event = progress.event
        if isinstance(event, Stepped) and event.step == STEPS // 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match=r"everything is saved(.|\n)*same comparison again"):
        compare(["gaussian", VAE], data, out=tmp_path, n=50, steps=STEPS, on_progress=interrupt)
    return tmp_path


def test_a_run_that_was_interrupted_goes_on_to_the_same_bits(data, stopped, tmp_path_factory):
    assert [row["label"] for row in json.loads((stopped / "report.json").read_text())["models"]] == ["gaussian"]
    told = []
    found = compare(["gaussian", VAE], data, out=stopped, n=50, steps=STEPS, on_progress=told.append)
    events = [p.event for p in told if p.stage == "fit"]
    assert [(e.step, e.iteration) for e in events if isinstance(e, Resumed)] == [(STEPS // 2, 0)]
    assert [p.label for p in told if p.stage == "reused"] == ["gaussian"]
    assert [m["error"] for m in found.report["models"]] == [None, None]
    assert sorted(p.name for p in (stopped / "runs").iterdir()) == ["gaussian-s0", "vae-size=tiny-s0"]
    whole = compare([VAE], data, out=tmp_path_factory.mktemp("whole"), n=50, steps=STEPS)
    first, second = (digest(load(c.folder / "runs/vae-size=tiny-s0")) for c in (found, whole))
    assert first == second


def test_an_interrupted_run_of_another_comparison_is_never_replaced(data, stopped):
    before = {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"partial is a run of another comparison: its steps differs"):
        compare([VAE], data, out=stopped, n=50, steps=STEPS + 1)
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == before


def test_a_run_that_had_only_begun_is_in_nobodys_way(data, stopped):
    partial = stopped / "runs/.vae-size=tiny-s0.partial"
    (partial / "run/run.json").unlink()
    for path in sorted((partial / "run").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    found = compare([VAE], data, out=stopped, n=50, steps=3)
    assert found.report["models"][0]["error"] is None


def test_a_run_that_fails_leaves_nothing_to_go_on_with(data, tmp_path, monkeypatch):
    def fails(*args, out, **kwargs):
        out.mkdir(parents=True)
        raise ValueError("no")

    monkeypatch.setattr(running, "fit", fails)
    compare(["gaussian"], data, out=tmp_path, n=50)
    assert list((tmp_path / "runs").iterdir()) == []


def test_verdicts_of_the_doctor_reach_the_report(data, tmp_path, monkeypatch):
    verdict = Diagnosis("collapsed samples", "All samples are alike.", "lower the rate", fatal=True)
    fit = running.fit

    def sick(*args, out, **kwargs):
        fit(*args, out=out, **kwargs)
        record = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps({**record, "health": [{"step": 3, **verdict.to_json()}]}))

    monkeypatch.setattr(running, "fit", sick)
    found = compare(["gaussian"], data, out=tmp_path, n=50)
    assert found.report["models"][0]["health"] == [str(verdict)]
    assert "All samples are alike." in found.page.read_text()


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    told = []
    models = ["gaussian", VAE, "dcgan", "vae:size=tiny,beta=2"]
    out = tmp_path_factory.mktemp("together")
    return compare(models, data, out=out, n=50, steps=STEPS, jobs=2, on_progress=told.append), told


def test_runs_trained_at_the_same_time_have_the_same_bits(data, together, tmp_path):
    found, _ = together
    with threads_set(max(1, torch.get_num_threads() // 2)):
        alone = compare([VAE, "vae:size=tiny,beta=2"], data, out=tmp_path, n=50, steps=STEPS)
    rows = [[m for m in c.report["models"] if m["name"] == "vae"] for c in (found, alone)]
    digests = [[digest(load(c.folder / m["run"])) for m in part] for c, part in zip((found, alone), rows, strict=True)]
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[0][1]


def test_each_was_planned_before_any_was_trained_and_told_of_its_training(together):
    found, told = together
    begun = [read_json(found.folder / m["run"] / "run.json")["begun"] for m in found.report["models"] if m["run"]]
    written = [read_json(found.folder / m["run"] / "run.json")["written"] for m in found.report["models"] if m["run"]]
    assert max(begun) <= min(written)
    steps = [p.event.step for p in told if p.label == VAE and p.stage == "fit" and isinstance(p.event, Stepped)]
    assert steps[-1] == STEPS
    assert sorted(p.name for p in (found.folder / "runs").iterdir() if p.name.startswith(".")) == []


def test_a_failure_in_another_process_is_a_row(together):
    errors = {m["label"]: m["error"] for m in together[0].report["models"]}
    assert "pictures" in errors.pop("dcgan")
    assert set(errors.values()) == {None}


def test_a_signal_stops_all_runs_and_they_go_on(data, tmp_path):
    def interrupt(progress):
        if isinstance(progress.event, Stepped) and not progress.event.step % 10:
            os.kill(os.getpid(), signal.SIGTERM)

    models = [VAE, "vae:size=tiny,beta=2"]
    with pytest.raises(Stopped, match=r"everything is saved(.|\n)*same comparison again"):
        compare(models, data, out=tmp_path, n=50, steps=4000, jobs=2, on_progress=interrupt)
    assert list((tmp_path / "runs").glob(".*.partial/run/checkpoint"))
    told = []
    found = compare(models, data, out=tmp_path, n=50, steps=4000, on_progress=told.append)
    assert [m["error"] for m in found.report["models"]] == [None, None]
    assert [p for p in told if isinstance(p.event, Resumed)]


@pytest.mark.parametrize("jobs", [0, True, 1.5])
def test_jobs_are_a_whole_number(data, tmp_path, jobs):
    with pytest.raises(RangeError, match="jobs"):
        compare(["gaussian"], data, out=tmp_path / "out", jobs=jobs)


def test_a_comparison_runs_in_one_process(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(NotSupported, match="one process"):
        compare(["gaussian"], data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_comparison_is_never_replaced(data, tmp_path):
    compare(["gaussian"], data, out=tmp_path, n=50, steps=3)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"its steps differs(.|\n)*3, asked for 4"):
        compare(["gaussian"], data, out=tmp_path, n=50, steps=4)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_another_bench_measures_the_same_runs_again(data, tmp_path):
    first = compare(["gaussian"], data, out=tmp_path, n=50)
    again = compare(["gaussian"], data, out=tmp_path, n=60)
    assert [r.report["models"][0]["metrics"]["fid"]["n"] for r in (first, again)] == [50, 60]


@pytest.mark.parametrize("label", ["mixture:components=20", "vae:hidden=8,16", 'x:a="../../etc"', "x:a=" + "b" * 300])
def test_run_folders_have_plain_names(label):
    name = plain_name(label)
    assert "/" not in name
    assert not name.startswith(".")
    assert len(name) < 100
    assert plain_name(label + "!") != name


def test_the_command_of_a_report_reads_the_data_as_they_were_read(tmp_path):
    rows = [f"{k / 8},{k * k / 64},{'red' if k % 3 else 'blue'}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["height,mass,colour", *rows]))
    data = load_data(str(tmp_path / "t.csv"), columns={"mass": "drop"}, label="colour")
    (command,) = compare(["gaussian"], data, out=tmp_path / "out", n=20).report["commands"]
    words = shlex.split(command)
    pairs = [after for word, after in itertools.pairwise(words) if word == "--set"]
    assert parse_settings(pairs, data=True).data == {"columns": {"mass": "drop"}, "label": "colour"}
