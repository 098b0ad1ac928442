"""Data sets: splits, hashes, views and names."""

import hashlib

import numpy as np
import pytest
import torch

from pmodel.data import SMALL, Dataset, Split, datasets, draw_tins, from_arrays, load_data, measure_tins
from pmodel.data.binarised import LAROCHELLE
from pmodel.data.dataset import divide, hold_out
from pmodel.data.places import found
from pmodel.domain import Discrete
from pmodel.errors import BadInput, DataError, RangeError, ShapeError, UnknownName

HERE = {row.name: row for row in datasets()}

needs_mnist = pytest.mark.skipif(not HERE["mnist"].offline, reason="no mnist on this machine")
needs_fashion = pytest.mark.skipif(not HERE["fashion-mnist"].offline, reason="no fashion-mnist on this machine")


def numbered(n: int) -> Split:
    return Split(torch.arange(n)[:, None], torch.arange(n) % 3)


def labelled(n: int = 300) -> Dataset:
    x = np.arange(n, dtype=np.float64)[:, None]
    return from_arrays(x, np.arange(n) % 3, name="abc")


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("n", [SMALL + 1, 150, 1797, 5000])
def test_a_split_is_80_10_10_without_overlap(n):
    (train, valid, test), note = divide(numbered(n), seed=0)
    assert note == ""
    assert len(valid) == len(test) == round(n / 10)
    assert torch.equal(torch.cat([train.x, valid.x, test.x]).sort(0).values, numbered(n).x)


@pytest.mark.parametrize("n", [1, 12, SMALL])
def test_small_sets_are_not_split_and_say_so(n):
    (train, valid, test), note = divide(numbered(n), seed=0)
    assert train is valid is test
    assert note == f"{n} data: train = valid = test = all"


def test_the_split_is_that_of_its_seed_for_good():
    (_, valid, _), _ = divide(numbered(1000), seed=0)
    assert valid.x[:6, 0].tolist() == [12, 48, 67, 112, 118, 132]
    (_, again, _), _ = divide(numbered(1000), seed=0)
    (_, other, _), _ = divide(numbered(1000), seed=1)
    assert torch.equal(valid.x, again.x)
    assert not torch.equal(valid.x, other.x)


def test_labels_stay_with_their_data():
    (train, valid, test), _ = divide(numbered(1000), seed=0)
    for part in (train, valid, test):
        assert torch.equal(part.y, part.x[:, 0] % 3)


def test_what_is_held_out_is_drawn_from_everywhere():
    rest, held = hold_out(numbered(6000), 500)
    assert (len(rest), len(held)) == (5500, 500)
    assert abs(float(held.x.double().mean()) - 3000) < 5 * 6000 / 12**0.5 / 500**0.5
    assert not set(rest.x[:, 0].tolist()) & set(held.x[:, 0].tolist())


def test_there_are_as_many_labels_as_data():
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        Split(torch.zeros(3, 1), torch.zeros(2))


def test_a_split_is_found_by_name():
    data = labelled()
    assert data.split("valid") is data.valid
    with pytest.raises(UnknownName, match="train"):
        data.split("training")


# ---------------------------------------------------------------- the hash


def test_the_hash_is_the_documented_one():
    data = load_data("dice")
    total = hashlib.sha256(b'[{"kind": "discrete", "levels": 6, "shape": [1]}, null]')
    for name in ("train", "valid", "test"):
        total.update(f"{name} uint8 (10, 1)".encode() + bytes([4, 2, 4, 4, 1, 3, 0, 5, 2, 0]))
        total.update(f"{name} float64 (0,)".encode())
    assert data.hash == total.hexdigest()


def test_equal_data_have_equal_hashes_whatever_they_are_called():
    x = np.random.RandomState(0).rand(200, 2)
    assert from_arrays(x, name="a").hash == from_arrays(torch.from_numpy(x), name="b").hash


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: from_arrays(x, y, seed=1),
        lambda x, y: from_arrays(x, y, levels=9),
        lambda x, y: from_arrays(x),
        lambda x, y: from_arrays(np.where(x == 3, 2, x), y),
        lambda x, y: from_arrays(x, 1 - y),
        lambda x, y: from_arrays(x[:, ::-1].copy(), y),
    ],
    ids=["split", "levels", "no labels", "values", "labels", "order"],
)
def test_other_data_have_another_hash(other):
    draw = np.random.RandomState(0)
    x, y = draw.randint(0, 8, (200, 2)), draw.randint(0, 2, 200)
    assert other(x, y).hash != from_arrays(x, y).hash


# ---------------------------------------------------------------- views


def test_a_view_of_one_label_has_no_label_left():
    data = labelled().only("1")
    assert (data.name, data.parent, data.given, data.label_names) == ("abc:1", "abc", None, ("1",))
    assert data.train.y is None
    assert (data.train.x % 3 == 1).all()


