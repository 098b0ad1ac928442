"""CIFAR-10: a small archive in the true format, from a server on this machine, and what can be wrong with it."""

import contextlib
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from pmodel.data import cifar10, load_data
from pmodel.domain import Discrete
from pmodel.errors import DataError

ROWS = 20
"""Images in each file of the small version."""


def batch(k: int) -> bytes:
    """Two images of each class; the planes of image ``i`` of file ``k`` are 3i + k, 3i + k + 1 and 3i + k + 2 throughout."""
    labels = np.arange(ROWS) % 10
    planes = (3 * np.arange(ROWS)[:, None] + k + np.arange(3)).repeat(1024, 1)
    return np.concatenate([labels[:, None], planes], 1).astype(np.uint8).tobytes()


def content() -> dict[str, bytes]:
    return {name: batch(k) for k, name in enumerate(cifar10.FILES)}


def archive(files: dict[str, bytes], inner: str = "cifar-10-batches-bin", **special: bytes) -> bytes:
    """A .tar.gz of these files, and of what else the true one has. ``special`` gives members a type of their own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in ({"readme.html": b"<html>", "batches.meta.txt": b"airplane\n"} | files).items():
            member = tarfile.TarInfo(f"{inner}/{name}")
            member.type, member.linkname, member.size = special.get(name, tarfile.REGTYPE), "/etc/hostname", len(body)
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body, declared = self.server.answers[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(declared))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        running.answers = {}
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place for data, and files of twenty images."""
    monkeypatch.setattr(cifar10, "ROWS", ROWS)
    monkeypatch.setattr(cifar10, "VALID", 10)
    monkeypatch.setenv("PMODEL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PMODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data" / "cifar10"


@pytest.fixture
def published(server, home, monkeypatch):
    """Serve an archive and expect its hash; what is sent may be something else."""

    def publish(body: bytes, *, sent: bytes | None = None, declared: int | None = None) -> None:
        sent = body if sent is None else sent
        server.answers["/cifar"] = (sent, len(sent) if declared is None else declared)
        url = f"http://127.0.0.1:{server.server_port}/cifar"
        sha256 = hashlib.sha256(body).hexdigest()
        remote = replace(cifar10.ARCHIVE, sha256=sha256, size=len(body), urls=(url,))
        monkeypatch.setattr(cifar10, "ARCHIVE", remote)

    return publish


def put(folder, files):
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)


def is_whole(data) -> bool:
    """Whether every image is where, and of the label, that ``batch`` gave it."""
    images = torch.cat([data.train.x, data.valid.x, data.test.x])
    labels = torch.cat([data.train.y, data.valid.y, data.test.y])
    files = np.frombuffer(b"".join(content().values()), np.uint8).reshape(-1, 3073)
    expected = {(bytes(row[1:]), int(row[0])) for row in files}
    found = {(bytes(x.flatten().tolist()), int(y)) for x, y in zip(images, labels, strict=True)}
    return len(images) == 6 * ROWS and found == expected


def test_it_is_fetched_once_and_read_without_unpacking(published, home, server):
    published(archive(content()))
    assert not cifar10.available()
    data = load_data("cifar10")
    assert data.domain == Discrete((3, 32, 32), 256)
    assert [len(split) for split in data.splits.values()] == [90, 10, 20]
    assert data.train.x.dtype == torch.uint8
    assert data.given == Discrete((), 10)
    assert data.label_names[:2] == ("airplane", "automobile")
    assert is_whole(data)
    assert [path.name for path in home.iterdir()] == ["cifar-10-binary.tar.gz"]
    server.answers.clear()
    assert cifar10.available()
    assert load_data("cifar10").hash == data.hash
    assert len(load_data("cifar10:cat").test) == 12  # of 12: too few to split


def test_planes_are_red_green_and_blue_and_the_test_set_is_the_official_one(published):
    published(archive(content()))
    test = load_data("cifar10").test
    assert test.y.tolist() == [k % 10 for k in range(ROWS)]
    assert test.x[4, :, 5, 7].tolist() == [12 + 5, 12 + 6, 12 + 7]


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_unpacked_files_are_taken(inner, home, published):
    published(b"an archive that is not read")
    put(home / inner, content())
    assert is_whole(load_data("cifar10"))


def test_the_same_data_have_the_same_hash_packed_or_not(home, published):
    published(archive(content()))
    packed = load_data("cifar10").hash
    put(home / "cifar-10-batches-bin", content())
    assert load_data("cifar10").hash == packed


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_an_incomplete_folder_is_named_before_anything_is_fetched(inner, home, published):
    published(archive(content()))
    put(home / inner, {name: body for name, body in content().items() if name not in cifar10.FILES[3:5]})
    assert not cifar10.available()
    with pytest.raises(
        DataError, match=r"(?s)cifar10.* lacks files.*no data_batch_4\.bin, data_batch_5\.bin.*add them"
    ):
        load_data("cifar10")
    assert not list(home.rglob("*.tar.gz"))


def test_an_incomplete_folder_beside_the_archive_does_not_count(home, published):
    published(archive(content()))
    put(home, {"cifar-10-binary.tar.gz": archive(content()), "data_batch_1.bin": batch(0)})
    assert is_whole(load_data("cifar10"))


