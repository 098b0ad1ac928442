"""The suite's own test: planted bugs, each of which a named law must catch in a model that keeps them all without it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pmodel.capability.drawing
import pmodel.capability.scoring
from pmodel.data import Dataset, Split
from pmodel.domain import Discrete
from pmodel.errors import BadInput
from pmodel.explicit.approximate.vae.prior import Prior
from pmodel.explicit.approximate.vae.vae import VAE
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Loss, Phase
from pmodel.model import Model
from pmodel.randomness import generator
from pmodel.testing import ConformanceError, conformance, run_conformance
from pmodel.train import Started, Stepped, plan, train
from pmodel.train.ema import EVERY, MovingAverage
from pmodel.wrappers import Dequantised, Standardised, Wrapper
from reference_models import Bell, Box, Chain, Charged, Counted, Hops, Line, Pair, Track, Walk

REFERENCES = (Counted, Bell, Charged, Box, Chain, Line, Hops, Pair, Walk, Track)


class VarianceForStd(Bell):
    def _sample(self, n, given, generator):
        noise = torch.randn(n, *self.domain.shape, generator=generator, dtype=torch.float64)
        return self.mu + self.std.square() * noise + 1e-3


class VarianceInDensity(Bell):
    def _log_marginal(self, x, observed, given):
        other = copy.copy(self)
        other._buffers = self._buffers | {"std": 1.02 * self.std}
        return Bell._log_marginal(other, x, observed, given)


class GlobalNoise(Bell):
    def _sample(self, n, given, generator):
        return self.mu + self.std * torch.randn(n, *self.domain.shape, dtype=torch.float64)


class ForgetsTheDevice(Bell):
    """Right on the processor, and a mixture of devices elsewhere."""

    def _sample(self, n, given, generator):
        noise = torch.randn(n, *self.domain.shape, generator=generator, dtype=torch.float64)
        return self.mu + self.std * noise


class TakesAnySetting(Bell):
    adjustable = ("warmth",)
    warmth = 1.0


class KeepsItsSettings(TakesAnySetting):
    def adjusted(self, **settings):
        for name, value in settings.items():
            setattr(self, name, value)
        return super().adjusted(**settings)

    def _check_sampling(self):
        if not isinstance(self.warmth, float):
            raise BadInput("warmth is a number.", got=self.warmth)


class SeedIgnored(Bell):
    def _sample(self, n, given, generator):
        return super()._sample(n, given, torch.Generator().manual_seed(0))


class Unregistered(Bell):
    def maximise(self, statistics):
        super().maximise(statistics)
        mu = self.mu.clone()
        del self.mu
        self.mu = mu


class HiddenInAList(Bell):
    def maximise(self, statistics):
        super().maximise(statistics)
        self.history = [{"mu": self.mu.clone()}]


class Averaged(Bell):
    def statistics(self, batch, generator):
        sums = super().statistics(batch, generator)
        return {name: value if name == "n" else value / max(1, len(batch.x)) for name, value in sums.items()}


class SinglePrecision(Bell):
    def statistics(self, batch, generator):
        return {name: value.float() for name, value in super().statistics(batch, generator).items()}


class MaskIgnoredInMarginal(Bell):
    def _log_marginal(self, x, observed, given):
        return super()._log_marginal(torch.nan_to_num(x), torch.ones_like(observed), given)


class OptionNotRecorded(Bell):
    def __init__(self, domain, given=None, floor=1e-3):
        super().__init__(domain, given, floor=floor)

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, 1e-2)


class CountsItsScores(Bell):
    def __init__(self, domain, given=None, *, floor=1e-3):
        super().__init__(domain, given, floor=floor)
        self.register_buffer("calls", torch.zeros(()))

    def _log_marginal(self, x, observed, given):
        self.calls += 1
        return super()._log_marginal(x, observed, given)


class ClaimsToEncode(Bell):
    def can(self, verb):
        return verb == "encode" or super().can(verb)


class HidesItsScore(Bell):
    def can(self, verb):
        return verb != "complete" and super().can(verb)

    def complete(self, x, observed, *, given=None, generator=None):
        return self._complete(self.domain.check(x), observed, given, torch.Generator())


class InfinitySwallowed(Box):
    def _log_marginal(self, x, observed, given):
        return torch.nan_to_num(super()._log_marginal(x, observed, given), neginf=-40.0)


class NoneIsOne(Box):
    def _sample(self, n, given, generator):
        return super()._sample(max(1, n), given, generator)


class LabelIgnored(Counted):
    def _rows(self, given, n):
        return super()._rows(None if given is None else torch.zeros_like(given), n)


class LabelIgnoredInSampling(Counted):
    def _sample(self, n, given, generator):
        return super()._sample(n, torch.zeros(n, dtype=torch.int64), generator)


class WrongFrequencies(Counted):
    def record_frequencies(self, given):
        pass


class LabelsDrawnEvenly(Counted):
    def _drawn_given(self, n, generator):
        return None if self.given is None else torch.randint(self.given.levels, (n,), generator=generator)


class CompletesFromTheMarginal(Counted):
    def _complete(self, x, observed, given, generator):
        return self._sample(len(x), given, generator)


class CompletionIgnoresTheMask(Counted):
    def _complete(self, x, observed, given, generator):
        return x


class ConditionalForMarginal(Counted):
    def _log_marginal(self, x, observed, given):
        joint = super()._log_marginal(x, torch.ones_like(observed), given)
        return torch.where(observed.flatten(1).all(1), joint, joint - super()._log_marginal(x, ~observed, given))


class Unnormalised(Counted):
    def maximise(self, statistics):
        super().maximise(statistics)
        self.p.mul_(1.005)


class LeakyMask(Chain):
    @staticmethod
    def allowed(d):
        return torch.ones(d, d).tril(1)


class WrongOrder(Chain):
    def order(self):
        return reversed(range(self.domain.entries))


class ForgottenParameter(Chain):
    def phases(self):
        return (Phase("likelihood", (self.weight,), self.loss),)


class IdleParameter(Chain):
    def __init__(self, domain, given=None, *, scale=0.1):
        super().__init__(domain, given, scale=scale)
        self.extra = nn.Parameter(torch.ones(3))


class UnseededLoss(Chain):
    def loss(self, batch, generator):
        noise = torch.randn((), generator=torch.Generator().manual_seed(torch.seed() % 2**31))
        return Loss(super().loss(batch, generator).total * (1 + 0.1 * noise))


class LossOfManyNumbers(Chain):
    def loss(self, batch, generator):
        return Loss(-self._log_prob(batch.x, batch.given).mean().reshape(1))


class WrongKL(Line):
    def _log_weight(self, x, given, generator):
        return super()._log_weight(x, given, generator) + 0.5 * self.latent


class NoiseOfATenth(Line):
    """The study notes' slip: z = mu + 0.1 std eps, scored as if it were drawn from q."""

    def _log_weight(self, x, given, generator):
        q = self._encode(x, given)
        z = q.mean + 0.1 * (q.sample(generator) - q.mean)
        prior = pmodel.distribution.Normal(torch.zeros_like(z), torch.ones_like(z))
        return self._decode(z, given).log_prob(x) + prior.log_prob(z) - q.log_prob(z)


