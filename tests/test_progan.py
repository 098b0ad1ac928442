"""The pair that grows: layers against formulas, fades against the smaller and the larger pair, growth, and stops in a fade."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

import pmodel
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.implicit.equalised import (
    EqualisedConvolution,
    EqualisedLinear,
    MinibatchDeviation,
    PixelNorm,
)
from pmodel.implicit.game.halvings import doubled, halved
from pmodel.implicit.game.penalties import squared_slopes
from pmodel.implicit.progan import ProGAN, grown_at
from pmodel.learning import Batch
from pmodel.storage import digest
from pmodel.train import Saved, Stepped, plan
from pmodel.train.loop import Training
from pmodel.train.precision import Arithmetic
from pmodel.train.state import copied
from pmodel.train.stepper import Stepper

PICTURE = Discrete((1, 14, 9), 17)
LABEL = Discrete((), 3)
TINY = {"latent": 4, "channels": 2, "widest": 6}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


@pytest.fixture
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(domain=PICTURE, given=None, n=6):
    x = torch.randint(0, domain.levels, (n, *domain.shape), generator=seeded())
    return Batch(x, None if given is None else torch.arange(n) % given.levels)


# Layers


@pytest.mark.parametrize(
    ("layer", "plain", "x"),
    [
        (EqualisedLinear(5, 3), lambda x, w, b: F.linear(x, w, b), noise(4, 5)),
        (EqualisedConvolution(5, 3, 3), lambda x, w, b: F.conv2d(x, w, b, padding=1), noise(4, 5, 6, 7)),
        (EqualisedConvolution(5, 3, 1, gain=1.0), lambda x, w, b: F.conv2d(x, w, b), noise(4, 5, 6, 7)),
    ],
    ids=["linear", "convolution", "to colours"],
)
def test_an_equalised_layer_is_a_plain_one_with_scaled_weights_and_its_gradient_is_scaled(layer, plain, x):
    fan_in = layer.weight[0].numel()
    constant = (1.0 if layer.weight.shape[-1] == 1 else math.sqrt(2)) / math.sqrt(fan_in)
    weight = (constant * layer.weight.detach()).requires_grad_()
    layer.bias.data.normal_(generator=seeded())
    y, expected = layer(x), plain(x, weight, layer.bias.detach())
    assert torch.allclose(y, expected, atol=1e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert torch.allclose(layer.weight.grad, constant * weight.grad, rtol=1e-4, atol=1e-5)


def test_an_equalised_layer_starts_standard_normal_and_keeps_the_variance_through_a_rectifier(fresh):
    layer = EqualisedConvolution(64, 64, 3)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
    assert layer.bias.abs().max().item() == 0
    x = F.relu(noise(8, 64, 9, 9))
    assert layer(x)[..., 1:-1, 1:-1].var().item() == pytest.approx(1, rel=0.15)  # 2 / fan-in · fan-in · E relu(x)^2


def test_pixel_norm_leaves_a_root_mean_square_of_one():
    x = noise(3, 5, 4, 4)
    y = PixelNorm()(x)
    assert torch.allclose(y.square().mean(1), torch.ones(3, 4, 4), atol=1e-5)
    assert torch.allclose(y[1, :, 2, 3], x[1, :, 2, 3] / x[1, :, 2, 3].square().mean().sqrt(), atol=1e-5)
    assert PixelNorm()(noise(3, 5)).shape == (3, 5)


def test_minibatch_deviation_is_the_mean_deviation_of_all_features():
    x = noise(5, 3, 2, 4)
    y = MinibatchDeviation()(x)
    deviations = [math.sqrt(float((c - c.mean()).square().mean()) + 1e-8) for c in x.flatten(1).T]
    assert y.shape == (5, 4, 2, 4)
    assert torch.equal(y[:, :3], x)
    assert torch.allclose(y[:, 3], torch.full((5, 2, 4), sum(deviations) / len(deviations)), atol=1e-6)
    alike = x[:1].expand(5, -1, -1, -1).clone().requires_grad_()
    s = MinibatchDeviation()(alike)[:, 3].sum()
    s.backward()
    assert s.item() < 0.01
    assert bool(alike.grad.isfinite().all())


# Growth


def test_growth_holds_and_fades_each_scale_in_turn():
    """Of four scales with growth 0.6, six parts of 0.1: hold 0, fade 1, hold 1, fade 2, hold 2, fade 3."""
    table = {
        0: 0,
        0.05: 0,
        0.1: 0,
        0.15: 0.5,
        0.175: 0.75,
        0.2: 1,
        0.25: 1,
        0.35: 1.5,
        0.4: 2,
        0.5: 2,
        0.575: 2.75,
        0.6: 3,
    }
    assert {p: grown_at(p, 0.6, 4) for p in table} == pytest.approx(table)
    assert [grown_at(p, 0.6, 4) for p in (0.7, 1.0)] == [3, 3]
    assert [grown_at(p, 0.6, 1) for p in (0.0, 0.3, 1.0)] == [0, 0, 0]


@pytest.mark.parametrize("size", [(4, 4), (28, 28), (5, 64), (1, 9)])
@pytest.mark.parametrize("growth", [0.1, 0.5, 0.97])
def test_the_phases_that_are_on_are_those_of_the_scale_that_is_seen(size, growth):
    model = ProGAN(Discrete((1, *size), 4), **TINY, growth=growth)
    phases, x = model.phases(), torch.zeros(2, 1, *size, dtype=torch.int64)
    assert len(phases) == 2 * len(model.scales)
    assert model.scales[-1] == size
    for point in range(1000):
        model.advance(point / 1000)
        on = [phase for phase in phases if phase.on(point / 1000)]
        height, width = model._seen(x).shape[2:]
        begun = model.scales.index((height, width)) + (float(model.grown) % 1 == 0)  # at α = 0 the new scale is unseen
        assert on in [list(phases[2 * at : 2 * at + 2]) for at in (begun - 1, begun)]
        if float(model.grown) % 1:
            assert [phase.name for phase in on] == [f"discriminator {height}x{width}", f"generator {height}x{width}"]


def test_a_stage_moves_what_has_grown_and_what_is_faded_out(fresh):
    model = ProGAN(PICTURE, LABEL, **TINY)
    names = {id(p): name for name, p in model.named_parameters()}
    for stage, phase in enumerate(model.phases()[1::2]):
        tops = {".".join(names[id(p)].split(".")[1:3]) for p in phase.parameters if "corner" not in names[id(p)]}
        assert tops == {
            *(f"blocks.{at}" for at in range(stage)),
            *(f"colours.{at}" for at in range(max(0, stage - 1), stage + 1)),
        }
    listed = {id(p) for phase in model.phases() for p in phase.parameters}
    assert listed == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("held", [False, True])
def test_a_phase_moves_its_own_parameters_and_nothing_else(fresh, number, held):
    model = ProGAN(PICTURE, LABEL, **TINY).train()
    phase = model.phases()[number]
    start, end = phase.span
    model.advance(end - 1e-6 if held else start + 0.05)
    assert (float(model.grown) % 1 == 0) == (held or number < 2)
    before = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.Adam(phase.parameters, lr=1e-2)
    for step in range(3):
        optimiser.zero_grad()
        phase.loss(batch(given=LABEL), seeded(step)).total.backward(inputs=list(phase.parameters))
        optimiser.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    own = {name for name, p in model.named_parameters() if any(p is mine for mine in phase.parameters)}
    assert moved <= own
    still = {name for name in own - moved if name.endswith("weight")}
    assert still == ({name for name in own if held and f".colours.{number // 2 - 1}." in name and "weight" in name})


# Fades


@pytest.mark.parametrize("given", [None, LABEL])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)])
def test_a_fade_goes_from_the_smaller_pair_doubled_to_the_larger_one_alone(fresh, shape, given):
    model = ProGAN(Discrete(shape, 256), given, **TINY)
    labels = None if given is None else torch.arange(6) % 3
    z, x = noise(6, 4), 0.5 * noise(6, *shape)
    for scale, size in enumerate(model.scales[1:]):
        seen = F.interpolate(x, size)
        with torch.no_grad():
            painted = [model.generator(z, labels, scale + fade) for fade in (0, 1e-9, 0.3, 1 - 1e-9, 1)]
            judged = [model.discriminator(seen, labels, scale + fade) for fade in (1e-9, 1 - 1e-9, 1)]
            smaller = model.discriminator(halved(seen), labels, float(scale))
        small, start, part, end, large = painted
        assert torch.allclose(start, doubled(small, size), atol=1e-6)
        assert torch.allclose(part, 0.7 * doubled(small, size) + 0.3 * large, atol=1e-5)
        assert torch.allclose(end, large, atol=1e-6)
        assert torch.allclose(judged[0], smaller, atol=1e-6)
        assert torch.allclose(judged[1], judged[2], atol=1e-6)
        assert not torch.allclose(judged[0], judged[2], atol=1e-4)


def test_the_larger_pair_is_alone(fresh):
    """What is faded out has no say, and no gradient, once the fade is over."""
    model = ProGAN(PICTURE, **TINY)
    z, grown = noise(6, 4), 1.0
    before = model.discriminator(model.generator(z, None, grown), None, grown)
    for network in (model.generator, model.discriminator):
        for index in (0, 2):
            for parameter in network.colours[index].parameters():
                parameter.data.fill_(math.nan)
    assert torch.equal(model.discriminator(model.generator(z, None, grown), None, grown), before)


def test_data_are_seen_at_the_scale_and_with_the_fade_of_samples():
    model = ProGAN(Discrete((1, 8, 8), 3), **TINY)
    x = torch.randint(0, 3, (5, 1, 8, 8), generator=seeded())
    real = x.float() - 1
    for grown, expected in (
        (0.0, F.avg_pool2d(real, 2)),
        (0.25, 0.75 * doubled(F.avg_pool2d(real, 2), (8, 8)) + 0.25 * real),
        (1.0, real),
    ):
        model.grown.fill_(grown)
        assert torch.allclose(model._seen(x), expected, atol=1e-6)


def test_a_model_saved_on_the_way_samples_what_it_has_learned(fresh, tmp_path):
    model = ProGAN(Discrete((1, 8, 8), 256), **TINY)
    whole = model.sample(4, generator=0)
    model.advance(0.0)
    pmodel.save(model, tmp_path)
    loaded = pmodel.load(tmp_path)
    x = loaded.sample(4, generator=0)
    assert torch.equal(x, model.sample(4, generator=0))
    assert x.shape == whole.shape
    assert torch.equal(x, x[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert not torch.equal(whole, whole[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))


# The game


def test_slopes_are_those_of_the_sum_of_logits_as_a_function_of_all_data(fresh):
    """By finite differences, with what a datum does to the others' logits through the deviation."""
    model = ProGAN(Discrete((1, 8, 8), 4), **TINY).double()
    model.discriminator.corner.features[1].weight.data[:, -1] *= 20  # of the deviation
    x = 0.5 * noise(3, 1, 8, 8).double()
    slopes = torch.zeros(3, dtype=torch.float64)
    alone = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for n in range(3):
            for entry in range(64):
                step = torch.zeros_like(x)
                step[n].view(-1)[entry] = 1e-3
                change = (model.discriminator(x + step, None, 0.5) - model.discriminator(x - step, None, 0.5)) / 2e-3
                slopes[n] += change.sum().square()
                alone[n] += change[n].square()
    x.requires_grad_()
    (found,) = squared_slopes(model.discriminator(x, None, 0.5), x)
    assert torch.allclose(found.double(), slopes, rtol=1e-2)
    assert not torch.allclose(alone, slopes, rtol=0.1)


