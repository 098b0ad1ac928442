r"""Why the game of a generator and its discriminator is hard to play: what vanishes, and what turns.

    python examples/two_players.py --out two_players.png

**The gradient vanishes.** With the logit a = D(G(z)), the generator of the minimax game descends :math:`\log(1 - \sigma(a))`,
and that of the non-saturating one :math:`-\log \sigma(a)`. Their gradients are

.. math:: -\sigma(a)\, \nabla a \qquad \text{and} \qquad -(1 - \sigma(a))\, \nabla a ,

the same direction at each sample, and lengths whose ratio is :math:`e^a`. A discriminator that learns alone tells samples of an
untrained generator from data ever more surely: a falls, and with it all that the first generator could learn.

**The players turn around each other.** In the smallest game (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406) the datum
is 0, the sample is θ, and D(x) = ψx. Both the minimax and the relativistic game are, near their equilibrium at 0,

.. math:: \dot\psi = -\tfrac12 \theta - 2 \gamma \psi, \qquad \dot\theta = \tfrac12 \psi ,

with γ the weight of the penalties R1 + R2. Without it, that is a rotation. Taken in turn in steps of length h, it stays one,
with a period of :math:`2\pi / \arccos(1 - h^2/8)` steps. Momentum, a step along the mean of gradients that forgets by β as
Adam's does, makes it a spiral outwards, and the penalties one inwards: by how much each step stretches the distance is the
spectral radius of a matrix of four rows (``update``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import pmodel
from picture import run
from pmodel.implicit.game.game import Game
from pmodel.implicit.game.losses import LOSSES, LossName
from pmodel.implicit.gan import GAN
from pmodel.learning import Batch

ALONE = (0, 5, 10, 20, 40, 80, 160)
"""Steps of a discriminator that learns alone."""
RATE, NOISES = 2e-3, 256
"""Its rate, which is that of the model, and the noises that gradients are taken at."""
SHORT, GAMMA, MOMENTUM = 0.2, 0.1, 0.9
"""The step h of the smallest game, the weight γ and the momentum β."""
TURNS, SHOWN = 400, 90
"""Steps that its growth is measured over, and of the picture."""
SMALLEST: Mapping[str, tuple[LossName, float, float]] = {
    "minimax": ("minimax", 0.0, 0.0),
    "minimax, momentum": ("minimax", 0.0, MOMENTUM),
    "penalties": ("relativistic", GAMMA, 0.0),
    "penalties, momentum": ("relativistic", GAMMA, MOMENTUM),
}
"""Loss, γ and β."""
COLOURS = {"minimax": "#d65a1e", "nonsaturating": "#5a3c96", "ratio": "#3c8c50"}
ORBITS = {"minimax, momentum": "#d65a1e", "minimax": "#3c8c50", "penalties": "#206eb4"}
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Alone:
    """Both generators' gradients at the same networks.

    Args:
        steps: That the discriminator has learned alone.
        loss: What it has come to.
        logit: Its mean logit of samples.
        norms: Of the gradient of each generator's loss.
    """

    steps: int
    loss: float
    logit: float
    norms: dict[str, float]


def generator_gradients(pair: GAN, z: Tensor, functions: Mapping[str, Function]) -> dict[str, Tensor]:
    """The gradient with respect to the generator of each function of the logits of its samples, ``(parameters,)``."""
    logits = pair.discriminator(pair.generator(z, None), None)
    weights = tuple(pair.generator.parameters())
    parts = {name: torch.autograd.grad(f(logits), weights, retain_graph=True) for name, f in functions.items()}
    return {name: torch.cat([part.flatten() for part in each]) for name, each in parts.items()}


def losses(*names: str) -> dict[str, Function]:
    """The losses of generators, as functions of the logits of samples."""
    return {name: functools.partial(LOSSES[name].generator, torch.zeros(1)) for name in names}


def untrained() -> tuple[GAN, Tensor]:
    """A pair that plays the game of 2014, and standardised points of the ring."""
    data = pmodel.load_data("ring")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pair = GAN(data.domain, loss="minimax", penalty=0.0)
    x = data.train.x[:]
    return pair, (x - x.mean(0)) / x.std(0)


@functools.cache
def learned_alone() -> tuple[Alone, ...]:
    """A discriminator that learns alone on the ring, and what it leaves of the generators' gradients."""
    pair, x = untrained()
    noise, phase = torch.Generator().manual_seed(0), pair.phases()[0]
    z = torch.randn(NOISES, pair.latent, generator=noise)
    adam = torch.optim.Adam(phase.parameters, lr=RATE, betas=(MOMENTUM, 0.999))
    found = []
    for step in range(max(ALONE) + 1):
        loss = phase.loss(Batch(x[torch.randint(len(x), (64,), generator=noise)]), noise)
        if step in ALONE:
            gradients = generator_gradients(pair, z, losses("minimax", "nonsaturating"))
            norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
            logit = pair.discriminator(pair.generator(z, None), None).mean().item()
            found.append(Alone(step, loss.total.item(), logit, norms))
        adam.zero_grad()
        loss.total.backward(inputs=list(phase.parameters))
        adam.step()
    return tuple(found)


def update(step: float, gamma: float, momentum: float) -> Tensor:
    """What a step of both players does to (ψ, θ, velocity of ψ, velocity of θ) near the equilibrium, ``(4, 4)``."""
    first, second = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    new = 1 - momentum
    first[2] = torch.tensor([2 * gamma * new, 0.5 * new, momentum, 0.0], dtype=torch.float64)  # velocity of ψ
    first[0] -= step * first[2]
    second[3] = torch.tensor([-0.5 * new, 0.0, 0.0, momentum], dtype=torch.float64)  # velocity of θ
    second[1] -= step * second[3]
    return second @ first


