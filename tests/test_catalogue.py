"""The catalogue's rows agree with the classes, and reading it is light."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import pmodel.explicit
import pmodel.implicit
import pmodel.representation
from pmodel import catalogue
from pmodel.catalogue import MODELS, WRAPPERS, Row, able, find, models, resolve
from pmodel.cli.listing import options_json
from pmodel.construction import make
from pmodel.domain import Discrete, Real, Sequences, Table
from pmodel.errors import NotSupported, UnknownName
from pmodel.model import Model
from pmodel.options import options_of
from pmodel.testing import conformance
from pmodel.train import fit

rows = pytest.mark.parametrize("row", MODELS, ids=lambda row: row.name)


@rows
def test_row_is_json_and_complete(row):
    value = json.loads(json.dumps(row.to_json()))
    assert value.keys() >= {"name", "family", "density", "capabilities", "domains", "year", "paper", "line"}
    assert all(value.values())
    assert row.paper.startswith("https://")
    assert 1700 < row.year < 2100
    assert not row.line.endswith(".")


@rows
def test_class_is_where_the_row_says(row):
    cls = row.load()
    assert issubclass(cls, Model)
    assert resolve(cls.__name__) is cls
    folder = "/".join(part.strip() for part in row.family.split(","))
    assert row.target.replace(".", "/").startswith(f"pmodel/{folder}/")


@rows
def test_domains_are_the_class_natives(row):
    assert set(row.domains) == {kind.__name__.lower() for kind in row.load().natives}


@rows
def test_verbs_and_kind_are_the_class_s(row):
    cls = row.load()
    domains = (Real((2,)), Discrete((1, 8, 8), 4), Real((1, 8, 8)), Sequences(Discrete((), 3), 4))
    domain = next(d for d in domains if cls.refuses(d) is None)
    model = cls.tiny(domain)
    kind = model.kind if model.can("score") else "none"
    small = (row.density, kind) == ("estimate", "exact")  # what is estimated in general may be exact where it is small
    assert set(model.capabilities) - ({"log_prob"} if small else set()) == set(row.capabilities)
    assert small or kind == row.density


@rows
def test_no_option_is_a_word_of_fit(row):
    assert not options_of(row.load()).keys() & (inspect.signature(fit).parameters.keys() - {"options"})


@rows
def test_it_has_checks_in_some_case(row):
    assert sum(1 for _ in conformance(row.name)) > 20


@rows
def test_options_have_defaults_and_documentation(row):
    cls = row.load()
    assert all(parameter.default is not parameter.empty for parameter in options_of(cls).values())
    undocumented = [option["name"] for option in options_json(cls) if not option["doc"]]
    assert undocumented == []


def test_every_public_model_of_the_families_has_a_row():
    found = set()
    for family in (pmodel.explicit, pmodel.implicit, pmodel.representation):
        for module in pkgutil.walk_packages(family.__path__, f"{family.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                public = inspect.isclass(value) and issubclass(value, Model) and not name.startswith("_")
                if public and value.__module__ == module.name and not inspect.isabstract(value):
                    found.add(f"{module.name}:{name}")
    assert found == {row.target for row in MODELS}


def test_names_are_unique():
    assert len({row.name for row in models()}) == len(models())
    assert len({row.target for row in MODELS}) == len(MODELS)


def test_wrappers_resolve():
    assert [resolve(name).__name__ for name in WRAPPERS] == list(WRAPPERS)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName) as caught:
        find("mixtur")
    assert "did you mean mixture?" in caught.value.hint
    assert all(row.name in caught.value.hint for row in models())
    with pytest.raises(UnknownName):
        resolve("os.system")
    with pytest.raises(UnknownName, match="option of gaussian"):
        make("gaussian", Real((2,)), colour="red")


def test_able_names_those_that_can():
    assert {"realnvp", "glow", "vae"} <= set(able("encode"))
    assert "dcgan" not in able("score")
    assert able("fly") == []


def test_a_model_that_cannot_take_the_data_says_why():
    with pytest.raises(NotSupported, match="DCGAN cannot take these data"):
        make("dcgan", Real((2,)))
    with pytest.raises(NotSupported):
        make("dcgan", Table((pmodel.Column("a"),)))


def test_an_installed_package_adds_its_row(monkeypatch):
    row = Row(**MODELS[0].to_json() | {"name": "theirs", "target": "reference_models:Bell"})

    class Point:
        def load(self):
            return lambda: row

    monkeypatch.setattr(catalogue.importlib.metadata, "entry_points", lambda group: [Point()])
    catalogue.models.cache_clear()
    try:
        assert find("theirs") is row
        assert resolve("Bell").__name__ == "Bell"
        assert type(make("theirs", Real((2,))).model).__name__ == "Bell"
    finally:
        monkeypatch.undo()
        catalogue.models.cache_clear()


def test_reading_it_imports_nothing_heavy():
    code = (
        "import sys, pmodel.catalogue as c; [row.to_json() for row in c.models()];"
        "print([m for m in ('torch', 'numpy', 'PIL', 'typer', 'sklearn', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
