"""The notes' game of points: errors of precision and recall against areas that are counted on the mask."""

import math

import numpy as np
import pytest
import torch

import pmodel
import point_game


@pytest.fixture(scope="module")
def answers():
    return point_game.play()


@pytest.fixture(scope="module")
def truth():
    return pmodel.load_data("worldmap").truth


def land_within(truth, model):
    """The area of land inside a box, by the corners of each square of the mask, in square degrees."""
    corner = truth.corner + truth.cells
    sides = torch.minimum(corner + 1, model.high) - torch.maximum(corner, model.low)
    return sides.clamp_min(0).prod(1).sum().item()


@pytest.mark.parametrize("index", [0, 1])
def test_a_box_errs_by_areas(answers, truth, index):
    answer = answers[index]
    land, box = len(truth.cells), (answer.model.high - answer.model.low).prod().item()
    both = land_within(truth, answer.model)
    assert answer.precision_error == pytest.approx(
        1 - both / box, abs=2e-3
    )  # edges are resolved to an eighth of a degree
    assert answer.recall_error == pytest.approx(1 - both / land, abs=2e-3)


def test_new_points_err_as_often_as_the_mass_does(answers):
    for answer in answers:
        error = answer.precision_error
        found = (~answer.on_land).double().mean().item()
        assert abs(found - error) < 4 * math.sqrt(error * (1 - error) / point_game.NEW)


def test_points_a_b_and_c_are_what_they_are_called(answers, truth):
    def possible(density, point):
        return density(point[None].double()).item() > -math.inf

    for answer in answers:
        found = {
            name: (possible(answer.model.log_prob, point), possible(truth.log_prob, point))
            for name, point in answer.marked.items()
        }
        wanted = {"A": (True, False), "B": (False, True), "C": (True, True)}
        assert found == {name: wanted[name] for name in found}
        assert {"A", "C"} <= set(found)


def test_better_models_err_less(answers):
    few, box, histogram, mixture = answers
    assert few.recall_error > 0.1 > histogram.recall_error > 1e-3 > box.recall_error >= 0 == mixture.recall_error
    assert min(few.precision_error, box.precision_error) > 0.5
    assert max(histogram.precision_error, mixture.precision_error) < 0.2
    assert "B" not in mixture.marked
    assert mixture.kl[0].value < 0.4 < math.log(360 * 180) - truth_entropy()


def truth_entropy():
    """KL(data‖uniform on the whole map) is the log of the map's area less the entropy of the land."""
    return pmodel.load_data("worldmap").truth.entropy


def test_it_tells_and_draws(answers):
    assert "of the land is impossible under the model" in point_game.told(answers[0])
    picture = np.asarray(point_game.drawn(answers))
    colours = set(map(tuple, picture.reshape(-1, 3)))
    assert {point_game.LAND, point_game.RIGHT, point_game.WRONG, point_game.LACKING, point_game.BOX} <= colours
