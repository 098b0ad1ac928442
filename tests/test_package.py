"""The package as a whole: importing it changes nothing, the floors hold, nothing executes what it reads, and style."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import pmodel

SOURCE = Path(pmodel.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))

FLOORS = (
    {"errors"},
    {"randomness", "domain", "device"},
    {"distribution", "likelihood"},
    {"model", "capability", "learning"},
    {"explicit", "implicit", "representation", "language", "nn", "wrappers"},
    {"catalogue", "construction", "options", "settings"},
    {"storage", "data", "pictures"},
    {"metrics"},
    {"train"},
    {"tasks", "testing"},
    {"evaluation", "comparison", "report"},
    {"cli", "studio", "__main__"},
)
"""What stands on what: a module imports only from its own floor and those before it."""
LATE = {("model", "catalogue")}
"""Looks upwards that are allowed: a model that lacks a verb names those that have it."""


@cache
def tree(path):
    return ast.parse(path.read_text(), str(path))


def floor(part):
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def imports(path):
    """The parts of pmodel that a file imports, on whatever line, except for type checkers only."""
    package = path.relative_to(SOURCE.parent).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pmodel."))
        if isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            if full[:1] == ["pmodel"]:
                yield from [full[1]] if len(full) > 1 else [alias.name for alias in node.names]


@files
def test_imports_point_down_the_floors(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    names = {part for part in imports(path) if part != "__version__"}
    upwards = {part for part in names if floor(part) > floor(own) and (own, part) not in LATE}
    assert not upwards, f"{own} is on floor {floor(own)} and imports {upwards}"


def test_every_part_has_a_floor():
    parts = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert all(floor(part) >= 0 for part in parts)


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "np.loads", "os.system"}


@files
def test_nothing_executes_what_it_reads(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN_MODULES
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN_MODULES
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in FORBIDDEN_CALLS, f"line {node.lineno}: {name}"
            options = {keyword.arg: keyword.value for keyword in node.keywords}
            if name in ("np.load", "numpy.load", "np.lib.format.read_array"):
                assert ast.unparse(options["allow_pickle"]) == "False", f"line {node.lineno}: {name}"
            assert "shell" not in options, f"line {node.lineno}: a shell"


@files
def test_no_asserts_for_users(path):
    """Python drops assertions under -O; those that only tell the type checker something say why."""
    lines = path.read_text().splitlines()
    silent = [
        n.lineno
        for n in ast.walk(tree(path))
        if isinstance(n, ast.Assert) and "noqa: S101 -" not in lines[n.lineno - 1]
    ]
    assert not silent


@files
def test_global_generators_are_left_alone(path):
    drawing = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal", "poisson"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            seeded = name in ("np.random.RandomState", "np.random.default_rng") and node.args
            assert seeded or not name.startswith(("np.random.", "random.")), f"line {node.lineno}: {name}"
            assert name not in ("torch.randn_like", "torch.rand_like", "F.dropout", "torch.seed"), (
                f"line {node.lineno}: {name}"
            )
            if name.startswith("torch.") and name.removeprefix("torch.") in drawing:
                assert "generator" in {k.arg for k in node.keywords}, f"line {node.lineno}: {name} without a generator"


@files
def test_public_things_have_docstrings(path):
    assert ast.get_docstring(tree(path))
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    assert ast.get_docstring(method), f"{node.name}.{method.name}"


@files
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, node.name


def test_no_file_is_called_utils():
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "common", "misc")]


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


STATE = """
import importlib, pkgutil, random, warnings
import numpy as np, torch, torch.distributions
def state():
    return (torch.get_default_dtype(), torch.get_rng_state().sum().item(), torch.initial_seed(), random.getstate(),
            np.random.get_state()[1].sum(), list(warnings.filters), torch.distributions.Distribution._validate_args,
            torch.get_num_threads(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision(), np.geterr(),
            np.get_printoptions()["precision"])
"""


def test_importing_changes_no_global_state():
    """Every module of the library but its commands, which are a program of their own."""
    code = (
        STATE
        + """
before = state()
import pmodel
for module in pkgutil.walk_packages(pmodel.__path__, "pmodel."):
    if not module.name.startswith(("pmodel.cli", "pmodel.__main__")):
        importlib.import_module(module.name)
[getattr(pmodel, name) for name in pmodel.__all__]
print(before == state())
"""
    )
    assert run(code).strip() == "True"


def test_importing_is_light():
    code = "import sys, pmodel; print([m for m in ('torch', 'numpy', 'PIL', 'typer') if m in sys.modules])"
    assert run(code).strip() == "[]"


def test_public_names_are_there():
    assert {"fit", "load", "make", "models", "load_data", "evaluate", "compare"} <= set(pmodel.__all__)
    assert all(getattr(pmodel, name) is not None for name in pmodel.__all__)
    assert set(pmodel.__all__) <= set(dir(pmodel))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        pmodel.fitt  # noqa: B018
