"""How many of its codes a VQ-VAE uses on MNIST, and how evenly, by the size of the codebook.

    PMODEL_DATA=... python benchmarks/codes.py [CODES…]

Each is one run of two minutes on the 256 grey levels of ``mnist`` with the default recipe and options, but for the number of
codes: without a prior, which comes after the codes and has no say in them. Then all 10 000 test images are encoded. A code is
used if it stands at one of their 490 000 places; the perplexity is the exponential of the entropy of what stands there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from machine import machine

import pmodel
from pmodel.capability import code_usage
from pmodel.storage import read_json

BUDGET, SEED, CODES = 120.0, 0, (64,)
HERE = Path(__file__).resolve().parent
RESULT, RUNS = HERE / "results" / "codes.json", HERE.parent / "runs" / "codes"


def measured(codes: int) -> dict[str, Any]:
    """One codebook after its budget."""
    data, folder = pmodel.load_data("mnist"), RUNS / str(codes)
    model = pmodel.fit("vqvae", data, budget=BUDGET, seed=SEED, out=folder, resume=True, codes=codes, prior="none")
    result, usage = read_json(folder / "run.json")["result"], code_usage(model, data.test.x)
    return {
        "used": usage.used,
        "perplexity": round(usage.perplexity, 1),
        "images_seen": result["images"],
        "training_seconds": round(result["seconds"]),
    }


def main() -> None:
    """Measure the sizes that were asked for, or the default."""
    found = {codes: measured(codes) for codes in [int(word) for word in sys.argv[1:]] or CODES}
    protocol = f"mnist, {BUDGET:.0f} s of training each, seed {SEED}; all 10 000 test images"
    RESULT.write_text(json.dumps({"codes": found, "protocol": protocol, "machine": machine()}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
