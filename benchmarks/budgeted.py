"""Trainings of a stated budget: what a script is asked for, runs that are gone on with or found whole, results that are kept.

Only results of the script's own budget and seed are kept: a trial of another one is printed, and replaces nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import pmodel
from pmodel.errors import Diverged
from pmodel.storage import load, read_json, read_manifest, write_atomic, write_json

__all__ = ["Asked", "asked"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Asked:
    """What a script is asked for.

    Args:
        rows: Which of its rows.
        budget: Seconds of the clock from planning to the last weights.
        seed: Of everything random.
        kept: Whether budget and seed are the script's own.
    """

    rows: tuple[str, ...]
    budget: float
    seed: int
    kept: bool

    @property
    def protocol(self) -> str:
        """The budget and seed in words."""
        return f"budget {self.budget:.0f} s, seed {self.seed}"

    def trained(
        self, kind: str, data: pmodel.Dataset, folder: str, settings: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """A model after its budget, or as it last was well, and what its run says.

        Args:
            kind: The model.
            data: What it learns.
            folder: Below ``runs``, to which budget and seed are added: one that was stopped goes on, one that is whole is read.
            settings: Of its recipe, beside the default.
            options: Of the model.
        """
        run = ROOT / "runs" / f"{folder}-{self.budget:.0f}-{self.seed}"
        given = {"budget": self.budget, "seed": self.seed, "out": run, "resume": True, "settings": settings}
        try:
            model, ended = pmodel.fit(kind, data, **given, **options), {}
        except Diverged as error:
            model, ended = load(run), {"ended": error.problem}
        record, manifest = read_json(run / "run.json"), read_manifest(run)
        at = record.get("result") or (manifest or {}).get("position", {})
        return model, {
            **ended,
            "images_seen": at.get("images", 0),
            "steps": at.get("steps", at.get("step", 0)),
            "training_seconds": round(at.get("seconds", 0.0)),
            "arithmetic": "{precision}, {layout}, {threads} threads".format(**record["plan"]),
            "parameters": model.size,
            "health": [verdict["name"] for verdict in record.get("health", [])],
        }

    def keep(self, path: Path, result: dict[str, Any] | bytes) -> None:
        """Write a result or a picture, whole, if it is of the script's own budget and seed."""
        if not self.kept:
            print(f"{path.name} is kept as it was: this is {self.protocol}", flush=True)
        elif isinstance(result, bytes):
            write_atomic(path, result)
        else:
            write_json(path, result)


def asked(
    doc: str | None, rows: Iterable[str], *, default: Iterable[str] | None = None, budget: float = 900.0
) -> Asked:
    """Read the command line, and set the number of threads.

    Args:
        doc: What ``--help`` says.
        rows: Those that can be asked for.
        default: Those that are measured when none is asked for; None stands for all.
        budget: The script's own, of seed 0.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(rows := tuple(rows)))
    parser.add_argument("--budget", type=float, default=budget, help="seconds of the clock (%(default)g)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    said = parser.parse_args()
    if unknown := set(said.rows) - set(rows):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; known: {', '.join(rows)}")
    torch.set_num_threads(said.threads)
    chosen = tuple(said.rows) or tuple(rows if default is None else default)
    return Asked(chosen, said.budget, said.seed, (said.budget, said.seed) == (budget, 0))