class Latents(VAE):
    """A variational autoencoder of two layers with a flow for a prior, on two bits."""

    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, latent=2, ladder=2, flow=2, layers=1, width=8)

    @classmethod
    def refuses(cls, domain):
        return None if domain == Discrete((2,), 2) else "it takes two bits"


class TakesDrawsForWeights(Hops):
    weighted = True


class OneTermForTwo(Hops):
    TERMS = 1


class StartsAtZero(Hops):
    """The chain that is sampled is not the one that is scored."""

    def _sample(self, n, given, generator):
        y = torch.zeros(n, dtype=torch.int64) if given is None else given
        hopped = torch.zeros(n, dtype=torch.int64)
        if n == 0:
            return super()._sample(n, given, generator)
        x = torch.multinomial(self.second.softmax(-1)[y, hopped], 1, generator=generator)
        return x.reshape(n, *self.domain.shape)


class StratifiesBadly(Hops):
    """Every draw but a lone one takes the first term."""

    def _log_weights(self, x, given, observed, generator, effort):
        if effort == 1:
            return super()._log_weights(x, given, observed, generator, effort)
        return torch.stack([2 * self.terms(x, given, generator)[0].double() for _ in range(effort)])


class ClaimsATenthOfItsError(Hops):
    def _mean_stderr(self, draws):
        return super()._mean_stderr(draws) / 10


