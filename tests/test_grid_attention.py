"""Attention within windows of a grid: against full attention, an explicit loop, finite differences, and counted weights."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pmodel.errors import BadInput
from pmodel.nn.grid_attention import Block, GridAttention, Stage, attention, by_difference, cut, joined, normed, split


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def filled(module, seed=0):
    """The module in float64, all its parameters drawn at random: a bias of zeros would hide what it does."""
    module = module.double()
    with torch.no_grad():
        for number, p in enumerate(module.parameters()):
            p.copy_(drawn(*p.shape, seed=seed + number) / math.sqrt(p.shape[-1]))
    return module


@pytest.mark.parametrize(("grid", "window"), [((4, 6), (2, 3)), ((4, 6), (4, 6)), ((4, 6), (1, 6)), ((2, 2), (1, 1))])
def test_windows_are_cut_and_joined(grid, window):
    h = drawn(3, *grid, 5)
    tokens = cut(h, window)
    assert tokens.shape == (3 * grid[0] * grid[1] // math.prod(window), math.prod(window), 5)
    assert torch.equal(joined(tokens, grid, window), h)
    assert torch.equal(tokens[0], h[0, : window[0], : window[1]].flatten(0, 1))


def by_loop(module, h):
    """Attention of a window as the docstring has it, token by token."""
    heads, (rows, columns) = module.heads, ((side + 1) // 2 for side in module.bias.shape[1:])
    q, k, v = (h @ part.T for part in module.inward.weight.chunk(3))
    size = h.shape[-1] // heads
    answers = torch.zeros_like(h)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(rows * columns):
            scores = []
            for j in range(rows * columns):
                away = (i // columns - j // columns + rows - 1, i % columns - j % columns + columns - 1)
                scores.append(q[i, part] @ k[j, part] / math.sqrt(size) + module.bias[head][away])
            answers[i, part] = torch.stack(scores).softmax(0) @ v[:, part]
    return answers @ module.outward.weight.T + module.outward.bias


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
def test_attention_with_relative_places_is_an_explicit_loop(twice, recorded):
    module = filled(GridAttention(6, 2, (2, 3), twice=twice))
    h = drawn(1, 6, 6)
    with torch.set_grad_enabled(recorded):
        assert torch.allclose(module(h)[0], by_loop(module, h[0]), atol=1e-12)


def test_relative_bias_is_one_number_for_each_difference():
    b = torch.arange(3 * 5, dtype=torch.float64).reshape(1, 3, 5)
    pairs = by_difference(b)[0]
    for i in range(6):
        for j in range(6):
            assert pairs[i, j] == b[0, i // 3 - j // 3 + 1, i % 3 - j % 3 + 2]


@pytest.mark.parametrize("twice", [True, False])
def test_a_window_as_large_as_the_grid_is_full_attention(twice):
    stage = filled(Stage((4, 4), (4, 4), 6, 2, 1, twice=twice))
    h = drawn(2, 4, 4, 6)
    block = stage.blocks[0]
    tokens = (h + stage.places).flatten(1, 2)
    tokens = tokens + block.attention(normed(tokens))
    tokens = tokens + block.perceptron(normed(tokens))
    assert torch.allclose(stage(h).flatten(1, 2), tokens, atol=1e-12)


def test_each_window_answers_as_a_grid_of_its_own():
    cut_up, alone = Stage((4, 4), (2, 2), 6, 2, 2), Stage((2, 2), (2, 2), 6, 2, 2)
    filled(cut_up), filled(alone)
    with torch.no_grad():
        for stage in (cut_up, alone):
            stage.places.zero_()
    alone.blocks.load_state_dict(cut_up.blocks.state_dict())
    h = drawn(3, 4, 4, 6)
    assert torch.allclose(cut_up(h)[:, 2:, :2], alone(h[:, 2:, :2]), atol=1e-12)


def test_windows_do_not_see_each_other():
    stage = filled(Stage((4, 6), (2, 3), 4, 2, 3))
    h = drawn(1, 4, 6, 4).requires_grad_()
    for row, column in ((0, 0), (1, 2), (2, 3), (3, 5)):
        (gradient,) = torch.autograd.grad(stage(h)[0, row, column].sum(), h)
        seen = gradient[0].abs().sum(-1) > 0
        expected = torch.zeros(4, 6, dtype=torch.bool)
        expected[row // 2 * 2 : row // 2 * 2 + 2, column // 3 * 3 : column // 3 * 3 + 3] = True
        assert torch.equal(seen, expected)


def test_without_relative_places_the_order_of_tokens_does_not_matter():
    module = filled(Block(6, 2, (3, 3)))
    h, order = drawn(2, 9, 6), torch.randperm(9, generator=seeded())
    assert not torch.allclose(module(h)[:, order], module(h[:, order]))
    with torch.no_grad():
        module.attention.bias.zero_()
    assert torch.allclose(module(h)[:, order], module(h[:, order]), atol=1e-12)


def test_a_whole_grid_sees_differences_of_places_and_no_places():
    """Tokens moved together within a window, among tokens that none looks at, find the same."""
    module = filled(GridAttention(4, 1, (4, 4)))
    pattern = drawn(2, 2, 4)
    answers = []
    for row, column in ((0, 0), (2, 1)):
        q, k, v = split(module.inward(_placed(pattern, row, column)), 1, 3)
        seen = torch.full((4, 4), -torch.inf, dtype=torch.float64)
        seen[row : row + 2, column : column + 2] = 0
        found = attention(q, k, v, by_difference(module.bias) + seen.flatten())
        answers.append(found.reshape(4, 4, 4)[row : row + 2, column : column + 2])
    assert torch.allclose(*answers, atol=1e-12)


def _placed(pattern, row, column):
    h = torch.zeros(4, 4, 4, dtype=torch.float64)
    h[row : row + 2, column : column + 2] = pattern
    return h.reshape(1, 16, 4)


def test_normed_tokens_have_a_mean_square_of_one_and_keep_their_direction():
    h = drawn(2, 3, 8)
    assert torch.allclose(normed(h).square().mean(-1), torch.ones(2, 3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(torch.cosine_similarity(normed(h), h, -1), torch.ones(2, 3, dtype=torch.float64))
    assert bool(normed(torch.zeros(1, 4)).isfinite().all())


def test_gradients_of_gradients_are_those_of_finite_differences():
    stage = filled(Stage((2, 4), (2, 2), 4, 2, 1, twice=True))
    stage.blocks[0].perceptron[1] = torch.nn.Tanh()  # a bend would spoil the differences
    h = drawn(1, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(stage, h, atol=1e-6)


class Weights(TorchDispatchMode):
    """Counts what every softmax answers."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if "softmax" in str(func) and "backward" not in str(func):
            self.total += found.numel()
        return found


