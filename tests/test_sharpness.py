"""Sharpness: equal to closed forms, lowered by blur and raised by noise, refused where it has no meaning."""

import math

import pytest
import torch
from torch.nn import functional as F

from pmodel.errors import BadInput, RangeError, ShapeError
from pmodel.metrics import sharpness as module
from pmodel.metrics.sharpness import details, sharpness


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(n, seed=0, channels=1):
    """Pictures of a few blots with soft borders."""
    return F.avg_pool2d((F.interpolate(noise(n, channels, 5, 5, seed=seed), scale_factor=6) > 0).double(), 3, 1)


def blurred(x):
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


@pytest.mark.parametrize(("a", "b"), [(1, 0), (1, 2), (4, 4), (8, 8), (3, 7)])
def test_a_wave_has_the_energy_of_its_frequency(a, b):
    side = 16
    i, j = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    alpha, beta = 2 * math.pi * a / side, 2 * math.pi * b / side
    phases = torch.arange(8) * math.pi / 8
    waves = torch.stack([(alpha * i + beta * j + p).cos() for p in phases])[:, None].double()
    gain = (4 - 2 * math.cos(alpha) - 2 * math.cos(beta)) ** 2
    inside = waves[..., 1:-1, 1:-1].square().mean((1, 2, 3))
    torch.testing.assert_close(details(waves).energy, gain * inside, rtol=1e-6, atol=1e-9)


def test_white_noise_has_twenty_times_its_variance():
    found = details(3 * noise(2000, 3, 12, 12))
    assert float(found.energy.mean()) == pytest.approx(20 * 9, rel=0.01)
    assert float(found.variance.mean()) == pytest.approx(9 * (1 - 1 / 144), rel=0.01)


def test_brightness_does_not_count_and_contrast_counts_by_its_square():
    x = blobs(50)
    found = sharpness(5 + 0.5 * x, x)
    assert found.value == pytest.approx(0.25)
    assert found.contrast == pytest.approx(0.25)
    assert sharpness(x, x).value == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_lowers_it_and_noise_raises_it(channels):
    x, y = blobs(200, 0, channels), blobs(200, 1, channels)
    real = sharpness(x, y)
    assert abs(real.value - 1) < 4 * real.stderr
    soft, softer = sharpness(blurred(x), y), sharpness(blurred(blurred(x)), y)
    assert softer.value < soft.value < 0.5
    assert soft.contrast > 0.8
    noisy = sharpness(x + 0.1 * noise(*x.shape, seed=2), y)
    assert noisy.value > 1 + 10 * noisy.stderr


def test_noise_in_the_colours_alone_is_seen():
    x = blobs(50).expand(-1, 3, -1, -1)
    shift = 0.1 * noise(*x.shape, seed=3)
    assert sharpness(x + shift - shift.mean(1, keepdim=True), x).value > 1.1


def test_the_standard_error_is_the_spread_over_repetitions():
    found = [sharpness(blobs(60, seed), blobs(90, seed + 500)) for seed in range(150)]
    spread = float(torch.tensor([one.value for one in found]).std())
    assert sum(one.stderr for one in found) / 150 == pytest.approx(spread, rel=0.2)


def test_whole_numbers_parts_and_details_known_before_give_the_same(monkeypatch):
    x = (blobs(20) * 255).round().to(torch.uint8)
    whole = sharpness(x, x[:7].double())
    monkeypatch.setattr(module, "CHUNK", 3 * 28 * 28)
    assert sharpness(details(x), x[:7]) == whole


def test_single_and_small_pictures_are_told_in_words():
    one = sharpness(blobs(1), blobs(9))
    assert one.stderr is None
    assert math.isfinite(one.value)
    small = sharpness(noise(9, 1, 4, 8), noise(9, 1, 4, 8))
    assert small.flags == ("pictures 4 pixels wide: most of them is border, which is not looked at",)
    assert sharpness(torch.ones(9, 1, 8, 8), blobs(9)).value == 0


def test_what_has_no_sharpness_is_refused_in_words():
    with pytest.raises(ShapeError, match=r"too small(.|\n)*\(9, 1, 2, 5\)"):
        details(noise(9, 1, 2, 5))
    with pytest.raises(ShapeError, match=r"\(9, 5\)"):
        details(noise(9, 5))
    with pytest.raises(RangeError, match="1 that are not"):
        details(torch.tensor([math.nan] + [1.0] * 8).view(1, 1, 3, 3))
    with pytest.raises(BadInput, match="no details"):
        sharpness(blobs(9), torch.ones(9, 1, 8, 8))
    with pytest.raises(BadInput, match=r"\(0, 9\)"):
        sharpness(blobs(9)[:0], blobs(9))
