"""What the example of autoencoders says one should find, on few and small pictures."""

import numpy as np
import pytest

import autoencoders
import pmodel


@pytest.fixture(scope="module")
def played():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoders, "PRIORS", {"gaussian": ("gaussian", {})})
        patch.setattr(autoencoders, "NETWORKS", {"latent": 16, "architecture": "dense", "width": 128})
        return autoencoders.play(pmodel.load_data("digits"), steps=300, n=500)


def fid(played, name):
    return played[name].fid[0]


def test_codes_that_are_made_up_decode_worse_than_those_of_a_density(played):
    cured = fid(played, "autoencoder: z from a gaussian of its codes")
    assert cured < 0.7 * fid(played, "autoencoder: z from N(0, I)")
    assert fid(played, "variational: z from N(0, I)") < fid(played, "autoencoder: z from N(0, I)")


def test_test_data_are_nearest(played):
    assert min(row.fid[0] for row in played.rows if row.fid is not None) == fid(played, "test data")


def test_one_encodes_to_a_point_and_the_other_draws(played):
    assert played.spread["autoencoder"] == 0
    assert played.spread["variational"] > 0.1


def test_it_tells_and_draws(played):
    assert "FID" in str(played["test data"])
    picture = np.asarray(autoencoders.drawn(played))
    assert picture.shape[2] == 3
    assert len(np.unique(picture)) > 100
