"""All measurements of samples together: which apply, beside what, and in words where one cannot be had."""

import json

import pytest
import torch

import pmodel
from pmodel.data import from_arrays, load_data
from pmodel.evaluation import Bench
from pmodel.metrics.catalogue import METRICS
from pmodel.metrics.features import Columns
from pmodel.metrics.fidelity import Fidelity

OF_ALL = {"fid", "kid", "precision", "recall", "density", "coverage", "two_sample"}
OF_CLASSES = {"inception_score", "judge", "class_shares"}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def bench(digits):
    return Bench(digits, n=300)


@pytest.fixture(scope="module")
def moons():
    return load_data("moons")


def test_pictures_with_labels_get_what_a_judge_sees(bench, digits):
    found = bench.fidelity(digits.test.x.repeat(2, 1, 1, 1))
    assert set(found) == OF_ALL | OF_CLASSES | {"memorisation", "sharpness"}
    assert "class_agreement" in bench.fidelity(digits.valid.x.repeat(2, 1, 1, 1), digits.valid.y.repeat(2))


def test_points_get_what_columns_show_and_divergences_from_the_truth(moons):
    found = Bench(moons, n=200).evaluate(pmodel.fit("mixture", moons, components=4)).metrics
    assert set(found) == OF_ALL | {"sliced_wasserstein", "memorisation", "kl_data_model", "kl_model_data"}
    assert found["kl_data_model"]["kind"] == "exact"
    assert found["kl_data_model"]["value"] > 0


def test_every_measurement_is_in_the_catalogue_and_says_what_it_is(bench, digits):
    found = bench.fidelity(digits.test.x.repeat(2, 1, 1, 1), digits.test.y.repeat(2))
    assert set(found) <= {row.name for row in METRICS}
    for metric in found.values():
        assert {
            "value",
            "stderr",
            "floor",
            "held_out",
            "n",
            "n_reference",
            "measure",
            "flags",
            "unit",
            "estimator",
        } <= set(metric)
    json.dumps(found, allow_nan=False)


def test_real_data_are_at_the_floor_and_wrong_ones_are_not(bench, digits):
    real = bench.fidelity(torch.cat([digits.test.x, digits.valid.x])[:300])
    noise = torch.randint(17, (300, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    wrong = bench.fidelity(noise)
    for name in ("fid", "kid"):
        assert wrong[name]["value"] > 20 * max(real[name]["value"], real[name]["floor"])
    for name in ("precision", "recall", "density", "coverage", "judge"):
        assert abs(real[name]["value"] - real[name]["floor"]) < 0.12
        assert wrong[name]["value"] < 0.2
    assert abs(real["two_sample"]["value"] - 0.5) < 0.1
    assert wrong["two_sample"]["value"] > 0.95
    assert wrong["sharpness"]["value"] > 1.5


def test_training_data_are_told_from_held_out_data_by_memorisation_alone(bench, digits):
    copies = bench.fidelity(digits.train.x[:300])
    assert copies["memorisation"]["value"] == 1.0
    assert copies["memorisation"]["floor"] < 0.05
    assert copies["fid"]["value"] < 3 * copies["fid"]["floor"]


def test_the_control_is_of_the_other_side_of_learning(bench, digits):
    assert bench.fidelity.split == "train"  # the test split has no room for 300 and a reference
    assert bench.fidelity.n == 300
    found = bench.fidelity(digits.test.x.repeat(2, 1, 1, 1))
    assert all(metric["held_out"] is not None for name, metric in found.items() if name != "memorisation")


def test_the_nearest_training_data_of_a_copy_is_its_original(bench, digits):
    rows = torch.tensor([5, 900, 17])
    assert torch.equal(bench.fidelity.nearest(digits.train.x[rows]), digits.train.x[rows])


def test_data_of_few_states_are_never_called_copies():
    data = from_arrays(torch.arange(6).repeat(100)[:, None].numpy(), name="faces")
    assert "memorisation" not in Bench(data, n=20).fidelity(data.test.x)


def test_what_cannot_be_had_is_null_and_says_why(moons):
    fidelity = Fidelity(moons, "test", 60, 0, Columns(moons.domain, moons.train.x))
    samples = moons.test.x[:60].clone()
    samples[3, 0] = torch.nan
    found = fidelity(samples)
    assert found["fid"]["value"] is None
    assert "finite" in found["fid"]["flags"][0]
    assert fidelity(samples[:10]) == {}


def test_conditional_models_are_asked_by_label(digits, bench):
    model = pmodel.fit("gaussian", digits, conditional=True)
    found = bench.evaluate(model).metrics["class_agreement"]
    assert found["value"] > 0.6 > 2 / 10
    assert found["floor"] > 0.9


def test_the_judge_is_kept_beside_the_report_and_used_again(digits, bench, tmp_path):
    bench.keep_judge(tmp_path)
    again = Bench(digits, n=300, judge=tmp_path / "judge.safetensors")
    assert again.protocol == bench.protocol
