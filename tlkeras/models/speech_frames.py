"""The frames that Google's speech embedding takes, in numbers. It does not import Keras."""

RATE = 16_000
LENGTH, HOP, WINDOW = 512, 160, 400  # samples of the Fourier transform, between two frames, of the window
BANDS, LOW, HIGH = 32, 60.0, 3800.0
SHORTEST = 76  # frames


def frames_of(samples: int) -> int:
    """Returns how many frames sounds of so many samples have."""
    return 1 + (samples - LENGTH) // HOP
