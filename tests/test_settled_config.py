"""What a backbone decides in a config before a run begins."""

import numpy as np
import pytest

from tlkeras import load_config, run_experiment
from tlkeras.errors import UserError
from tlkeras.models.backbones.registry import LOW_RATE, USUAL_RATE
from tlkeras.run_dir import RunDir
from tlkeras.settled_config import checked

RECOMMENDED = {"learning_rate": "recommended"}
STAGES = [
    {"name": "head", "train": "head", "epochs": 1, "optimizer": {"learning_rate": 0.01}},
    {"name": "finetune", "train": "last:1", "epochs": 1, "optimizer": RECOMMENDED},
]


def config(backbone="small_cnn", **more):
    return load_config(
        {
            "name": "settled",
            "data": {"source": "synthetic:shapes?n=24", "image_size": 16, "batch_size": 8},
            "model": {"backbone": backbone, "weights": None},
            "stages": STAGES,
        }
        | more
    )


def rates(found):
    return [stage.optimizer.learning_rate for stage in found]


@pytest.mark.parametrize(
    "backbone", ["resnet50", "mobilenet_v2", "efficientnet_b0", "mobilenetv4_conv_small"]
)
def test_convolutional_networks_have_the_usual_rate(backbone):
    assert rates(checked(config(backbone)).stages) == [0.01, USUAL_RATE]


@pytest.mark.parametrize(
    "backbone",
    ["vit_tiny", "deit_small", "dinov2_small", "dinov3_small", "clip_base_16", "siglip_base", "swin_tiny",
     "convnext_tiny", "convnextv2_atto", "dinov3_convnext_tiny", "minilm_l6"],
)  # fmt: skip
def test_transformers_and_networks_with_layer_norm_have_a_lower_rate(backbone):
    assert rates(checked(config(backbone)).stages) == [0.01, LOW_RATE] and LOW_RATE < USUAL_RATE


def test_a_family_can_have_a_rate_of_its_own():
    assert rates(checked(config("efficientnet_lite0")).stages) == [0.01, 1e-3]


def test_a_network_of_your_own_has_a_rate_between_them():
    assert rates(checked(config("keras_file")).stages) == [0.01, 1e-4] and LOW_RATE < 1e-4 < USUAL_RATE


def test_it_is_the_rate_of_the_fallback_if_that_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # no weights of MobileNetV2 here
    found = checked(load_config("image_folder"))
    assert found.model.backbone == "efficientnet_lite0" and rates(found.stages)[1] == 1e-3


def test_parts_of_a_row_have_the_lowest_rate_of_their_backbones():
    found = checked(
        load_config("csv_with_pictures_and_text", ["stages.0.optimizer.learning_rate=recommended"])
    )
    assert rates(found.stages)[0] == LOW_RATE


def test_stages_of_a_source_task_have_it_too():
    tasks = {"strategy": "share_weights", "source": {"source": "synthetic:shapes"}, "stages": STAGES[1:]}
    found = checked(config("vit_tiny", tasks=tasks))
    assert rates(found.tasks.stages) == [LOW_RATE]


@pytest.mark.usefixtures("without_report")
def test_a_run_trains_with_the_rate_and_keeps_it_in_its_config(tmp_path):
    run_experiment(config(), tmp_path / "run")
    kept = load_config(RunDir(tmp_path / "run").config)
    assert rates(kept.stages) == [0.01, USUAL_RATE]
    logged = RunDir(tmp_path / "run").stage_metrics(1, "finetune").read_text().splitlines()
    column = logged[0].split(",").index("learning_rate")
    assert np.isclose(float(logged[-1].split(",")[column]), USUAL_RATE)


def test_a_word_that_is_no_rate_is_refused():
    stages = [STAGES[0], {**STAGES[1], "optimizer": {"learning_rate": "recomended"}}]
    with pytest.raises(UserError, match="recommended"):
        config(stages=stages)