class BatchDependent(Line):
    def _encode(self, x, given):
        return super()._encode(x - x.mean(0), given)

    def _decode(self, z, given):
        return super()._decode(z - (z.mean(0) if len(z) > 1 else 0.5), given)


class DropoutInScores(Line):
    def _encode(self, x, given):
        return super()._encode(F.dropout(x, 0.5, training=True), given)


class DropoutByMode(Line):
    def eval(self):
        return self

    def _encode(self, x, given):
        return super()._encode(x * (0.5 if self.training else 1.0), given)


class DecodesFlat(Line):
    def _decode(self, z, given):
        q = super()._decode(z, given)
        return pmodel.distribution.Normal(q.mu.flatten(1).sum(1, keepdim=True), q.std.flatten(1)[:, :1])


class MovesTheOther(Pair):
    def fake(self, batch, generator):
        return self.made(batch.given, len(batch.x), generator).detach()


class TellsNothing(Pair):
    def tell(self, batch, generator):
        loss = super().tell(batch, generator)
        with torch.no_grad():
            self.g[0].weight.mul_(0.99)
        return loss


class LabelUntold(Pair):
    def told(self, x, given):
        return super().told(x, None if given is None else torch.zeros_like(given))


class WorseEM(Mixture):
    def maximise(self, statistics):
        super().maximise(statistics)
        self.weights.copy_(self.weights.roll(1))


class CountsItsSteps(Chain):
    calls = 0

    def loss(self, batch, generator):
        self.calls += 1
        return Loss(super().loss(batch, generator).total * (1 + 0.1 * self.calls))


class CoolsByTheCall(Chain):
    """A temperature that depends on how often it was moved, and not on the progress."""

    temperature = 1.0

    def advance(self, progress):
        self.temperature *= 0.9

    def loss(self, batch, generator):
        return Loss(super().loss(batch, generator).total / self.temperature)


class ForgetsItsChain(Chain):
    """State that training carries and no checkpoint knows."""

    def __init__(self, domain, given=None, *, scale=0.1):
        super().__init__(domain, given, scale=scale)
        self.register_buffer("walk", torch.zeros(()), persistent=False)

    def loss(self, batch, generator):
        with torch.no_grad():
            self.walk.add_(torch.rand((), generator=generator))
        return Loss(super().loss(batch, generator).total * (1 + self.walk))


class EndIsFree(Walk):
    """The end costs nothing, although it is one of the symbols."""

    def steps_of(self, x, given):
        rows, before, symbol, _ = super().steps_of(x, given)
        return rows, before, symbol, x != self.end


class ScoresTheRest(Walk):
    """What stands after the end is scored as if it were symbols."""

    def steps_of(self, x, given):
        rows, before, symbol, scored = super().steps_of(x, given)
        return rows, before, symbol, torch.ones_like(scored)


class EndsWhatIsCut(Walk):
    """A sequence of the longest length pays for an end that it has not."""

    def _log_prob(self, x, given):
        rows, _, _, _ = self.steps_of(x, given)
        end = self.p[rows[:, -1], x[:, -1], -1].log()
        return super()._log_prob(x, given) + torch.where(x[:, -1] != self.end, end, 0)


class LengthsForgotten(Walk):
    def record_lengths(self, lengths, given=None):
        pass


class LengthsOfAllLabels(Walk):
    def record_lengths(self, lengths, given=None):
        super().record_lengths(lengths.repeat(3), torch.arange(3).repeat_interleave(len(lengths)))