@pytest.mark.parametrize("domain", [Discrete((1, 28, 28), 256), Discrete((3, 9, 14), 256), Discrete((1, 2, 3), 2)])
@pytest.mark.parametrize("given", [None, LABEL])
def test_pictures_of_any_size_colours_and_levels(fresh, domain, given):
    model = ProGAN(domain, given, **TINY)
    for half in range(2 * len(model.scales) - 1):
        model.grown.fill_(half / 2)
        x = model.sample(5, generator=0)
        assert x.shape == (5, *domain.shape)
        domain.check(x)
        for phase in model.phases():
            phase.loss(batch(domain, given), seeded()).total.backward(inputs=list(phase.parameters))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_label_reaches_both_players(fresh):
    model = ProGAN(PICTURE, LABEL, **TINY)
    assert not torch.equal(model.sample(4, given=0, generator=0), model.sample(4, given=1, generator=0))
    x = model._seen(batch().x)
    with torch.no_grad():
        logits = [model._judged(x, torch.full((6,), label)) for label in range(2)]
    assert not torch.equal(*logits)


def test_the_game_of_the_paper_has_a_drift_and_a_bias_that_it_holds(fresh):
    options = {"loss": "wasserstein", "penalised": "between", "penalty": 10.0, "drift": 0.001}
    model = ProGAN(PICTURE, **TINY, **options).train()
    phase = model.phases()[-2]
    loss = phase.loss(batch(), seeded())
    parts = {name: value.item() for name, value in loss.parts.items()}
    assert parts["loss"] == pytest.approx(parts["fake"] - parts["real"], abs=1e-5)
    assert loss.total.item() == pytest.approx(parts["loss"] + 10 * parts["slope"] + 0.001 * parts["drift"], rel=1e-5)
    loss.total.backward()
    assert float(model.discriminator.corner.verdict.head.bias.grad) == pytest.approx(0.002 * parts["real"], rel=1e-3)


