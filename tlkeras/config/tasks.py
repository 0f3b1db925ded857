"""Config of a source task that is trained in the same experiment, and of the sharing of its network."""

from typing import Annotated, Literal

from pydantic import Field

from tlkeras.config.base import Config
from tlkeras.config.data import DataConfig
from tlkeras.config.model import AdapterConfig, HeadConfig, LinearHeadConfig, NeckConfig
from tlkeras.config.stage import FitStageConfig, StageConfig


class TasksConfig(Config):
    """A source task in addition to the target task of the run. The backbone is their common part.

    Neck, head and, for inputs of different shape, an adapter before the common part are the private part of
    each task. Those of the target are in `model`. The strategies are:

    - `fix_common`: the source trains the common part, which is then frozen. The target trains its private
      part.
    - `share_weights`: the target starts from the common part of the source and trains it in its stages.
    - `private_first`: the source trains only its private part on the given common part. Then the target
      trains common and private parts in its stages.
    - `share_gradients`: both train together in one stage, and their gradients add up in the common part.

    Attributes:
        strategy: Strategy by which the common part is shared.
        source: Data of the source task with its own classes. `on_error` is that of `data` unless it is set.
        head: Private head of the source.
        neck: Private neck of the source with its branches. None uses a neck like that of the target.
        adapter: Private input branch of the source, whose last width is that of the common part's inputs.
            None uses one linear layer if the inputs are vectors of another width than those of the target.
        stages: Stages of the source task if it is trained alone.
        weight: Factor of the source's loss with `share_gradients`.
        batches: Batches with `share_gradients`: each step has a batch of both tasks (`joint`), or even steps
            have a batch of the target and odd steps a batch of the source (`alternating`). If batches are
            accumulated, updates alternate. The private part of the idle task does not change.
        joint_run: Mark of the run that trains both tasks. A run with tasks sets it itself.
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
