"""Evaluation: every number says what it is, one bench serves all models, and a run folder keeps what was found."""

import json
import math
from dataclasses import replace

import pytest
import torch

import pmodel
from pmodel.data import Split, from_arrays, load_data
from pmodel.errors import BadInput, RangeError, RunError, UnknownName
from pmodel.evaluation import Bench, evaluate, read_evaluation
from pmodel.evaluation.cost import counted
from pmodel.likelihood import Likelihood
from pmodel.metrics import judge_for


@pytest.fixture(scope="module")
def points():
    return from_arrays(torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).numpy(), name="points")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def judge(digits, tmp_path_factory):
    return judge_for(digits, tmp_path_factory.mktemp("judges"), steps=150)


def test_a_gaussian_on_gaussian_data_is_at_the_floor_and_at_the_entropy(points):
    found = evaluate(pmodel.fit("gaussian", points), points, n=100).to_json()
    entropy = 1 + math.log(2 * math.pi)
    assert found["likelihood"]["value"] == pytest.approx(-entropy, abs=5 * found["likelihood"]["stderr"])
    assert (found["likelihood"]["kind"], found["likelihood"]["unit"], found["likelihood"]["n"]) == (
        "exact",
        "nats",
        100,
    )
    fid = found["metrics"]["fid"]
    assert fid["value"] == pytest.approx(fid["floor"], abs=5 * math.hypot(fid["stderr"], fid["floor_stderr"]))
    assert fid["measure"]["extractor"] == "standardised columns"
    assert "bits_per_dim" not in found["metrics"]
    assert found["speed"]["network_calls"] == 0
    json.dumps(found, allow_nan=False)


def test_a_wrong_model_is_far_above_the_floor(points):
    fid = evaluate(pmodel.fit("uniform", points), points, n=100).metrics["fid"]
    assert fid["value"] > fid["floor"] + 5 * fid["stderr"]


def test_discrete_data_have_bits_per_dimension_too(digits, judge, tmp_path, monkeypatch):
    monkeypatch.setattr("pmodel.evaluation.bench.judge_for", lambda *_, **__: judge)
    found = evaluate(pmodel.fit("gaussian", digits), digits, n=200)
    nats, bits = found.likelihood, found.metrics["bits_per_dim"]
    assert nats["kind"] == bits["kind"] == "lower_bound"
    assert bits["value"] == pytest.approx(-nats["value"] / (64 * math.log(2)))
    assert "evaluation seed 0" in nats["estimator"]
    seen = found.metrics["judge"]
    assert sum(seen["counts"]) == round(seen["value"] * seen["n"])
    assert seen["floor"] > seen["value"]
    assert found.metrics["fid"]["value"] > 3 * found.metrics["fid"]["floor"]


def test_impossible_data_are_counted_and_null():
    data = from_arrays(torch.arange(6).repeat(40)[:, None].numpy(), name="faces")
    model = pmodel.fit("histogram", replace(data, train=data.train.take(data.train.x[:, 0] != 3)), smoothing=0.0)
    found = evaluate(model, data).to_json()
    threes = int((data.test.x == 3).sum())
    assert found["likelihood"]["value"] is None
    assert found["likelihood"]["impossible"] == threes > 0
    assert found["metrics"]["bits_per_dim"]["value"] is None
    assert any(f"{threes} of {len(data.test)} held-out data are impossible" in words for words in found["health"])


def test_the_same_bench_gives_the_same_numbers_and_another_seed_others(points):
    model = pmodel.fit("gaussian", points)
    first, again, other = (Bench(points, n=60, seed=seed) for seed in (0, 0, 1))
    assert first.protocol == again.protocol != other.protocol
    a, b, c = (bench.evaluate(model) for bench in (first, again, other))
    assert (a.likelihood, a.metrics) == (b.likelihood, b.metrics)
    assert a.metrics["fid"]["value"] != c.metrics["fid"]["value"]


def test_the_truth_is_scored_where_it_is_known():
    moons = load_data("moons")
    truth = Bench(moons, n=500).truth()
    assert truth["value"] == pytest.approx(-moons.truth.entropy, abs=5 * truth["stderr"])
    assert Bench(from_arrays(torch.rand(200, 2).numpy()), n=50).truth() is None


def divergences(data, name, **options):
    found = evaluate(pmodel.fit(name, data, **options), data, n=200).metrics
    return found["kl_data_model"], found["kl_model_data"]


def test_divergences_of_exact_densities_are_sums_and_have_no_sampling_error():
    data = load_data("gaussian2d")
    for found in divergences(data, "gaussian", shrinkage=0):
        assert found["kind"] == "exact"
        assert 0 < found["value"] < 1e-3  # the error of five numbers learned from 10 000 points: 5 / 20 000 nats
        assert found["stderr"] < 1e-6
        assert found["estimator"] == "sum over a grid of 8836 points; standard error by shifts of the grid"
        assert (found["n"], found["floor"], found["flags"]) == (8836, 0, [])


