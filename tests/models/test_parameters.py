import pytest

from tlkeras import run_experiment
from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig


@pytest.mark.usefixtures("without_report")
def test_table_of_what_matched_lies_in_the_run(tmp_path, capsys):
    def config(filters, weights):
        return ExperimentConfig(
            data=DataConfig(source="digits", image_size=8, limit=40),
            model=ModelConfig(backbone="small_cnn", weights=weights, backbone_options={"filters": filters}),
            stages=[StageConfig(name="head", epochs=1)],
        )

    run_experiment(config([4, 6], None), tmp_path / "source")
    assert not (tmp_path / "source" / "parameter_transfer.csv").exists()
    capsys.readouterr()
    run = run_experiment(config([4, 8], str(tmp_path / "source")), tmp_path / "target")
    rows = run.run_dir.read_rows("parameter_transfer.csv")
    pairs = {(row["layer"], row["outcome"]) for row in rows}
    assert {("conv_1", "matched"), ("conv_2", "initial"), ("conv_2", "unused")} <= pairs
    assert "2 layers matched" in capsys.readouterr().out
