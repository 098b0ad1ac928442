"""Modes that are known: distances to them, quality, shares; and where an evaluation holds them."""

import math

import pytest
import torch

import pmodel
from pmodel.cli.scoring import metric_words
from pmodel.data.toy import TOYS
from pmodel.errors import RangeError, ShapeError
from pmodel.evaluation import Bench
from pmodel.metrics.catalogue import METRICS
from pmodel.metrics.modes import REACH, class_modes, found_modes, high_quality

RING = TOYS["ring"].make()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_distances_are_in_standard_deviations_of_the_mode():
    centre = RING.means[3]
    x = torch.stack([centre, centre + torch.tensor([0.3, 0.0]), centre + torch.tensor([0.0, -0.5])])
    away = RING.away(x)
    assert away.shape == (3, 8)
    assert torch.allclose(away[:, 3], torch.tensor([0.0, 3.0, 5.0], dtype=torch.float64), atol=1e-5)
    assert away.argmin(1).tolist() == [3, 3, 3]


@pytest.mark.parametrize("name", ["moons", "gaussian2d", "worldmap"])
def test_a_truth_without_modes_has_none_to_count(name):
    assert TOYS[name].make().away(torch.zeros(2, 2)) is None


def test_real_data_are_of_high_quality_as_often_as_a_gaussian_is_within_three_deviations():
    found = high_quality(RING.away(RING.sample(20_000, seeded())))
    assert found.floor == pytest.approx(1 - math.exp(-(REACH**2) / 2), abs=1e-12)
    assert abs(found.value - found.floor) < 5 * found.stderr


def test_the_divergence_of_shares_has_no_bias_and_the_error_that_it_states():
    """Of real data, whose shares are equal: over 400 draws."""
    found = [found_modes(RING.away(RING.sample(200, seeded(k)))) for k in range(400)]
    values, errors = (torch.tensor([getattr(f, name) for f in found]) for name in ("value", "stderr"))
    assert abs(float(values.mean())) < 5 * float(values.std()) / 20
    assert float(values.std()) == pytest.approx(float(errors.square().mean().sqrt()), rel=0.35)


def test_a_collapsed_model_has_high_quality_and_the_divergence_log_k():
    x = RING.means[2] + 0.1 * torch.randn(1000, 2, generator=seeded(), dtype=torch.float64)
    away = RING.away(x)
    found = found_modes(away)
    assert high_quality(away).value > 0.97
    assert found.value == pytest.approx(math.log(8), abs=1e-9)
    assert (found.found, found.modes, found.counts[2]) == (1, 8, round(1000 * high_quality(away).value))
    assert found.flags == ("no sample at 7 of 8 modes",)


def test_samples_between_modes_belong_to_none():
    found = found_modes(RING.away(torch.zeros(5, 2)))
    assert (found.value, found.stderr, found.found) == (None, None, 0)
    assert high_quality(RING.away(torch.zeros(5, 2))).value == 0


SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)


def judged(n, seed):
    """What a judge that is sure sees of data with these shares."""
    return torch.eye(4, dtype=torch.float64)[torch.multinomial(SHARES, n, replacement=True, generator=seeded(seed))]


def test_modes_of_unlike_shares_are_held_against_these():
    p = torch.eye(4, dtype=torch.float64)[torch.tensor([0, 0, 0, 1])]
    found = class_modes(p, SHARES)
    plain = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.3)
    assert found.plain == pytest.approx(plain)
    assert found.value == pytest.approx(plain - 1 / 8)
    assert (found.found, found.modes, found.counts) == (2, 4, (3, 1, 0, 0))
    assert found.expected == pytest.approx(sum(1 - (1 - p) ** 4 for p in SHARES.tolist()))
    assert found.flags == (
        "no sample at 2 of 4 modes",
        "4 samples are few for 4 modes: the correction for this is rough",
    )
    everything = class_modes(torch.eye(4)[:1].expand(50, 4), SHARES)
    assert everything.value == pytest.approx(math.log(2))


def test_real_data_of_unlike_shares_have_no_divergence_and_the_error_that_it_states():
    found = [class_modes(judged(300, k), SHARES) for k in range(400)]
    values, errors = (torch.tensor([getattr(f, name) for f in found]) for name in ("value", "stderr"))
    assert abs(float(values.mean())) < 5 * float(values.std()) / 20
    assert float(values.std()) == pytest.approx(float(errors.square().mean().sqrt()), rel=0.35)
    assert all(f.plain == pytest.approx(f.value + (f.found - 1) / 600) for f in found)


@pytest.mark.parametrize(
    ("shares", "error"),
    [(torch.ones(3) / 3, ShapeError), (torch.ones(4), RangeError), (torch.tensor([0.5, 0.5, 0.0, 0.0]), RangeError)],
)
def test_shares_that_are_not_those_of_the_modes_are_refused(shares, error):
    with pytest.raises(error):
        class_modes(judged(5, 0), shares)


@pytest.mark.parametrize("away", [torch.zeros(0, 8), torch.zeros(3), torch.zeros(3, 0)])
def test_what_is_no_table_of_distances_is_refused(away):
    for measure in (high_quality, found_modes):
        with pytest.raises(ShapeError):
            measure(away)


def test_an_evaluation_holds_them_where_modes_are_known():
    data = pmodel.load_data("ring")
    model = pmodel.fit("mixture", data, components=8, seed=0)
    metrics = Bench(data, n=400).evaluate(model).metrics
    assert metrics["high_quality"]["value"] > 0.9
    assert metrics["mode_shares"]["modes"] == 8
    assert metrics["mode_shares"]["floor"] == 0
    (row,) = (row for row in METRICS if row.name == "mode_shares")
    assert metric_words(row, metrics["mode_shares"]).endswith(" nats; real data have 0; 8 of 8 have samples")
    assert (
        "mode_shares"
        not in Bench(pmodel.load_data("moons"), n=60)
        .evaluate(pmodel.fit("gaussian", pmodel.load_data("moons")))
        .metrics
    )
