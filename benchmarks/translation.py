"""What fifteen minutes of training make of CycleGAN, on two pairs of sets whose true translation is known.

    PMODEL_DATA=... python benchmarks/translation.py [shapes] [recoloured] [--budget SECONDS] [--seed N] [--threads N]

``shapes``: drawn shapes, plain to striped. The texture is judged by a classifier of ``shapes``, trained on both; content is
where a translation differs from the ground that its source was drawn on, and its overlap (IoU) is that with the true mask.
``recoloured``: grey digits to coloured ones. A translation is read in grey again by the inverse of the true colouring, and
agrees where the judge of MNIST sees the same digit in it as in the truth.

Both are measured on test data in both directions, beside three references: the sources as they are, the sources with each
channel's levels changed so that its histogram is that of the other set, and the truth itself. Runs stay in
``runs/translation``: started again, the script goes on with one that was stopped and measures one that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from budgeted import ROOT, Asked, asked
from machine import machine
from torch import Tensor

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

SHOWN = 16
"""Pictures of each kind that are shown."""
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"

Measured = Mapping[str, float]
Measure = Callable[[Tensor], Measured]
"""From translations of all sources, in order, to what is found of them."""


def matched(x: Tensor, reference: Tensor) -> Tensor:
    """The pictures with each channel's levels changed by one increasing map, so that its histogram is the reference's."""
    parts = []
    for channel in range(x.shape[1]):
        own, other = (torch.bincount(y[:, channel].flatten().long(), minlength=256).double() for y in (x, reference))
        middle = (own.cumsum(0) - own / 2) / own.sum()
        parts.append(torch.searchsorted(other.cumsum(0) / other.sum(), middle).clamp(max=255)[x[:, channel].long()])
    return torch.stack(parts, 1)


def directions(
    model: Any, data: Dataset, truths: tuple[Tensor, Tensor], measures: tuple[Measure, Measure]
) -> tuple[dict[str, Any], bytes]:
    """What is found of translations of the test data, and of the references, there and back; and the first, a row each."""
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
    rows = (a, made[0], truths[0], b, made[1], truths[1])
    return found, png(grid(torch.cat([row[:SHOWN].long() for row in rows]), data.domain, columns=SHOWN))


def _off(x: Tensor, truth: Tensor) -> float:
    return float((x.float() - truth.float()).abs().mean())


def shapes(todo: Asked) -> tuple[dict[str, Any], bytes]:
    """Texture, content and error of shapes that were striped, and of stripes that were taken away."""
    plain, striped = load_data("shapes:plain"), load_data("shapes:striped")
    data = unpaired(plain, striped)
    model, run = todo.trained("cyclegan", data, "translation/shapes")
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
    found, picture = directions(model, data, truths, measures)
    return {**run, "judge_accuracy": judge.record["accuracy"], **found}, picture


def coloured(todo: Asked) -> tuple[dict[str, Any], bytes]:
    """Agreement with the truth of digits that were coloured, and of colours that were taken away."""
    data = unpaired(load_data("recoloured:grey"), load_data("recoloured:coloured"))
    model, run = todo.trained("cyclegan", data, "translation/recoloured")
    judge = judge_for(load_data("mnist"), judges_folder())
    grey, colours = in_memory(data.origin.test.x)[:, :1], in_memory(data.test.x)
    read = greyed(colours)

    def measure(back: Callable[[Tensor], Tensor], truth: Tensor) -> Measure:
        right = _classes(judge, truth)
        return lambda x: {"agreement": float((_classes(judge, back(x)) == right).double().mean())}

    def mean(x: Tensor) -> Tensor:
        return x.float().mean(1, keepdim=True).round()

    truths = recoloured(grey), read.expand(-1, 3, -1, -1)
    found, picture = directions(model, data, truths, (measure(greyed, grey), measure(mean, read)))
    return {**run, **found}, picture


def _classes(judge: Any, x: Tensor) -> Tensor:
    """The likeliest class of each picture."""
    assert isinstance(judge, Judge)
    found: Tensor = judge.classified(judge(x)).argmax(1)
    return found


ROWS = {"shapes": shapes, "recoloured": coloured}


def main() -> None:
    """Measure the rows that were asked for, or all."""
    todo = asked(__doc__, ROWS)
    for row in todo.rows:
        found, picture = ROWS[row](todo)
        found |= {"protocol": f"default options, {todo.protocol}", "machine": machine()}
        print(row, json.dumps(found, indent=2), flush=True)
        todo.keep(RESULTS / f"translation-{row}.json", found)
        todo.keep(DOCS / f"translation-{row}.png", picture)


if __name__ == "__main__":
    main()
