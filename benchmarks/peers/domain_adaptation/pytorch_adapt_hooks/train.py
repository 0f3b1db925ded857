"""pytorch-adapt (https://kevinmusgrave.github.io/pytorch-adapt): its adapters, without tlkeras."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from job import BATCH, EPSILON, Problem, Setting, Stopwatch, Trained, main
from pytorch_adapt import adapters, hooks, layers
from pytorch_adapt.containers import Misc, Models, Optimizers
from pytorch_adapt.weighters import SumWeighter
from torch import nn
from torch_parts import Encoder, after, averaged, domain_classifier, linear, perceptron


class Flat(nn.Module):
    """A domain classifier with outputs `(n,)`."""

    def __init__(self, weights):
        super().__init__()
        self.classifier = domain_classifier(weights)

    def forward(self, x):
        return self.classifier(x).squeeze(1)


def parts(problem: Problem, setting: Setting, discriminator: int | None = None) -> dict[str, nn.Module]:
    """Returns the networks by pytorch-adapt's names. `discriminator` is the width of its inputs."""
    torch.manual_seed(problem.seed)
    found = {"G": Encoder(problem), "C": linear(*problem.first[2:])}
    if discriminator is not None:
        found["D"] = Flat(problem.head(discriminator, setting.units))
    return found


def optimizers(problem: Problem, names) -> Optimizers:
    return Optimizers((torch.optim.Adam, {"lr": problem.rate, "eps": EPSILON}), keys=list(names))


def trained(adapter, problem: Problem, network, steps: slice = slice(None)) -> Trained:
    """Trains with an adapter.

    Args:
        adapter: Adapter with its networks and optimizers.
        problem: Rows and their order.
        network: Network whose logits are judged, made of parts that the adapter trains.
        steps: Steps of the problem's order.
    """
    source, labels, target = map(torch.from_numpy, problem.stream())
    labels = labels.long()
    domains = {"src_domain": torch.zeros(BATCH), "target_domain": torch.ones(BATCH)}
    average = averaged(network)
    for model in adapter.models.values():
        model.train()
    numbers = range(problem.steps)[steps]
    with Stopwatch() as watch:
        for step in numbers:
            rows = slice(step * BATCH, (step + 1) * BATCH)
            batch = {"src_imgs": source[rows], "src_labels": labels[rows], "target_imgs": target[rows]}
            adapter.training_step(batch | domains)
            average.update_parameters(network)
    return after(average.module, network, watch.seconds, len(numbers))


def source_only(problem: Problem, setting: Setting, steps: slice = slice(None), models=None) -> Trained:
    models = models or parts(problem, setting)
    adapter = adapters.Classifier(models=Models(models), optimizers=optimizers(problem, models))
    return trained(adapter, problem, nn.Sequential(models["G"], models["C"]), steps)


def dann(problem: Problem, setting: Setting) -> Trained:
    """Trains DANN. The default has a reversal of weight 1; there is no default domain classifier."""
    models = parts(problem, setting, problem.hidden)
    chosen = {} if setting.own else {"gradient_reversal_weight": setting.of_sum, "weighter": SumWeighter()}
    adapter = adapters.DANN(models=Models(models), optimizers=optimizers(problem, models), hook_kwargs=chosen)
    return trained(adapter, problem, nn.Sequential(models["G"], models["C"]))


def conditional(kind, reversal: bool):
    """Returns a function that trains CDAN: with a reversal layer, or with inverted labels as a GAN."""

    def train(problem: Problem, setting: Setting) -> Trained:
        if setting.own:
            combine = layers.RandomizedDotProduct([problem.hidden, problem.classes])
            models, chosen = parts(problem, setting, combine.out_dim), {}
        else:
            combine = OuterProduct()
            models, factor = parts(problem, setting, problem.hidden * problem.classes), setting.of_sum
            if reversal:
                chosen = {"gradient_reversal_weight": factor, "weighter": SumWeighter()}
            else:
                of_domains = dict.fromkeys(("g_src_domain_loss", "g_target_domain_loss"), factor)
                chosen = {"g_weighter": SumWeighter(weights=of_domains), "d_weighter": SumWeighter()}
        adapter = kind(
            models=Models(models), optimizers=optimizers(problem, models),
            misc=Misc({"feature_combiner": combine}), hook_kwargs=chosen,
        )  # fmt: skip
        return trained(adapter, problem, nn.Sequential(models["G"], models["C"]))

    return train


