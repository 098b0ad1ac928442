"""Judges: shipped ones are what their records say, those made on the spot see what samples get wrong, and files are checked."""

import hashlib
import json
import math
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from pmodel.data import from_arrays, load_data
from pmodel.data.named import NAMED
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import BadInput, DataError, NotSupported, RangeError, RunError
from pmodel.evaluation import Bench
from pmodel.metrics import inception
from pmodel.metrics import judge as judging
from pmodel.metrics.features import Columns
from pmodel.metrics.fid import Moments, frechet_distance
from pmodel.metrics.judge import CONFIDENT, FILE, Judge, can_judge, judge_for
from pmodel.metrics.judges import changes, shipped
from pmodel.metrics.judges.changes import Range, gaussian_blur, moved, outliers, treatments_for
from pmodel.metrics.judges.file import KEY, _digest_of_tensors, pack, rounded
from pmodel.metrics.judges.network import Layout, Network
from pmodel.metrics.judges.recipe import Recipe
from pmodel.metrics.judges.supervised import temperature_of
from pmodel.metrics.judges.training import trained
from pmodel.metrics.judges.unsupervised import HEAT, contrast, recipe_without_labels

PINNED = {
    "digits": ("a7a6577820ca91d3", 0.98),
    "fashion-mnist": ("7a69744c7d892147", 0.91),
    "mnist": ("6cba1425e91dcb09", 0.993),
    "mnist-binary": ("d4676a901b226ca7", 0.988),
}
"""The first digits of each file's hash, and the least accuracy. A judge with another hash makes all older numbers strangers."""
NAMES = list(PINNED)
ROOT = Path(__file__).resolve().parents[1]
GREY = Discrete((1, 8, 8), 17)


def at_hand(name):
    if not NAMED[name].offline:
        pytest.skip(f"{name} is not here")
    return load_data(name)


def shipped_judge(data):
    content = shipped.shipped(data.hash)
    assert content is not None
    return Judge(data.domain, content)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def shipped_digits(digits):
    return shipped_judge(digits)


@pytest.fixture(scope="module")
def quick(digits):
    """A judge of little training."""
    return Judge(digits.domain, trained(digits, Recipe(steps=150)))


