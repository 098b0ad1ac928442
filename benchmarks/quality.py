"""What a budget of five minutes buys on MNIST: the likelihood of a VAE, the samples of DCGANs.

    PMODEL_DATA=... python benchmarks/quality.py [vae-mnist-binary] [dcgan-bags] [dcgan-mnist]

Every model has its default options and recipe. The VAE learns ``mnist-binary``; its likelihood is the importance-weighted
bound on all 10 000 test images with 100 draws each, and on 1 000 of them, drawn at random, with 1 000. The judge of samples
is a classifier that was trained on the whole labelled data set; a sample is clear if the judge is at least 90 % sure of some
class.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import pmodel
from pmodel.metrics.measure import choose
from pmodel.storage import read_json

BUDGET, SEED = 300.0, 0
RESULTS = Path(__file__).parent / "results"


def fitted(name: str, data: pmodel.Dataset) -> tuple[Any, dict[str, Any]]:
    """A model after its budget, and what its run says."""
    folder = Path(tempfile.mkdtemp()) / "run"
    model = pmodel.fit(name, data, budget=BUDGET, seed=SEED, out=folder)
    record = read_json(folder / "run.json")
    plan, result = record["plan"], record["result"]
    return model, {
        "images_seen": result["images"],
        "training_seconds": round(result["seconds"]),
        "arithmetic": f"{plan['precision']}, {plan['layout']}",
        "parameters": model.size,
    }


def vae() -> dict[str, Any]:
    data = pmodel.load_data("mnist-binary")
    model, found = fitted("vae", data)
    rows = choose(len(data.test), 1000, SEED, "benchmark")
    for name, x, effort in (("all", data.test.x, 100), ("1000", data.test.x[rows], 1000)):
        likelihood = model.score(x, effort=effort, generator=SEED)
        found[f"nats_{name}"] = {
            "negative_log_likelihood": round(-likelihood.mean, 3),
            "kind": likelihood.kind,
            "stderr": round(likelihood.stderr, 3),
            "n": likelihood.n,
            "estimator": likelihood.estimator,
        }
    return found


def dcgan(name: str) -> dict[str, Any]:
    data = pmodel.load_data(name)
    model, found = fitted("dcgan", data)
    evaluation = pmodel.evaluate(model, data, n=2000, seed=SEED)
    return {**found, "judge": evaluation.metrics["judge"], "fid": evaluation.metrics["fid"]}


TASKS = {
    "vae-mnist-binary": vae,
    "dcgan-bags": lambda: dcgan("fashion-mnist:8"),
    "dcgan-mnist": lambda: dcgan("mnist"),
}


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    for task in sys.argv[1:] or TASKS:
        result = {
            **TASKS[task](),
            "protocol": f"default options, budget {BUDGET:.0f} s, seed {SEED}",
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        }
        (RESULTS / f"{task}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(task, json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
