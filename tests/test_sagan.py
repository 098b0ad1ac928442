"""The adversarial pair with self-attention: what a place sees, spectral norms, labels, and whose buffers move when."""

import copy

import pytest
import torch

from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.implicit.sagan import SAGAN, SelfAttention
from pmodel.learning import Batch

PICTURE = Discrete((1, 12, 12), 17)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(given=None, n=6):
    x = torch.randint(0, PICTURE.levels, (n, *PICTURE.shape), generator=seeded())
    return Batch(x, None if given is None else torch.arange(n) % given.levels)


def plain(layer):
    """The matrix of a convolution of one pixel, as it is used."""
    return layer.weight[:, :, 0, 0]


def test_each_place_sees_the_squares_by_the_softmax_of_how_well_they_fit():
    """Squares of two places by two, those at the lower edge of two."""
    layer = SelfAttention(16).eval()
    layer.gain.data.fill_(0.7)
    x = torch.randn(2, 16, 3, 4, generator=seeded())
    squares = [[(r, c) for r in rows for c in columns] for rows in ((0, 1), (2,)) for columns in ((0, 1), (2, 3))]
    with torch.no_grad():
        found, f, g = layer(x), plain(layer.key), plain(layer.query)
        h, v = plain(layer.value), plain(layer.outward)
        for datum in x:
            keys, values = ([largest(w, datum, square) for square in squares] for w in (f, h))
            for r, c in ((r, c) for r in range(3) for c in range(4)):
                fits = torch.stack([key @ (g @ datum[:, r, c]) for key in keys])
                beta = fits.exp() / fits.exp().sum()
                expected = datum[:, r, c] + 0.7 * v @ sum(b * value for b, value in zip(beta, values, strict=True))
                assert torch.allclose(found[0, :, r, c], expected, atol=1e-5)
            found = found[1:]


def largest(weight, datum, square):
    """What a linear map makes of the places of a square, the largest of each entry."""
    return torch.stack([weight @ datum[:, r, c] for r, c in square]).amax(0)


def test_attention_is_the_identity_at_the_start_and_follows_a_permutation_of_squares():
    layer = SelfAttention(8).eval()
    x = torch.randn(2, 8, 4, 4, generator=seeded())
    assert torch.equal(layer(x), x)
    layer.gain.data.fill_(1.0)
    moved = torch.cat([x[..., 2:], x[..., :2]], -1).flip(-2)
    seen = layer(x)
    assert torch.allclose(layer(moved), torch.cat([seen[..., 2:], seen[..., :2]], -1).flip(-2), atol=1e-5)
    assert not torch.allclose(layer(x.roll(1, -1)), seen.roll(1, -1), atol=1e-5)


def test_weights_have_the_spectral_norm_one_once_the_iteration_has_settled():
    """Against the singular values themselves."""
    model = SAGAN(PICTURE, LABEL, latent=4, channels=4, spectral=True).train()
    z, x, y = torch.randn(2, 4, generator=seeded()), torch.randn(2, 1, 12, 12, generator=seeded()), torch.tensor([0, 2])
    with torch.no_grad():
        for _ in range(300):
            model.generator(z, y), model.discriminator(x, y)
    model.eval()
    found = {
        name: float(torch.linalg.svdvals(matrix(module))[0])
        for name, module in model.named_modules()
        if hasattr(module, "parametrizations")
    }
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear
    linear = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    assert set(found) == {*linear, "discriminator.verdict.embedding"}
    assert not any(hasattr(module, "parametrizations") for module in SAGAN(PICTURE, latent=4, channels=4).modules())
    assert all(value == pytest.approx(1, abs=2e-2) for value in found.values()), found


