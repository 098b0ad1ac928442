"""On a GPU, where there is one: every model that learns by gradients is fitted, scored and sampled there.

Where there is none, the law ``tensors_name_their_device`` and the refusals below are what can be tested.
"""

import pytest
import torch

import pmodel
from pmodel.catalogue import MODELS
from pmodel.errors import BadInput
from pmodel.learning import GradientTrained
from pmodel.model import Model

NEURAL = [row.name for row in MODELS if issubclass(row.load(), GradientTrained)]
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


def test_there_are_models_to_try():
    assert {"vae", "dcgan", "realnvp", "pixelcnn", "ddpm"} <= set(NEURAL)


@with_gpu
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", NEURAL)
def test_a_model_learns_on_a_gpu(name, conditional, tmp_path):
    run = tmp_path / "run"
    pmodel.fit(name, "digits", size="tiny", steps=20, device="cuda", conditional=conditional, out=run)
    here, there = pmodel.load(run), pmodel.load(run, device="cuda")
    assert (here.device.type, there.device.type) == ("cpu", "cuda")
    x = there.sample(4, generator=0)
    assert x.device.type == "cuda"
    assert torch.equal(there.domain.check(x), x)
    if here.can("log_prob"):
        torch.testing.assert_close(there.score(x).values.cpu(), here.score(x.cpu()).values, rtol=1e-3, atol=1e-2)
    elif here.can("score"):
        assert bool(there.score(x).values.isfinite().all())
    if here.can("complete"):
        observed = torch.zeros(here.domain.shape, dtype=torch.bool)
        observed[:, :4] = True
        filled = there.complete(x, observed, given=0 if conditional else None, generator=0)
        assert torch.equal(filled[:, :, :4], x[:, :, :4])
        assert torch.equal(there.domain.check(filled), filled)


@with_gpu
def test_an_evaluation_on_a_gpu_is_that_of_the_processor(tmp_path):
    run = tmp_path / "run"
    pmodel.fit("pixelcnn", "digits", size="tiny", steps=20, out=run)
    values = [pmodel.evaluate(run, n=100, device=device).likelihood["value"] for device in ("cpu", "cuda")]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@without_gpu
@pytest.mark.parametrize("verb", ["fit", "load", "evaluate"])
def test_a_gpu_that_is_not_there_is_named(verb, tmp_path):
    run = tmp_path / "run"
    fitted = pmodel.fit("gaussian", "heights", out=run, device="auto")
    assert isinstance(fitted, Model)
    calls = {
        "fit": lambda: pmodel.fit("gaussian", "heights", device="cuda"),
        "load": lambda: pmodel.load(run, device="cuda"),
        "evaluate": lambda: pmodel.evaluate(run, device="cuda"),
    }
    with pytest.raises(BadInput, match=r"no GPU(?s:.*)device cpu"):
        calls[verb]()
