"""The uniform box."""

import math

import pytest
import torch

from pmodel.domain import Discrete, Real
from pmodel.errors import RangeError
from pmodel.explicit.tractable.uniform import Uniform
from pmodel.learning import Batch


def fitted(x, **options):
    model = Uniform(Real(x.shape[1:]), **options)
    generator = torch.Generator()
    model.initialise(Batch(x), generator)
    model.maximise(model.statistics(Batch(x), generator))
    return model


def test_every_level_is_equally_likely():
    model = Uniform(Discrete((2, 3), 5))
    assert model.log_prob(torch.randint(5, (4, 2, 3))).tolist() == pytest.approx([-6 * math.log(5)] * 4)


def test_the_box_is_the_range_and_a_margin():
    model = fitted(torch.tensor([[0.0, 10.0], [4.0, 30.0]]), margin=0.25)
    assert (model.low.tolist(), model.high.tolist()) == ([-1.0, 5.0], [5.0, 35.0])
    inside, outside = model.log_prob([[5.0, 5.0], [5.1, 5.0]]).tolist()
    assert inside == pytest.approx(-math.log(6 * 30))
    assert outside == -math.inf


def test_a_constant_entry_has_width_one():
    model = fitted(torch.full((3, 1), 7.0))
    assert (model.low.item(), model.high.item()) == (6.5, 7.5)


def test_a_missing_value_is_not_part_of_the_range():
    x = torch.tensor([[1.0, torch.nan], [2.0, 5.0], [3.0, 9.0]], dtype=torch.float64)
    model = Uniform(Real((2,)), margin=0.0)
    model.initialise(Batch(x, observed=~x.isnan()), torch.Generator())
    assert (model.low.tolist(), model.high.tolist()) == ([1.0, 5.0], [3.0, 9.0])


def test_marginal_is_the_box_of_the_observed_entries():
    model = fitted(torch.tensor([[0.0, 0.0], [2.0, 4.0]]), margin=0.0)
    found = model.log_prob([[1.0, 99.0]], observed=torch.tensor([True, False]))
    assert found.item() == pytest.approx(-math.log(2))


def test_samples_stay_in_the_box():
    x = fitted(torch.tensor([[-3.0], [5.0]]), margin=0.0).sample(1000, generator=0)
    assert -3 <= x.min() < -2.9
    assert 4.9 < x.max() <= 5


@pytest.mark.parametrize("margin", [-0.1, math.inf, math.nan])
def test_refuses_a_margin(margin):
    with pytest.raises(RangeError, match=str(margin)):
        Uniform(Real((1,)), margin=margin)
