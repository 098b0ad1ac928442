"""How discrete codes are used: against codes that are known."""

import pytest
import torch

from pmodel import Discrete, Real
from pmodel.capability import code_usage
from pmodel.capability.activity import perplexity
from pmodel.errors import BadInput, NotSupported
from pmodel.explicit.approximate.vae.vqvae import VQVAE
from pmodel.explicit.tractable.gaussian import Gaussian
from pmodel.randomness import forked, generator


@pytest.mark.parametrize(("shares", "expected"), [([0.25] * 4, 4), ([1.0, 0, 0], 1), ([0.5, 0.25, 0.25], 2**1.5)])
def test_perplexity_of_frequencies(shares, expected):
    assert float(perplexity(torch.tensor(shares))) == pytest.approx(expected)


def test_usage_counts_every_place():
    with forked(0, "init"):
        model = VQVAE(Real((2,)), Discrete((), 3), codes=6, latent=3, features=2, width=8).eval()
    x, given = torch.randn(2500, 2, generator=generator(0)), torch.arange(2500) % 3
    found = code_usage(model, x, given=given)
    codes = model.encode(x, given=given).mode
    assert found.counts.tolist() == [int((codes == k).sum()) for k in range(6)]
    assert int(found.counts.sum()) == 3 * 2500
    assert found.used == len(codes.unique()) / 6
    assert 1 < found.perplexity <= len(codes.unique())


def test_what_has_no_levels_has_no_usage():
    with pytest.raises(NotSupported, match="Gaussian"):
        code_usage(Gaussian(Real((2,))), torch.zeros(3, 2))
    with pytest.raises(BadInput, match="one datum or more"):
        code_usage(VQVAE(Real((2,)), codes=2, width=4), torch.zeros(0, 2))