def test_to_1024_pixels_the_pair_is_the_paper_s_and_as_large_as_it_says():
    """Table 2 of the paper: 23.1 million parameters in each player, the ways to and from colours of all scales with them."""
    with torch.device("meta"):
        model = ProGAN(Discrete((3, 1024, 1024), 256), latent=512, channels=16, widest=512, loss="wasserstein")
    assert model.scales == tuple((2**power, 2**power) for power in range(2, 11))
    for player in (model.generator, model.discriminator):
        assert sum(p.numel() for p in player.parameters()) / 1e6 == pytest.approx(23.1, abs=0.05)
    z = torch.empty(4, 512, device="meta")
    for grown in (8.0, 7.5, 0.0):
        x = model.generator(z, None, grown)
        assert x.shape == (4, 3, *model.scales[math.ceil(grown)])
        assert model.discriminator(x, None, grown).shape == (4,)


@pytest.mark.parametrize(
    ("domain", "options", "error", "named"),
    [
        (Discrete((3,), 2), {}, BadInput, "levels=2"),
        (Real((1, 8, 8)), {}, BadInput, "Real"),
        (PICTURE, {"latent": 0}, RangeError, "latent"),
        (PICTURE, {"channels": 2.5}, RangeError, "2.5"),
        (PICTURE, {"widest": 0}, RangeError, "widest"),
        (PICTURE, {"growth": 0.0}, RangeError, "growth"),
        (PICTURE, {"growth": 1.0}, RangeError, "growth"),
        (PICTURE, {"drift": -0.1}, RangeError, "drift"),
        (PICTURE, {"drift": math.inf}, RangeError, "inf"),
        (PICTURE, {"loss": "earth"}, BadInput, "earth"),
        (PICTURE, {"changes": ["size"]}, BadInput, "size"),
    ],
)
def test_bad_input_is_refused(domain, options, error, named):
    with pytest.raises(error, match=named):
        ProGAN(domain, **options)


