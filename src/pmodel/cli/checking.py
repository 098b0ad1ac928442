"""``check``: the conformance suite on one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .. import catalogue
from .console import console, duration_words, emit, plain, say, show_table
from .options import AsJson

if TYPE_CHECKING:
    from ..testing import Result

__all__ = ["check"]


def check(
    model: Annotated[str, typer.Argument(help="A name from `pmodel models`.", show_default=False)],
    slow: Annotated[bool, typer.Option("--slow", help="With the checks that train for long.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the conformance suite on a model."""
    catalogue.find(model)

    from ..testing import run_conformance

    results = run_conformance(model, slow=slow, progress=_show if console().is_terminal else None)
    broken = [result for result in results if not result.passed]
    if as_json:
        emit([asdict(result) for result in results])
    else:
        _report(results)
    if broken:
        raise typer.Exit(1)


def _show(done: int, total: int, result: Result) -> None:
    """The check that has just been made, on a line that the next one overwrites."""
    line = plain(f"{done}/{total} {result.law}: {result.case}")
    console().print(f"\r\x1b[K{line[: console().width - 1]}", end="\n" if done == total else "", soft_wrap=True)


def _report(results: Sequence[Result]) -> None:
    """One row a law: in how many cases it holds; then what is wrong where it does not."""
    laws = dict.fromkeys(result.law for result in results)
    rows = []
    for law in laws:
        of_law = [result for result in results if result.law == law]
        passed = sum(result.passed for result in of_law)
        rows.append((law, f"{passed} of {len(of_law)}", "holds" if passed == len(of_law) else "BROKEN", of_law[0].line))
    show_table(("law", "cases", "", "what it says"), rows)
    for result in results:
        if not result.passed:
            say("", f"{result.law}, {result.case}:", result.message)
    broken = sum(not result.passed for result in results)
    seconds = duration_words(sum(result.seconds for result in results))
    say("", f"{len(results)} checks in {seconds}: " + (f"{broken} broken" if broken else "all hold"))
