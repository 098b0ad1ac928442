"""NADE: its activations against the plain loop, its gradients, that it is a distribution, and sampling."""

import pytest
import torch
from torch.nn import functional as F

from pmodel.explicit.tractable.autoregressive.vectors.running import running


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(codes, a, w, v, activation):
    """The definition: one entry after another."""
    y = []
    for i in range(codes.shape[1]):
        y.append(activation(a) @ v[i].T)
        a = a + codes[:, i] @ w[i]
    return torch.stack(y, 1)


def parts(n, entries, q, p, width, *, zeros=0.6, dtype=torch.float64):
    """Random codes, of which some are zero, and weights."""
    generator = noise(1)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    codes = drawn(n, entries, q) * (torch.rand(n, entries, 1, generator=generator) > zeros)
    weights = drawn(n, width), drawn(entries, q, width), drawn(entries, p, width)
    return codes, *(weight.requires_grad_() for weight in weights)


SHAPES = [(5, 13, 1, 1, 4), (3, 8, 2, 3, 5), (1, 2, 1, 2, 3), (4, 29, 1, 1, 6), (2, 5, 3, 2, 1)]


@pytest.mark.parametrize("block", [None, 1, 4, 100])
@pytest.mark.parametrize("zeros", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activations_and_gradients_are_those_of_the_plain_loop(shape, zeros, block):
    codes, *weights = parts(*shape, zeros=zeros)
    found, expected = running(codes, *weights, torch.tanh, block), plain(codes, *weights, torch.tanh)
    torch.testing.assert_close(found, expected)
    direction = torch.randn(expected.shape, generator=noise(2), dtype=torch.float64)
    for mine, theirs in zip(*(torch.autograd.grad(y, weights, direction) for y in (found, expected)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_are_right():
    codes, *weights = parts(2, 5, 1, 2, 3)
    assert torch.autograd.gradcheck(lambda *weights: running(codes, *weights, torch.tanh, 2), weights)


def test_float32_is_near_the_plain_loop_at_full_size():
    codes, *weights = parts(8, 784, 1, 1, 64, zeros=0.87, dtype=torch.float32)
    codes, (a, w, v) = (codes != 0).float(), weights
    weights = [t.detach().requires_grad_() for t in (a, w / 10, v / 8)]
    found, expected = running(codes, *weights, F.relu), plain(codes, *weights, F.relu)
    direction = torch.randn(expected.shape, generator=noise(2))
    mine, theirs = (torch.autograd.grad(y, weights, direction) for y in (found, expected))
    for one, other in zip((found, *mine), (expected, *theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.detach().abs().max()))