def test_a_download_is_checked_once(published, monkeypatch):
    published(archive(content()))
    monkeypatch.setattr(cifar10, "sha256_of", None)  # what download checks it with is another name
    assert is_whole(load_data("cifar10"))


def test_a_longer_copy_is_to_be_deleted(home, published):
    body = archive(content())
    published(body)
    put(home, {"cifar-10-binary.tar.gz": body + b"more"})
    with pytest.raises(DataError, match=f"(?s)is not the file it should be.*{len(body) + 4} bytes.*delete it"):
        load_data("cifar10")


def test_a_file_that_may_not_be_read_is_named(home, published, monkeypatch):
    published(b"an archive that is not read")
    put(home, content())

    def refused(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(cifar10.Path, "open", refused)
    with pytest.raises(DataError, match=r"(?s)cifar10 cannot be read.*Permission denied.*data_batch_1\.bin"):
        load_data("cifar10")


@pytest.mark.parametrize(
    ("sent", "declared", "complaint"),
    [
        (archive(content())[:-200], None, "SHA-256"),
        (archive(content())[:-200], len(archive(content())), "connection ended after"),
        (gzip.compress(b"another"), None, "SHA-256"),
        (bytes(200_000), None, "longer than"),
    ],
    ids=["cut off", "interrupted", "another", "too long"],
)
def test_a_bad_download_is_refused_and_leaves_nothing(sent, declared, complaint, home, published):
    published(archive(content()), sent=sent, declared=declared)
    with pytest.raises(DataError, match=complaint):
        load_data("cifar10")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-200], lambda body: body[:-9] + b"\0" + body[-8:]], ids=["cut off", "a byte changed"]
)
def test_a_damaged_copy_is_named(damage, home, published):
    published(archive(content()))
    put(home, {"cifar-10-binary.tar.gz": damage(archive(content()))})
    with pytest.raises(DataError, match=r"(?s)cifar-10-binary\.tar\.gz is not the file it should be.*delete it"):
        load_data("cifar10")


SHORT = content() | {"data_batch_2.bin": batch(1)[:-1]}
LONG = content() | {"data_batch_2.bin": batch(1) + b"\0"}
MISLABELLED = content() | {"data_batch_2.bin": b"\x0a" + batch(1)[1:]}
UNEVEN = content() | {"data_batch_2.bin": b"\x01" + batch(1)[1:]}
WRONG = ["short", "long", "mislabelled", "uneven"]
FORMS = [
    (SHORT, r"data_batch_2\.bin should hold 61460 bytes[\s\S]*only 61459"),
    (LONG, r"data_batch_2\.bin should hold 61460 bytes[\s\S]*more"),
    (MISLABELLED, r"data_batch_2\.bin should hold labels from 0 to 9[\s\S]*10"),
    (UNEVEN, r"10 of each class in 100 images[\s\S]*\[9, 11, 10"),
]


@pytest.mark.parametrize(("files", "complaint"), FORMS, ids=WRONG)
def test_files_of_another_form_are_refused(files, complaint, home, published):
    published(b"an archive that is not read")
    put(home, files)
    with pytest.raises(DataError, match=complaint):
        load_data("cifar10")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        *((archive(files), complaint) for files, complaint in FORMS),
        (archive({"data_batch_1.bin": batch(0)}), r"lacks files[\s\S]*data_batch_2\.bin.*test_batch\.bin"),
        (archive(content(), inner="elsewhere"), "lacks files"),
        (archive(content(), inner="/cifar-10-batches-bin"), "lacks files"),
        (archive(content(), inner="../cifar-10-batches-bin"), "lacks files"),
        (archive(content(), **{"test_batch.bin": tarfile.SYMTYPE}), r"test_batch\.bin should hold[\s\S]*only 0"),
        (archive(content(), **{"test_batch.bin": tarfile.FIFOTYPE}), r"test_batch\.bin should hold[\s\S]*only 0"),
        (archive(content(), **{"test_batch.bin": tarfile.DIRTYPE}), "test_batch"),
        (gzip.compress(b"no archive" * 1000), "is damaged"),
        (b"no archive", "is damaged"),
        (archive(content())[:-200], "is damaged"),
    ],
    ids=[*WRONG, "few", "elsewhere", "absolute", "above", "link", "pipe", "folder", "no tar", "no gzip", "cut off"],
)
def test_members_of_another_form_are_refused_even_if_the_hash_is_right(body, complaint, home, published, tmp_path):
    published(body)
    with pytest.raises(DataError, match=complaint):
        load_data("cifar10")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["cifar-10-binary.tar.gz"]


def test_the_first_of_two_members_of_one_name_counts(published):
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w:gz") as tar:
        for name, body in [*content().items(), ("test_batch.bin", bytes(len(batch(0))))]:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    published(twice.getvalue())
    assert is_whole(load_data("cifar10"))


@pytest.mark.slow
def test_the_true_data_if_they_are_here():
    if not cifar10.available():
        pytest.skip("no cifar10 on this machine")
    data = load_data("cifar10")
    assert [len(split) for split in data.splits.values()] == [45_000, 5_000, 10_000]
    assert torch.bincount(data.test.y).tolist() == [1000] * 10
