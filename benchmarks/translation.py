"""What fifteen minutes of training make of CycleGAN, on two pairs of sets whose true translation is known.

    PMODEL_DATA=... python benchmarks/translation.py [shapes] [recoloured] [--budget SECONDS] [--seed N]

``shapes``: drawn shapes, plain to striped. The texture is judged by a classifier of ``shapes``, trained on both; content is
where a translation differs from the ground that its source was drawn on, and its overlap (IoU) is that with the true mask.
``recoloured``: grey digits to coloured ones. A translation is read in grey again by the inverse of the true colouring, and
agrees where the judge of MNIST sees the same digit in it as in the truth.

Both are measured on test data in both directions, beside three references: the sources as they are, the sources with each
channel's levels changed so that its histogram is that of the other set, and the truth itself. Runs stay in
``runs/translation``: started again, the script goes on with one that was stopped and measures one that is whole.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

import pmodel
from pmodel.data import (
    Dataset,
    draw_shapes,
    greyed,
    in_memory,
    load_data,
    recoloured,
    shape_content,
    shape_masks,
    unpaired,
)
from pmodel.evaluation import judges_folder
from pmodel.metrics.judge import Judge, judge_for
from pmodel.pictures import grid, png
from pmodel.storage import read_json

SHOWN = 16
"""Pictures of each kind that are shown."""
HERE = Path(__file__).resolve().parent
RESULTS, RUNS, DOCS = HERE / "results", HERE.parent / "runs" / "translation", HERE.parent / "docs"

Measured = Mapping[str, float]
Measure = Callable[[Tensor], Measured]
"""From translations of all sources, in order, to what is found of them."""


def fitted(row: str, data: Dataset, budget: float, seed: int) -> tuple[Any, dict[str, Any]]:
    """A model after its budget, and what its run says."""
    folder = RUNS / f"{row}-{budget:.0f}-{seed}"
    model = pmodel.fit("cyclegan", data, budget=budget, seed=seed, out=folder, resume=True)
    record = read_json(folder / "run.json")
    plan, result = record["plan"], record["result"]
    return model, {
        "images_seen": result["images"],
        "steps": result["steps"],
        "training_seconds": round(result["seconds"]),
        "arithmetic": f"{plan['precision']}, {plan['layout']}",
        "parameters": model.size,
        "health": [verdict["name"] for verdict in record.get("health", [])],
    }


def matched(x: Tensor, reference: Tensor) -> Tensor:
    """The pictures with each channel's levels changed by one increasing map, so that its histogram is the reference's."""
    parts = []
    for channel in range(x.shape[1]):
        own, other = (torch.bincount(y[:, channel].flatten().long(), minlength=256).double() for y in (x, reference))
        middle = (own.cumsum(0) - own / 2) / own.sum()
        parts.append(torch.searchsorted(other.cumsum(0) / other.sum(), middle).clamp(max=255)[x[:, channel].long()])
    return torch.stack(parts, 1)


def directions(model: Any, data: Dataset, truths: tuple[Tensor, Tensor], measures: tuple[Measure, Measure]) -> Any:
    """What is found of translations of the test data, and of the references, there and back."""
    assert data.origin is not None
    a, b = in_memory(data.origin.test.x), in_memory(data.test.x)
    targets = in_memory(data.train.x), in_memory(data.origin.train.x)
    made = model.sample(given=a, generator=0), model.sample(given=b, generator=0, backwards=True)
    ways = zip(("there", "back"), (a, b), made, truths, targets, measures, strict=True)
    found = {}
    for name, source, translation, truth, target, measure in ways:
        kinds = {"model": translation, "identity": source, "histograms": matched(source, target), "truth": truth}
        found[name] = {
            kind: {key: round(value, 4) for key, value in (measure(x) | {"levels_off": _off(x, truth)}).items()}
            for kind, x in kinds.items()
        } | {"n": len(source)}
    return found


def _off(x: Tensor, truth: Tensor) -> float:
    return float((x.float() - truth.float()).abs().mean())


def show(name: str, model: Any, data: Dataset, truths: tuple[Tensor, Tensor]) -> None:
    """Draw sources, their translations and the truth, there and back, one row each."""
    assert data.origin is not None
    a, b = (in_memory(part.test.x)[:SHOWN] for part in (data.origin, data))
    there, back = model.sample(given=a, generator=0), model.sample(given=b, generator=0, backwards=True)
    rows = (a, there, truths[0][:SHOWN], b, back, truths[1][:SHOWN])
    (DOCS / f"translation-{name}.png").write_bytes(
        png(grid(torch.cat([row.long() for row in rows]), data.domain, columns=SHOWN))
    )


def shapes(budget: float, seed: int) -> dict[str, Any]:
    """Texture, content and error of shapes that were striped, and of stripes that were taken away."""
    plain, striped = load_data("shapes:plain"), load_data("shapes:striped")
    data = unpaired(plain, striped)
    model, found = fitted("shapes", data, budget, seed)
    judge = judge_for(load_data("shapes"), judges_folder())
    factors = plain.test.factors, striped.test.factors

    def measure(texture: int, own: Any) -> Measure:
        masks = shape_masks(own)

        def of(x: Tensor) -> Measured:
            content = shape_content(x, own)
            overlap = (content & masks).flatten(1).sum(1) / (content | masks).flatten(1).sum(1)
            return {"texture": float((_classes(judge, x) == texture).double().mean()), "iou": float(overlap.mean())}

        return of

    truths = tuple(draw_shapes(own, texture=kind) for own, kind in zip(factors, ("striped", "plain"), strict=True))
    measures = tuple(measure(texture, own) for texture, own in zip((1, 0), factors, strict=True))
    show("shapes", model, data, truths)
    return {**found, "judge_accuracy": judge.record["accuracy"], **directions(model, data, truths, measures)}


def coloured(budget: float, seed: int) -> dict[str, Any]:
    """Agreement with the truth of digits that were coloured, and of colours that were taken away."""
    data = unpaired(load_data("recoloured:grey"), load_data("recoloured:coloured"))
    model, found = fitted("recoloured", data, budget, seed)
    judge = judge_for(load_data("mnist"), judges_folder())
    grey, colours = in_memory(data.origin.test.x)[:, :1], in_memory(data.test.x)
    read = greyed(colours)

    def measure(back: Callable[[Tensor], Tensor], truth: Tensor) -> Measure:
        right = _classes(judge, truth)
        return lambda x: {"agreement": float((_classes(judge, back(x)) == right).double().mean())}

    def mean(x: Tensor) -> Tensor:
        return x.float().mean(1, keepdim=True).round()

    truths = recoloured(grey), read.expand(-1, 3, -1, -1)
    show("recoloured", model, data, truths)
    return {**found, **directions(model, data, truths, (measure(greyed, grey), measure(mean, read)))}


def _classes(judge: Any, x: Tensor) -> Tensor:
    """The likeliest class of each picture."""
    assert isinstance(judge, Judge)
    found: Tensor = judge.classified(judge(x)).argmax(1)
    return found


ROWS = {"shapes": shapes, "recoloured": coloured}


def main() -> None:
    """Measure the rows that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS])
    parser.add_argument("--budget", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for row in asked.rows or ROWS:
        protocol = f"budget {asked.budget:.0f} s, seed {asked.seed}, default options"
        result = {**ROWS[row](asked.budget, asked.seed), "protocol": protocol, "machine": machine()}
        (RESULTS / f"translation-{row}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(row, json.dumps(result, indent=2), flush=True)


if __name__ == "__main__":
    main()
