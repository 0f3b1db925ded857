"""skada (https://scikit-adaptation.github.io): its deep methods on PyTorch and skorch, without tlkeras.

The rows come in the given order from a loader that replaces skada's own, which draws them in each epoch.
"""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from job import BATCH, EPSILON, Problem, Setting, Stopwatch, Trained, main
from skada import KLIEPReweightAdapter, KMMReweightAdapter
from skada.deep import CDAN, DAN, DANN, MCC, MDD, DeepCoral, SourceOnly
from skada.deep.modules import DomainClassifier, GradientReversalLayer
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader
from torch_parts import Network, after, averaged, domain_classifier, perceptron


class Reversed(nn.Module):
    """A classifier behind skada's gradient reversal, which in skada is a part of the domain classifier."""

    def __init__(self, classifier: nn.Module, probabilities: bool):
        super().__init__()
        self.classifier, self.probabilities = classifier, probabilities

    def forward(self, x, sample_weight=None):
        found = self.classifier(GradientReversalLayer.apply(x, 1.0))
        return torch.sigmoid(found).squeeze(1) if self.probabilities else found


class Average(Callback):
    """Averages the weights after each step."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.average, self.steps = averaged(net.module_), 0

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.average.update_parameters(net.module_)
            self.steps += 1


def loader(problem: Problem, both: bool):
    """Returns a class of loaders with the rows of each step: source rows, then target rows."""
    source = problem.order.reshape(-1, BATCH)
    target = problem.target_order.reshape(-1, BATCH) + len(problem.source)
    steps = np.concatenate([source, target], axis=1) if both else source

    class Ordered(DataLoader):
        def __init__(self, dataset, batch_size=None, **options):
            super().__init__(dataset, batch_sampler=steps.tolist())

    return Ordered


def trained(make, problem: Problem, both: bool = True, sample_weight=None) -> Trained:
    """Trains the net that `make` returns for a network and further arguments."""
    torch.manual_seed(problem.seed)
    average = Average()
    net = make(
        Network(problem), layer_name="encoder", optimizer=torch.optim.Adam, lr=problem.rate,
        optimizer__eps=EPSILON, max_epochs=1, batch_size=BATCH, train_split=None, verbose=0,
        callbacks=[("average", average)],
    )  # fmt: skip
    net.set_params(iterator_train=loader(problem, both))
    rows = np.concatenate([problem.source, problem.target])
    labels = np.concatenate([problem.labels, np.full(len(problem.target), -1)]).astype(np.int64)
    domain = np.repeat([1, -2], [len(problem.source), len(problem.target)])
    with Stopwatch() as watch:
        net.fit(rows, labels, sample_domain=domain, sample_weight=sample_weight)
    of_average, last = average.average.module.base_module_, net.module_.base_module_
    return after(of_average, last, watch.seconds, average.steps)


def source_only(problem: Problem, setting: Setting) -> Trained:
    return trained(SourceOnly, problem, both=False)


def adversarial(kind, conditional: bool):
    """Returns a function that trains with a domain classifier."""

    def train(problem: Problem, setting: Setting) -> Trained:
        inputs = problem.hidden * (problem.classes if conditional else 1)
        torch.manual_seed(problem.seed)
        classifier = DomainClassifier(inputs)
        if not setting.own:
            classifier = Reversed(domain_classifier(problem.head(inputs, setting.units)), probabilities=True)
        reg = 1.0 if setting.own else setting.of_sum
        return trained(
            lambda module, **options: kind(module, reg=reg, domain_classifier=classifier, **options), problem
        )

    return train


def mdd(problem: Problem, setting: Setting) -> Trained:
    """Trains MDD. Its own adversarial classifier ends in a softmax, before a loss that takes logits."""
    torch.manual_seed(problem.seed)
    classifier = DomainClassifier(problem.hidden, problem.classes)
    if not setting.own:
        classifier = Reversed(
            perceptron(problem.head(problem.hidden, setting.units, problem.classes)), probabilities=False
        )
    reg = 1.0 if setting.own else setting.weight * setting.strength
    return trained(
        lambda module, **options: MDD(module, reg=reg, disc_classifier=classifier, **options), problem
    )


def aligned(kind, **shared):
    """Returns a function that trains with a distance or with a loss on the predictions."""

    def train(problem: Problem, setting: Setting) -> Trained:
        chosen = {} if setting.own else {"reg": setting.weight * setting.strength, **shared}
        return trained(lambda module, **options: kind(module, **chosen, **options), problem)

    return train


def weighted(kind, of_shared, own: dict):
    """Returns a function that trains with the importance weights of a skada adapter."""

    def train(problem: Problem, setting: Setting) -> Trained:
        source, target = (problem.source, problem.target) if setting.own else problem.standardised
        rows = np.concatenate([source, target])
        domain = np.repeat([1, -2], [len(source), len(target)])
        adapter = kind(**(own if setting.own else of_shared(problem))).fit(rows, sample_domain=domain)
        weights = adapter.compute_weights(rows, sample_domain=domain).astype(np.float32)

        def make(module, **options):
            loss = nn.CrossEntropyLoss(reduction="none")
            return SourceOnly(module, base_criterion=loss, criterion__reduction="none", **options)

        return trained(make, problem, both=False, sample_weight=weights)

    return train


METHODS = {
    "none": source_only,
    "dann": adversarial(DANN, conditional=False),
    "cdan": adversarial(CDAN, conditional=True),
    "deep_coral": aligned(DeepCoral),
    "mdd": mdd,
    "dan": aligned(DAN),
    "mcc": aligned(MCC, T=2.5),
    "kmm": weighted(KMMReweightAdapter, lambda problem: {"gamma": problem.gamma}, {}),
    "kliep": weighted(
        KLIEPReweightAdapter,
        lambda problem: {"gamma": problem.gammas, "random_state": problem.seed},
        {"gamma": 1.0, "random_state": 0},  # the default of KLIEPReweight
    ),
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # skada's own: softmax without a dimension, iterations
    torch.set_num_threads(1)
    main("skada", METHODS, ("skada", "skorch", "torch"))
