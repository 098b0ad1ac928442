"""The study notes' own programs, by the command that does each of them, and the right answers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import pmodel
from pmodel.cli import main

needs_mnist = pytest.mark.skipif("PMODEL_DATA" not in os.environ, reason="needs MNIST under $PMODEL_DATA")


def command(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code in (0, None)


@pytest.mark.parametrize(
    ("data", "values", "masses"),
    [
        ("dice", [[0], [1], [2], [3], [4], [5]], [0.2, 0.1, 0.2, 0.1, 0.3, 0.1]),
        ("bits", [[0, 0], [0, 1], [1, 0], [1, 1]], [0.2, 0.1, 0.3, 0.4]),
    ],
)
def test_proportions_are_exact(tmp_path, data, values, masses):
    command("fit", "histogram", "--data", data, "--out", tmp_path / "run")
    model = pmodel.load(tmp_path / "run")
    assert model.log_prob(values).exp().tolist() == pytest.approx(masses, abs=1e-12)
    assert "train = valid = test = all" in json.loads((tmp_path / "run" / "run.json").read_text())["data"]["note"]


def test_gaussian_of_heights_divides_by_n(tmp_path, capsys):
    command("fit", "gaussian", "--data", "heights", "--out", tmp_path / "run")
    capsys.readouterr()
    command("score", tmp_path / "run", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["unit"], found["n"]) == ("exact", "nats", 12)
    assert found["value"] * 12 == pytest.approx(-82.860, abs=5e-4)  # dividing by n - 1 gives -82.905
    command("sample", tmp_path / "run", "-n", 5, "--out", tmp_path / "five.csv")
    rows = (tmp_path / "five.csv").read_text().strip().splitlines()
    assert len(rows) == 6


@needs_mnist
def test_gaussian_of_zeros_has_finite_mass_where_the_covariance_is_singular(tmp_path, capsys):
    command("fit", "gaussian", "--data", "mnist:0", "--out", tmp_path / "run")
    capsys.readouterr()
    command("score", tmp_path / "run", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["impossible"]) == ("lower_bound", 0)
    uniform = -784 * np.log(256)
    assert 0.7 * uniform < found["value"] < 0
    command("sample", tmp_path / "run", "-n", 5, "--out", tmp_path / "five.npz")
    pixels = np.load(tmp_path / "five.npz")["x"]
    assert pixels.shape == (5, 1, 28, 28)
    assert pixels.min() >= 0
    assert pixels.max() <= 255


@pytest.mark.slow
@needs_mnist
def test_mixture_of_zeros_is_finite_on_held_out_data_and_its_means_are_zeros(tmp_path, capsys):
    command("fit", "mixture", "--data", "mnist:0", "--set", "components=8", "--out", tmp_path / "run")
    command("fit", "gaussian", "--data", "mnist:0", "--out", tmp_path / "one")
    values = []
    for run in ("run", "one"):
        capsys.readouterr()
        command("score", tmp_path / run, "--json")
        values.append(json.loads(capsys.readouterr().out)["value"])
    assert values[0] > values[1]  # scikit-learn's unregularised mixture scores -1.3e8 here
    zeros = pmodel.load_data("mnist:0")
    mean = zeros.train.x.double().mean(0)
    model = pmodel.load(tmp_path / "run")
    pictures = component_means(model)
    assert pictures.shape == (8, 1, 28, 28)
    alike = [torch.corrcoef(torch.stack([picture.flatten(), mean.flatten()]))[0, 1] for picture in pictures]
    assert min(alike) > 0.6  # each is a readable zero
    command("sample", tmp_path / "run", "-n", 10, "--out", tmp_path / "ten.png")
    assert Path(tmp_path / "ten.png").stat().st_size > 500


def component_means(model):
    """The means on the scale of the data, through whatever wrappers there are."""
    if hasattr(model, "means"):
        return model.means
    return model._outward(component_means(model.model))
