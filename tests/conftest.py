"""What every test starts from."""

import pytest
import torch


@pytest.fixture(autouse=True)
def weights_of_a_seed():
    """Networks made without a generator of their own begin with the same weights, whatever ran before."""
    torch.manual_seed(0)
