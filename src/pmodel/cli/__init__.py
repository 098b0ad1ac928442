"""The command line: ``pmodel models | data | fit | sample | score | evaluate | compare | show | replay | check``.

What a program reads is JSON on stdout, and only with ``--json``; what a person reads goes to stderr. The exit code is 0 when
the work is done, 2 when the command line cannot be right (an unknown name, an impossible value), 1 when the work failed (data
or a run that cannot be used, training that diverged), and 130 after Ctrl-C.

``app`` holds the table of commands; each command is a function with its options in its signature, and imports what it needs
when it runs, so that ``pmodel --help`` and ``pmodel models`` answer without PyTorch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

__all__ = ["main"]

SETTING = re.compile(r"[A-Za-z_][\w.]*=")
"""How a word begins that sets something: names of models and paths of runs do not."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; it ends in ``SystemExit`` with the exit code.

    Args:
        arguments: The words after ``pmodel``; None takes those of the process.
    """
    from .app import application  # late: importing pmodel.cli costs nothing

    words = _set_each(_flag_first(sys.argv[1:] if arguments is None else list(arguments)))
    application(words)(args=words, prog_name="pmodel")


def _flag_first(words: list[str]) -> list[str]:
    """Allow the global option ``--traceback`` anywhere before ``--``."""
    end = words.index("--") if "--" in words else len(words)
    rest = [word for word in words[:end] if word != "--traceback"]
    flag = ["--traceback"] if len(rest) < end else []
    return [*flag, *rest, *words[end:]]


def _set_each(words: list[str]) -> list[str]:
    """Allow several settings behind one ``--set``: ``--set prior=maf prior.layers=3``."""
    found, setting = list[str](), False
    for word in words:
        another = setting and found[-1] != "--set" and SETTING.match(word) is not None
        setting = word == "--set" or (setting and (another or found[-1] == "--set"))
        found += ["--set", word] if another else [word]
    return found
