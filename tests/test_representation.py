"""Classifiers from few labels: probes against closed forms, and what pre-training has over fresh weights."""

import json
import math
import os

import pytest
import torch

import pmodel
from pmodel.catalogue import resolve
from pmodel.data import Dataset, Split
from pmodel.distribution import Normal
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, DataError, NotSupported, RangeError, ShapeError, UnknownName
from pmodel.representation.autoencoder import Autoencoder
from pmodel.tasks import encoded, few_labels, fine_tuned, fine_tuning, linear_probe, nearest_probe
from pmodel.tasks.representation import WAYS, labelled
from pmodel.wrappers import Standardised

TRAINING = {"steps": 60, "rate": 1e-3}
"""Of the classifiers, where it is not to be chosen."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- probes --------------------------------------------------------------------------------------------------------------


def test_without_a_penalty_the_linear_probe_is_maximum_likelihood():
    """At the maximum the expected features under the model are those of the data, label by label."""
    z = torch.randn(300, 2, generator=seeded(), dtype=torch.float64)
    y = (z[:, 0] + torch.randn(300, generator=seeded(1)) > 0).long() + (z[:, 1] > 1.5).long()
    log_probs = linear_probe(z, y, z, 3, penalty=1e9)
    gap = torch.nn.functional.one_hot(y, 3) - log_probs.exp()
    assert float((gap.T @ z).abs().max()) < 0.1
    assert torch.allclose(log_probs.logsumexp(1), torch.zeros(300).double(), atol=1e-9)


def test_the_linear_probe_rules_out_labels_that_it_was_never_shown():
    z, y = torch.randn(40, 3, generator=seeded()), torch.arange(40) % 2 * 2
    log_probs = linear_probe(z, y, z, 4)
    assert torch.isneginf(log_probs[:, [1, 3]]).all()
    assert log_probs[:, [0, 2]].isfinite().all()


def test_the_nearest_probe_counts_votes():
    z = torch.tensor([[0.0], [1.0], [1.2], [5.0]])
    y = torch.tensor([0, 1, 1, 2])
    three, one = (nearest_probe(z, y, torch.tensor([[0.1], [5.0]]), 3, neighbours=k) for k in (3, 1))
    assert torch.allclose(three.exp(), torch.tensor([[2 / 6, 3 / 6, 1 / 6], [1 / 6, 3 / 6, 2 / 6]]).double(), atol=1e-3)
    assert one.argmax(1).tolist() == [0, 2]
    tied = nearest_probe(z, y, torch.tensor([[0.4], [0.7]]), 3, neighbours=2)
    assert tied.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("probe", [linear_probe, nearest_probe])
def test_probes_refuse_what_does_not_fit(probe):
    z, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ShapeError):
        probe(z, y[:3], z, 2)
    with pytest.raises(ShapeError):
        probe(z, y, torch.zeros(4, 3), 2)
    with pytest.raises(RangeError, match="from 0 to 0"):
        probe(z, y, z, 1)


def test_probes_need_enough_to_go_by():
    z = torch.zeros(4, 2)
    with pytest.raises(BadInput, match="two labels"):
        linear_probe(z, torch.ones(4, dtype=torch.int64), z, 2)
    with pytest.raises(RangeError, match="1 to the number of labelled data, 4"):
        nearest_probe(z, torch.ones(4, dtype=torch.int64), z, 2, neighbours=5)


# --- codes ---------------------------------------------------------------------------------------------------------------


def test_codes_are_means_and_indicators():
    model = pmodel.make("vae", Real((3,)), latent=2, width=8)
    x = torch.randn(5, 3, generator=seeded())
    assert isinstance(model, Standardised)
    assert torch.equal(encoded(model, x), model.encode(x).mean.double())
    assert isinstance(model.encode(x), Normal)


def test_discrete_codes_are_probed_and_not_tuned():
    domain = Discrete((1, 8, 8), 17)
    model = pmodel.make("vqvae", domain, prior="none", **resolve("VQVAE").sizes["tiny"])
    x = torch.randint(0, 17, (5, 1, 8, 8), generator=seeded())
    z, cells = encoded(model, x), math.prod(model.codes.shape)
    assert z.shape == (5, cells * model.codes.levels)
    assert z.sum(1).tolist() == [cells] * 5
    with pytest.raises(NotSupported, match="discrete codes"):
        fine_tuned(model, x, torch.tensor([0, 1, 0, 1, 0]), x, 2)


def test_a_model_without_codes_or_with_a_label_is_refused():
    with pytest.raises(NotSupported, match="cannot encode"):
        encoded(pmodel.make("gaussian", Real((3,))), torch.zeros(2, 3))
    with pytest.raises(BadInput, match="has a condition"):
        encoded(pmodel.make("vae", Real((3,)), Discrete((), 2)), torch.zeros(2, 3))


# --- few labels ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves():
    """Bits whose left half is copied to the right, one way or mirrored: the label is which. Linear maps cannot see it."""
    noise = torch.Generator().manual_seed(0)
    left = torch.randint(0, 2, (3000, 6), generator=noise)
    y = torch.randint(0, 2, (3000,), generator=noise)
    x = torch.cat([left, torch.where(y[:, None] == 1, 1 - left, left)], 1)
    parts = [Split(x[a:b].to(torch.uint8), y[a:b]) for a, b in ((0, 2000), (2000, 2200), (2200, 3000))]
    return Dataset("halves", Discrete((12,), 2), *parts, given=Discrete((), 2), label_names=("same", "other"))


@pytest.fixture(scope="module")
def pretrained(halves):
    return pmodel.fit("autoencoder", halves, steps=600, precision="float32", latent=7, width=64)


@pytest.fixture(scope="module")
def found(halves, pretrained):
    return few_labels(pretrained, halves, labels=40, seeds=3, **TRAINING)


def test_all_ways_are_tried_on_the_same_data(found, halves):
    assert tuple(found.found) == tuple(WAYS)
    assert {one.n for ways in found.found.values() for one in ways} == {len(halves.test)}
    assert all(len(ways) == 3 for ways in found.found.values())


def test_principal_components_know_nothing_of_a_product(found):
    """Every entry is uniform given the label, and so are all pairs but one: no linear map tells the labels apart."""
    mean, _ = found.accuracy("PCA, linear")
    assert abs(mean - 0.5) < 0.1


def test_differences_are_taken_seed_by_seed(found):
    a, b = found.each("fine-tuned"), found.each("from scratch")
    mean, stderr = found.gain("fine-tuned", "from scratch")
    gaps = torch.tensor(a).double() - torch.tensor(b).double()
    assert mean == pytest.approx(float(gaps.mean()))
    assert stderr == pytest.approx(float(gaps.std()) / math.sqrt(3))


def test_the_result_is_told_and_written(found):
    assert "40 labels" in str(found)
    assert "fine-tuned" in str(found)
    written = json.loads(json.dumps(found.to_json()))
    assert written["ways"]["fine-tuned"]["each"] == found.each("fine-tuned")
    with pytest.raises(UnknownName, match="way"):
        found.accuracy("fine tuned")


def test_the_same_seeds_give_the_same_classifiers(found, halves, pretrained):
    again = few_labels(pretrained, halves, labels=40, seeds=[1], ways=["fine-tuned", "from scratch"], **TRAINING)
    for way in again.found:
        assert again.each(way)[0] == found.each(way)[1]
    assert math.isnan(again.accuracy("fine-tuned")[1])
    assert again.to_json()["ways"]["fine-tuned"]["stderr"] is None


def test_fine_tuning_learns_its_labels_and_leaves_the_model_alone(halves, pretrained):
    part = labelled(halves, 40, 0)
    before = {name: tensor.clone() for name, tensor in pretrained.state_dict().items()}
    log_probs = fine_tuned(pretrained, part.x, part.y, part.x, 2, steps=150, rate=1e-3)
    assert (log_probs.argmax(1) == part.y).double().mean() > 0.95
    assert torch.allclose(log_probs.logsumexp(1), torch.zeros(40).double(), atol=1e-9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pretrained.state_dict().items())
    assert not pretrained.training


def test_steps_and_rate_are_those_that_are_best_on_held_out_data(halves, pretrained, monkeypatch):
    """Labels that no linear map can tell ask for training; at a rate of .9 the encoder is destroyed."""
    monkeypatch.setattr(fine_tuning, "STEPS", (1, 80))
    monkeypatch.setattr(fine_tuning, "RATES", (1e-6, 3e-3, 0.9))
    part, new = labelled(halves, 200, 0), halves.test.x[:50]

    def tuned(**settings):
        return fine_tuned(pretrained, part.x, part.y, new, 2, **settings)

    assert torch.equal(tuned(), tuned(steps=80, rate=3e-3))


def test_where_a_label_is_too_rare_to_be_held_out_the_middle_is_taken(halves, pretrained, monkeypatch):
    monkeypatch.setattr(fine_tuning, "STEPS", (2, 5))
    x, y = halves.train.x[:9], torch.tensor([0] * 8 + [1])
    found = fine_tuned(pretrained, x, y, x, 2)
    assert torch.equal(found, fine_tuned(pretrained, x, y, x, 2, steps=5, rate=1e-3))
    assert not torch.equal(found, fine_tuned(pretrained, x, y, x, 2, steps=5, rate=3e-4))


def test_labelled_data_are_spread_evenly(halves):
    for seed in (0, 1):
        assert labelled(halves, 41, seed).y.bincount().tolist() == [21, 20]
    assert not torch.equal(labelled(halves, 40, 0).x, labelled(halves, 40, 1).x)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"labels": 1}, RangeError, "labels"),
        ({"labels": 1999}, BadInput, "of every class"),
        ({"seeds": 0}, BadInput, "a seed and a way"),
        ({"ways": []}, BadInput, "a seed and a way"),
        ({"ways": ["probe"]}, UnknownName, "way"),
        ({"steps": 0}, RangeError, "steps"),
        ({"rate": 0.0}, RangeError, "rate"),
    ],
)
def test_bad_arguments_are_refused(halves, pretrained, change, error, words):
    with pytest.raises(error, match=words):
        few_labels(pretrained, halves, **change)


def test_data_must_have_labels_and_be_the_model_s(halves, pretrained):
    with pytest.raises(BadInput, match="of other data"):
        few_labels(pretrained, pmodel.load_data("digits"))
    with pytest.raises(DataError, match="no labels"):
        few_labels(Autoencoder.tiny(Real((2,))), pmodel.load_data("moons"))


@pytest.mark.slow
def test_fine_tuning_is_ahead_of_scratch_and_of_principal_components_on_mnist():
    if "PMODEL_DATA" not in os.environ:
        pytest.skip("needs MNIST: set PMODEL_DATA")
    data = pmodel.load_data("mnist")
    model = pmodel.fit(
        "autoencoder", data, steps=1500, precision="float32", architecture="dense", width=512, masking=0.3
    )
    found = few_labels(model, data, seeds=3, ways=["fine-tuned", "from scratch", "PCA, linear"])
    assert found.gain("fine-tuned", "from scratch")[0] > 0.05
    assert found.gain("fine-tuned", "PCA, linear")[0] > 0.02
