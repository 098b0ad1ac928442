"""Scales of pictures: sides that halve and double again, and groups of channels."""

import pytest
import torch

from pmodel.implicit.game.halvings import doubled, groups, halved, halved_sides, halvings, widths


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (5, 2), (1, 3), (1, 1)])
def test_halving_gives_back_what_was_doubled(size):
    x = torch.randn(2, 3, *halved_sides(size))
    assert doubled(x, size).shape == (2, 3, *size)
    assert torch.equal(halved(doubled(x, size)), x)


def test_halving_takes_the_mean_of_the_pixels_that_there_are():
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    assert halved(x).tolist() == [[[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]]


def test_channels_double_with_each_halving():
    assert halvings((1, 28, 28)) == [(28, 28), (14, 14), (7, 7)]
    assert widths(halvings((1, 28, 28)), 16) == [16, 32]


@pytest.mark.parametrize(("channels", "expected"), [(1, 1), (8, 1), (16, 1), (24, 1), (32, 2), (56, 1), (128, 8)])
def test_a_group_has_sixteen_channels_or_all(channels, expected):
    assert groups(channels) == expected
    assert channels % expected == 0