def test_a_view_of_two_labels_renumbers_them():
    data = labelled(900).only("2,0")
    assert data.given == Discrete((), 2)
    assert data.label_names == ("0", "2")
    assert torch.equal(data.train.y, (data.train.x[:, 0] % 3 == 2).long())


def test_a_view_keeps_the_splits_of_the_whole():
    whole = labelled(3000)
    view = whole.only("0")
    assert set(view.test.x[:, 0].tolist()) < set(whole.test.x[:, 0].tolist())


def test_a_small_view_is_not_split():
    view = labelled(240).only("0")
    assert view.train is view.test
    assert len(view.train) == 80
    assert "80 data: train = valid = test = all" in view.note


def test_a_view_of_an_unsplit_set_is_not_split():
    view = labelled(30).only("0")
    assert view.train is view.valid is view.test
    assert view.note == "10 data: train = valid = test = all"


def test_labels_are_chosen_once():
    with pytest.raises(DataError, match=r"abc:0,2 is a view of some labels already[\s\S]*2[\s\S]*choose from abc"):
        labelled(900).only("0,2").only("2")


def test_the_source_of_a_view_loads_it_again():
    view = load_data("digits", seed=3).only("3,8")
    assert (view.name, view.source, view.parent) == ("digits:3,8", "digits:3,8", "digits")
    assert load_data(view.source, **view.options).hash == view.hash


def test_data_from_memory_have_no_source_and_nor_have_their_views():
    assert labelled().only("1").source == ""


def test_an_unknown_label_is_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match=r"abc[\s\S]*7[\s\S]*known: 0, 1, 2"):
        labelled().only("0,7")


def test_data_without_labels_have_no_view():
    with pytest.raises(DataError, match=r"dice has no labels[\s\S]*dice:3"):
        load_data("dice:3")


# ---------------------------------------------------------------- names


OFFLINE = [row.name for row in datasets() if row.offline]


@pytest.mark.parametrize("name", OFFLINE)
def test_the_list_tells_the_truth(name):
    data, row = load_data(name), HERE[name]
    assert data.domain == row.domain
    assert tuple(len(split) for split in data.splits.values()) == row.sizes
    assert data.name == data.source == name


@pytest.mark.parametrize("name", OFFLINE)
def test_every_datum_is_in_its_domain_and_stored_compactly(name):
    data = load_data(name)
    kind = torch.uint8 if data.domain.measure == "mass" else torch.float32
    for split in data.splits.values():
        assert split.x.dtype == kind
        for part in torch.split(split.x, 2**14):
            data.domain.check(part)
        if data.given is not None:
            data.given.check(split.y)


@pytest.mark.parametrize("name", ["digits", "tins", "moons"])
def test_the_source_and_options_load_the_same_again(name):
    data = load_data(name, seed=3)
    assert load_data(data.source, **data.options).hash == data.hash != load_data(name).hash


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean mnist"):
        load_data("mnst")


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(BadInput, match="A seed is a whole number"):
        load_data("digits", seed=seed)


def test_named_sets_have_no_options():
    with pytest.raises(BadInput, match=r"digits has no options[\s\S]*size"):
        load_data("digits", size=4)


# ---------------------------------------------------------------- the notes' data


def test_the_dice_have_the_proportions_of_the_notes():
    counts = torch.bincount(load_data("dice").train.x[:, 0].long(), minlength=6)
    assert (counts / 10).tolist() == pytest.approx([0.2, 0.1, 0.2, 0.1, 0.3, 0.1])


def test_the_bits_have_the_proportions_of_the_notes():
    x = load_data("bits").train.x.long()
    assert torch.bincount(2 * x[:, 0] + x[:, 1], minlength=4).tolist() == [2, 1, 3, 4]


def test_the_heights_are_those_of_the_notes():
    data = load_data("heights")
    assert data.train.x.shape == (12, 2)
    assert data.train.x[0].tolist() == [169, 70]
    x = data.train.x.double()
    best = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0))
    assert float(best.log_prob(x).sum()) == pytest.approx(-82.860, abs=5e-4)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, data = load_digits().images, load_data("digits")
    ours = torch.cat([split.x for split in data.splits.values()])
    assert float(ours.double().sum()) == images.sum()
    assert data.given == Discrete((), 10)
    assert {tuple(x.flatten().tolist()) for x in data.test.x} <= {tuple(x.ravel().astype(int)) for x in images}


# ---------------------------------------------------------------- tins


def test_tins_remember_what_they_were_drawn_from():
    data = load_data("tins")
    assert data.factor_names == ("height", "width")
    found = measure_tins(data.test.x) - data.test.factors
    assert found.abs().max() < 0.5
    assert float(found[:, 1].abs().max()) < 0.3