class OuterProduct(nn.Module):
    """The outer product of features and predictions as one row."""

    def forward(self, features, classes):
        return (features[:, :, None] * classes[:, None, :]).flatten(1)


def aligned(loss: Callable[[], nn.Module], own: Callable[[], nn.Module]):
    """Returns a function that trains with a distance: on the features, or by default also on the predictions.

    Args:
        loss: Makes the distance of the shared setting.
        own: Makes the distance with the library's defaults.
    """

    def train(problem: Problem, setting: Setting) -> Trained:
        models = parts(problem, setting)
        if setting.own:
            chosen = {"loss_fn": own()}
        else:
            weights = {"features_confusion_loss": setting.weight * setting.strength}
            chosen = {"weighter": SumWeighter(weights=weights), "aligner_hook": hooks.AlignerHook(loss())}
        adapter = adapters.Aligner(
            models=Models(models), optimizers=optimizers(problem, models), hook_kwargs=chosen
        )
        return trained(adapter, problem, nn.Sequential(models["G"], models["C"]))

    return train


def mcc(problem: Problem, setting: Setting) -> Trained:
    models = parts(problem, setting)
    term = hooks.MCCHook() if setting.own else hooks.MCCHook(loss_fn=layers.MCCLoss(T=2.5))
    weights = {"mcc_loss": setting.weight * setting.strength}
    chosen = {"post": [term]} | ({} if setting.own else {"weighter": SumWeighter(weights=weights)})
    adapter = adapters.Classifier(
        models=Models(models), optimizers=optimizers(problem, models), hook_kwargs=chosen
    )
    return trained(adapter, problem, nn.Sequential(models["G"], models["C"]))


def mcd(problem: Problem, setting: Setting) -> Trained:
    """Trains MCD: in each step three phases, of which the last is repeated four times, as in the paper.

    The logits are the sum of both classifiers, as in pytorch-adapt's `mcd_fn`.
    """
    models = parts(problem, setting)
    models["C"] = layers.MultipleModels(
        models["C"], perceptron(problem.head(problem.hidden, (), problem.classes))
    )
    chosen = {} if setting.own else {f"{phase}_weighter": SumWeighter() for phase in "xyz"}
    adapter = adapters.MCD(models=Models(models), optimizers=optimizers(problem, models), hook_kwargs=chosen)
    return trained(adapter, problem, nn.Sequential(models["G"], models["C"], Sum()))


class Sum(nn.Module):
    def forward(self, logits):
        return sum(logits)


def adda(problem: Problem, setting: Setting) -> Trained:
    """Trains a source model in the first steps, and then ADDA with a copy of its encoder."""
    models = parts(problem, setting, problem.hidden)
    change = round(problem.steps * setting.start)
    of_source = {"G": models["G"], "C": models["C"]}
    first = source_only(problem, setting, slice(0, change), of_source)
    adapter = adapters.ADDA(models=Models(models), optimizers=optimizers(problem, ["D", "T"]))
    network = nn.Sequential(adapter.models["T"], models["C"])
    second = trained(adapter, problem, network, slice(change, None))
    return replace(
        second, cpu_seconds=first.cpu_seconds + second.cpu_seconds, steps=first.steps + second.steps
    )


def kernels() -> nn.Module:
    """Returns the distance of tlkeras' `dan`."""
    return layers.MMDLoss(torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0]), mmd_type="quadratic")


METHODS = {
    "none": source_only,
    "dann": dann,
    "cdan": conditional(adapters.CDAN, reversal=False),
    "cdan_e": conditional(adapters.CDANNE, reversal=True),
    "deep_coral": aligned(layers.CORALLoss, layers.CORALLoss),
    "dan": aligned(kernels, layers.MMDLoss),
    "mcc": mcc,
    "mcd": mcd,
    "adda": adda,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main("pytorch-adapt", METHODS, ("pytorch-adapt", "torch"))
