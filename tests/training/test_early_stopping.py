"""Early stopping remembers over a restart, also where nothing is left to train."""

from tlkeras.config import EarlyStoppingConfig
from tlkeras.training.callbacks import EarlyStopping

CONFIG = EarlyStoppingConfig(monitor="val_loss", patience=3)
MEMORY = {"wait": 1, "best": 1.38, "best_epoch": 0, "stopped_epoch": 0}


def test_memory_is_kept_without_a_fit():
    assert EarlyStopping(CONFIG, MEMORY).state() == MEMORY


def test_memory_survives_the_beginning_of_fit():
    stopping = EarlyStopping(CONFIG, MEMORY)
    stopping.on_train_begin()
    assert stopping.state() == MEMORY
