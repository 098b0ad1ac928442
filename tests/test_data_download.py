"""Downloads, from a server on this machine: what arrives is right and whole, or nothing is left."""

import contextlib
import gzip
import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from pmodel.data import download, load_data, mnist
from pmodel.data.download import Remote, fetch
from pmodel.errors import DataError

CONTENT = bytes(range(256)) * 1000
PACKED = gzip.compress(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


BODIES = {
    "/right": PACKED,
    "/plain": CONTENT,
    "/undeclared": PACKED[: len(PACKED) // 2],
    "/interrupted": PACKED[: len(PACKED) // 2],
    "/truncated": PACKED[: len(PACKED) // 2],
    "/wrong": gzip.compress(CONTENT[::-1]),
    "/bomb": gzip.compress(bytes(50_000_000)),
    "/long": bytes(10_000_000),
    "/empty": b"",
}


class Answers(http.server.BaseHTTPRequestHandler):
    """``/right`` is as it should be; the other paths go wrong in their own way."""

    def do_GET(self):
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/right")
            return self.end_headers()
        body = BODIES[self.path]
        declared = len(PACKED) if self.path == "/interrupted" else len(body)
        self.send_response(200)
        if self.path != "/undeclared":
            self.send_header("Content-Length", str(declared))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client hangs up on what is too long
            self.wfile.write(body)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def remote(server):
    return lambda *paths: Remote("file.gz", SHA256, len(CONTENT), tuple(server + path for path in paths))


@pytest.mark.parametrize("path", ["/right", "/plain", "/moved"])
def test_a_file_arrives_whole(path, remote, tmp_path):
    arrived = fetch(remote(path), tmp_path / "new")
    assert arrived == tmp_path / "new/file.gz"
    packed = arrived.read_bytes()
    assert (gzip.decompress(packed) if path != "/plain" else packed) == CONTENT
    assert list(arrived.parent.iterdir()) == [arrived]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/missing", "404"),
        ("/wrong", f"not {SHA256}"),
        ("/interrupted", f"ended after {len(PACKED) // 2} of {len(PACKED)} bytes"),
        ("/truncated", "EOFError"),
        ("/undeclared", "EOFError"),
        ("/bomb", f"more than {len(CONTENT)} bytes"),
        ("/long", f"longer than the {len(CONTENT)} bytes"),
        ("/empty", f"not {SHA256}"),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_left(path, complaint, remote, tmp_path):
    with pytest.raises(DataError, match=complaint) as raised:
        fetch(remote(path), tmp_path)
    assert path in str(raised.value)
    assert str(tmp_path) in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_survives_a_failure(remote, tmp_path):
    (tmp_path / "file.gz").write_text("earlier")
    with pytest.raises(DataError):
        fetch(remote("/wrong"), tmp_path)
    assert (tmp_path / "file.gz").read_text() == "earlier"


def test_the_next_mirror_is_tried(remote, tmp_path):
    assert fetch(remote("/missing", "/interrupted", "/right"), tmp_path).is_file()


def test_every_mirror_is_accounted_for(remote, tmp_path):
    with pytest.raises(DataError, match=r"/missing.*404.*/empty.*SHA-256"):
        fetch(remote("/missing", "/empty"), tmp_path)


def test_nobody_answers(tmp_path, remote):
    closed = replace(remote("/right"), urls=("http://127.0.0.1:9/file.gz",))
    with pytest.raises(DataError, match="Connection refused"):
        fetch(closed, tmp_path, timeout=5)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "no url"])
def test_only_the_web_is_fetched(url, remote, tmp_path):
    with pytest.raises(DataError, match="only http"):
        fetch(replace(remote("/right"), urls=(url,)), tmp_path)


def test_a_stop_by_the_user_leaves_nothing(remote, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "sha256_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote("/right"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bar_is_shown_on_a_terminal_only(remote, tmp_path, monkeypatch, capsys):
    fetch(remote("/right"), tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetch(remote("/right"), tmp_path)
    assert "file.gz" in capsys.readouterr().err


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A source of four small files, served from a folder, and two empty places to keep data in."""
    served = tmp_path / "served"
    served.mkdir()
    hashes, bodies = {}, {}
    for part, n in (("train", 40), ("t10k", 10)):
        images = bytes([0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(k % 251 for k in range(n * 784))
        labels = bytes([0, 0, 8, 1, 0, 0, 0, n]) + bytes(k % 10 for k in range(n))
        for stem, body in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            bodies[f"/{stem}.gz"] = gzip.compress(body)
            hashes[stem] = hashlib.sha256(body).hexdigest()
    for path, body in bodies.items():
        monkeypatch.setitem(BODIES, path, body)
    monkeypatch.setattr(mnist, "VALID", 10)
    monkeypatch.setenv("PMODEL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda server: mnist.Source("mnist", tuple("0123456789"), (server,), *hashes.values())


def test_mnist_is_fetched_once(tiny_mnist, server, tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.SOURCES, "mnist", tiny_mnist(server))
    assert not mnist.available("mnist")
    data = load_data("mnist")
    assert [len(split) for split in data.splits.values()] == [30, 10, 10]
    assert len(list((tmp_path / "data/mnist").iterdir())) == 4
    monkeypatch.setitem(mnist.SOURCES, "mnist", tiny_mnist("http://127.0.0.1:9"))
    assert mnist.available("mnist")
    assert load_data("mnist").hash == data.hash


def test_a_damaged_copy_is_named(tiny_mnist, server, tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.SOURCES, "mnist", tiny_mnist(server))
    load_data("mnist")
    path = tmp_path / "data/mnist/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 10]) + bytes(10)))
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz is not the file it should be[\s\S]*SHA-256"):
        load_data("mnist")


def test_where_nothing_can_be_written_the_cache_is_used(tiny_mnist, server, tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.SOURCES, "mnist", tiny_mnist(server))
    (tmp_path / "data").write_text("a file where the folder should be")
    load_data("mnist")
    assert len(list((tmp_path / "cache/pmodel/mnist").iterdir())) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"cannot be saved[\s\S]*make .* writable"):
        load_data("mnist")
