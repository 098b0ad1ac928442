"""The diffusion transformer: its parts, and the model with it."""

import pytest
import torch
from torch import nn

from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput
from pmodel.explicit.approximate.diffusion.ddpm import DDPM
from pmodel.explicit.approximate.diffusion.transformer import Transformer, places
from pmodel.testing import conformance

LAWS = ("every_parameter_learns", "state_dict_restores_the_model", "samples_are_data", "scores_are_each_datum_s_own")


def shaken(net):
    """All parameters at random: what starts at zero hides what is behind it."""
    for index, parameter in enumerate(net.parameters()):
        nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(index))
    return net.eval()


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(shape, **options):
    sizes = {"width": 16, "layers": 2, "patch": 4, "heads": 2, "told": 8}
    return Transformer(shape, 3, **(sizes | options))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (1, 2, 1)])
@pytest.mark.parametrize("answers", [1, 2])
def test_pictures_of_any_size(shape, answers):
    net = small(shape, answers=answers)
    x = noise(2, *shape)
    assert not bool(net(x, torch.ones(2), torch.tensor([0, 1])).any())  # before training
    answer = shaken(net)(x, torch.ones(2), torch.tensor([0, 1]))
    assert tuple(answer.shape) == (2, answers * shape[0], *shape[1:])


def test_blocks_start_as_the_identity():
    net = small((1, 8, 8))
    h = noise(2, 4, 16)
    for block in net.blocks:
        assert torch.equal(block(h, noise(2, 8)), h)


def test_attention_is_that_of_the_reference():
    net = shaken(small((1, 8, 8)))
    block, h = net.blocks[0], noise(2, 4, 16)
    reference = nn.MultiheadAttention(16, 2, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": block.inward.weight,
            "in_proj_bias": block.inward.bias,
            "out_proj.weight": block.outward.weight,
            "out_proj.bias": block.outward.bias,
        }
    )
    assert torch.allclose(block._attention(h), reference(h, h, h)[0], atol=1e-5)


def test_every_pixel_hears_of_every_other_and_of_time_and_label():
    net = shaken(small((1, 8, 8)))
    x = noise(1, 1, 8, 8).requires_grad_()
    net(x, torch.ones(1), torch.tensor([0]))[0, 0, 0, 0].backward()
    assert bool((x.grad != 0).all())
    with torch.no_grad():
        base = net(x, torch.ones(1), torch.tensor([0]))
        assert not torch.allclose(base, net(x, torch.full((1,), 0.5), torch.tensor([0])))
        assert not torch.allclose(base, net(x, torch.ones(1), torch.tensor([1])))


def test_squares_are_put_back_where_they_were():
    """With a map to tokens and back that is the identity, and idle blocks, a picture comes back but for its normalisation."""
    net = small((2, 6, 7), width=32)
    nn.init.eye_(net.first.weight)
    nn.init.zeros_(net.first.bias)
    nn.init.eye_(net.last.weight)
    net.places.zero_()
    net.norm = nn.Identity()
    x = noise(3, 2, 6, 7)
    assert torch.allclose(net(x, torch.ones(3)), x, atol=1e-6)


def test_places_are_told_apart():
    waves = places(4, 5, 16)
    apart = torch.cdist(waves, waves) + torch.eye(20)
    assert waves.shape == (20, 16)
    assert float(apart.min()) > 0.1


def test_the_model_with_it_keeps_the_laws():
    model = DDPM(Discrete((1, 5, 6), 3), Discrete((), 3), network="transformer", timesteps=4, channels=4, width=8)
    checks = [check for check in conformance(model) if check.law in LAWS]
    assert len(checks) == len(LAWS)
    for check in checks:
        check()


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="pictures"):
        DDPM(Real((2,)), network="transformer")
    with pytest.raises(BadInput, match="multiple"):
        DDPM(Discrete((1, 8, 8), 2), network="transformer", channels=5, heads=4)
    assert (
        DDPM(Discrete((1, 8, 8), 2), network="perceptron", width=8).net(noise(1, 1, 8, 8), torch.ones(1)).shape[1] == 1
    )
