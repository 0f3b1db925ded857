import pytest

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, StageConfig
from tlkeras.studies.experiment import run_experiment


def tiny_experiment(**data) -> ExperimentConfig:
    return ExperimentConfig(
        name="tiny",
        data=DataConfig(source="synthetic:shapes", image_size=32, limit=160, **data),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [8, 16]}),
        stages=[
            StageConfig(
                name="all", train="all", bn="train", epochs=4, optimizer=OptimizerConfig(learning_rate=1e-2)
            )
        ],
    )


@pytest.fixture
def experiment():
    """Makes the config of a small image run; its words go to the data."""
    return tiny_experiment


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The directory of a small image run; tests leave it as it is, but for `export/`."""
    return run_experiment(tiny_experiment(), tmp_path_factory.mktemp("export") / "run").path