def test_what_the_grid_cannot_tell_is_a_mean_over_points():
    """Part of the model's mass is beside the grid: the sum tells what the model lacks, samples what it makes up."""
    data = load_data("gaussian2d")
    wide = replace(data, train=Split(data.train.x[:2000] * 4))
    model = pmodel.fit("gaussian", wide)
    lacks, makes = (Bench(data, n=200).evaluate(model).metrics[name] for name in ("kl_data_model", "kl_model_data"))
    assert lacks["estimator"].startswith("sum over a grid")
    assert "model's mass on the grid is" in lacks["flags"][0]
    assert makes["estimator"] == "mean over points, exact"
    assert (makes["n"], makes["kind"]) == (200, "exact")
    log_sixteen = math.log(16)
    assert lacks["value"] == pytest.approx(log_sixteen - 1 + 1 / 16, abs=0.1)
    assert makes["value"] == pytest.approx(15 - log_sixteen, abs=5 * makes["stderr"])


def test_divergences_of_bounds_are_means_over_points():
    """A VAE has no exact density to sum, and its bound turns round in the first divergence."""
    data = load_data("moons")
    lacks, makes = divergences(data, "vae", size="tiny", steps=3)
    assert (lacks["kind"], makes["kind"]) == ("upper_bound", "lower_bound")
    for found in (lacks, makes):
        assert found["estimator"].startswith("mean over points, importance-weighted")
        assert (found["n"], found["stderr"] > 0) == (200, True)


def test_a_model_that_rules_out_what_the_truth_allows_is_infinitely_far_whatever_the_points_are():
    lacks, makes = divergences(load_data("moons"), "uniform")
    assert lacks["value"] is None
    assert 0 < lacks["outside_share"] < 0.01
    assert lacks["flags"][0].startswith("infinite: ")
    assert makes["value"] > 0


def test_scores_that_are_not_numbers_beside_the_data_leave_the_mean_over_points(monkeypatch):
    data = load_data("gaussian2d")
    model = pmodel.fit("gaussian", data)
    right = type(model).score

    def failing(self, x, **kwargs):
        found = right(self, x, **kwargs)
        return replace(found, values=found.values.masked_fill((x > 6).any(1), math.nan))

    monkeypatch.setattr(type(model), "score", failing)
    assert "mean over points" in Bench(data, n=60).evaluate(model).metrics["kl_data_model"]["estimator"]


@pytest.mark.parametrize(("setting", "value"), [("n", 1), ("n", True), ("n", 10**7), ("effort", 0), ("effort", 1.5)])
def test_settings_out_of_range_are_named(points, setting, value):
    with pytest.raises(RangeError, match=rf"{setting} must be(.|\n)*{value}"):
        Bench(points, **{setting: value})


def test_wrong_data_are_refused(points, digits):
    with pytest.raises(UnknownName, match="dev"):
        Bench(points, split="dev")
    model = pmodel.fit("gaussian", from_arrays(torch.rand(200, 3).numpy()))
    with pytest.raises(BadInput, match="other data than points"):
        evaluate(model, points)
    with pytest.raises(BadInput, match="which data"):
        evaluate(model)


def test_a_run_folder_keeps_the_evaluation_and_a_page(points, tmp_path):
    pmodel.fit("gaussian", points, out=tmp_path / "run")
    found = evaluate(tmp_path / "run", points, n=60)
    kept, protocol = read_evaluation(tmp_path / "run")
    assert kept.to_json() == found.to_json()
    assert torch.equal(kept.scored.values, found.scored.values)
    assert torch.equal(kept.samples, found.samples)
    assert protocol["n"] == 60
    assert found.speed["training_seconds"] > 0
    assert "<title>gaussian on points</title>" in (tmp_path / "run/report.html").read_text()


def test_a_run_on_a_named_set_needs_no_data(tmp_path):
    pmodel.fit("gaussian", load_data("moons"), out=tmp_path / "run")
    assert evaluate(tmp_path / "run", n=60).likelihood["measure"]["data"] == load_data("moons").hash
    record = json.loads((tmp_path / "run/run.json").read_text())
    record["data"]["hash"] = "0" * 64
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="content has changed"):
        evaluate(tmp_path / "run", n=60)


def test_damaged_evaluations_are_refused(points, tmp_path):
    pmodel.fit("gaussian", points, out=tmp_path / "run")
    with pytest.raises(RunError, match="cannot be read"):
        read_evaluation(tmp_path / "run")
    evaluate(tmp_path / "run", points, n=60)
    (tmp_path / "run/evaluation.safetensors").write_bytes(b"{}")
    with pytest.raises(RunError, match="no whole evaluation"):
        read_evaluation(tmp_path / "run")


def test_network_calls_are_the_most_runs_of_one_layer():
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(first, second, torch.nn.ReLU())
    with counted(model) as calls:
        for _ in range(3):
            second(torch.ones(1, 2))
        model(torch.ones(1, 2))
    assert max(calls.values()) == 4
    second(torch.ones(1, 2))
    assert max(calls.values()) == 4


def test_scores_that_are_not_numbers_are_no_likelihood(points, monkeypatch):
    model = pmodel.fit("gaussian", points)
    values = torch.tensor([0.0, math.nan], dtype=torch.float64)
    monkeypatch.setattr(type(model), "score", lambda *_, **__: Likelihood(values, "exact", "exact"))
    found = Bench(points, n=60).evaluate(model)
    assert found.likelihood is None
    assert "no likelihood: 1 of 2 scores are not numbers" in found.health


def test_a_run_that_has_not_finished_is_not_evaluated(tmp_path):
    folder = tmp_path / "run"
    pmodel.fit("histogram", "dice", out=folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "training"}))
    with pytest.raises(RunError, match="has not finished") as caught:
        pmodel.evaluate(folder)
    assert "--resume" in str(caught.value)
    assert not (folder / "scores.json").exists()
