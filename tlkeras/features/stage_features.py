"""What a stage trains on in place of pixels, where its trunk is frozen."""

import time
from collections.abc import Mapping, Sequence

import keras

from tlkeras import messages
from tlkeras.config import CacheConfig, DataConfig, StageConfig
from tlkeras.data import Domain, feature_batches
from tlkeras.data.feature_batches import Features
from tlkeras.features.cache import FeatureCache, NotWorthwhile
from tlkeras.features.identity import Request

IN_EVERY_STEP = "the frozen trunk is computed in every step"
TOO_SHORT = "the stage is too short to repay keeping its features"


class StageFeatures:
    """The features of the splits that a stage trains and validates on.

    Args:
        features: By domain name and split; one per view.
        domains: By name.
        extractor: Name of the extractor that made them.
        seconds: What it took to compute or to read them.
        augmented: Domain names and splits whose features are those of augmented views.
        computed_rows: Rows whose features were not kept before.
    """

    def __init__(
        self,
        features: Mapping[tuple[str, str], list[Features]],
        domains: Mapping[str, Domain],
        extractor: str,
        seconds: float,
        augmented: set[tuple[str, str]] = frozenset(),
        computed_rows: int = 0,
    ):
        self._features = dict(features)
        self._domains = dict(domains)
        self.extractor = extractor
        self.seconds = seconds
        self._augmented = set(augmented)
        self.computed_rows = computed_rows

    def without_augmentation(self, domain: str, split: str) -> Features | None:
        """Returns the features of the rows as they are; None where there are none."""
        found = self._features.get((domain, split))
        return None if found is None or (domain, split) in self._augmented else found[0]

    def training_batches(
        self, *, domain: str = "source", batch_size: int, seed: int, start_step: int, steps: int,
        with_labels: bool = True,
    ):  # fmt: skip
        """As `tlkeras.data.training_batches` of a domain's train split."""
        rows = self._domains[domain].splits["train"]
        return feature_batches.training_batches(
            self._features[domain, "train"], rows, self._domains[domain], batch_size=batch_size, seed=seed,
            start_step=start_step, steps=steps, with_labels=with_labels,
        )  # fmt: skip

    def evaluation_batches(self, *, domain: str = "source", split: str = "val", batch_size: int):
        """As `tlkeras.data.evaluation_batches(pad=True)` of a split."""
        rows = self._domains[domain].splits[split]
        (features,) = self._features[domain, split]
        return feature_batches.evaluation_batches(
            features, rows, self._domains[domain], batch_size=batch_size
        )


def nothing_to_keep(config: CacheConfig, model) -> bool:
    """Whether a stage has no trunk whose outputs could be kept, or the config wants none kept.

    Args:
        config: Whether the cache is enabled.
        model: The transfer model with the stage selected.
    """
    if not config.enabled:
        return True
    try:
        return not model.trunk().variables  # nothing stands before the head
    except ValueError:  # no block is frozen
        return True


def reason_against(stage: StageConfig, data: DataConfig) -> str | None:
    """Says why pixels before a stage's frozen trunk change with every epoch; None where they do not.

    Args:
        stage: The stage.
        data: Its `pretext` and `views`.
    """
    if data.pretext is not None:
        return "turns and views of a pretext task are drawn anew in every epoch"
    if stage.augment.mixup or stage.augment.cutmix:
        return "mixup and cutmix mix pixels anew in every epoch"
    if not stage.augment.is_identity and data.views is None:
        return "random augmentation stands before it (data.views=K keeps K fixed views)"
    return None


def too_short(stage: StageConfig, data: DataConfig, batches_read: int, rows: Sequence[int], batch_size: int):
    """Returns whether a stage reads fewer rows than there are to compute, counted in whole batches.

    Args:
        stage: Its augmentation.
        data: Its `views`.
        batches_read: Batches of one domain that all steps of the stage read.
        rows: Training rows of each domain.
        batch_size: Rows of a batch.
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
    """Returns features of splits; None, with a notice, where they do not pay.

    Args:
        cache: The feature cache.
        model: The transfer model with the stage selected.
        stage: Its augmentation.
        splits: Domains and names of splits, each with the seed of its augmentation.
        title: Stands before progress lines.
        facts: Kept beside the entries, for people.
        extractor: The one that an earlier process of this run used; None is the config's.
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
    """Returns how many steps of training on features one call does, where the config leaves that open.

    Python takes about half a millisecond a call, as long as some steps of a small head. A divisor of
    `checkpoint.every_steps` keeps checkpoints where they would be.

    Args:
        model: The transfer model; a stage that trains blocks takes fewer steps, as each is longer.
        per_epoch: Steps of an epoch.
        every_steps: Steps between checkpoints within an epoch.
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
