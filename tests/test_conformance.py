"""Every model of the catalogue keeps every law that its capabilities imply, in every small case that it accepts."""

import pytest

from pmodel.catalogue import MODELS
from pmodel.testing import conformance

ALIKE = ("nice", "maf", "iaf", "nsf")
"""Flows of vectors that ``realnvp`` stands for where the data are discrete: the wrapper is the same. Slow tests try all."""


def _checks():
    for row in MODELS:
        for check in conformance(row.name):
            slow = (pytest.mark.slow,) if row.name in ALIKE and check.dequantised else ()
            yield pytest.param(check, id=f"{row.name}-{check.name}", marks=slow)


@pytest.mark.parametrize("check", list(_checks()))
def test_catalogue(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.name for row in MODELS])
def test_learns(name):
    for check in conformance(name, slow=True):
        if check.law == "learns_its_data":
            check()