class SamplesOnlyTheStart(Walk):
    """Forgets the symbol before."""

    def _sample(self, n, given, generator):
        other = copy.copy(self)
        other._buffers = self._buffers | {"p": self.p[:, -1:].expand(self.p.shape)}
        return Walk._sample(other, n, given, generator)


class GapsAreZeros(Track):
    def _log_marginal(self, x, observed, given):
        return super()._log_marginal(torch.nan_to_num(x, posinf=torch.inf), torch.ones_like(observed), given)


class HalfTheEnergy(Charged):
    def _energy(self, x, given):
        return 0.5 * super()._energy(x, given)


class EnergyOfTheBatch(Charged):
    def _energy(self, x, given):
        energy = super()._energy(x, given)
        return energy - energy.mean()


class EnergyWithoutASlope(Charged):
    def _energy(self, x, given):
        return super()._energy(x, given).detach() + 0 * x.flatten(1).sum(1)


SUBCLASSED = [
    (HalfTheEnergy, "energies_differ_as_log_probabilities"),
    (EnergyOfTheBatch, "energies_are_numbers"),
    (EnergyWithoutASlope, "energies_have_gradients"),
    (EndIsFree, "probability_is_one"),
    (ScoresTheRest, "every_length_has_probability_one"),
    (EndsWhatIsCut, "probability_is_one"),
    (LengthsForgotten, "lengths_are_those_of_training"),
    (LengthsOfAllLabels, "lengths_are_those_of_training"),
    (SamplesOnlyTheStart, "samples_follow_the_density"),
    (GapsAreZeros, "missing_values_are_marginalised"),
    (VarianceForStd, "samples_follow_the_density"),
    (VarianceInDensity, "samples_follow_the_density"),
    (GlobalNoise, "global_randomness_is_untouched"),
    (SeedIgnored, "samples_follow_the_seed"),
    (Unregistered, "tensors_are_registered"),
    (Unregistered, "state_dict_restores_the_model"),
    (HiddenInAList, "tensors_are_registered"),
    (Averaged, "statistics_add_up"),
    (SinglePrecision, "statistics_add_up"),
    (MaskIgnoredInMarginal, "marginals_are_sums"),
    (OptionNotRecorded, "options_are_recorded"),
    (CountsItsScores, "verbs_change_no_tensor"),
    (ClaimsToEncode, "verbs_are_what_it_says"),
    (HidesItsScore, "verbs_are_what_it_says"),
    (InfinitySwallowed, "tails_vanish"),
    (NoneIsOne, "samples_are_data"),
    (TakesAnySetting, "settings_hold_for_one_call"),
    (KeepsItsSettings, "settings_hold_for_one_call"),
    (ForgetsTheDevice, "tensors_name_their_device"),
    (LabelIgnored, "labels_matter_to_the_score"),
    (LabelIgnored, "labels_shape_the_samples"),
    (LabelIgnoredInSampling, "labels_shape_the_samples"),
    (LabelIgnoredInSampling, "samples_follow_the_density"),
    (WrongFrequencies, "marginal_is_the_mixture_of_labels"),
    (LabelsDrawnEvenly, "samples_follow_the_density"),
    (CompletesFromTheMarginal, "completions_follow_the_conditional"),
    (CompletionIgnoresTheMask, "unobserved_values_do_not_matter"),
    (ConditionalForMarginal, "marginals_are_sums"),
    (Unnormalised, "probability_is_one"),
    (LeakyMask, "probability_is_one"),
    (WrongOrder, "samples_follow_the_density"),
    (ForgottenParameter, "every_parameter_learns"),
    (IdleParameter, "every_parameter_learns"),
    (UnseededLoss, "learning_repeats_itself"),
    (CountsItsSteps, "stopped_learning_goes_on"),
    (CoolsByTheCall, "stopped_learning_goes_on"),
    (ForgetsItsChain, "stopped_learning_goes_on"),
    (LossOfManyNumbers, "losses_are_scalars"),
    (WrongKL, "probability_is_one"),
    (NoiseOfATenth, "probability_is_one"),
    (TakesDrawsForWeights, "samples_follow_the_density"),
    (OneTermForTwo, "probability_is_one"),
    (OneTermForTwo, "bounds_lie_below_the_frequencies"),
    (StartsAtZero, "bounds_lie_below_the_frequencies"),
    (StratifiesBadly, "bounds_are_means_of_their_draws"),
    (ClaimsATenthOfItsError, "bounds_are_means_of_their_draws"),
    (BatchDependent, "scores_are_each_datum_s_own"),
    (DropoutInScores, "global_randomness_is_untouched"),
    (DropoutByMode, "modes_are_restored"),
    (DecodesFlat, "codes_and_data_have_their_shapes"),
    (MovesTheOther, "phases_keep_to_themselves"),
    (TellsNothing, "phases_keep_to_themselves"),
    (LabelUntold, "labels_shape_the_samples"),
    (WorseEM, "likelihood_never_falls"),
]