def test_a_higher_tin_is_not_wider():
    pictures = draw_tins(torch.tensor([14.0, 20.0]), torch.tensor([12.0, 12.0]))
    low, high = measure_tins(pictures)
    assert float(high[0] - low[0]) == pytest.approx(6, abs=0.1)
    assert float(high[1] - low[1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("height", "width"), [(40.0, 10.0), (10.0, 33.0), (5.0, 20.0), (10.0, 0.0), (float("nan"), 5.0)]
)
def test_a_tin_must_fit_the_picture(height, width):
    with pytest.raises(RangeError, match="does not fit"):
        draw_tins(torch.tensor([height]), torch.tensor([width]))


def test_tins_need_one_width_a_height():
    with pytest.raises(ShapeError, match="one length"):
        draw_tins(torch.ones(3), torch.ones(2))


# ---------------------------------------------------------------- mnist


def test_intensities_go_with_their_data_and_are_no_part_of_the_hash():
    x, grey = torch.arange(6).reshape(6, 1, 1, 1) % 2, torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1)
    plain, split = Split(x.byte()), Split(x.byte(), intensities=grey)
    assert split.take(torch.tensor([4, 1])).intensities.flatten().tolist() == [4, 1]
    assert split.joined(split).intensities.flatten().tolist() == [*range(6), *range(6)]
    assert split.joined(plain).intensities is None
    with_grey, without = (Dataset("d", Discrete((1, 1, 1), 2), part, part, part) for part in (split, plain))
    assert with_grey.hash == without.hash
    with pytest.raises(ShapeError, match="as many intensities as data"):
        Split(x.byte(), intensities=grey[:5])


@needs_mnist
def test_mnist_is_split_as_documented():
    data = load_data("mnist")
    assert data.label_names == tuple("0123456789")
    assert torch.bincount(data.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(data.test.x.double().mean()) == pytest.approx(33.79, abs=0.01)


@needs_mnist
def test_binary_mnist_is_the_same_images():
    grey, binary = load_data("mnist"), load_data("mnist-binary")
    assert torch.equal(grey.valid.y, binary.valid.y)
    assert not binary.test.x[grey.test.x == 0].any()
    assert binary.test.x[grey.test.x == 255].all()
    chance = grey.train.x.double() / 255
    z = float((binary.train.x - chance).sum() / (chance * (1 - chance)).sum().sqrt())
    assert abs(z) < 5
    for name, split in binary.splits.items():
        assert torch.equal(split.intensities, grey.split(name).x)


@needs_mnist
def test_a_view_of_binary_mnist_keeps_its_intensities():
    whole, view = load_data("mnist-binary"), load_data("mnist-binary:3")
    assert torch.equal(view.train.intensities, whole.train.intensities[whole.train.y == 3])


@needs_mnist
def test_a_view_of_mnist_has_its_zeros():
    data = load_data("mnist:0")
    assert len(data.train) + len(data.valid) == 5923
    assert (len(data.test), data.parent, data.source) == (980, "mnist", "mnist:0")


@needs_fashion
def test_labels_are_found_by_number_and_by_name():
    by_number, by_name = load_data("fashion-mnist:8"), load_data("fashion-mnist:bag")
    assert by_number.label_names == ("Bag",)
    assert by_number.hash == by_name.hash


def test_the_published_binarisation_is_read_from_the_users_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PMODEL_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"binarized_mnist_train\.amat"):
        load_data("mnist-larochelle")
    folder = tmp_path / "mnist-larochelle"
    folder.mkdir()
    rows = np.random.RandomState(0).randint(0, 2, (5, 784))
    for part in LAROCHELLE:
        monkeypatch.setitem(LAROCHELLE, part, 5)
        np.savetxt(folder / f"binarized_mnist_{part}.amat", rows, fmt="%d")
    data = load_data("mnist-larochelle")
    assert torch.equal(data.valid.x.flatten(1), torch.from_numpy(rows).to(torch.uint8))
    monkeypatch.setitem(LAROCHELLE, "test", 6)
    with pytest.raises(DataError, match=r"6 lines[\s\S]*3920 characters"):
        load_data("mnist-larochelle")


def test_files_are_found_packed_or_not_and_the_named_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PMODEL_DATA", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plain, packed = tmp_path / "cache/pmodel/mnist/a", tmp_path / "named/mnist/a.gz"
    for path in (plain, packed):
        path.parent.mkdir(parents=True)
    assert found("mnist", "a.gz") is None
    plain.touch()
    assert found("mnist", "a.gz") == plain
    packed.touch()
    assert found("mnist", "a.gz") == packed
