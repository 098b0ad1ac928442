"""Folders of pictures: labels, sizes, modes, transparency, orientation, damage."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pmodel.data import folder, load_data
from pmodel.domain import Discrete
from pmodel.errors import BadInput, DataError, UnknownName

DRAW = np.random.RandomState(0)


def picture(mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    width, height = size
    image = Image.fromarray(DRAW.randint(0, 256, (height, width, 3)).astype(np.uint8))
    return image.convert(mode)


@pytest.fixture
def put(tmp_path):
    """Save a picture under a name in the folder, and answer with the folder."""

    def save(name, image=None, **options):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            (image or picture()).save(path, **options)
        return tmp_path / "pictures"

    return save


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(side: int) -> bytes:
    """A small PNG that declares ``side`` x ``side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


# ---------------------------------------------------------------- what is read


def test_sub_folders_are_labels(put):
    for label in ("cat", "dog", "dog/puppies"):
        for index in range(60):
            root = put(f"{label}/{index:02}.png")
    data = load_data(root)
    assert data.label_names == ("cat", "dog")
    assert data.given == Discrete((), 2)
    assert torch.cat([split.y for split in data.splits.values()]).bincount().tolist() == [60, 120]
    assert (data.name, data.domain) == ("pictures", Discrete((3, 4, 6), 256))


def test_a_view_of_a_folder(put):
    for label in ("cat", "dog"):
        for index in range(3):
            root = put(f"{label}/{index}.png", picture("L") if label == "cat" else Image.new("L", (6, 4), 9))
    data = load_data(f"{root}:dog")
    assert (data.train.x == 9).all()
    assert data.parent == str(root)
    assert load_data(data.source).hash == data.hash


def test_pictures_without_sub_folders_have_no_labels(put):
    first, second = picture(), picture()
    put("b.png", second)
    data = load_data(put("a.png", first))
    assert data.given is None
    assert np.array_equal(data.train.x.permute(0, 2, 3, 1).numpy(), np.stack([first, second]))
    assert "2 data: train = valid = test = all" in data.note


def test_other_and_hidden_files_are_no_pictures(put):
    for name in ("readme.txt", ".hidden.png", "cat/Thumbs.db"):
        put(name, b"no picture")
    assert len(load_data(put("cat/a.PNG")).train) == 1


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3), ("YCbCr", 3)],
)
def test_every_mode_of_eight_bits(mode, channels, put):
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    data = load_data(put(f"a.{suffix}", picture(mode)))
    assert data.domain == Discrete((channels, 4, 6), 256)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif", "ppm"])
def test_every_suffix(suffix, put):
    assert load_data(put(f"a.{suffix}", Image.new("RGB", (6, 4), "red"))).domain.shape == (3, 4, 6)


def test_grey_stored_as_colour_is_grey(put):
    grey = picture("L")
    data = load_data(put("a.png", grey.convert("RGB")))
    assert np.array_equal(data.train.x[0, 0].numpy(), np.asarray(grey))


def test_one_colour_picture_makes_all_colour(put):
    put("a.png", picture("L"))
    assert load_data(put("b.png", picture("RGB"))).domain.shape == (3, 4, 6)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_by_choice(channels, put):
    put("a.png", picture("L"))
    assert load_data(put("b.png", picture("RGB")), channels=channels).domain.shape == (channels, 4, 6)


def test_transparency_is_laid_on_white(put):
    image = Image.new("RGBA", (6, 4), (255, 0, 0, 255))
    image.putpixel((0, 0), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 128))
    x = load_data(put("a.png", image)).train.x[0]
    assert x[:, 0, 0].tolist() == [255, 255, 255]
    assert x[:, 0, 1].tolist() == [255, 127, 127]
    assert x[:, 0, 2].tolist() == [255, 0, 0]


