"""Corruptions of sound against what they say they are."""

from __future__ import annotations

import numpy as np
import pytest

from resque.shifts import KINDS, Corruption, severities_of

NAMES = [name for name, kind in KINDS.items() if kind.modality == "audio"]
RATE = 16_000


def tone(*hertz, seconds=0.5, amplitude=0.1):
    t = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * sum(np.sin(2 * np.pi * f * t) for f in hertz)).astype(np.float32)


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def snr(clean, noisy):
    return 20 * np.log10(rms(clean) / rms(noisy.astype(np.float64) - clean))


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_is_farther_from_the_clean_sound(name):
    clean = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    noisy = [Corruption(name, level)(clean, 0) for level in severities_of(name)]
    assert all(x.dtype == np.float32 and x.shape == clean.shape for x in noisy)
    far = [rms(x - clean) for x in noisy]
    assert far == sorted(set(far))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_short_sounds(name, n):
    sound = np.linspace(0.1, 0.2, n, dtype=np.float32)
    for level in (1e-12, *severities_of(name), min(KINDS[name].highest, 9.0)):
        noisy = Corruption(name, level)(sound, 0)
        assert noisy.shape == (n,)
        assert np.isfinite(noisy).all()


@pytest.mark.parametrize(("level", "decibels"), [(0.01, 40), (0.1, 20), (1.0, 0)])
def test_white_noise_has_its_ratio_to_the_sound(level, decibels):
    for amplitude in (0.01, 0.5):
        clean = tone(440, amplitude=amplitude)
        noisy = Corruption("white_noise", level)(clean, 0)
        assert snr(clean, noisy) == pytest.approx(decibels, abs=0.3)
    spectrum = np.abs(np.fft.rfft(Corruption("white_noise", 1.0)(clean, 1) - clean)) ** 2
    low, high = np.array_split(spectrum, 2)
    assert low.mean() == pytest.approx(high.mean(), rel=0.15)  # white
    assert not Corruption("white_noise", 1.0)(np.zeros(99, np.float32), 0).any()


def test_gain_is_in_decibels_and_clips():
    clean = tone(440)
    assert Corruption("gain", 12)(clean, 0) == pytest.approx(clean * 10 ** (12 / 20), rel=1e-6)
    assert Corruption("gain", -20)(clean, 0) == pytest.approx(clean / 10, rel=1e-6)
    loud = Corruption("gain", 40)(clean, 0)
    assert np.abs(loud).max() == 1
    assert (np.abs(loud) == 1).mean() > 0.9


def test_low_pass_takes_the_upper_frequencies_away():
    kept, cut = tone(500), tone(6000)
    half = Corruption("low_pass", 0.5)(kept + cut, 0)  # at 4 kHz
    middle = slice(1000, -1000)
    assert half[middle] == pytest.approx(kept[middle], abs=1e-3)  # nor is it delayed
    edge = tone(4000)
    loss = 20 * np.log10(rms(Corruption("low_pass", 0.5)(edge, 0)[middle]) / rms(edge[middle]))
    assert loss == pytest.approx(-6.02, abs=0.1)
