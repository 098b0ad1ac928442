"""The suite: laws × cases for one model, as checks to be run one by one or all at once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

from ..catalogue import Row, find
from ..construction import wrapped
from ..domain import Domain, Real
from ..errors import BadInput, NotSupported
from ..model import Model
from .cases import CASES, Case
from .check import Check, ConformanceError
from .laws import LAWS
from .subject import Subject

__all__ = ["Result", "conformance", "run_conformance"]


@final
@dataclass(frozen=True)
class Result:
    """What came of a check.

    Args:
        law: The law's name.
        case: The domain and condition it was tried on.
        line: What the law says.
        passed: Whether the model keeps it.
        message: What is wrong otherwise.
        seconds: How long the check took.
    """

    law: str
    case: str
    line: str
    passed: bool
    message: str
    seconds: float


def conformance(model: str | type[Model] | Model, *, slow: bool = False) -> Iterator[Check]:
    """The checks that a model's capabilities imply, over all small cases that it accepts.

    For tests of any model, one of the catalogue or one's own::

        @pytest.mark.parametrize("check", conformance(MyModel), ids=lambda check: check.name)
        def test_my_model(check):
            check()

    Args:
        model: A name of the catalogue, a class with ``tiny``, or an instance. A class is wrapped for each case as ``make``
            does it. An instance is tried on its own domain, and copies of it are trained on toy data.
        slow: With the checks that train for long.

    Yields:
        Checks in the order in which they are best read: what comes first explains what fails later. Those of one case share
        one trained instance.

    Raises:
        UnknownName: if there is no model of that name.
        BadInput: if the model accepts none of the cases.
    """
    accepted = False
    for subject, failure in _subjects(model):
        accepted = True
        if failure is not None:
            yield _unbuilt(subject.case, failure)
            continue
        for law in LAWS:
            if (slow or not law.slow) and law.when(subject):
                yield Check(law.name, subject.case.name, law.line, _bound(law.run, subject), subject.dequantised)
    if not accepted:
        raise BadInput("The model accepts none of the cases.", got=model, hint="see its natives and refuses()")


def run_conformance(
    model: str | type[Model] | Model,
    *,
    slow: bool = False,
    progress: Callable[[int, int, Result], None] | None = None,
) -> list[Result]:
    """Run all checks of a model, whatever fails.

    Args:
        model: As in ``conformance``.
        slow: With the checks that train for long.
        progress: Called after each check with the number done, the number of all, and the result.
    """
    checks = list(conformance(model, slow=slow))
    results: list[Result] = []
    for number, check in enumerate(checks, 1):
        results.append(_result(check))
        if progress is not None:
            progress(number, len(checks), results[-1])
    return results


def _result(check: Check) -> Result:
    began = time.perf_counter()
    message = ""
    try:
        check()
    except ConformanceError as error:
        message = str(error)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    return Result(check.law, check.case, check.line, not message, message, time.perf_counter() - began)


def _subjects(model: str | type[Model] | Model) -> Iterator[tuple[Subject, Exception | None]]:
    """The model in every case that it accepts, with the error if it cannot be built there."""
    if isinstance(model, Model):
        yield Subject(Case("as given", model.domain, model.given), lambda: copy.deepcopy(model)), None
        return
    row = find(model) if isinstance(model, str) else None
    cls = row.load() if row is not None else model
    for case in CASES:
        subject = Subject(case, _creator(cls, case), row if isinstance(row, Row) else None)  # type: ignore[arg-type]
        try:
            subject.blank  # noqa: B018 - builds it
        except NotSupported:
            continue
        except Exception as error:
            yield subject, error
        else:
            yield subject, None


def _creator(cls: type[Model], case: Case) -> Callable[[], Model]:
    """Makes the tiny instance of a class for a case, in the wrappers that it needs there."""

    def create() -> Model:
        if case.bare:
            if (refusal := cls.refuses(case.domain)) is not None:
                raise NotSupported(f"{cls.__name__} takes no such data without a wrapper: {refusal}.", got=case.domain)
            return cls.tiny(case.domain)
        native: Domain = case.domain if cls.refuses(case.domain) is None else Real(case.domain.shape)
        if cls.refuses(native) is not None:
            raise NotSupported(f"{cls.__name__} cannot take these data.", got=case.domain)
        options = cls.tiny(native, case.given if cls.conditional else None).options
        return wrapped(cls, case.domain, case.given, options)

    return create


def _bound(run: Callable[[Subject], None], subject: Subject) -> Callable[[], None]:
    return lambda: run(subject)


def _unbuilt(case: Case, failure: Exception) -> Check:
    def run() -> None:
        raise ConformanceError(f"The model cannot be built for {case.name}.", got=failure) from failure

    return Check("can_be_built", case.name, "The model is built for every domain that it does not refuse.", run)
