"""The numbers that keep the random draws of a run apart.

Everything random depends on the seed of the run. Two purposes draw independently, because one of them adds
its own number to the seed, or because their streams differ. With another number here, the same config would
train other weights.
"""

# These are added to the seed of the run.
TARGET = 7919  # order and augmentation of target rows
SECOND_TASK = 15_485_863  # order and augmentation of the rows of a source task
SECOND_VIEW = 982_451_653  # second view of a picture
EVALUATION_VIEWS = 32_452_843  # views of validation rows
SECOND_CLASSIFIER = 100  # initial weights of MCD's second classifier

# These are the streams in which rows are chosen.
SPLIT, LIMIT, FOLD, SHOTS = range(4)

# These are the streams of a row in an epoch, of which there can be eight.
AUGMENT, RANDAUGMENT, MIX, MIXUP, CUTMIX, TURNS, NOISE, WINDOW = range(8)


def seed_of_part(seed: int, index: int) -> int:
    """Returns the seed of one of many parts, such as variables.

    Args:
        seed: Seed of the run.
        index: Number of the part, from 0.
    """
    return seed * 10_007 + index