def sign_of_ladj(patch):
    right = Standardised._inward
    patch.setattr(Standardised, "_inward", lambda s, x, g: (right(s, x, g)[0], -right(s, x, g)[1]))


def log_of_levels_forgotten(patch):
    right = Dequantised._inward
    patch.setattr(Dequantised, "_inward", lambda s, x, g: (right(s, x, g)[0], torch.zeros(())))


def noise_above_the_level(patch):
    """The offset of half a level: x + u with u from 0 to 1, and samples rounded to the nearest level."""
    right = Dequantised._inward
    patch.setattr(Dequantised, "_inward", lambda s, x, g: (right(s, x, g)[0] + 0.5 * s.steps, right(s, x, g)[1]))
    patch.setattr(Wrapper, "prepare", lambda s, x, y, g: s.model.prepare(x.double(), y, g))
    patch.setattr(Wrapper, "statistics", lambda s, b, g: s.model.statistics(b, g))


def mean_of_logs(patch):
    patch.setattr(pmodel.capability.scoring, "_log_mean_exp", lambda log_weights: log_weights.mean(0))


def labels_summed_under_noise(patch):
    patch.setattr(pmodel.capability.scoring, "_expected_joint", lambda pilot, joint: torch.logsumexp(joint, -1))


def nothing_is_checked(patch):
    patch.setattr(pmodel.domain.Real, "_check_values", lambda s, x, name: x.float())


def labels_are_not_checked(patch):
    patch.setattr(Model, "_checked_given", lambda s, given, n: given)


def completion_overwrites(patch):
    def complete(self, x, observed, *, given=None, generator=None):
        noise = pmodel.randomness.as_generator(generator)
        labels = self._checked_given(given, len(x))
        return self._complete(self.domain.check(x), torch.as_tensor(observed).expand(x.shape), labels, noise)

    patch.setattr(pmodel.capability.drawing.Completes, "complete", complete)


def noise_is_no_approximation(patch):
    patch.setattr(Dequantised, "_exactly", Wrapper._exactly)


def score_keeps_training_mode(patch):
    patch.setattr(nn.Module, "eval", lambda self: self.train(False))
    patch.setattr(pmodel.capability.scoring, "evaluating", _without_restoring)


def layers_cost_nothing(patch):
    """Training without the divergence of the lower layers: scores are right, and of a model that nobody trained for them."""
    patch.setattr(pmodel.explicit.approximate.vae.vae, "divergence", lambda q: torch.zeros_like(q.mu))


def determinant_of_the_prior_forgotten(patch):
    def log_prob(self, z, context):
        noise = self.flow(z, context)[0]
        return pmodel.distribution.Normal(torch.zeros_like(noise), torch.ones_like(noise)).log_prob(noise)

    patch.setattr(Prior, "log_prob", log_prob)


class _without_restoring:
    def __init__(self, module):
        module.eval()

    def __enter__(self):
        self.no_grad = torch.no_grad()
        self.no_grad.__enter__()

    def __exit__(self, *exception):
        self.no_grad.__exit__(*exception)