def test_a_transparent_palette_colour_is_white(put):
    image = Image.new("P", (6, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    x = load_data(put("a.png", image, transparency=1)).train.x[0]
    assert x[:, 0, 0].tolist() == [255, 255, 255]
    assert x[:, 3, 3].tolist() == [255, 0, 0]


def test_transparency_is_refused_by_choice(put):
    put("a.png", picture("RGBA"))
    with pytest.raises(DataError, match=r"1 of 2 pictures[\s\S]*a\.png: it has transparent pixels"):
        load_data(put("b.png"), alpha="refuse")


def test_pictures_are_turned_upright(put):
    image = picture("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    data = load_data(put("a.png", image, exif=exif))
    assert np.array_equal(data.train.x[0, 0].numpy(), np.rot90(np.asarray(image), -1))


def test_of_a_moving_picture_the_first_frame_is_read(put):
    frames = [Image.new("L", (6, 4), grey) for grey in (10, 200)]
    data = load_data(put("a.gif", frames[0], save_all=True, append_images=frames[1:]))
    assert (data.train.x == 10).all()


def test_names_in_other_scripts(put):
    data = load_data(put("고양이/가.png"))
    assert data.name == "pictures"
    put("개/나.png")
    assert load_data(put("개/나.png")).label_names == ("개", "고양이")


def test_the_order_of_files_on_disk_does_not_matter(put, monkeypatch):
    for index in range(5):
        root = put(f"{index}.png")
    expected, walk = load_data(root).hash, os.walk
    monkeypatch.setattr(folder.os, "walk", lambda path: ((a, b, c[::-1]) for a, b, c in walk(path)))
    assert load_data(root).hash == expected


# ---------------------------------------------------------------- sizes


def test_mixed_sizes_are_refused_with_the_sizes(put):
    put("a.png", picture(size=(6, 4)))
    put("b.png", picture(size=(8, 8)))
    with pytest.raises(DataError, match=r"2 sizes: 4×6 \(2, such as a\.png\), 8×8 \(1, such as b\.png\)[\s\S]*size="):
        load_data(put("c.png", picture(size=(6, 4))))


@pytest.mark.parametrize(("size", "shape"), [(5, (3, 5, 5)), ((3, 7), (3, 3, 7)), ([3, 7], (3, 3, 7))])
def test_mixed_sizes_are_brought_to_one(size, shape, put):
    put("a.png", picture(size=(6, 4)))
    data = load_data(put("b.png", picture(size=(9, 20))), size=size)
    assert data.domain.shape == shape
    assert load_data(data.source, **data.options).hash == data.hash


def test_the_middle_is_kept_and_not_squeezed(put):
    wide = np.zeros((10, 40), np.uint8)
    wide[:, 15:25] = 200
    data = load_data(put("a.png", Image.fromarray(wide)), size=10)
    assert (data.train.x[0, 0, :, 2:-2] == 200).all()


@pytest.mark.parametrize("size", [0, -4, True, (4, 4, 4), (4, 0), 10**9, (2.5, 2)])
def test_a_size_is_a_number_of_pixels(size, put):
    with pytest.raises(BadInput, match="A size is"):
        load_data(put("a.png"), size=size)


# ---------------------------------------------------------------- damage


def half(put):
    root = put("b.png")
    path = root / "b.png"
    path.write_bytes(path.read_bytes()[:60])


def flipped(put):
    path = put("b.png") / "b.png"
    content = bytearray(path.read_bytes())
    content[50] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "text": lambda put: put("b.png", b"no picture at all"),
    "empty": lambda put: put("b.png", b""),
    "half": half,
    "flipped": flipped,
    "bomb": lambda put: put("b.png", png_bomb(6000)),
    "warned bomb": lambda put: put("b.png", png_bomb(10_000)),
    "large bomb": lambda put: put("b.png", png_bomb(60_000)),
    "16 bits": lambda put: put("b.png", Image.fromarray(np.zeros((4, 6), np.uint16))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_by_name(damage, put):
    put("a.png")
    DAMAGE[damage](put)
    with pytest.raises(DataError, match=r"1 of 3 pictures in .* cannot be read\.[\s\S]*b\.png: \S+[\s\S]*corrupt=skip"):
        load_data(put("c.png"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_skipped_by_choice(damage, put):
    first, last = picture(), picture()
    put("a.png", first)
    DAMAGE[damage](put)
    data = load_data(put("c.png", last), corrupt="skip")
    assert np.array_equal(data.train.x.permute(0, 2, 3, 1).numpy(), np.stack([first, last]))
    assert "skipped 1 damaged: b.png" in data.note


def test_a_bomb_is_refused_before_it_is_decoded(put, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(DataError, match="6000×6000"):
        load_data(put("b.png", png_bomb(6000)))


def test_labels_stay_with_their_pictures_when_some_are_skipped(put):
    put("a/1.png", b"damaged")
    put("a/2.png", Image.new("L", (6, 4), 1))
    data = load_data(put("b/1.png", Image.new("L", (6, 4), 2)), corrupt="skip")
    assert (data.train.x[:, 0, 0, 0].tolist(), data.train.y.tolist()) == ([1, 2], [0, 1])


def test_all_damaged_is_no_data(put):
    put("a.png", b"1")
    with pytest.raises(DataError, match=r"2 of 2 pictures[\s\S]*a\.png, b\.png; the first:"):
        load_data(put("b.png", b"2"), corrupt="skip")


def test_a_folder_must_hold_pictures(tmp_path):
    with pytest.raises(DataError, match=r"holds no pictures[\s\S]*0 entries"):
        load_data(tmp_path)
    (tmp_path / "data.csv").touch()
    with pytest.raises(DataError, match=r"holds no pictures[\s\S]*1 entries[\s\S]*\.png"):
        load_data(tmp_path)


def test_pictures_are_all_in_sub_folders_or_none(put):
    put("cat/a.png")
    with pytest.raises(DataError, match=r"both in and beside[\s\S]*stray\.png"):
        load_data(put("stray.png"))


def test_one_picture_is_no_folder(put):
    with pytest.raises(DataError, match=r"of no kind[\s\S]*pass the folder"):
        load_data(put("a.png") / "a.png")


def test_too_many_pixels_in_all(put, monkeypatch):
    monkeypatch.setattr(folder, "LIMIT", 3 * 24 + 1)
    put("a.png")
    with pytest.raises(DataError, match=r"takes more than 73 bytes[\s\S]*2 pictures of 24 pixels"):
        load_data(put("b.png"))


@pytest.mark.parametrize("option", [{"corrupt": "ignore"}, {"alpha": "black"}])
def test_an_unknown_choice_is_answered_with_the_known(option, put):
    with pytest.raises(UnknownName, match="known: "):
        load_data(put("a.png"), **option)


@pytest.mark.parametrize("channels", [2, 4, 0])
def test_channels_are_one_or_three(channels, put):
    with pytest.raises(BadInput, match=r"1 or 3 channels[\s\S]*" + str(channels)):
        load_data(put("a.png"), channels=channels)


@pytest.mark.parametrize("option", [{"label": "x"}, {"levels": 4}, {"encoding": "utf-8"}])
def test_options_of_other_files_are_refused(option, put):
    with pytest.raises(BadInput, match="means nothing for"):
        load_data(put("a.png"), **option)


def test_reading_leaves_pillows_limits_alone(put):
    before = Image.MAX_IMAGE_PIXELS
    load_data(put("a.png"))
    assert before == Image.MAX_IMAGE_PIXELS
