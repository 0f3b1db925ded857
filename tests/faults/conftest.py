"""One server of real processes for all fault tests."""

import pytest
from commands_process import CommandServer
from fault_words import train
from run_outcome import outcome


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Starts commands in processes of their own; the mirrored ones have two logical CPUs."""
    # oneDNN shares its state between logical CPUs; see tlkeras.backend
    found = CommandServer(tmp_path_factory.mktemp("logs"), {"TF_ENABLE_ONEDNN_OPTS": "0"})
    yield found
    found.close()


@pytest.fixture(scope="session")
def finished_run(server, tmp_path_factory):
    """The small training when nobody disturbs it; see `fault_words.train`."""
    folder = tmp_path_factory.mktemp("alone")
    ended = server.run(*train(folder))
    assert ended.code == 0, ended.output
    return folder / "run"


@pytest.fixture(scope="session")
def alone(finished_run):
    """What it comes to."""
    return outcome(finished_run)


@pytest.fixture
def second_server(tmp_path_factory):
    """A second one, for two commands at once."""
    found = CommandServer(tmp_path_factory.mktemp("more_logs"))
    yield found
    found.close()