def ends_are_not_checked(patch):
    patch.setattr(pmodel.domain.Sequences, "_check_ends", lambda s, x, name: None)


def lengths_say_nothing_of_labels(patch):
    scores = pmodel.capability.scoring.Scores
    patch.setattr(scores, "_label_weights", lambda s, x, prior=None: s.given_frequencies.expand(len(x), -1))


def samples_are_not_cut(patch):
    patch.setattr(pmodel.domain.Sequences, "cut", lambda s, x, lengths: x)


def what_follows_the_end_is_unknown(patch):
    patch.setattr(pmodel.domain.Sequences, "observed", lambda s, x, asked=None: asked)


PATCHED = [
    (ends_are_not_checked, Walk, "bad_input_is_refused"),
    (lengths_say_nothing_of_labels, Walk, "marginal_is_the_mixture_of_labels"),
    (what_follows_the_end_is_unknown, Track, "missing_values_are_marginalised"),
    (samples_are_not_cut, Walk, "lengths_are_those_of_training"),
    (sign_of_ladj, Bell, "probability_is_one"),
    (log_of_levels_forgotten, Bell, "probability_is_one"),
    (noise_above_the_level, Bell, "samples_follow_the_density"),
    (mean_of_logs, Line, "bounds_combine_their_draws"),
    (labels_summed_under_noise, Hops, "marginal_is_the_mixture_of_labels"),
    (nothing_is_checked, Bell, "bad_input_is_refused"),
    (labels_are_not_checked, Counted, "bad_input_is_refused"),
    (completion_overwrites, Bell, "observed_entries_come_back"),
    (noise_is_no_approximation, Bell, "completions_say_whether_they_are_exact"),
    (score_keeps_training_mode, Line, "modes_are_restored"),
    (layers_cost_nothing, Latents, "reported_bounds_are_those_that_are_scored"),
    (determinant_of_the_prior_forgotten, Latents, "probability_is_one"),
]


def breaks(model, law):
    """Whether the model breaks the law in some case."""
    for check in conformance(model):
        if check.law == law:
            try:
                check()
            except ConformanceError:
                return True
    return False


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_models_keep_all_laws(reference):
    assert [result for result in run_conformance(reference) if not result.passed] == []


@pytest.mark.parametrize(("mutant", "law"), SUBCLASSED, ids=lambda value: getattr(value, "__name__", value))
def test_planted_bug_is_caught(mutant, law):
    assert breaks(mutant, law)


@pytest.mark.parametrize(("plant", "reference", "law"), PATCHED, ids=lambda value: getattr(value, "__name__", value))
def test_bug_planted_in_the_contract_is_caught(plant, reference, law, monkeypatch):
    plant(monkeypatch)
    assert breaks(reference, law)


def test_mixture_keeps_the_law_of_its_mutant():
    assert not breaks(Mixture, "likelihood_never_falls")


def weights_are_the_average():
    """Whether what the engine leaves behind is the moving average of the raw weights that it went through."""
    x = torch.randint(2, (200, 2), generator=generator(0))
    data = Dataset("bits", Discrete((2,), 2), Split(x), Split(x), Split(x))
    model, decay = Chain(data.domain), 0.9
    settings = {"ema": decay, "rate": 0.1, "schedule": "constant", "select": "last"}
    average, updates = None, 0
    for event in train(
        model,
        data,
        plan(model, data, steps=40, settings=settings, precision="float32"),
    ):
        raw = model.bias.detach().clone()
        if isinstance(event, Started):
            average = raw
        if isinstance(event, Stepped):
            d = min(decay, (1 + updates) / (10 + updates)) ** EVERY
            updates += 1
            average = average if updates % EVERY else d * average + (1 - d) * raw
            last = raw
    assert updates == 40
    assert not torch.allclose(last, average, atol=1e-3)
    return torch.allclose(model.bias, average, atol=1e-5)


def test_raw_weights_for_the_average_are_caught(monkeypatch):
    assert weights_are_the_average()
    monkeypatch.setattr(MovingAverage, "swap", lambda self: None)
    assert not weights_are_the_average()