@pytest.mark.parametrize(("window", "part"), [((16, 16), 1), ((8, 8), 4), ((4, 4), 16), ((4, 16), 4)])
def test_weights_held_are_those_foretold(window, part):
    stage = Stage((16, 16), window, 4, 2, 3, twice=True)
    with Weights() as counted:
        stage(torch.zeros(1, 16, 16, 4))
    assert counted.total == stage.entries() == 3 * 2 * 256**2 // part
    assert stage.entries(full=True) == 3 * 2 * 256**2


def saved(stage, n):
    """Bytes that one step forward keeps for the way back, each storage once."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = stage(torch.randn(n, *stage.grid, stage.features, generator=seeded()))
    del answer
    return sum(kept.values())


@pytest.mark.parametrize("twice", [True, False])
def test_memory_of_windows_is_less_by_the_weights_they_lack(twice):
    """All else a stage keeps is the same; the weights are kept once."""
    windows, full = (Stage((16, 16), (side, side), 8, 2, 2, twice=twice) for side in (4, 16))
    windows.load_state_dict(
        {**full.state_dict(), **{k: v for k, v in windows.state_dict().items() if k.endswith("bias")}}
    )
    n = 4
    fewer = n * 4 * (full.entries() - windows.entries())
    assert saved(full, n) - saved(windows, n) == pytest.approx(fewer, rel=0.01)
    assert saved(full, n) > 3.9 * saved(windows, n)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Stage((4, 6), (4, 4), 4, 2, 1), "divide"),
        (lambda: Stage((4, 6), (3, 3), 4, 2, 1), "divide"),
        (lambda: GridAttention(6, 4, (2, 2)), "6 features, 4 heads"),
        (lambda: Stage((2, 2), (2, 2), 6, 4, 0), "6 features, 4 heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, named):
    with pytest.raises(BadInput, match=named):
        make()
