"""Memorisation: copies are found, new and simple and blurred data are not, and held-out data are the control."""

import math

import pytest
import torch

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics import memorisation as module
from pmodel.metrics.memorisation import control, memorisation, nearest_training


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TRAIN, HELD = noise(3000, 12), noise(1000, 12, seed=1)


@pytest.mark.parametrize(("n", "m", "k", "shape"), [(7, 40, 5, (3,)), (30, 4, 9, (1, 2, 2)), (1, 1, 1, (1,))])
def test_the_nearest_are_those_of_all_distances(n, m, k, shape, monkeypatch):
    rows, train = 100 + noise(n, *shape), 100 + noise(m, *shape, seed=1)
    distances, order = torch.cdist(rows.flatten(1), train.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").sort(
        1
    )
    for chunk in (2**24, 8):
        monkeypatch.setattr(module, "CHUNK", chunk)
        found = nearest_training(rows, train, k)
        assert found.indices.tolist() == order[:, :k].tolist()
        torch.testing.assert_close(found.distances, distances[:, :k], rtol=1e-12, atol=1e-12)


def test_copies_have_a_distance_of_exactly_zero_far_from_the_origin():
    train = 1e4 + noise(500, 40)
    found = nearest_training(train[100:200], train, 3)
    assert (found.distances[:, 0] == 0).all()
    assert found.indices[:, 0].tolist() == list(range(100, 200))


def test_new_data_get_what_is_expected_and_copies_are_found():
    usual = control(TRAIN, HELD)
    assert usual.expected == pytest.approx(0.01, abs=1e-4)
    assert usual.value == pytest.approx(0.01, abs=4 * usual.stderr)
    new = memorisation(noise(4000, 12, seed=2), TRAIN, usual)
    assert new.value == pytest.approx(0.01, abs=5 * math.hypot(new.stderr, new.expected_stderr))
    assert (new.control, new.copies, new.n, new.n_reference) == (usual.value, 0, 4000, 3000)
    assert memorisation(TRAIN[:500], TRAIN, usual).value == 1
    nearly = memorisation(TRAIN[:500] + 0.01 * noise(500, 12, seed=3), TRAIN, usual)
    assert (nearly.value, nearly.copies) == (1, 0)
    mixed = memorisation(torch.cat([TRAIN[:100], noise(300, 12, seed=4)]), TRAIN, usual)
    assert mixed.value == pytest.approx(0.25, abs=0.03)
    assert mixed.copies == 100


def test_the_expected_share_is_the_average_over_held_out_sets():
    found = [control(TRAIN, noise(150, 12, seed=seed)) for seed in range(100, 160)]
    scores, usual = nearest_training(HELD, TRAIN).nearness, found[0]
    below = torch.tensor([float((scores < one.threshold).double().mean()) for one in found])
    assert float(below.mean()) == pytest.approx(usual.expected, abs=5 * float(below.std()) / 60**0.5 + 0.004)
    assert float(below.std()) == pytest.approx(usual.expected_stderr, rel=0.5)


def test_data_that_are_near_to_everything_are_no_copies():
    """Averages of training data, and data of a narrow class, have short distances but no single neighbour."""
    narrow = torch.cat([TRAIN, 0.05 * noise(1000, 12, seed=5)])
    usual = control(narrow, torch.cat([HELD, 0.05 * noise(300, 12, seed=6)]))
    simple = memorisation(0.05 * noise(500, 12, seed=7), narrow, usual)
    average = memorisation(TRAIN.view(500, 6, 12).mean(1), narrow, usual)
    assert simple.value < 0.04
    assert average.value < 0.04
    plain = nearest_training(HELD, narrow).distances[:, 0].kthvalue(10).values
    assert (
        float((nearest_training(TRAIN.view(500, 6, 12).mean(1), narrow).distances[:, 0] < plain).double().mean()) > 0.04
    )


def test_training_data_that_occur_twice_do_not_hide_copies():
    twice = torch.cat([TRAIN, TRAIN + 1e-3 * noise(3000, 12, seed=8)])
    found = memorisation(TRAIN[:200] + 1e-3 * noise(200, 12, seed=9), twice, control(twice, HELD))
    assert found.value == 1


def test_pairs_are_the_most_suspect_first():
    samples = torch.cat([HELD[:5], TRAIN[[7, 3]], TRAIN[9:10] + 0.01])
    found = memorisation(samples, TRAIN, control(TRAIN, HELD))
    assert found.nearest_pairs(3) == [(5, 7), (6, 3), (7, 9)]
    assert len(found.nearest_pairs(99)) == 8
    assert found.indices.shape == found.nearness.shape == (8,)


def test_held_out_data_that_are_training_data_do_not_blind_it():
    held = torch.cat([HELD[:500], TRAIN[:50]])
    usual = control(TRAIN, held)
    assert usual.copies == 50
    assert usual.threshold > 0
    assert usual.value == pytest.approx(50 / 550 + 0.01, abs=0.012)
    found = memorisation(TRAIN[:100], TRAIN, usual)
    assert found.value == 1
    assert found.flags == ("50 of 550 held-out data are equal to training data",)


def test_few_held_out_data_state_a_larger_share():
    usual = control(TRAIN, HELD[:30])
    assert usual.expected == pytest.approx(1 / 31)
    found = memorisation(HELD[500:], TRAIN, usual)
    assert found.flags == ("30 held-out data are few: 3.2% of real data are expected",)


def test_whole_numbers_and_one_sample_do():
    train = torch.randint(0, 256, (200, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    held = torch.randint(0, 256, (50, 1, 4, 4), dtype=torch.int64, generator=torch.Generator().manual_seed(1))
    one = memorisation(train[7:8], train, control(train, held))
    assert (one.value, one.n, one.indices.tolist()) == (1, 1, [7])
    assert math.isfinite(one.stderr)


def test_what_cannot_be_told_is_refused_in_words():
    dice = torch.arange(6)[:, None].repeat(100, 1)
    with pytest.raises(BadInput, match=r"60 of 60 held-out data are equal(.|\n)*at least 20"):
        control(dice, dice[:60])
    with pytest.raises(BadInput, match="0 of 19"):
        control(TRAIN, HELD[:19])
    with pytest.raises(ShapeError, match=r"\(5, 3\)"):
        control(TRAIN, noise(5, 3))
    with pytest.raises(BadInput, match=r"\(0, 3000\)"):
        memorisation(HELD[:0], TRAIN, control(TRAIN, HELD))
    with pytest.raises(RangeError, match="1 that are not"):
        nearest_training(torch.tensor([[math.nan]]), torch.ones(3, 1))
    with pytest.raises(RangeError, match="at least 1"):
        nearest_training(HELD, TRAIN, 0)
