"""The features on which a stage with a frozen trunk trains instead of its inputs."""

import time
from collections.abc import Mapping, Sequence, Set

import keras

from tlkeras import messages
from tlkeras.config import CacheConfig, DataConfig, StageConfig
from tlkeras.data import Domain, feature_batches
from tlkeras.data.feature_batches import Features
from tlkeras.features.cache import FeatureCache, NotWorthwhile
from tlkeras.features.identity import Request

IN_EVERY_STEP = "the frozen trunk is computed in every step"
TOO_SHORT = "the stage is too short for stored features to save time"


class StageFeatures:
    """The features of the splits on which a stage trains and validates.

    Args:
        features: Features by domain name and split, one per view.
        domains: Domains by name.
        extractor: Name of the extractor that computed them.
        seconds: Seconds that it took to compute or to read them.
        augmented: Domain names and splits whose features are those of augmented views.
        computed_rows: Number of rows whose features were not stored before.
    """

    def __init__(
        self,
        features: Mapping[tuple[str, str], list[Features]],
        domains: Mapping[str, Domain],
        extractor: str,
        seconds: float,
        augmented: Set[tuple[str, str]] = frozenset(),
        computed_rows: int = 0,
    ):
        self._features = dict(features)
        self._domains = dict(domains)
        self.extractor = extractor
        self.seconds = seconds
        self._augmented = set(augmented)
        self.computed_rows = computed_rows

    def without_augmentation(self, domain: str, split: str) -> Features | None:
        """Returns the features of the rows without augmentation, or None if there are none."""
        found = self._features.get((domain, split))
        return None if found is None or (domain, split) in self._augmented else found[0]

    def training_batches(
        self, *, domain: str = "source", batch_size: int, seed: int, start_step: int, steps: int,
        with_labels: bool = True,
    ):  # fmt: skip
        """Returns training batches of features; see `tlkeras.data.training_batches`."""
        rows = self._domains[domain].splits["train"]
        return feature_batches.training_batches(
            self._features[domain, "train"], rows, self._domains[domain], batch_size=batch_size, seed=seed,
            start_step=start_step, steps=steps, with_labels=with_labels,
        )  # fmt: skip

    def evaluation_batches(self, *, domain: str = "source", split: str = "val", batch_size: int):
        """Returns batches of the features of a split; see `tlkeras.data.evaluation_batches(pad=True)`."""
        rows = self._domains[domain].splits[split]
        (features,) = self._features[domain, split]
        return feature_batches.evaluation_batches(
            features, rows, self._domains[domain], batch_size=batch_size
        )


def nothing_to_keep(config: CacheConfig, model) -> bool:
    """Whether a stage has no trunk whose outputs could be stored, or the config disables the cache.

    Args:
        config: Config of the cache.
        model: Transfer model with the stage selected.
    """
    if not config.enabled:
        return True
    try:
        return not model.trunk().variables  # there is no backbone before the head
    except ValueError:  # no block is frozen
        return True


def reason_against(stage: StageConfig, data: DataConfig) -> str | None:
    """Returns why the inputs of a stage's frozen trunk change in every epoch, or None if they do not.

    Args:
        stage: Config of the stage.
        data: Config of the data with `pretext` and `views`.
    """
    if data.pretext is not None:
        return "turns and views of a pretext task are drawn anew in every epoch"
    if stage.augment.mixup or stage.augment.cutmix:
        return "mixup and cutmix mix pixels anew in every epoch"
    if not stage.augment.is_identity and data.views is None:
        return "its inputs are augmented at random (data.views=K uses K fixed views)"
    return None


def too_short(stage: StageConfig, data: DataConfig, batches_read: int, rows: Sequence[int], batch_size: int):
    """Whether a stage reads fewer batches than an extraction would compute.

    Args:
        stage: Config of the stage with its augmentation.
        data: Config of the data with `views`.
        batches_read: Number of batches of one domain that the stage reads.
        rows: Number of training rows of each domain.
        batch_size: Number of rows of a batch.
    """
    views = 1 if stage.augment.is_identity else data.views or 1
    return batches_read < views * sum(max(count // batch_size, 1) for count in rows)


def open_stage(
    cache: FeatureCache,
    model,
    stage: StageConfig,
    splits: Sequence[tuple[Domain, str, int]],
    *,
    title: str,
    facts: dict | None = None,
    extractor: str | None = None,
) -> StageFeatures | None:
    """Returns the features of splits, or None (with a notice) if they do not save time.

    Args:
        cache: Feature cache.
        model: Transfer model with the stage selected.
        stage: Config of the stage with its augmentation.
        splits: Domains and names of splits, each with the seed of its augmentation.
        title: Text before progress lines.
        facts: Facts for people that are stored with the entries.
        extractor: Name of the extractor that an earlier process of the run used, or None for the config's.
    """
    places, requests = [], []
    for domain, split, seed in splits:
        for request in _requests(domain, split, stage, seed):
            places.append((domain.name, split))
            requests.append(request)
    began = time.monotonic()
    try:
        opened = cache.open(model.trunk(), requests, extractor=extractor, title=title, facts=facts)
    except NotWorthwhile as reason:
        messages.note(f"{title}: {IN_EVERY_STEP}: {reason}.")
        return None
    features: dict[tuple[str, str], list[Features]] = {}
    for place, found in zip(places, opened.features, strict=True):
        features.setdefault(place, []).append(found)
    seconds = time.monotonic() - began
    if not opened.computed_rows:
        messages.note(f"{title}: features of an earlier run are reused ({opened.extractor}).")
    augmented = set() if stage.augment.is_identity else {place for place in places if place[1] == "train"}
    by_name = {domain.name: domain for domain, _, _ in splits}
    return StageFeatures(features, by_name, opened.extractor, seconds, augmented, opened.computed_rows)


def steps_per_execution(model: keras.Model, per_epoch: int, every_steps: int | None) -> int:
    """Returns the number of steps per call for training on features, if the config leaves it open.

    A call of Python takes about half a millisecond, which is as long as some steps of a small head. The
    number divides `checkpoint.every_steps`, so that checkpoints stay at their steps.

    Args:
        model: Transfer model. If blocks are trained, the number is smaller, because their steps are longer.
        per_epoch: Number of steps of an epoch.
        every_steps: Number of steps between checkpoints within an epoch.
    """
    backbone_trains = any(variable.trainable for variable in model.backbone.variables)
    most = min(8 if backbone_trains else 64, per_epoch)
    if every_steps is None:
        return most
    return max(divisor for divisor in range(1, most + 1) if every_steps % divisor == 0)


def _requests(domain: Domain, split: str, stage: StageConfig, seed: int) -> list[Request]:
    rows = domain.splits[split]
    if split != "train" or stage.augment.is_identity:
        return [Request(rows, domain, split)]
    views = range(domain.config.views or 1)
    return [Request(rows, domain, split, augment=stage.augment, seed=seed, view=view) for view in views]
