"""The machine that a figure was measured on, in words."""

import platform

import torch

__all__ = ["machine"]


def machine() -> str:
    """The processor with what makes it fast at products of matrices, the threads, and PyTorch's version."""
    found = torch.cpu.get_capabilities()
    fast = [name for name in ("avx512_f", "avx512_bf16", "amx_bf16") if found.get(name)]
    return f"{platform.machine()} ({', '.join(fast)}), {torch.get_num_threads()} threads, torch {torch.__version__}"