def matrix(layer):
    """The weights of a layer, a row for each output."""
    weight = layer.weight.detach()
    return (weight.transpose(0, 1) if isinstance(layer, torch.nn.ConvTranspose2d) else weight).flatten(1)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_phase_moves_parameters_and_iterates_of_its_own_player_and_nothing_else(player):
    model = SAGAN(PICTURE, LABEL, latent=4, channels=4, spectral=True).train()
    phase = next(phase for phase in model.phases() if phase.name == player)
    before = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.Adam(phase.parameters, lr=1e-2)
    for step in range(2):
        optimiser.zero_grad()
        phase.loss(batch(LABEL), seeded(step)).total.backward(inputs=list(phase.parameters))
        optimiser.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith(player + ".") for name in moved)
    assert any(name.endswith("._u") for name in moved)
    assert any(name.endswith(".original") for name in moved)


def test_the_label_is_told_by_projection():
    """D(x, y) = (w + e_y / 4) phi(x) of 16 features, which are taken on their way into the last layer."""
    critic = SAGAN(PICTURE, LABEL, latent=4, channels=4, width=16).eval().discriminator
    x, taken = torch.randn(6, 1, 12, 12, generator=seeded()), []
    critic.verdict.head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    with torch.no_grad():
        logits = torch.stack([critic(x, torch.full((6,), label)) for label in range(3)])
        expected = (critic.verdict.head.weight + critic.verdict.embedding.weight / 4) @ taken[0].T
    assert torch.allclose(logits, expected, atol=1e-5)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_labels_shape_what_is_generated():
    model = SAGAN(PICTURE, LABEL, latent=4, channels=8)
    z = torch.randn(4, 4, generator=seeded())
    model.eval()
    assert not torch.equal(model.generator(z, torch.zeros(4).long()), model.generator(z, torch.ones(4).long()))


def test_slopes_of_attention_are_right_and_theirs_too():
    layer = SelfAttention(8).double()
    layer.gain.data.fill_(0.7)
    x = torch.randn(1, 8, 3, 4, generator=seeded(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize(("side", "seen"), [(64, 8), (32, 8), (28, 14), (12, 6), (4, 2)])
def test_both_players_look_at_the_scale_next_to_the_smallest(side, seen):
    model, found = SAGAN(Discrete((3, side, side), 256), latent=4, channels=4, width=8), []
    for part in model.modules():
        if isinstance(part, SelfAttention):
            part.register_forward_pre_hook(lambda _, inputs: found.append(tuple(inputs[0].shape[2:])))
    model.discriminator(model.generator(torch.zeros(1, 4), None), None)
    assert found == [(seen, seen)] * 2


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14), (1, 2, 3), (2, 5, 5)])
@pytest.mark.parametrize("given", [None, LABEL])
def test_pictures_of_any_size_and_colours(shape, given):
    domain = Discrete(shape, 256)
    model = SAGAN(domain, given, latent=4, channels=4)
    x = model.sample(3, generator=0)
    domain.check(x)
    labels = None if given is None else torch.tensor([0, 1, 2])
    for phase in model.phases():
        phase.loss(Batch(x, labels), seeded()).total.backward(inputs=list(phase.parameters))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "options",
    [{"loss": "relativistic", "penalty": 0.5}, {"loss": "wasserstein", "penalty": 10.0, "penalised": "between"}],
)
def test_slopes_can_be_penalised_through_attention(options):
    model = SAGAN(PICTURE, latent=4, channels=4, **options).train()
    (attention,) = (part for part in model.discriminator.modules() if isinstance(part, SelfAttention))
    attention.gain.data.fill_(0.5)
    phase = model.phases()[0]
    phase.loss(batch(), seeded()).total.backward(inputs=list(phase.parameters))
    assert all(p.grad.isfinite().all() for p in phase.parameters)


@pytest.mark.parametrize(
    ("domain", "options", "error", "named"),
    [
        (Discrete((3,), 2), {}, BadInput, "levels=2"),
        (Real((1, 8, 8)), {}, BadInput, "Real"),
        (PICTURE, {"channels": 0}, RangeError, "channels"),
        (PICTURE, {"packing": 2, "given": LABEL}, BadInput, "packing=2"),
    ],
)
def test_bad_input_is_refused(domain, options, error, named):
    with pytest.raises(error, match=named):
        SAGAN(domain, **options)
