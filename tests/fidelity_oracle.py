"""torch-fidelity's own formulas on features, loaded from its files: as a package it wants torchvision, the formulas do not."""

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest

WANTED_BY_THE_REST = (
    "create_feature_extractor",
    "cache_lookup_one_recompute_on_miss",
    "extract_featuresdict_from_input_id_cached",
    "get_cacheable_input_name",
    "resolve_feature_extractor",
    "resolve_feature_layer_for_metric",
)


def formulas(metric, monkeypatch):
    """The module ``torch_fidelity.metric_*``, or a skipped test where torch-fidelity is not installed."""
    found = importlib.util.find_spec("torch_fidelity")
    if found is None:
        pytest.skip("torch-fidelity is not installed")
    pytest.importorskip("tqdm")
    package, extraction = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.utils")
    package.__path__ = list(found.submodule_search_locations)
    for name in WANTED_BY_THE_REST:
        setattr(extraction, name, None)
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_fidelity"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", extraction)
    name = f"torch_fidelity.metric_{metric}"
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)
