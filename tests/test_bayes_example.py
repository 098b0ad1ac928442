"""What the example of Bayes on digits says one should find."""

import warnings

import pytest

import bayes


@pytest.fixture(scope="module")
def rows():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn: fits without a penalty do not converge on separable data
        found = bayes.compared(labels=(20, 300, 1437), missing=(0.0, 0.75), seeds=1)
    return {(row.name, row.labels, row.missing): row for row in found}


def test_naive_bayes_has_learned_all_it_can_from_300_labels(rows):
    few, many = (rows["naive Bayes", n, 0.0].accuracy for n in (300, 1437))
    assert few > many - 0.02


@pytest.mark.parametrize("rival", bayes.DISCRIMINATIVE)
@pytest.mark.parametrize("labels", [300, 1437])
def test_a_mixture_is_ahead_of_logistic_regression(rows, rival, labels):
    assert rows["mixtures of eight", labels, 0.0].accuracy > rows[rival, labels, 0.0].accuracy + 0.01


def test_with_few_labels_the_penalty_is_ahead_by_log_loss_and_naive_bayes_too_sure(rows):
    assert rows["naive Bayes", 20, 0.0].log_loss > 2 * rows["logistic regression", 20, 0.0].log_loss
    assert abs(rows["naive Bayes", 20, 0.0].accuracy - rows["logistic regression", 20, 0.0].accuracy) < 0.08


@pytest.mark.parametrize("rival", bayes.DISCRIMINATIVE)
def test_with_missing_pixels_marginals_beat_means(rows, rival):
    for name in bayes.GENERATIVE:
        ours, theirs = rows[name, 1437, 0.75], rows[rival, 1437, 0.75]
        assert ours.accuracy > theirs.accuracy + 0.1
        assert ours.log_loss < theirs.log_loss - 0.2
        assert ours.calibration_error < 0.1


def test_labels_are_drawn_evenly():
    data = bayes.labelled(bayes.digits(), 50, 0)
    assert data.train.y.bincount().tolist() == [5] * 10
    assert data.train.x.unique().tolist() == [0, 1]
