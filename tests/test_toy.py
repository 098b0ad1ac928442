"""The known densities: normalised, sampled as they are scored, and with the entropy they state."""

import math

import pytest
import torch

from pmodel.data import KnownDensity, load_data
from pmodel.data.density import Blobs, Cells, Circles
from pmodel.data.toy import TOYS, Moons, SwissRoll
from pmodel.errors import ShapeError
from pmodel.randomness import generator

N = 40_000


@pytest.fixture(params=TOYS)
def truth(request) -> KnownDensity:
    return TOYS[request.param].make()


def test_the_density_integrates_to_one(truth):
    mass = float(truth.log_prob(truth.grid()).exp().sum()) * truth.spacing**2
    assert mass == pytest.approx(1, abs=1e-6)


def test_the_entropy_is_that_of_a_finer_grid(truth):
    stated = truth.entropy
    truth.spacing /= 2
    assert truth._integrated_entropy() == pytest.approx(stated, abs=1e-6)


def test_the_entropy_is_that_of_samples(truth):
    surprise = -truth.log_prob(truth.sample(N, generator(1)))
    stderr = float(surprise.std()) / math.sqrt(N)
    assert float(surprise.mean()) == pytest.approx(truth.entropy, abs=5 * stderr + 1e-9)


def test_samples_follow_the_density(truth):
    """Cosines of random frequencies have the same mean over samples as under the density."""
    grid, x = truth.grid(), truth.sample(N, generator(2)).double()
    frequency = torch.randn(2, 24, generator=generator(3), dtype=torch.float64) / x.std(0)[:, None] * 2
    phase = torch.rand(24, generator=generator(4), dtype=torch.float64) * 2 * math.pi
    weights = truth.log_prob(grid).exp() * truth.spacing**2
    wanted = weights @ (grid @ frequency + phase).cos()
    features = (x @ frequency + phase).cos()
    z = (features.mean(0) - wanted) / (features.std(0) / math.sqrt(N))
    assert z.abs().max() < 5


def test_every_sample_is_possible_in_single_precision(truth):
    x = truth.sample(N, generator(5))
    assert x.dtype == torch.float32
    assert truth.log_prob(x).isfinite().all()


def test_samples_lie_in_the_window(truth):
    x = truth.sample(N, generator(6))
    for side, (low, high) in zip(x.T, truth.box, strict=True):
        assert low < side.min()
        assert side.max() < high


def test_the_same_seed_draws_the_same_points(truth):
    first, again, other = (truth.sample(50, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sampling_leaves_the_global_generator_alone(truth):
    before = torch.get_rng_state()
    truth.sample(10, generator(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_score_does_not_depend_on_the_batch(truth):
    x = truth.sample(5000, generator(7))
    alone = torch.cat([truth.log_prob(point[None]) for point in x[-3:]])
    torch.testing.assert_close(truth.log_prob(x)[-3:], alone, rtol=0, atol=1e-9)


def test_points_have_two_coordinates(truth):
    with pytest.raises(ShapeError, match=r"\(4, 3\)"):
        truth.log_prob(torch.zeros(4, 3))


def test_one_gaussian_has_the_closed_forms():
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), scale_tril=factor)
    truth = TOYS["gaussian2d"].make()
    x = truth.sample(100, generator(0)).double()
    torch.testing.assert_close(truth.log_prob(x), normal.log_prob(x))
    assert truth.entropy == pytest.approx(float(normal.entropy()), abs=1e-12)


def test_disjoint_blobs_have_the_entropy_of_the_choice_and_of_one():
    ring = TOYS["ring"].make()
    assert ring.entropy == pytest.approx(math.log(8) + 1 + math.log(2 * math.pi * 0.01), abs=1e-9)


def test_circles_agree_with_an_integral_over_the_angle():
    truth = Circles((1.0, 2.0), 0.3)
    x = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-2.0, 1.0]], dtype=torch.float64)
    angles = torch.arange(4000, dtype=torch.float64) / 4000 * 2 * math.pi
    centres = torch.cat([radius * torch.stack([angles.cos(), angles.sin()], 1) for radius in (1.0, 2.0)])
    blobs = Blobs(centres.tolist(), [(0.3, 0.0), (0.0, 0.3)])
    torch.testing.assert_close(truth.log_prob(x), blobs.log_prob(x), rtol=1e-10, atol=0)


@pytest.mark.parametrize("curve", [Moons, SwissRoll])
def test_the_integral_along_a_curve_has_converged(curve):
    truth = curve()
    x = truth.sample(200, generator(0))
    many = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    middles = truth.curves((many[1:] + many[:-1]) / 2).flatten(0, 1)
    squares = torch.cdist(x.double(), middles, compute_mode="donot_use_mm_for_euclid_dist").square()
    reference = (-squares / (2 * truth.std**2)).logsumexp(1) - math.log(len(middles) * 2 * math.pi * truth.std**2)
    torch.testing.assert_close(truth.log_prob(x), reference, rtol=0, atol=1e-6)


def test_the_pinwheel_turns_without_changing_areas():
    truth = TOYS["pinwheel"].make()
    x = torch.tensor([0.7, -0.4], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: truth._turned(y, 1.0, torch.tensor(2)), x)
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-12)
    back = truth._turned(truth._turned(x, 1.0, torch.tensor(2)), -1.0, torch.tensor(2))
    torch.testing.assert_close(back, x)


def test_cells_are_impossible_outside():
    truth = Cells(torch.tensor([[True, False]]), corner=(0.0, 0.0), side=2.0)
    x = torch.tensor([[1.0, 1.0], [1.0, 3.0], [-1.0, 1.0], [9.0, 9.0]])
    assert truth.log_prob(x).tolist() == [-math.log(4), -math.inf, -math.inf, -math.inf]


@pytest.mark.parametrize(
    ("place", "land"),
    [
        ((127.0, 37.5), True),  # Seoul
        ((9.0, 48.0), True),
        ((-60.0, -10.0), True),
        ((0.0, -89.0), True),
        ((178.5, 67.0), True),  # the antimeridian runs through Chukotka
        ((-30.0, 30.0), False),
        ((51.0, 42.0), False),  # the Caspian Sea
        ((0.0, 89.5), False),
        ((181.0, 0.0), False),
    ],
)
def test_the_world_map_knows_land_from_sea(place, land):
    assert bool(TOYS["worldmap"].make().log_prob(torch.tensor([place])).isfinite()) == land


def test_the_world_map_has_the_share_of_land_of_the_earth():
    land = TOYS["worldmap"].make().inside.double().mean(0)
    area = torch.deg2rad(torch.arange(-89.5, 90, dtype=torch.float64)).cos()
    assert float(land @ area / area.sum()) == pytest.approx(0.29, abs=0.01)  # of the earth


@pytest.mark.parametrize("name", TOYS)
def test_a_named_density_is_data_with_its_truth(name):
    data = load_data(name)
    assert data.truth is not None
    assert f"{-data.truth.entropy:.4f}" in data.note
    scores = data.truth.log_prob(data.test.x)
    stderr = float(scores.std()) / math.sqrt(len(scores))
    assert float(scores.mean()) == pytest.approx(-data.truth.entropy, abs=5 * stderr + 1e-9)
    assert not torch.equal(data.train.x[:100], data.test.x[:100])