# ---------------------------------------------------------------- shipped


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_judge_is_the_pinned_one(name):
    record = shipped.shipped_record(name)
    content = (shipped.PLACE / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == record["sha256"]
    assert record["sha256"].startswith(PINNED[name][0])
    assert record["bytes"] == len(content)


def test_the_shipped_judges_are_small():
    assert shipped.shipped_names() == sorted(NAMES)
    assert sum(shipped.shipped_record(name)["bytes"] for name in NAMES) <= 1.5e6
    assert all(shipped.shipped_record(name)["layout"]["features"] <= 128 for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_record_of_a_shipped_judge_is_true(name):
    data = at_hand(name)
    judge = shipped_judge(data)
    assert judge.record["sha256"] == shipped.shipped_record(name)["sha256"]
    assert judge.record["hash"] == data.hash
    right = judge.probabilities(data.test.x).argmax(1) == data.test.y
    assert len(right) == judge.record["n"] == len(data.test)
    assert float(right.double().mean()) == pytest.approx(judge.record["accuracy"], abs=1.5 / len(right))
    assert judge.record["accuracy"] >= PINNED[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_has_the_records(name):
    record = shipped.shipped_record(name)
    row = f"| `{name}` | {record['accuracy']:.2%} of {record['n']:,} | {record['temperature']:.2f} | {record['bytes']:,} |"
    assert f"{row} `{record['sha256'][:16]}` |" in (ROOT / "docs" / "judges.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_judge_is_as_sure_as_it_is_right(name):
    data = at_hand(name)
    confidence, label = shipped_judge(data).probabilities(data.test.x).max(1)
    right = (label == data.test.y).double()
    assert float(confidence.mean()) == pytest.approx(float(right.mean()), abs=0.015)
    clear = confidence >= CONFIDENT
    assert float(clear.double().mean()) > 0.75
    assert float(right[clear].mean()) > 0.96


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["noise", "shuffled pixels", "one level"])
def test_what_is_no_class_is_not_clear(name, kind):
    data = at_hand(name)
    levels, x = data.domain.levels, data.test.x[:500]
    none = {
        "noise": torch.randint(0, levels, x.shape, generator=seeded()),
        "shuffled pixels": x.flatten(1)[:, torch.randperm(x[0].numel(), generator=seeded(3))].view_as(x),
        "one level": torch.arange(levels).view(-1, 1, 1, 1).expand(-1, *x.shape[1:]),
    }[kind]
    clear = shipped_judge(data).probabilities(none).max(1).values >= CONFIDENT
    assert float(clear.double().mean()) < 0.05


def test_a_shipped_judge_is_neither_trained_nor_kept_again(digits, tmp_path):
    judge = judge_for(digits, tmp_path, progress=lambda _: pytest.fail("it is trained"))
    assert not list(tmp_path.iterdir())
    assert judge.record["steps"] == shipped.shipped_record("digits")["steps"]


def test_the_judge_of_a_view_is_that_of_the_whole(digits, shipped_digits, tmp_path):
    view = load_data("digits:3")
    assert view.given is None
    assert can_judge(view)
    assert judge_for(view, tmp_path).name == shipped_digits.name
    assert judge_for(view, tmp_path, steps=5).name == judge_for(digits, tmp_path, steps=5).name != shipped_digits.name


def test_equal_content_has_the_same_judge_under_any_name(digits, shipped_digits, tmp_path):
    names = tuple("abcdefghij")
    judge = judge_for(replace(digits, name="mine", source="", label_names=names), tmp_path)
    assert judge.name == shipped_digits.name
    assert judge.class_names == names == tuple(judge.record["class_names"])


def test_another_split_of_the_same_data_has_another_judge(tmp_path):
    other = load_data("digits", seed=1)  # the shipped judge has seen some of its test data
    assert judge_for(other, tmp_path, steps=2).record["hash"] == other.hash
    assert shipped.shipped(other.hash) is None


def test_a_shipped_file_that_is_another_is_refused(digits, tmp_path, monkeypatch):
    for name in ("digits.json", "digits.safetensors"):
        shutil.copy(shipped.PLACE / name, tmp_path / name)
    monkeypatch.setattr(shipped, "PLACE", tmp_path)
    assert shipped.shipped(digits.hash)
    (tmp_path / "digits.safetensors").write_bytes(trained(digits, Recipe(steps=1)))
    with pytest.raises(RunError, match="not the one of its record"):
        judge_for(digits, tmp_path)


# ---------------------------------------------------------------- on the spot, with labels


def test_a_judge_knows_digits_and_is_not_sure_of_noise(digits, quick):
    right = quick.probabilities(digits.test.x).argmax(1) == digits.test.y
    assert float(right.double().mean()) == quick.record["accuracy"] > 0.9
    noise = torch.randint(0, 17, (200, 1, 8, 8), generator=seeded())
    assert float((quick.probabilities(noise).max(1).values >= CONFIDENT).double().mean()) < 0.05


def test_equal_training_gives_equal_bytes(digits):
    assert (
        trained(digits, Recipe(steps=3)) == trained(digits, Recipe(steps=3)) != trained(digits, Recipe(steps=3, seed=1))
    )


def test_a_judge_is_kept_by_content_and_a_damaged_one_is_made_again(digits, tmp_path):
    first = judge_for(digits, tmp_path, steps=5)
    (home,) = tmp_path.iterdir()
    assert [path.name for path in home.iterdir()] == [FILE]
    before = (home / FILE).stat().st_mtime_ns
    assert judge_for(digits, tmp_path, steps=5).name == first.name
    assert (home / FILE).stat().st_mtime_ns == before
    (home / FILE).write_bytes(b"damaged")
    assert judge_for(digits, tmp_path, steps=5).name == first.name
    judge_for(digits, tmp_path, steps=6)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_judge_of_other_threads_is_another(digits, monkeypatch):
    here = judging._key(digits, Recipe())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert judging._key(digits, Recipe()) != here


def test_training_a_judge_leaves_the_global_generator_alone(digits, tmp_path):
    state = torch.get_rng_state()
    judge_for(digits, tmp_path, steps=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_temperature_undoes_a_scaling_of_the_logits():
    logits = torch.randn(5000, 4, generator=seeded(), dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=seeded(1))[:, 0]
    assert temperature_of(logits * 2, labels) == pytest.approx(2, rel=0.1)


def test_the_record_is_measured_on_the_weights_that_are_kept(digits):
    network = Network(Layout((1, 8, 8), 10))
    exact = network.head.weight.clone()
    assert not torch.equal(rounded(network).head.weight, exact)
    kept = from_bytes(pack(network, digits.domain, {}))["head.weight"]
    assert kept.dtype == torch.float16
    assert torch.equal(kept.float(), network.head.weight)


@pytest.mark.parametrize("setting", [{"steps": 0}, {"steps": 1.5}, {"batch": True}, {"shift": -1}, {"seed": -1}])
def test_settings_are_in_range(setting):
    with pytest.raises(RangeError, match=next(iter(setting))):
        Recipe(**setting)


# ---------------------------------------------------------------- on the spot, without labels


COLOURS = torch.tensor([[1.0, 0.2, 0.2], [0.2, 1.0, 0.3], [0.3, 0.4, 1.0]])


@pytest.fixture(scope="module")
def coloured(digits):
    """Digits 3 × 16 × 16 in three colours, without labels."""
    grey = (
        torch.cat([split.x for split in digits.splits.values()]).float().repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    colours = COLOURS[torch.arange(len(grey)) % 3]
    x = (grey / 16 * colours[:, :, None, None] * 200 + 20).round()
    return from_arrays(x.to(torch.uint8).numpy(), name="coloured", levels=256)


@pytest.fixture(scope="module")
def seer(coloured):
    return Judge(coloured.domain, trained(coloured, replace(recipe_without_labels(coloured.domain), steps=250)))


def corrupted(x, kind):
    g, x = seeded(), x.float()
    changed = {
        "blur": lambda: gaussian_blur(x, 0.8),
        "noise": lambda: x + 12 * torch.randn(x.shape, generator=g),
        "speckle": lambda: torch.where(torch.rand(x[:, :1].shape, generator=g) < 0.03, x.flip(0), x),
        "a tenth is noise": lambda: torch.where(
            (torch.arange(len(x)) % 10 == 0)[:, None, None, None], 255 * torch.rand(x.shape, generator=g), x
        ),
        "one colour is missing": lambda: x[x.amax((2, 3)).argmax(1) != 0],
        "colours are redder": lambda: x * torch.tensor([1.15, 1.0, 0.9])[:, None, None],
        "colours are swapped": lambda: x.flip(1),
        "darker": lambda: 0.85 * x,
        "mixed": lambda: (x + x.roll(1, 0)) / 2,
        "moved": lambda: x.roll(3, 3),
        "upside down": lambda: x.flip(2),
        "few different": lambda: x[:40].repeat(len(x) // 40, 1, 1, 1),
    }[kind]()
    return changed.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    "kind",
    [
        "blur",
        "noise",
        "speckle",
        "a tenth is noise",
        "one colour is missing",
        "colours are redder",
        "colours are swapped",
        "darker",
        "mixed",
        "moved",
        "upside down",
        "few different",
    ],
)
def test_features_without_labels_see_what_samples_get_wrong(kind, coloured, seer):
    """The Fréchet distance is far above that of as many real pictures."""
    held, rest = coloured.train.x[:600], coloured.train.x[600:]
    reference = Moments.of(seer(rest))
    floor = frechet_distance(reference, Moments.of(seer(held)))
    assert frechet_distance(reference, Moments.of(seer(corrupted(held, kind)))) > 3 * floor


@pytest.mark.slow
def test_features_of_mnist_without_labels_see_blur_and_a_missing_class():
    whole = at_hand("mnist")
    bare = {name: replace(split, y=None) for name, split in whole.splits.items()}
    data = replace(whole, **bare, given=None, label_names=())
    judge, columns = (
        Judge(data.domain, trained(data, recipe_without_labels(data.domain))),
        Columns(data.domain, data.train.x),
    )
    rows = torch.randperm(len(whole.train), generator=seeded())[
        :10_000
    ]  # in their own order, writers follow each other
    x, y = whole.train.x[rows], whole.train.y[rows]

    blurred = gaussian_blur(x[:1000].float(), 0.5).round().to(torch.uint8)

    def against_the_floor(see):
        """How many times as far as real pictures the blurred ones are, and those without each digit."""
        reference = Moments.of(see(x[5000:]))
        floor = sum(frechet_distance(reference, Moments.of(see(part))) for part in x[:5000].split(1000)) / 5
        sets = [blurred, *(x[:5000][y[:5000] != k][:1000] for k in range(10))]
        blur, *without = (frechet_distance(reference, Moments.of(see(pictures))) / floor for pictures in sets)
        return blur, without

    blur, without = against_the_floor(judge)
    assert (blur > 100, min(without) > 1.3, sum(without) > 30) == (True, True, True)
    blur, without = against_the_floor(columns)
    assert (blur < 2, max(without) < 2) == (True, True)


def test_training_makes_features_see_more(coloured, seer):
    """Told apart far better than by chance, on pictures that it was not trained on."""
    assert seer.record["kind"] == "self-supervised"
    assert seer.record["accuracy"] > 3 / (1 + len(treatments_for(coloured.domain)))


def test_a_judge_without_labels_has_no_classes(coloured, seer):
    assert (seer.classes, seer.class_names) == (0, ())
    features = seer(coloured.test.x[:3])
    for ask in (lambda: seer.classified(features), lambda: seer.probabilities(coloured.test.x[:3])):
        with pytest.raises(NotSupported, match="no class probabilities"):
            ask()


def test_the_contrast_is_its_formula():
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=seeded(), dtype=torch.float64), dim=1)
    expected = 0.0
    for i in range(6):
        similar = [math.exp(float(z[i] @ z[j]) / HEAT) for j in range(6)]
        expected -= math.log(similar[(i + 3) % 6] / (sum(similar) - similar[i])) / 6
    assert float(contrast(z)) == pytest.approx(expected, rel=1e-12)
    assert float(contrast(z[:1].repeat(8, 1))) == pytest.approx(math.log(7))


# ---------------------------------------------------------------- changes of pictures


def test_a_picture_that_is_not_moved_stays_what_it_is():
    x = torch.rand(5, 3, 6, 9, generator=seeded())
    assert torch.equal(moved(x, seeded(), shift=0), x)


@pytest.mark.parametrize("shape", [(40, 1, 7, 7), (40, 2, 6, 9)])
def test_a_moved_picture_is_rolled_by_whole_pixels_but_for_its_border(shape):
    x = torch.rand(shape, generator=seeded())
    rolled = {(a, b): x.roll((a, b), (2, 3))[:, :, 2:-2, 2:-2] for a in range(-2, 3) for b in range(-2, 3)}
    inside = moved(x, seeded(1), shift=2)[:, :, 2:-2, 2:-2]
    found = [next(step for step, y in rolled.items() if torch.equal(inside[k], y[k])) for k in range(len(x))]
    assert len(set(found)) > 10


@pytest.mark.parametrize("shape", [(64, 1, 20, 20), (64, 1, 20, 30)])
def test_a_turn_keeps_the_distance_from_the_centre(shape):
    """A bright spot stays on its circle, in pictures that are not square too, and gets to all of it."""
    x = torch.zeros(shape)
    x[:, :, 9:11, 16:18] = 1
    y = moved(x, seeded(), shift=0, turn=180.0)
    down, across = (torch.arange(side) - (side - 1) / 2 for side in shape[2:])
    mass = y.sum((1, 2, 3))
    centre = torch.stack([(y.sum((1, 3)) @ down) / mass, (y.sum((1, 2)) @ across) / mass], 1)
    radius = math.hypot(0, 16.5 - (shape[3] - 1) / 2)
    assert torch.allclose(centre.norm(dim=1), torch.tensor(radius), atol=0.15)
    assert float(centre[:, 0].max()) > 0.8 * radius
    assert float(centre[:, 0].min()) < -0.8 * radius


def test_about_half_of_the_pictures_are_mirrored():
    x = torch.rand(400, 1, 4, 5, generator=seeded())
    y = moved(x, seeded(), shift=0, flip=True)
    mirrored, same = (y == x.flip(3)).flatten(1).all(1), (y == x).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 140 < int(mirrored.sum()) < 260


@pytest.mark.parametrize("std", [0.8, 1.0, 2.5])
def test_a_blur_is_a_gaussian(std):
    x = torch.zeros(1, 2, 31, 31, dtype=torch.float64)
    x[:, :, 15, 15] = 1
    y = gaussian_blur(x, std)[0, 1]
    place = torch.arange(31, dtype=torch.float64) - 15
    assert float(y.sum()) == pytest.approx(1)
    assert float(y.sum(0) @ place.square()) == pytest.approx(std**2, rel=0.1)
    assert torch.equal(y, y.T)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_outliers_are_pictures_of_the_domain(levels, kind):
    domain = Discrete((1, 8, 8), levels)
    x = torch.randint(0, levels, (50, 1, 8, 8), generator=seeded()).float()
    found = torch.cat([outliers(x, kind, Range.of(x, domain), seeded(k)) for k in range(5)])
    domain.check(found)
    assert float(found.max()) > 0.98 * (levels - 1)


@pytest.mark.parametrize("name", list(changes.TREATMENTS))
@pytest.mark.parametrize("domain", [Discrete((3, 10, 10), 256), Discrete((1, 10, 12), 2)], ids=["colour", "binary"])
def test_treatments_change_nearly_every_picture_and_stay_in_the_domain(name, domain):
    if name not in treatments_for(domain):
        return
    x = torch.randint(0, domain.levels, (60, *domain.shape), generator=seeded()).float()
    span = Range.of(x, domain)
    found = span.snap(changes.TREATMENTS[name](x, span, seeded()))
    domain.check(found)
    assert int((found != x).flatten(1).any(1).sum()) > 55


# ---------------------------------------------------------------- features


def test_features_do_not_depend_on_the_batch(digits, shipped_digits, monkeypatch):
    whole = shipped_digits(digits.test.x)
    monkeypatch.setattr(Judge, "chunk", 64)
    assert torch.allclose(shipped_digits(digits.test.x), whole, rtol=1e-5, atol=1e-5)
    order = torch.randperm(len(whole), generator=seeded())
    assert torch.allclose(shipped_digits(digits.test.x[order]), whole[order], rtol=1e-5, atol=1e-5)


def test_features_are_single_precision_under_autocast(digits, shipped_digits):
    whole = shipped_digits(digits.test.x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(shipped_digits(digits.test.x), whole)
    assert (whole.dtype, whole.shape, whole.requires_grad) == (torch.float64, (180, 64), False)


def test_probabilities_are_those_of_the_network(digits, shipped_digits):
    x = digits.test.x[:20]
    expected = torch.softmax(shipped_digits.network(x.float()) / shipped_digits.network.temperature, 1).double()
    assert torch.allclose(shipped_digits.probabilities(x), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 150, 200), (1, 9, 1000), (1, 1, 1)])
def test_a_network_fits_pictures_of_any_size(shape):
    network = Network(Layout(shape, 3))
    assert network.features(torch.zeros(2, *shape)).shape == (2, 64)
    assert network(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(
    "numbers",
    [
        {"shape": (1, 8)},
        {"shape": (1, 8, 0)},
        {"shape": (1, 2**14, 2**14)},
        {"classes": -1},
        {"classes": True},
        {"width": 10**9},
        {"features": 129},
        {"features": 64.0},
        {"features": "64"},
    ],
)
def test_the_sizes_of_a_network_are_checked(numbers):
    with pytest.raises(BadInput):
        Layout(**({"shape": (1, 8, 8), "classes": 10} | numbers))


# ---------------------------------------------------------------- which data have one


@pytest.mark.parametrize(
    ("domain", "labelled", "n", "can"),
    [
        (GREY, True, 30, True),
        (GREY, False, 300, True),
        (GREY, False, 60, False),
        (Discrete((3, 32, 32), 256), False, 300, True),
        (Discrete((1, 4, 28), 256), False, 300, False),
        (Discrete((1, 4, 28), 256), True, 300, True),
        (Discrete((64,), 17), True, 300, False),
        (Real((1, 8, 8)), True, 300, False),
        (Table((Column("a"),)), False, 300, False),
    ],
)
def test_which_data_have_a_judge(digits, domain, labelled, n, can, tmp_path):
    split = replace(digits.train.take(torch.arange(n)), x=torch.zeros(n, *domain.shape))
    split = split if labelled else replace(split, y=None)
    data = replace(
        digits, domain=domain, train=split, valid=split, test=split, given=digits.given if labelled else None
    )
    assert can_judge(data) == can
    if not can:
        with pytest.raises(NotSupported, match="judge needs"):
            judge_for(data, tmp_path)


def test_tables_and_points_are_their_own_features():
    points = from_arrays(torch.randn(300, 2, generator=seeded()).numpy(), name="points")
    assert isinstance(Bench(points, n=50).extractor, Columns)


# ---------------------------------------------------------------- files


def test_a_judge_is_one_file(digits, quick, tmp_path):
    path = quick.save(tmp_path / "beside" / FILE)
    assert [p.name for p in path.parent.iterdir()] == [FILE]
    again = Judge.open(path, digits.domain)
    assert (again.name, again.record) == (quick.name, quick.record)
    assert torch.equal(again(digits.test.x), quick(digits.test.x))
    assert again.save(tmp_path / "copy").read_bytes() == path.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == quick.record["sha256"]


def test_a_judge_from_a_file_is_used_as_it_is(digits, quick, tmp_path):
    path = quick.save(tmp_path / FILE)
    assert judge_for(digits, tmp_path / "kept", judge=path).name == quick.name
    assert judge_for(digits, tmp_path / "kept", judge=str(path)).class_names == digits.label_names
    assert not (tmp_path / "kept").exists()


def test_a_judge_without_labels_is_kept_too(coloured, seer, tmp_path):
    again = Judge.open(seer.save(tmp_path / FILE), coloured.domain)
    assert torch.equal(again(coloured.test.x), seer(coloured.test.x))


@pytest.mark.parametrize(
    "domain", [Discrete((1, 8, 8), 16), Discrete((1, 28, 28), 256), Real((1, 8, 8)), Discrete((64,), 17)]
)
def test_a_judge_of_another_domain_is_refused(domain, quick, tmp_path):
    path = quick.save(tmp_path / FILE)
    with pytest.raises(BadInput, match="of other data") as caught:
        Judge.open(path, domain)
    assert str(path) in str(caught.value)
    assert "levels=17" in str(caught.value)


def repacked(content, record=None, tensors=None, metadata=None):
    """The same judge with something else in its record or tensors."""
    length = int.from_bytes(content[:8], "little")
    known = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    kept = from_bytes(content)
    kept.update(tensors or {})
    kept = {name: tensor for name, tensor in kept.items() if tensor is not None}
    known["weights"] = _digest_of_tensors(to_bytes(kept))
    return to_bytes(kept, {KEY: json.dumps(known | (record or {}))} if metadata is None else metadata)


LAYOUT = {"shape": [1, 8, 8], "classes": 10, "width": 16, "features": 64}


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: b"",
        lambda c: b"\x80\x04\x95",
        lambda c: c[: len(c) // 2],
        lambda c: c[:-1],
        lambda c: c[:100],
        lambda c: c[:-1] + bytes([c[-1] ^ 1]),
        lambda c: c[:-5000] + bytes([c[-5000] ^ 1]) + c[-4999:],
        lambda c: repacked(c, {"weights": "0" * 64}),
        lambda c: (2**63).to_bytes(8, "little") + c[8:],
        lambda c: (20).to_bytes(8, "little") + b"[" * 20,
        lambda c: (10**5).to_bytes(8, "little") + b"[" * 10**5,
        lambda c: c[:8] + c[8:].replace(b"F16", b"F64", 1),
        lambda c: c[:8] + c[8:].replace(b"head.bias", b"head.bi\xff\xff", 1),
        lambda c: repacked(c, metadata={}),
        lambda c: repacked(c, metadata={KEY: "[1]"}),
        lambda c: repacked(c, metadata={KEY: "{"}),
        lambda c: repacked(c, {"schema": 99}),
        lambda c: repacked(c, {"accuracy": "NaN"}),
        lambda c: repacked(c, {"accuracy": math.nan}),
        lambda c: repacked(c, {"accuracy": 2.0}),
        lambda c: repacked(c, {"temperature": 0.0}),
        lambda c: repacked(c, {"class_names": ["a"] * 9}),
        lambda c: repacked(c, {"class_names": [1] * 10}),
        lambda c: repacked(c, {"kind": "<script>"}),
        lambda c: repacked(c, {"steps": None}),
        lambda c: repacked(c, {"domain": "digits"}),
        lambda c: repacked(c, {"domain": {"kind": "discrete", "shape": [1, 8, 8], "levels": -1}}),
        lambda c: repacked(c, {"layout": None}),
        lambda c: repacked(c, {"layout": LAYOUT | {"features": 2**40}}),
        lambda c: repacked(c, {"layout": LAYOUT | {"shape": [1, 8, 8, 8]}}),
        lambda c: repacked(c, {"layout": LAYOUT | {"shape": [1, 2**20, 2**20]}}),
        lambda c: repacked(c, {"layout": LAYOUT | {"shape": [1, 16, 16]}}),
        lambda c: repacked(c, {"layout": LAYOUT | {"width": 17}}),
        lambda c: repacked(c, {"layout": LAYOUT | {"extra": 1}}),
        lambda c: repacked(c, {"layout": LAYOUT | {"classes": 10**5}, "class_names": ["a"] * 10**5}),
        lambda c: repacked(c, tensors={"top.bias": None}),
        lambda c: repacked(c, tensors={"extra": torch.zeros(1)}),
        lambda c: repacked(c, tensors={"top.bias": torch.zeros(11).half()}),
        lambda c: repacked(c, tensors={"top.bias": torch.zeros(10)}),
        lambda c: repacked(c, tensors={"top.bias": torch.full((10,), math.inf).half()}),
        lambda c: repacked(c, tensors={"temperature": torch.tensor(math.nan)}),
    ],
)
def test_a_damaged_or_hostile_file_is_refused_in_words(damage, digits, quick, tmp_path):
    content = quick.save(tmp_path / "whole").read_bytes()
    Judge.open(tmp_path / "whole", digits.domain)
    path = tmp_path / FILE
    path.write_bytes(damage(content))
    with pytest.raises(RunError) as caught:
        Judge.open(path, digits.domain)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(digits, tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        Judge.open(tmp_path / "none", digits.domain)
    with pytest.raises(RunError, match="cannot be read"):
        Judge.open(tmp_path, digits.domain)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)  # a hole, not a gigabyte
    with pytest.raises(RunError, match="too large"):
        Judge.open(tmp_path / "large", digits.domain)


# ---------------------------------------------------------------- Inception, by a stand-in


class StandIn(nn.Module):
    """Looks like the network of torch-fidelity, and gives what it was shown as features."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert features_list == ["2048", "logits_unbiased"]
        self.path = feature_extractor_weights_path
        self.fc = nn.Linear(12, 5)
        self.shown = []

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        self.shown.append(len(x))
        features = x.float().flatten(1)[:, :12]
        return features, features @ self.fc.weight.T


@pytest.fixture
def fidelity(monkeypatch, tmp_path):
    """The package and its weights, or what looks like them."""
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.URL_INCEPTION_V3, module.FeatureExtractorInceptionV3 = "http://127.0.0.1:9/none", StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    monkeypatch.setenv("PMODEL_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    path = tmp_path / "inception" / inception.WEIGHTS
    path.parent.mkdir()
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"weights").hexdigest())
    return path


def test_inception_sees_colour_pictures_of_256_levels(fidelity):
    judge = inception.Inception(Discrete((1, 2, 2), 17), device="cpu")
    x = torch.tensor([[[[0, 16], [8, 4]]]], dtype=torch.uint8)
    assert judge(x).tolist() == [[0, 255, 128, 64] * 3]
    colour = inception.Inception(Discrete((3, 2, 2), 256), device="cpu")
    y = torch.randint(0, 256, (70, 3, 2, 2), generator=seeded())
    assert torch.equal(colour(y), y.flatten(1).double())
    assert colour.network.shown == [32, 32, 6]  # a few at a time: each takes megabytes inside


def test_inceptions_probabilities_are_of_its_own_classes(fidelity):
    judge = inception.Inception(Discrete((3, 2, 2), 256), device="cpu")
    x = torch.randint(0, 256, (4, 3, 2, 2), generator=seeded()) // 64
    logits = judge.network(x.to(torch.uint8))[1]
    assert torch.allclose(judge.probabilities(x), logits.double().softmax(1), atol=1e-6)
    assert (judge.classes, judge.class_names) == (5, ())
    assert judge.name == f"Inception-v3 of torch-fidelity, sha256:{inception.SHA256[:16]}"


def test_inception_is_asked_for_by_name(fidelity, digits, tmp_path):
    assert isinstance(judge_for(digits, tmp_path, judge="inception"), inception.Inception)
    assert inception.Inception(digits.domain, fidelity, device="cpu").network.path == str(fidelity)


def test_only_the_pinned_weights_are_opened(fidelity, digits):
    fidelity.write_bytes(b"a pickle that could do anything")
    for weights in (None, fidelity):
        with pytest.raises(RunError, match="not the weights of Inception"):
            inception.Inception(digits.domain, weights)
    with pytest.raises(RunError, match="cannot be read"):
        inception.Inception(digits.domain, fidelity.parent / "none")


def test_weights_that_cannot_be_had_are_an_error_in_words(fidelity, digits):
    fidelity.unlink()
    with pytest.raises(DataError, match="could not be downloaded"):
        inception.Inception(digits.domain)


def test_without_the_package_inception_says_what_to_install(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(NotSupported, match="torch-fidelity") as caught:
        inception.Inception(digits.domain)
    assert "pmodel[inception]" in caught.value.hint


@pytest.mark.parametrize(
    "domain", [Real((1, 8, 8)), Discrete((64,), 17), Discrete((2, 8, 8), 256), Discrete((1, 8, 8), 1)]
)
def test_inception_looks_at_pictures_only(domain):
    with pytest.raises(NotSupported, match="pictures of whole levels"):
        inception.Inception(domain)
