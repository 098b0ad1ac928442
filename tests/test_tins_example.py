"""The example of tins: its ruler against tins that are drawn to measure, and what the autoencoder makes of them."""

import pytest
import torch

import pmodel
import tins
from pmodel.capability import Latent
from pmodel.data import draw_tins, measure_tins
from pmodel.distribution import Point
from pmodel.tasks import encoded

MIXING = torch.tensor([[0.3, -0.1], [0.2, 0.5]], dtype=torch.float64)


class Draughtsman(Latent):
    """Its code is a linear map of the height and width that it measures, and it draws tins to measure."""

    latent = 2
    deterministic = True

    def _encode(self, x, given):
        return Point(measure_tins(x) @ MIXING.T - 3)

    def _decode(self, z, given):
        height, width = ((z.double() + 3) @ MIXING.inverse().T).unbind(1)
        return Point(draw_tins(torch.maximum(height, 0.6 * width), width))  # no lid is longer than its tin


@pytest.fixture(scope="module")
def data():
    return pmodel.load_data("tins")


@pytest.fixture(scope="module")
def draughtsman(data):
    model = Draughtsman(data.domain)
    return model, tins.read(model, data)


def test_a_reading_is_the_inverse_of_a_linear_code(draughtsman, data):
    model, reading = draughtsman
    assert torch.allclose(reading.direction(0), MIXING[:, 0], atol=0.01)
    assert float(reading.explained(encoded(model, data.test.x), data.test.factors).min()) > 0.995


@pytest.mark.parametrize("factor", [0, 1])
def test_a_direction_changes_what_is_read_of_one_factor_alone(factor):
    z = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factors = z @ MIXING.T + 3
    reading = tins.Reading.fitted(z, factors)
    change = reading(z + 0.3 * reading.direction(factor)) - reading(z)
    assert torch.allclose(change, 0.3 * torch.eye(2, dtype=torch.float64)[factor].expand(200, 2))
    assert torch.allclose(reading.explained(z, factors), torch.ones(2).double())


@pytest.mark.parametrize("factor", [0, 1])
def test_the_ruler_finds_the_edits_of_tins_that_are_drawn_to_measure(draughtsman, data, factor):
    edit = tins.judged(*draughtsman, data, factor)
    assert torch.allclose(edit.change, torch.eye(2, dtype=torch.float64)[factor], atol=0.03)
    assert edit.n > 200
    assert tins.NAMES[factor] in str(edit)


def test_it_draws(draughtsman, data):
    assert tins.drawn(*draughtsman, data).width > 9 * 64


@pytest.mark.slow
def test_two_codes_are_height_and_width(data):
    """Found without labels, read linearly, and edited in the drawn tin along one direction for all."""
    model = tins.learned(data)
    reading = tins.read(model, data)
    assert float(tins.shown(model, reading, data).min()) >= 0.98
    for factor in range(2):
        edit = tins.judged(model, reading, data, factor)
        assert float((edit.change - torch.eye(2)[factor]).abs().max()) <= 0.05
