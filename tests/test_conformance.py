"""Every model of the catalogue keeps every law that its capabilities imply, in every small case that it accepts.

The fast tests leave out what other checks stand for; the slow ones try everything.
"""

import pytest

from pmodel.catalogue import MODELS
from pmodel.testing import conformance

ALIKE = ("nice", "maf", "iaf", "nsf", "nade", "made", "vqvae", "dvae")
"""Models that ``realnvp``, ``fvbn`` or ``vae`` stands for in most cases: their parts and their wrappers are the same."""
THEIRS = ("bits", "die, given a label", "plane", "plane, given a label", "plane, without wrappers")
"""The cases that are tried of them all the same."""
PICTURES = dict.fromkeys(("vqvae", "dvae"), ("4x4 colours", "8x8 bits, given a label"))
"""More of them, of models that have other networks for pictures."""
FEW = {"ebm": (*THEIRS, "8x8 levels")}
"""The cases of models whose every check moves chains."""
LONG = {("ddpm", law) for law in ("marginal_is_the_mixture_of_labels", "bounds_lie_below_the_frequencies")}
LONG |= {("ebm", "marginal_is_the_mixture_of_labels")}
"""Laws that take a model minutes in all."""


def _checks():
    for row in MODELS:
        for check in conformance(row.name):
            left_out = check.case not in FEW.get(row.name, (check.case,))
            left_out |= row.name in ALIKE and (
                check.dequantised or check.case not in THEIRS + PICTURES.get(row.name, ())
            )
            marks = (pytest.mark.slow,) if left_out or (row.name, check.law) in LONG else ()
            yield pytest.param(check, id=f"{row.name}-{check.name}", marks=marks)


@pytest.mark.parametrize("check", list(_checks()))
def test_catalogue(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.name for row in MODELS])
def test_learns(name):
    for check in conformance(name, slow=True):
        if check.law == "learns_its_data":
            check()
