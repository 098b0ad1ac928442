"""Every model of the catalogue keeps every law that its capabilities imply, in every small case that it accepts."""

import pytest

from pmodel.catalogue import MODELS
from pmodel.testing import conformance

CHECKS = [pytest.param(check, id=f"{row.name}-{check.name}") for row in MODELS for check in conformance(row.name)]


@pytest.mark.parametrize("check", CHECKS)
def test_catalogue(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.name for row in MODELS])
def test_learns(name):
    for check in conformance(name, slow=True):
        if check.law == "learns_its_data":
            check()
