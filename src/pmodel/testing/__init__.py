"""The public conformance suite: the laws that a model's capabilities imply, for the models of pmodel and for anyone's.

>>> from pmodel.testing import conformance
>>> for check in conformance("gaussian"):
...     check()

A law is a function over a ``Subject`` (a model in a case) that raises ``ConformanceError`` with a sentence. ``laws/`` holds
them by what they are about, ``cases.py`` the small domains and toy data, ``measure.py`` the sums, integrals and tests.
"""

from .check import Check as Check
from .check import ConformanceError as ConformanceError
from .suite import Result as Result
from .suite import conformance as conformance
from .suite import run_conformance as run_conformance

__all__ = ["Check", "ConformanceError", "Result", "conformance", "run_conformance"]
