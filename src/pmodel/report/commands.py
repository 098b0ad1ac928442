"""The commands that make a report's numbers again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Dataset, described
from ..metrics.judge import FILE
from ..metrics.judges.shipped import shipped_names, shipped_record
from ..settings import spelt_data, spelt_settings

__all__ = ["comparing", "evaluating", "fitting"]

USUAL = 2000
"""Samples, unless asked for otherwise."""


def comparing(
    data: Dataset,
    shared: Mapping[str, Any],
    labels: Sequence[str],
    seeds: Sequence[int],
    n: int,
    judge: Mapping[str, Any] | None = None,
) -> str:
    """The command that makes a comparison.

    Args:
        data: What the models were trained and measured on.
        shared: The settings that all runs share.
        labels: The models as they are written on a command line.
        seeds: Of the trainings, one after another.
        n: Samples of each model.
        judge: The record of what looked at the samples, or None.
    """
    words = ["pmodel", "compare", *labels, *spelt_data(described(data)), *_training(shared)]
    words += ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
    words += ["--seed", str(seeds[0])] if seeds and seeds[0] else []
    return shlex.join([*words, *_judge(judge), *_n(n), "--out", "comparison"])


def fitting(record: Mapping[str, Any]) -> str | None:
    """The command that trained a run, from its record; None if that does not say what was asked for."""
    asked, data = record.get("asked"), record.get("data")
    if not isinstance(asked, dict) or not isinstance(data, dict) or "name" not in asked or not data.get("source"):
        return None
    words = [
        "pmodel",
        "fit",
        str(asked["name"]),
        *spelt_data(data),
        *_training(asked),
    ]
    words += ["--seed", str(asked["seed"])] if asked.get("seed") else []
    words += spelt_settings(asked.get("options") or {}) + spelt_settings(asked.get("settings") or {}, "train.")
    return shlex.join([*words, *(["--set", "conditional=true"] if asked.get("conditional") else []), "--out", "again"])


def evaluating(folder: Path, data: Dataset, record: Mapping[str, Any], n: int) -> str:
    """The command that measures a run again, from where it was measured, on other data than its own if it was so."""
    own = (record.get("data") or {}).get("hash") == data.hash
    words = ["pmodel", "evaluate", str(folder), *([] if own else spelt_data(described(data)))]
    return shlex.join([*words, *_n(n)])


def _judge(judge: Mapping[str, Any] | None) -> list[str]:
    """The judge that lies beside the report, unless it comes with pmodel: made anew elsewhere, it may be another."""
    if judge is None or judge.get("sha256") in {shipped_record(name)["sha256"] for name in shipped_names()}:
        return []
    return ["--judge", "inception" if judge.get("kind") == "inception" else FILE]


def _n(n: int) -> list[str]:
    return ["-n", str(n)] if n != USUAL else []


def _training(asked: Mapping[str, Any]) -> list[str]:
    """How long, how large and in what arithmetic, where it is not left open."""
    words = ["--budget", f"{asked['budget']:g}s"] if asked.get("budget") is not None else []
    words += ["--steps", str(asked["steps"])] if asked.get("steps") is not None else []
    words += ["--size", str(asked["size"])] if asked.get("size", "base") != "base" else []
    for name in ("precision", "device"):
        words += [f"--{name}", str(asked[name])] if asked.get(name, "auto") != "auto" else []
    return words
