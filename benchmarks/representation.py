"""What codes that were learned without labels are worth with few: fine-tuning, the same network from scratch, probes, PCA.

    PMODEL_DATA=... python benchmarks/representation.py

A denoising autoencoder (perceptrons of two hidden layers, 32 numbers a code, 30 % of the pixels hidden from the encoder) learns
from the 55 000 training digits of MNIST without their labels. Then 100 of them are labelled, ten of each class, five times over
with another draw and other fresh weights each time. All classifiers see the same 100 and are judged on all 10 000 test digits.
Fine-tuning and training from scratch are one procedure with two beginnings, and either chooses its steps and its learning rate
by cross-validation within the 100. A choice from so few depends on luck, so that both are tried once more with one ``FIXED``
training. The pre-training is kept in runs/representation, and is gone on with if it was stopped.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from machine import machine

import pmodel
from pmodel.tasks import few_labels, fine_tuning

MODEL, OPTIONS, STEPS = "autoencoder", {"architecture": "dense", "width": 512, "masking": 0.3}, 1500
LABELS, SEEDS = 100, 5
TUNED, FRESH = "fine-tuned", "from scratch"
FIXED = {"steps": 100, "rate": 1e-3}
RUN = Path("runs") / "representation"
RESULT = Path(__file__).parent / "results" / "representation.json"


def main() -> None:
    data = pmodel.load_data("mnist")
    model = pmodel.fit(MODEL, data, steps=STEPS, precision="float32", out=RUN, resume=True, **OPTIONS)
    began = time.process_time()
    found = few_labels(model, data, labels=LABELS, seeds=SEEDS)
    gains = {over: found.gain(TUNED, over) for over in found.found if over != TUNED}
    seconds = round(time.process_time() - began)
    fixed = few_labels(model, data, labels=LABELS, seeds=SEEDS, ways=(TUNED, FRESH), **FIXED)
    mean, stderr = fixed.gain(TUNED, FRESH)
    result = {
        "model": {"name": MODEL, **OPTIONS, "steps": STEPS},
        **found.to_json(),
        "gain_of_fine_tuning_over": {over: {"mean": mean, "stderr": stderr} for over, (mean, stderr) in gains.items()},
        "fixed_training": {**FIXED, "ways": fixed.to_json()["ways"], "gain": {"mean": mean, "stderr": stderr}},
        "processor_seconds_of_classifiers": seconds,
        "protocol": f"{SEEDS} draws of {LABELS} labels, ten of each class; mean and standard error over the draws; differences "
        f"draw by draw; one pre-training, seed 0; fine-tuned and from scratch each choose among {fine_tuning.STEPS} steps and "
        f"rates {fine_tuning.RATES}, by {fine_tuning.FOLDS}-fold cross-validation within the labels, for the most right "
        "answers",
        "machine": machine(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(found)
    print(json.dumps(result["gain_of_fine_tuning_over"], indent=2))


if __name__ == "__main__":
    main()
