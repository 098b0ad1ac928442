"""The table of commands: each with its name, its module, what it does, and examples."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from .. import __version__
from ..errors import BadInput
from .failures import guarded

__all__ = ["COMMANDS", "application"]

ABOUT = """pmodel learns p_model = p_data with every family of generative model: fit it, sample it, score it, compare it.

Exit codes: 0 done; 1 the work failed (data or a run that cannot be used, training that diverged); 2 wrong usage (an unknown
name, or a value that cannot be right); 130 interrupted. JSON goes to stdout, everything else to stderr.
"""

COMMANDS: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    (
        "models",
        "listing",
        "List the models of the catalogue, or with NAME the options of one.",
        ("pmodel models", "pmodel models vae", "pmodel models --json"),
    ),
    (
        "data",
        "listing",
        "List the named data sets, and the kinds of file that --data takes.",
        ("pmodel data", "pmodel data --json"),
    ),
    (
        "fit",
        "fitting",
        "Fit a model to data and leave a run folder behind. Without --steps or --budget the model's own recipe decides."
        " Ctrl-C saves, and --resume goes on. Over several processes: torchrun --nproc-per-node 2 -m pmodel fit …",
        (
            "pmodel fit mixture --data digits --set components=20",
            "pmodel fit vae --data mnist:3 --budget 2m --set train.batch=256 --out runs/threes",
            "pmodel fit gaussian --data iris.csv --set data.label=species --set conditional=true",
            "pmodel fit cyclegan --data shapes:plain --to shapes:striped",
            "pmodel fit vae --data mnist:3 --out runs/threes --resume",
        ),
    ),
    (
        "sample",
        "sampling",
        "Draw new data from a run: a .png grid, an .npz array, .csv rows, a .txt, or without a suffix a folder of PNGs."
        " Texts are printed where no --out is given, and can begin with a --prompt.",
        (
            "pmodel sample runs/threes -n 64 --out threes.png",
            "pmodel sample runs/digits --label 3 --seed 7 --out new.npz",
            "pmodel sample runs/stripes --given photos --out translated",
            'pmodel sample runs/story --prompt "Once upon a time"',
        ),
    ),
    (
        "score",
        "scoring",
        "The likelihood of data under a run, with its kind and standard error.",
        ("pmodel score runs/threes", "pmodel score runs/threes --split valid --effort 100 --json"),
    ),
    (
        "evaluate",
        "scoring",
        "Likelihood, fidelity, diversity, speed and health of a run.",
        ("pmodel evaluate runs/threes", "pmodel evaluate runs/threes -n 2000 --json"),
    ),
    (
        "compare",
        "comparing",
        "Compare models on the same data, into DIR/report.html and DIR/report.json. A model may carry options.",
        (
            "pmodel compare gaussian mixture:components=20 vae:latent=2 --data digits --budget 30s --out runs/digits",
            "pmodel compare gaussian vae dcgan --data mnist --budget 2m --seeds 3 --out runs/mnist",
        ),
    ),
    ("show", "showing", "A run at a glance.", ("pmodel show runs/threes",)),
    (
        "replay",
        "replaying",
        "Train a finished run once more by its record, and say whether the same bits come out: exit code 0 if so, else 1.",
        ("pmodel replay runs/threes", "pmodel replay runs/threes --json"),
    ),
    (
        "check",
        "checking",
        "Run the conformance suite on a model: the laws that its capabilities imply.",
        ("pmodel check mixture", "pmodel check vae --json"),
    ),
)


class Command(TyperCommand):
    """A command whose failures are told in words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the body; the command line has been read by now."""
        with guarded(show_traceback=bool(ctx.find_root().params.get("traceback"))):
            if self.name != "fit" and os.environ.get("WORLD_SIZE", "1") != "1":
                raise BadInput(
                    "Only fit runs over several processes.", got=f"pmodel {self.name}", hint="leave torchrun out"
                )
            return super().invoke(ctx)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pmodel {__version__}")
        raise typer.Exit


def _root(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options of all commands."""


def application(words: Sequence[str] = ()) -> typer.Typer:
    """The command line: all commands, or the one that is named alone, for it then starts in less time."""
    app = typer.Typer(
        name="pmodel", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback(help=ABOUT)(_root)
    named = next((word for word in words if not word.startswith("-")), None)
    alone = [row for row in COMMANDS if row[0] == named]
    for name, home, about, examples in alone or COMMANDS:
        function = getattr(importlib.import_module(f".{home}", __package__), name)
        short = re.split(r"[.:]|, into", about)[0]
        epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples)
        app.command(cls=Command, help=about, short_help=short, epilog=epilog)(function)
    return app
