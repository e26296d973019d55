"""Corruptions: exact at level 0, deterministic by seed and index, of the size they say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from resque.shifts import KINDS, Corruption, parse_corruption


def picture(value=128, size=64, mode="RGB"):
    return Image.new(mode, (size, size), (value,) * 3 if mode == "RGB" else value)


@pytest.mark.parametrize("name", KINDS)
def test_level_0_changes_nothing_and_indices_matter(name):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    assert Corruption(name, 0)(image, 3) is image
    noise = Corruption(name, 0.5, seed=1)
    first, again = np.asarray(noise(image, 3)), np.asarray(noise(image, 3))
    assert (first == again).all()
    assert (first != np.asarray(image)).any()
    other = np.asarray(noise(image, 4))
    assert (first == other).all() == (name == "blur")


def test_gaussian_has_its_deviation_and_is_clipped():
    noisy = np.asarray(Corruption("gaussian", 0.1)(picture(), 0)) / 255
    assert noisy.mean() == pytest.approx(128 / 255, abs=0.005)
    assert noisy.std() == pytest.approx(0.1, rel=0.03)
    bright = np.asarray(Corruption("gaussian", 0.5)(picture(255), 0))
    assert (bright == 255).mean() == pytest.approx(0.5, abs=0.02)  # clipped, not wrapped to dark


def test_salt_pepper_sets_whole_pixels():
    noisy = np.asarray(Corruption("salt_pepper", 0.2)(picture(), 0))
    changed = (noisy != 128).any(axis=2)
    assert changed.mean() == pytest.approx(0.2, abs=0.02)
    assert set(np.unique(noisy[changed])) == {0, 255}
    assert (noisy[changed].min(axis=1) == noisy[changed].max(axis=1)).all()


def test_blur_is_a_gaussian():
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[20, 20] = 255
    blurred = np.asarray(Corruption("blur", 1.0)(Image.fromarray(dot), 0))[..., 0] / 255
    assert blurred[20, 20] == pytest.approx(1 / (2 * np.pi), abs=0.005)
    assert blurred[20, 21] / blurred[20, 20] == pytest.approx(np.exp(-0.5), abs=0.03)


def test_grey_images_stay_grey():
    assert Corruption("gaussian", 0.1)(picture(mode="L"), 0).mode == "L"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fog:1", "gaussian, salt_pepper, blur"),
        ("gaussian", "NAME:LEVEL"),
        ("gaussian:x", "NAME:LEVEL"),
        ("gaussian:nan", "NAME:LEVEL"),
        ("gaussian:-1", "from 0 up"),
        ("gaussian:inf", "from 0 up"),
        ("salt_pepper:1.5", "from 0 to 1"),
    ],
)
def test_bad_corruptions_are_named(text, words):
    with pytest.raises(ValueError, match=words):
        parse_corruption(text)


def test_text_and_corruption_are_one():
    assert str(parse_corruption("blur:1.5")) == "blur:1.5"
