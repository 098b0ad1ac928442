"""The number of components: free parameters by formula, the criteria by hand, and the choice where the truth is known."""

import math
from dataclasses import replace

import pytest
import torch

from pmodel import Discrete, Real, load_data, make
from pmodel.data import Dataset, Split
from pmodel.domain import Sequences
from pmodel.errors import BadInput, NotSupported
from pmodel.explicit.tractable.histogram import Histogram
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.tasks import choose_components

K, D, Q = 5, 7, 3


@pytest.mark.parametrize(
    ("options", "each"),
    [
        ({"covariance": "full"}, K * (D + D * (D + 1) // 2)),
        ({"covariance": "tied"}, K * D + D * (D + 1) // 2),
        ({"covariance": "diagonal"}, K * (D + D)),
        ({"covariance": "spherical"}, K * (D + 1)),
        ({"covariance": "lowrank", "rank": Q}, K * (D + D * Q - 3 + D)),
        ({"covariance": "lowrank", "rank": Q, "isotropic": True}, K * (D + D * Q - 3 + 1)),
    ],
)
def test_free_parameters_of_gaussians(options, each):
    assert Mixture(Real((D,)), components=K, **options).freedom == each + K - 1
    assert make("mixture", Real((D,)), components=K, **options).freedom == each + K - 1
    assert make("mixture", Real((D,)), Discrete((), 3), components=K, **options).freedom == 3 * (each + K - 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("ours", "theirs"), [("full", "full"), ("tied", "tied"), ("diagonal", "diag"), ("spherical", "spherical")]
)
def test_free_parameters_are_scikit_learns(ours, theirs):
    from sklearn.mixture import GaussianMixture

    oracle = GaussianMixture(K, covariance_type=theirs, max_iter=1).fit(torch.randn(50, D).numpy())
    assert Mixture(Real((D,)), components=K, covariance=ours).freedom == oracle._n_parameters()


def test_a_rank_of_all_but_one_may_not_count_more_than_a_covariance_has_with_isotropic_noise():
    """Probabilistic PCA with D - 1 factors is any covariance: the loadings' rotations must not be counted."""
    ppca = Mixture(Real((D,)), components=1, covariance="lowrank", rank=D - 1, isotropic=True)
    assert ppca.freedom == Mixture(Real((D,)), components=1, covariance="full").freedom


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (Mixture(Discrete((D,), 4), components=K), K * D * 3 + K - 1),
        (Histogram(Discrete((3,), 4)), 4**3 - 1),
        (Histogram(Discrete((3,), 4), joint=False), 3 * 3),
        (Histogram(Real((2,)), bins=8), 8 * 8 - 1 + 4),
        (make("gaussian", Real((D,))), D + D * (D + 1) // 2),
        (make("uniform", Real((D,))), 2 * D),
        (make("uniform", Discrete((D,), 3)), 0),
        (make("hmm", Sequences(Real((2,)), 9), states=3), 2 + 3 * 2 + 3 * (2 + 3)),
        (make("hmm", Sequences(Real((2,)), 9), states=3, emission="mixture", components=2), 8 + 3 + 6 * 5),
        (make("hmm", Sequences(Discrete((), 4), 9, ends=True), states=3), 3 + 3 * 3 + 3 * 3),
    ],
)
def test_free_parameters_of_others(model, count):
    assert model.freedom == count


@pytest.fixture(scope="module")
def ring():
    return choose_components(load_data("ring"), [4, 7, 8, 9, 12])


def test_eight_clusters_in_a_ring_are_found_by_both_criteria(ring):
    assert ring.components == 8
    assert min(ring.candidates, key=lambda row: row.bic).components == 8
    assert len(ring.model.model.weights) == 8
    assert [row.components for row in ring.candidates] == [4, 7, 8, 9, 12]


def test_the_table_is_what_it_says(ring):
    data = load_data("ring")
    for row in ring.candidates:
        train, valid = row.model.log_prob(data.train.x), row.model.log_prob(data.valid.x)
        assert row.held_out == pytest.approx(valid.mean().item())
        assert row.stderr == pytest.approx(valid.std().item() / math.sqrt(len(valid)))
        assert row.log_likelihood == pytest.approx(train.mean().item())
        assert row.parameters == 6 * row.components - 1
        assert row.bic == pytest.approx(row.parameters * math.log(len(train)) - 2 * train.sum().item())
    assert "*        8          47" in str(ring)


def test_twenty_five_clusters_in_a_square_are_found():
    found = choose_components(load_data("grid"), [24, 25, 27], restarts=10)
    assert found.components == 25
    assert min(found.candidates, key=lambda row: row.bic).components == 25


def test_without_held_out_data_only_bic_is_left():
    heights = load_data("heights")
    with pytest.raises(BadInput, match="by='bic'"):
        choose_components(heights, [1, 2])
    found = choose_components(heights, [1, 2], by="bic", shrinkage=0.0)
    assert found.candidates[0].held_out is None
    assert found.components in (1, 2)


@pytest.fixture
def unseen():
    """A datum of a value that training never had."""
    x = torch.arange(60)[:, None] % 3
    return Dataset("unseen", Discrete((1,), 4), Split(x), Split(torch.tensor([[0], [3]])), Split(x))


def test_what_holds_a_datum_for_impossible_is_not_best(unseen):
    found = choose_components(unseen, [0, 1], model="histogram", option="smoothing")
    assert found.components == 1
    assert [row.held_out == -math.inf for row in found.candidates] == [True, False]
    assert found.candidates[0].behind[0] == math.inf


def test_where_all_hold_a_datum_for_impossible_there_is_no_best(unseen):
    with pytest.raises(BadInput, match="impossible"):
        choose_components(unseen, [1, 2], shrinkage=0.0)
    found = choose_components(unseen, [1, 2], shrinkage=0.0, by="bic")
    assert (found.components, found.candidates[0].behind) == (1, None)


def test_of_bounds_there_is_no_bic():
    data = load_data("digits:0")
    data = replace(data, valid=data.test)
    found = choose_components(data, [1], covariance="diagonal", steps=2)
    assert (found.candidates[0].kind, found.candidates[0].bic) == ("lower_bound", None)
    with pytest.raises(BadInput, match="by='held_out'"):
        choose_components(data, [1], covariance="diagonal", steps=2, by="bic")


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda d: choose_components(d, []), BadInput, "to try"),
        (lambda d: choose_components(d, [1], by="aic"), BadInput, "aic"),
        (
            lambda d: choose_components(d, [4], model="realnvp", option="width", steps=1, layers=2),
            NotSupported,
            "count",
        ),
    ],
)
def test_refuses(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(load_data("ring"))