# Training


STEPS = 24
"""Of pictures with three scales and growth 0.5: held to step 3, faded to 6, held to 9, faded to 12."""


@pytest.fixture(scope="module")
def digits():
    return pmodel.load_data("digits")


def trained(digits, **more):
    """A training in memory, of 14×14 pictures so that there are three scales."""
    x = F.interpolate(digits.train.x[:200].float(), (14, 14)).long()
    split = pmodel.data.Split(x)
    data = pmodel.data.Dataset("pictures", Discrete((1, 14, 14), 17), split, split, split)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ProGAN(data.domain, **TINY)
    settings = {"batch": 8, **more}
    return Training(model, data, plan(model, data, steps=STEPS, settings=settings, precision="float32"))


def test_stopped_in_any_part_of_growth_a_run_goes_on_to_the_same_bits(digits):
    first, states = trained(digits), {}
    for event in first:
        if isinstance(event, Stepped):
            states[event.step] = copied(first.state()), float(first.model.grown)
    fades = [step for step, (_, grown) in states.items() if grown % 1]
    assert {4, 5, 10, 11} <= {step - 1 for step in fades}
    for step in (2, *fades, 15):
        again = trained(digits)
        again.restore(states[step][0])
        assert list(again)
        assert digest(again.model) == digest(first.model), step


