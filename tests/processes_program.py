"""What test_processes.py runs in several processes: ``torchrun … processes_program.py EXERCISE FOLDER``.

Each process leaves what it found in FOLDER/RANK.json, and fails in words on stderr.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch

import pmodel
from pmodel.cli import main
from pmodel.cli.failures import guarded
from pmodel.randomness import forked
from pmodel.storage import CHECKPOINT, digest, write_tensors
from pmodel.train import plan
from pmodel.train.loop import Training
from pmodel.train.processes import joined
from reference_models import Pair


def exchange(folder):
    """Every exchange, in two groups one after the other."""
    hook = sys.excepthook
    with joined("cpu") as group:
        first = group.agreed(group.rank)
    with joined("cpu") as group:
        found = exchanges(group)
    left = {"hook": sys.excepthook is hook, "alone": not torch.distributed.is_initialized()}
    return {"first": first, **found, "left": left}


def exchanges(group):
    rank = group.rank
    sums = [
        torch.tensor([[2.0**-40 + rank, 1.0]], dtype=torch.float64),
        (torch.arange(24.0) * (rank + 1)).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        torch.tensor([2**40, rank]),
        torch.zeros(0),
        torch.full((2, 3), 1.0 + rank).T,
        torch.tensor(0.5),
    ]
    group.sum_(sums)
    group.sum_([])
    rounded = [torch.randn(100_003, generator=torch.Generator().manual_seed(rank)) for _ in range(2)]
    group.sum_(rounded)
    shared = [torch.tensor([rank == 0, True]), torch.full((2,), -0.0 if rank == 0 else 7.0), torch.tensor(rank + 5)]
    shared.append(torch.tensor([float("nan"), float("-inf"), rank], dtype=torch.bfloat16))
    group.share_(shared)
    return {
        "group": [rank, group.world, group.leader],
        "sums": [t.tolist() for t in sums],
        "rounded": [hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in rounded],
        "layout": sums[1].is_contiguous(memory_format=torch.channels_last),
        "any": [group.any(rank == 0), group.any(rank == 1), group.any(False)],
        "agreed": group.agreed({"rank": rank, "x": [0.1, None, "é" * (10 + 90 * rank)]}),
        "shared": [str(t.tolist()) for t in shared],
    }


def killed(folder):
    """Process 0 is killed while process 1 waits for it."""
    with joined("cpu") as group:
        group.any(False)
        if group.rank == 0:
            time.sleep(0.5)  # so that process 1 is waiting by now
            (folder / "killed").write_text(str(time.monotonic()))
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            group.any(False)
        finally:
            (folder / "ended").write_text(str(time.monotonic()))


def failing(folder):
    """Process 1 raises."""
    with joined("cpu") as group:
        if group.rank == 1:
            raise ValueError("no such thing")
        group.sum_([torch.zeros(3)])


def silent(folder):
    """Process 1 does not come to the exchange."""
    with joined("cpu", patience=1.0) as group:
        if group.rank == 1:
            time.sleep(60)
        group.agreed(None)


FITS = {
    "categories": ("mixture", {"data": "digits", "components": 5, "steps": 8}),
    "covariances": ("mixture", {"data": "moons", "components": 6, "steps": 8}),
    "chains": ("hmm", {"data": "hmm-three", "states": 3, "steps": 6}),
    "one phase": ("vae", {"data": "digits", "size": "tiny", "steps": 20, "settings": {"batch": 64, "ema": 0.0}}),
    "two phases": ("dcgan", {"data": "digits", "size": "tiny", "steps": 20, "settings": {"batch": 64, "ema": 0.0}}),
}
"""What is fitted by several processes, and by one: expectation maximisation, and descent in one phase and in two."""


def fits(folder):
    """The hash of each model as this process has it at the end; process 0 leaves its run behind."""
    found = {}
    for case, (name, given) in FITS.items():
        found[case] = digest(pmodel.fit(name, **given, out=folder / case))
    with joined("cpu") as processes:
        model = pair(processes, shards=2)
    if processes.leader:
        write_tensors(folder / "pair.safetensors", model.state_dict())
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    return {**found, "pair": digest(model), "threads": [name for name in names if "gloo" in name]}


def pair(processes, shards):
    """Twenty steps of a game between two players with batch norm, whose running statistics move too."""
    data = pmodel.load_data("moons")
    with forked(0, "pair"):
        model = Pair(data.domain)
    settings = {"batch": 64, "ema": 0.0, "select": "last"}
    course = plan(model, data, steps=20, settings=settings, shards=shards, processes=processes)
    for _ in Training(model, data, course, processes):
        pass
    return model


COURSE = ["fit", "vae", "--data", "digits", "--size", "tiny", "--steps", "80", "--set", "train.batch=32"]
COURSE += ["--save-every", "0.001s", "--out"]
"""A course that is saved after every report."""


def deserted(folder):
    """The command line, in which process 1 is killed once there is a checkpoint; started again, it goes on."""

    def die():
        while not (folder / CHECKPOINT).exists():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        threading.Thread(target=die, daemon=True).start()
    main([*COURSE, str(folder), "--resume"])


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    with guarded(show_traceback=False):
        found = globals()[sys.argv[1]](folder)
        (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
