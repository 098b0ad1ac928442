"""What a step frees is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from pmodel.train.memory import keep_memory
keep_memory()
def step():
    blocks = [torch.ones(2**20) for _ in range(10)]
step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 10, "megabytes that a step of 40 takes from the system once more"