def test_killed_in_a_fade_a_run_goes_on_from_its_folder(digits, tmp_path):
    options = {"steps": 12, "save_every": 0, "seed": 0, "settings": {"batch": 8}, **TINY}

    def kill(event):
        if isinstance(event, Saved) and event.step == 5:  # of 12: faded from 3 to 6
            raise KeyboardInterrupt

    whole = pmodel.fit("progan", digits, out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        pmodel.fit("progan", digits, out=tmp_path / "run", on_event=kill, **options)
    cut = pmodel.load(tmp_path / "run")
    assert 0 < float(cut.grown) < 1
    assert cut.sample(3, generator=0).shape == (3, 1, 8, 8)
    assert digest(pmodel.fit("progan", digits, out=tmp_path / "run", resume=True, **options)) == digest(whole)


def test_averages_begin_with_their_scale_and_stay_in_place_where_it_is_faded_out(digits):
    training, at = trained(digits, ema=0.5), {}
    for event in training:
        if isinstance(event, Stepped):
            average = training.stepper.average
            names = [name for name in average.names if "generator.colours" in name]
            pairs = zip(average.names, average.parameters, average.average, strict=True)
            at[event.step] = {name: (p.clone(), a.clone()) for name, p, a in pairs if name in names}
    first, last = "generator.colours.0.weight", "generator.colours.2.weight"
    assert torch.equal(*at[8][last])  # not begun
    assert not torch.equal(*at[STEPS][last])
    assert not torch.equal(*at[8][first])
    assert torch.equal(*at[12][first])  # faded out by step 9
    assert torch.equal(at[12][first][0], at[STEPS][first][0])


def test_arithmetic_is_compared_in_the_middle_of_each_phase(digits):
    training = trained(digits)
    stepper = Stepper(training.model, training.batches, training.plan.recipe, 0, Arithmetic())
    found = stepper.gradients(0)
    assert list(found) == [phase.name for phase in training.model.phases()]
    for phase in stepper.phases[-2:]:
        assert len(found[phase.name][1]) < sum(p.numel() for p in phase.parameters)  # what is faded out has none
        colours = f"{phase.name.split()[0]}.colours.1."
        idle = sum(p.numel() for name, p in training.model.named_parameters() if name.startswith(colours))
        assert len(found[phase.name][1]) == sum(p.numel() for p in phase.parameters) - idle
