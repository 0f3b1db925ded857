"""A source task that is trained here, and how the target task shares its network."""

from typing import Annotated, Literal

from pydantic import Field

from tlkeras.config.base import Config
from tlkeras.config.data import DataConfig
from tlkeras.config.model import AdapterConfig, HeadConfig, LinearHeadConfig, NeckConfig
from tlkeras.config.stage import FitStageConfig, StageConfig


class TasksConfig(Config):
    """A source task beside the run's own, the target task; the backbone is their common part.

    Neck, head and, for inputs of different shape, an adapter in front of the common part are each task's
    private part; the target's are those of `model`. Names of the strategies by what crosses over:

    - `fix_common`: the source trains the common part, which then stays; the target trains its private part.
    - `share_weights`: the target starts from the source's common part and trains it on, as its stages say.
    - `private_first`: the source trains only its private part on the common part as given; then the
      target trains common and private parts, as its stages say.
    - `share_gradients`: both train together in one stage, and their gradients meet in the common part.

    Attributes:
        strategy: How the common part is shared.
        source: Data of the source task, with classes of its own; `on_error` is that of `data` where left at
            its default.
        head: The source's private head.
        neck: The source's private neck, with its branches; None is one like the target's.
        adapter: The source's private input branch; its last width is that of the common part's inputs. None,
            where the inputs are vectors of another width than the target's, is one linear layer.
        stages: How the source task is trained, where it is trained by itself.
        weight: `share_gradients`: factor of the source's loss.
        batches: `share_gradients`: each step takes a batch of both tasks (`joint`), or of the target in
            even and of the source in odd steps (`alternating`; updates, where batches are accumulated). The
            private part of the idle task stays as it is.
        joint_run: Set in the run that trains both, which a run with tasks starts itself.
    """

    strategy: Literal["fix_common", "share_weights", "private_first", "share_gradients"] = "share_weights"
    source: DataConfig
    head: HeadConfig = LinearHeadConfig()
    neck: NeckConfig | None = None
    adapter: AdapterConfig | None = None
    stages: tuple[StageConfig, ...] = (FitStageConfig(name="source", train="all", bn="train"),)
    weight: Annotated[float, Field(ge=0)] = 1.0
    batches: Literal["joint", "alternating"] = "joint"
    joint_run: bool = False
