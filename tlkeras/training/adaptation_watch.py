"""The checks and the callback of a stage that adapts to a target domain."""

import keras
import numpy as np

from tlkeras.backend import from_chief
from tlkeras.backend.averaging import averaged_weights
from tlkeras.config import FitStageConfig
from tlkeras.data import Domain, Rows, evaluation_batches
from tlkeras.errors import UserError
from tlkeras.methods.adapt.domain_statistics import adapt_batch_norm, batch_norm_layers
from tlkeras.methods.adapt.validators import needs, validate
from tlkeras.models.cuts.graph import inputs_of, output_of
from tlkeras.prepare import Parts

WATCHED_ROWS = 2000  # rows of each domain; a score on more rows takes longer and is hardly more precise


def check_domain_statistics(parts: Parts, stage: FitStageConfig) -> None:
    """Raises `UserError` if `batch_norm='domain_specific'` is set and no statistics would change."""
    config = parts.config
    if not config.adapts_in(stage) or config.adaptation.batch_norm != "domain_specific":
        return
    inside = {id(layer) for layer in batch_norm_layers(parts.model.backbone)}
    moving = [
        layer
        for layer in batch_norm_layers(parts.model)
        if layer.trainable and (stage.bn == "train" or id(layer) not in inside)
    ]
    if not moving:
        raise UserError(
            "adaptation.batch_norm='domain_specific' needs BatchNormalization whose statistics are "
            f"updated: stages.{stage.name}.bn=train, or a bottleneck (model.neck.bottleneck=256). For a "
            f"frozen network use adabn. Received: stages.{stage.name}.bn={stage.bn}"
        )


def put_in_target_statistics(parts: Parts) -> None:
    """Replaces the model's BatchNormalization statistics by those of the target; see `adapt_batch_norm`."""
    target = parts.targets[0]
    batches = evaluation_batches(target.splits["train"], target, batch_size=parts.batch_size)
    adapt_batch_norm(parts.model.to_functional(), (x for x, _, _ in batches))


class DomainWatch(keras.callbacks.Callback):
    """Computes the label-free score that selects the model, and the target accuracy, after each epoch.

    `val_selection` is the score of `adaptation.selection`, which selects the best model.
    `oracle_target_accuracy` uses target labels. It is only shown and never used.

    Args:
        parts: Parts of the run.
        features: `StageFeatures` on which the stage trains if its trunk is frozen, or None.
    """

    def __init__(self, parts: Parts, features=None):
        super().__init__()
        self.parts = parts
        self.features = features
        self.needs = needs(parts.config.adaptation.selection)
        self.outputs = features_and_logits(parts.model)

    def on_epoch_end(self, epoch, logs=None):
        if logs is None:
            return
        with averaged_weights(self.model.optimizer):
            seen, labels = self._quantities()
        score = validate(self.parts.config.adaptation.selection, **seen)
        logs["val_selection"] = from_chief(self.parts.runtime, float(score))  # the same in all workers
        if labels is not None and self.parts.source.task == "multiclass":
            logs["oracle_target_accuracy"] = float(np.mean(seen["target_logits"].argmax(axis=1) == labels))

    def _quantities(self) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Returns the quantities that the validator needs, and the target labels for the oracle accuracy."""
        source, target = self.parts.source, self.parts.targets[0]
        rows, features, logits = self._seen(target, held_out(target))
        seen = {"target_features": features, "target_logits": logits}
        with self.model.validation():
            if any(name.startswith("source_val") for name in self.needs):
                of_source, features, logits = self._seen(source, held_out(source))
                seen["source_val_features"], seen["source_val_logits"] = features, logits
                seen["source_val_labels"] = of_source.labels
            if "source_train_features" in self.needs:
                seen["source_train_features"] = self._seen(source, "train")[1]
        return seen, rows.labels

    def _seen(self, domain: Domain, split: str) -> tuple[Rows, np.ndarray, np.ndarray]:
        """Returns at most `WATCHED_ROWS` evenly spaced rows of a split, with their features and logits."""
        rows = domain.splits[split]
        places = np.linspace(0, len(rows) - 1, min(len(rows), WATCHED_ROWS)).astype(int)
        at_cut = self.features and self.features.without_augmentation(domain.name, split)
        rows = rows.take(places)
        if at_cut is None:
            return rows, *outputs_of(self.outputs, domain, rows, self.parts.batch_size)
        return rows, *after_cut(self.parts.model, at_cut.take(places))


def features_and_logits(model) -> keras.Model:
    """Returns a model from raw inputs to features and logits that shares a transfer model's variables."""
    plain = model.to_functional()
    outputs = keras.Model(inputs_of(plain), [output_of(plain, "features"), plain.outputs[0]])
    outputs.compile()
    return outputs


def outputs_of(model, domain: Domain, rows: Rows, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features `(n, d)` and logits `(n, classes)` of rows, without dropout, in order.

    Args:
        model: Model that returns features and logits.
        domain: Domain of the rows.
        rows: Rows to compute.
        batch_size: Number of rows per step.
    """
    batches = evaluation_batches(rows, domain, batch_size=batch_size, pad=True)
    found = [[np.asarray(o) for o in model.predict_on_batch(x)] for x, _, _ in batches]
    features, logits = (np.concatenate(part)[: len(rows)] for part in zip(*found, strict=True))
    return features, logits


def after_cut(model, at_cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns features `(n, d)` and logits `(n, classes)` from the outputs of a stage's trunk.

    Args:
        model: Transfer model that takes features as inputs.
        at_cut: Outputs of the trunk.
    """
    features = np.asarray(model.features(at_cut, training=False))
    return features, np.asarray(model.classify(features, training=False))


def held_out(domain: Domain) -> str:
    """Returns the name of the split on which a domain is scored."""
    return "val" if "val" in domain.splits else "train"
