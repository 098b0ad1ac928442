"""Data to translate between: shapes plain and striped, digits grey and coloured; what their true translations are."""

import math

import pytest
import torch

from pmodel.data import SHAPES, draw_shapes, greyed, load_data, recoloured, shape_content, shape_masks
from pmodel.data.named import NAMED
from pmodel.domain import Discrete
from pmodel.errors import DtypeError, RangeError, ShapeError, UnknownName

here = pytest.mark.skipif(not NAMED["mnist"].offline, reason="mnist is not on this machine")
COLUMN = {name: number for number, name in enumerate(SHAPES)}


@pytest.fixture(scope="module")
def shapes():
    return load_data("shapes")


@pytest.fixture(scope="module")
def factors(shapes):
    return shapes.test.factors[:200]


def overlap(first, second):
    """Intersection over union, ``(N,)``."""
    return (first & second).flatten(1).sum(1) / (first | second).flatten(1).sum(1)


def test_what_shapes_are(shapes):
    assert shapes.domain == Discrete((3, 32, 32), 256)
    assert [len(split) for split in shapes.splits.values()] == [10_000, 1_000, 1_000]
    assert shapes.label_names == ("plain", "striped")
    assert torch.equal(shapes.test.y, shapes.test.factors[:, 0].long())
    assert load_data("shapes", seed=1).hash != shapes.hash
    plain, striped = load_data("shapes:plain"), load_data("shapes:striped")
    assert len(plain.train) + len(striped.train) == 10_000
    assert abs(len(plain.train) / 10_000 - 0.5) < 4 * 0.5 / math.sqrt(10_000)


def test_drawn_again_from_their_factors(shapes, factors):
    assert torch.equal(draw_shapes(factors), shapes.test.x[:200])
    assert draw_shapes(factors[:0]).shape == (0, 3, 32, 32)


def test_stripes_change_the_texture_and_nothing_else(factors):
    plain, striped = (draw_shapes(factors, texture=texture) for texture in ("plain", "striped"))
    changed = (plain != striped).any(1)
    near = torch.nn.functional.max_pool2d(shape_masks(factors).float()[:, None], 3, 1, 1)[:, 0] > 0
    assert not (changed & ~near).any()
    share = (changed & shape_masks(factors)).flatten(1).sum(1) / shape_masks(factors).flatten(1).sum(1)
    assert 0.4 < share.mean() < 0.8  # half of a shape is white, and edges of stripes are mixed


def test_the_middle_of_a_shape_is_white(factors):
    still = {"across": 0.0, "down": 0.0, "turn": 0.0, "outline": "box"}
    x = draw_shapes(factors[:8], texture="striped", **still)
    middle = torch.tensor([246, 246, 242], dtype=torch.uint8)[None, :, None]
    assert torch.equal(x[:, :, 15:17, 16], middle.expand(8, 3, 2))
    own = draw_shapes(factors[:8], texture="plain", **still)
    assert torch.equal(x[:, :, 17:19, 16], own[:, :, 17:19, 16])


@pytest.mark.parametrize("texture", ["plain", "striped"])
def test_the_content_of_the_truth_is_the_shape(factors, texture):
    found = overlap(shape_content(draw_shapes(factors, texture=texture), factors), shape_masks(factors))
    assert found.mean() > 0.94
    assert found.min() > 0.8


def test_content_that_is_elsewhere_does_not_overlap(factors):
    moved = draw_shapes(factors.flip(0))
    assert overlap(shape_content(moved, factors), shape_masks(factors)).mean() < 0.6


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"texture": "dotted"}, UnknownName, "striped"),
        ({"hue": 0.5}, UnknownName, "factor of shapes"),
        ({"width": 20.0}, RangeError, "width of a shape is a number from 6 to 10"),
        ({"width": "wide"}, DtypeError, "wide"),
    ],
)
def test_what_no_shape_has(factors, changes, error, complaint):
    with pytest.raises(error, match=complaint):
        draw_shapes(factors, **changes)


def test_shapes_need_all_factors():
    for function in (draw_shapes, shape_masks):
        with pytest.raises(ShapeError, match="10 factors"):
            function(torch.zeros(2, 9))


def test_colours_are_read_in_grey_again():
    grey = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28)
    x = recoloured(grey)
    assert x.shape == (256, 3, 28, 28)
    assert (greyed(x).int() - grey.int()).abs().max() <= 1
    assert recoloured(grey[:0]).shape == (0, 3, 28, 28)
    assert greyed(x[:0]).shape == (0, 1, 28, 28)


def test_ground_is_light_and_ink_dark_and_both_change_downwards():
    ends = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28)
    ground, ink = recoloured(ends).int()
    assert ground.sum(0).min() > 2 * ink.sum(0).max()
    assert ground[:, 0, 0].tolist() == [252, 236, 184]
    assert ground[:, 27, 0].tolist() == [184, 220, 252]
    assert ink[:, 0, 0].tolist() == [128, 16, 96]
    assert ink[:, 27, 0].tolist() == [8, 84, 60]


@pytest.mark.parametrize("function", [recoloured, greyed])
def test_other_pictures_are_refused(function):
    with pytest.raises(ShapeError, match="28, 28"):
        function(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


@here
def test_halves_are_of_different_digits():
    data, digits = load_data("recoloured"), load_data("mnist")
    assert data.label_names == ("grey", "coloured")
    assert torch.equal(data.test.x[0::2], digits.test.x[0::2].expand(-1, 3, -1, -1))
    assert torch.equal(data.test.x[1::2], recoloured(digits.test.x[1::2]))
    assert torch.equal(data.test.factors[:, 0].long(), digits.test.y)
    assert data.by("digit").given == Discrete((), 10)
    grey, coloured = data.only("grey"), data.only("coloured")
    assert [len(half.test) for half in (grey, coloured)] == [5000, 5000]