def stretch(step: float, gamma: float, momentum: float) -> float:
    """By how much a step stretches the distance from the equilibrium, in the long run."""
    return float(torch.linalg.eigvals(update(step, gamma, momentum)).abs().max())


def orbit(loss: LossName, gamma: float, momentum: float, start: tuple[float, float], steps: int) -> Tensor:
    """The smallest game by the functions that every pair plays with: (ψ, θ) after each step, ``(steps + 1, 2)``."""
    game = Game(loss, gamma)
    psi, theta = (torch.full((1, 1), value, requires_grad=True) for value in start)
    noise, real, path = torch.Generator(), torch.zeros(1, 1), [start]
    players = [torch.optim.SGD([player], lr=SHORT, momentum=momentum, dampening=momentum) for player in (psi, theta)]

    def critic(x: Tensor, _: Tensor | None) -> Tensor:
        return (psi * x).squeeze(1)

    for _ in range(steps):
        for side, player in zip((game.discriminator, game.generator), players, strict=True):
            player.zero_grad()
            moved = player.param_groups[0]["params"]
            fake = theta.detach() if side == game.discriminator else theta
            side(critic, real, fake, None, noise).total.backward(inputs=moved)
            player.step()
        path.append((psi.item(), theta.item()))
    return torch.tensor(path, dtype=torch.float64)


def measured_stretch(loss: str, gamma: float, momentum: float) -> float:
    """The same, of a game that is played from close to the equilibrium: the slope of log distance."""
    distance = orbit(loss, gamma, momentum, (1e-6, 0.0), TURNS).norm(dim=1).log()[TURNS // 4 :]
    steps = torch.arange(len(distance), dtype=torch.float64)
    centred = steps - steps.mean()
    return math.exp(float((centred @ distance) / centred.square().sum()))


@dataclass(frozen=True)
class Found:
    """What is told and drawn: the gradients, and the stretch of each smallest game by theory and by play."""

    alone: tuple[Alone, ...]
    stretches: dict[str, tuple[float, float]]


@functools.cache
def measured() -> Found:
    """All figures."""
    return Found(
        learned_alone(), {name: (stretch(SHORT, *game[1:]), measured_stretch(*game)) for name, game in SMALLEST.items()}
    )


def told(found: Found) -> str:
    """Both tables."""
    lines = [
        "a discriminator learns alone: its loss, its mean logit a of samples, and the norm of each generator's gradient",
        "steps   D's loss   mean a    minimax    non-saturating    ratio     exp(mean a)",
    ]
    for row in found.alone:
        first, second = row.norms["minimax"], row.norms["nonsaturating"]
        lines.append(
            f"{row.steps:5d}   {row.loss:8.1e}   {row.logit:6.2f}   {first:8.1e}   {second:14.1e}   {first / second:8.1e}"
            f"   {math.exp(row.logit):8.1e}"
        )
    period = 2 * math.pi / math.acos(1 - SHORT**2 / 8)
    lines += [
        f"\nthe smallest game, h = {SHORT}, γ = {GAMMA}, β = {MOMENTUM}: by how much a step stretches the distance",
        f"from the equilibrium; a turn of the first takes {period:.1f} steps",
        f"{'':21}in theory   as played",
    ]
    lines += [f"{name:<20} {theory:10.5f}  {played:10.5f}" for name, (theory, played) in found.stretches.items()]
    return "\n".join(lines)


def drawn(found: Found) -> Figure:
    """What vanishes, and what turns."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 2)
    _gradients(panels[0], found.alone)
    _orbits(panels[1])
    return figure


def _gradients(panel: Axes, alone: tuple[Alone, ...]) -> None:
    steps = [row.steps for row in alone]
    for name, title in (("nonsaturating", "non-saturating"), ("minimax", "minimax")):
        panel.plot(steps, [row.norms[name] for row in alone], "o-", color=COLOURS[name], label=title)
    ratios = [row.norms["minimax"] / row.norms["nonsaturating"] for row in alone]
    panel.plot(steps, ratios, "s", color=COLOURS["ratio"], markersize=5, label="their ratio")
    panel.plot(steps, [math.exp(row.logit) for row in alone], ":", color=COLOURS["ratio"], label="exp(mean logit)")
    panel.set_xscale("symlog", linthresh=5)
    panel.set_yscale("log")
    panel.set(title="a discriminator learns alone", xlabel="its steps", ylabel="norm of the generator's gradient")
    panel.set_xticks(steps, [str(step) for step in steps])
    panel.legend(frameon=False, fontsize=9, loc="lower left")


def _orbits(panel: Axes) -> None:
    for name, colour in ORBITS.items():
        path = orbit(*SMALLEST[name], (0.5, 0.0), SHOWN)
        panel.plot(path[:, 1], path[:, 0], color=colour, linewidth=1.2, label=name)
    panel.plot(0, 0, "k+", markersize=9)
    panel.set(
        title=f"the smallest game, {SHOWN} steps from ψ = 0.5",
        xlabel="the sample θ",
        ylabel="the discriminator's slope ψ",
    )
    panel.set_aspect("equal", "datalim")
    panel.legend(frameon=False, fontsize=9, loc="upper right")


if __name__ == "__main__":
    run(__file__, __doc__, measured, told, drawn)
