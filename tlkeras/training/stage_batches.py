"""The batches of each stage: source rows, and also target rows if the stage adapts."""

from collections.abc import Sequence

import numpy as np

from tlkeras.config import AugmentConfig, FitStageConfig
from tlkeras.data import Domain, evaluation_batches, random_streams, training_batches, view_pair_batches
from tlkeras.data.combined_batches import in_turn, pair_batches, with_row_weights
from tlkeras.data.orders import order_of, rows_of_step
from tlkeras.data.pipeline import filling_a_batch
from tlkeras.errors import UserError
from tlkeras.features.stage_features import StageFeatures
from tlkeras.prepare import Parts
from tlkeras.training import objectives
from tlkeras.training.adaptation_watch import held_out
from tlkeras.training.stages import Steps


class StageBatches:
    """Makes the datasets of the stages of a run.

    Args:
        parts: Config, runtime and data of the run.
    """

    def __init__(self, parts: Parts):
        self.parts = parts
        self.config = parts.config
        self.runtime = parts.runtime
        self.source = parts.source
        self.batch_size = parts.batch_size
        self.sources = [filling_a_batch(domain, self.batch_size) for domain in parts.sources]
        self.targets = [filling_a_batch(domain, self.batch_size) for domain in parts.targets]
        if self.source.draws_pairs and self.batch_size < 2 * self.runtime.replicas:
            raise UserError(
                "simclr compares pictures of the same replica, so it needs at least two pictures per "
                f"replica. Received: batches of {self.batch_size}, {self.runtime.replicas} replicas"
            )
        self.features: StageFeatures | None = None  # set if the current stage trains on features
        self.row_weights: dict[str, np.ndarray] = {}  # set if the current stage weights the rows of sources

    def splits_of(self, stage: FitStageConfig) -> list[tuple[Domain, str, int]]:
        """Returns `(domain, split, seed of its batches)` for all splits that a stage trains on or scores."""
        seed, wanted = self.config.seed, []
        for domain in self.sources:
            wanted += [(domain, split, seed) for split in ("train", "val") if split in domain.splits]
        for domain in self.targets:
            train = ["train"] if self.config.adapts_in(stage) else []
            watched = [held_out(domain)] if domain is self.targets[0] else []
            wanted += [
                (domain, split, seed + random_streams.TARGET) for split in dict.fromkeys(train + watched)
            ]
        return wanted

    def training(self, stage: FitStageConfig, steps: Steps, first_step: int, target_views: int = 0):
        """Returns the batches of a stage from `first_step` on.

        Args:
            stage: Config of the stage.
            steps: Length of the stage.
            first_step: Step at which an earlier process stopped.
            target_views: Number of views of each target row in a batch, or 0 for no target rows.
        """
        seed = self.config.seed
        source = self._in_turn(self.sources, stage.augment, seed, first_step, steps.total, labels=True)
        source = objectives.with_label_form(source, stage, self.source, self.parts.own.loss)
        if target_views == 0:
            return self.runtime.distribute(source)
        # both views have the same seed, so that they show the same rows and the same windows of them
        strong = self.config.adaptation.strong_augment.beside(stage.augment)
        views = [stage.augment.unmixed, strong][:target_views]
        batches = [
            self._in_turn(
                self.targets, view, seed + random_streams.TARGET, first_step, steps.total, labels=False
            )
            for view in views
        ]
        return self.runtime.distribute(pair_batches(source, *batches))

    def validation(self, stage: FitStageConfig):
        """Returns the batches of the source's validation rows, or None if there are none."""
        rows = self.source.splits.get("val")
        if rows is None or not len(rows):
            return None
        if self.source.draws_pairs:
            batches = view_pair_batches(
                rows, self.source, batch_size=self.batch_size, seed=self.config.seed, augment=stage.augment
            )
        elif self.features is not None:
            batches = self.features.evaluation_batches(batch_size=self.batch_size)
        else:
            batches = evaluation_batches(rows, self.source, batch_size=self.batch_size, pad=True)
        return self.runtime.distribute(
            objectives.with_label_form(batches, stage, self.source, self.parts.own.loss)
        )

    def names_of_step(self, step: int) -> Sequence[str]:
        """Returns the names of the source rows in a step."""
        domain = self.sources[step % len(self.sources)]
        rows = domain.splits["train"]
        _, indices = rows_of_step(rows, self.config.seed, step // len(self.sources), self.batch_size)
        return [str(name) for name in rows.ids[indices]]

    def _in_turn(self, domains, augment: AugmentConfig, seed, first_step, total, *, labels: bool):
        """Returns batches that alternate between domains. Step j comes from domain j modulo their number."""
        turns = len(domains)
        if turns == 1:
            return self._batches(domains[0], augment, seed, first_step, total, labels)
        parts = [
            self._batches(
                domain, augment, seed, _passed(first_step, i, turns), _passed(total, i, turns), labels
            )
            for i, domain in enumerate(domains)
        ]
        return in_turn(parts, first_step, total)

    def _batches(self, domain: Domain, augment, seed: int, first_step: int, total: int, labels: bool):
        batches = self._unweighted(domain, augment, seed, first_step, total, labels)
        weights = self._weights_of(domain) if labels else None
        if weights is None:
            return batches
        order = order_of(domain.splits["train"])
        return with_row_weights(batches, weights, order, self.batch_size, seed, first_step, total)

    def _weights_of(self, domain: Domain) -> np.ndarray | None:
        """Returns the sample weights of a source times those of the stage, or None if no source has any."""
        own, rows = self.row_weights.get(domain.name), domain.splits["train"]
        if all(other.splits["train"].weights is None for other in self.sources):
            return own
        given = np.ones(len(rows), np.float32) if rows.weights is None else rows.weights
        return given if own is None else given * own

    def _unweighted(self, domain: Domain, augment, seed: int, first_step: int, total: int, labels: bool):
        if self.features is not None:
            return self.features.training_batches(
                domain=domain.name, batch_size=self.batch_size, seed=seed, start_step=first_step, steps=total,
                with_labels=labels,
            )  # fmt: skip
        return training_batches(
            domain.splits["train"],
            domain,
            batch_size=self.batch_size,
            seed=seed,
            augment=domain.modality.drawable(augment),
            start_step=first_step,
            steps=total,
            with_labels=labels,
            part=(self.runtime.worker_index, self.runtime.workers),
        )


def _passed(step: int, turn: int, turns: int) -> int:
    """Returns the number of steps before `step` that belong to this turn."""
    return (step - turn + turns - 1) // turns
