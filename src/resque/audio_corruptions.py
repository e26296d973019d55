"""Corruptions of sound: samples (T,) of float32 in [-1, 1] in, as many out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]
ORDER = 5  # of the Butterworth filter, which runs forwards and backwards


def corrupt_audio(
    samples: Any,
    apply: Callable[[Sound, float, np.random.Generator], Any],
    level: float,
    rng: np.random.Generator,
) -> Sound:
    """Return the corrupted samples, float32.

    Args:
        samples: (T,), at the sampling rate that the model takes.
        apply: one of this module's corruptions.
        level: its strength.
        rng: what it draws from.
    """
    sound = np.asarray(samples, np.float32)
    return np.asarray(apply(sound, level, rng) if len(sound) else sound, np.float32)


def white_noise(samples: Sound, level: float, rng: np.random.Generator) -> Any:
    """Add normal noise whose amplitude (root mean square) is `level` × the sound's."""
    amplitude = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return samples + level * amplitude * rng.standard_normal(samples.shape)


def gain(samples: Sound, level: float, rng: np.random.Generator) -> Any:
    """Amplify by `level` dB, and clip to [-1, 1]."""
    return np.clip(samples * 10 ** (level / 20), -1, 1)


def low_pass(samples: Sound, level: float, rng: np.random.Generator) -> Any:
    """Take away the upper share `level` of the frequencies, without a delay.

    A Butterworth filter at (1 − level) × half the sampling rate, where 6 dB are lost.
    """
    from scipy.signal import butter, sosfiltfilt

    cut = min(1 - level, 1 - 1e-9)  # scipy wants it below half the rate
    sections = butter(ORDER, cut, output="sos")
    usual = 3 * (2 * len(sections) + 1)  # what scipy continues the sound by at its ends
    return sosfiltfilt(sections, samples.astype(np.float64), padlen=min(usual, len(samples) - 1))
