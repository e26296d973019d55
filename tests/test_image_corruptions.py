"""Each corruption of images against what it says it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from resque.shifts import KINDS, Corruption, severities_of

NAMES = [name for name, kind in KINDS.items() if kind.modality == "image"]


def picture(value=128, size=64, mode="RGB"):
    return Image.new(mode, (size, size), (value,) * 3 if mode == "RGB" else value)


def scene(height=96, width=96, seed=0):
    """Smooth shapes of all greys, somewhat as photographs have them."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = gaussian_filter(noise, (4, 4, 0))
    return Image.fromarray(np.uint8(255 * np.clip(0.5 + smooth / smooth.std() / 4, 0, 1)))


def corrupt(name, level, image, index=0):
    return np.asarray(Corruption(name, level)(image, index), np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_is_farther_from_the_clean_images(name):
    images = [scene(seed=i) for i in range(3)]
    far = [
        np.mean([np.abs(corrupt(name, level, x, i) - np.asarray(x)) for i, x in enumerate(images)])
        for level in (0.0, *severities_of(name))
    ]
    assert far[0] == 0
    assert far == sorted(set(far))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_mode_and_size_stay(name, mode):
    image = scene(21, 33).convert(mode)
    for level in (*severities_of(name), min(KINDS[name].highest, 20.0)):
        out = Corruption(name, level)(image, 0)
        assert (out.mode, out.size) == (mode, (33, 21))


def test_gaussian_has_its_deviation_and_is_clipped():
    noisy = corrupt("gaussian", 0.1, picture()) / 255
    assert noisy.mean() == pytest.approx(128 / 255, abs=0.005)
    assert noisy.std() == pytest.approx(0.1, rel=0.03)
    bright = corrupt("gaussian", 0.5, picture(255))
    assert (bright == 255).mean() == pytest.approx(0.5, abs=0.02)  # clipped, not wrapped to dark


def test_gaussian_salt_pepper_and_blur_are_drawn_as_they_always_were():
    """The first corruptions, written out: published records name them by seed and index."""
    image = scene(16, 16)
    pixels = np.asarray(image, np.float64) / 255
    rng = np.random.default_rng(np.random.SeedSequence((7, 3)))
    noisy = np.clip(pixels + 0.2 * rng.standard_normal(pixels.shape), 0, 1)
    assert (np.asarray(Corruption("gaussian", 0.2, 7)(image, 3)) == np.rint(noisy * 255)).all()
    draw = np.random.default_rng(np.random.SeedSequence((7, 3))).random((16, 16))
    salted = np.asarray(image).copy()
    salted[draw < 0.3] = 255
    salted[draw < 0.15] = 0
    assert (np.asarray(Corruption("salt_pepper", 0.3, 7)(image, 3)) == salted).all()
    smooth = np.rint(gaussian_filter(pixels, (1.5, 1.5, 0), mode="nearest") * 255)
    assert (np.asarray(Corruption("blur", 1.5, 7)(image, 3)) == smooth).all()


def test_gaussian_wrapped_is_the_official_arithmetic():
    """Torch's: bytes / 255 + noise in float32, × 255, to bytes without clipping."""
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([values, values[::-1], values.T], axis=2)
    for level in (0.02, 0.1, 0.5):
        rng = np.random.default_rng(np.random.SeedSequence((0, 5)))
        noise = torch.from_numpy(rng.standard_normal(image.shape, np.float32)) * level
        official = (torch.from_numpy(image).float().div(255) + noise).mul(255).byte().numpy()
        assert (corrupt("gaussian_wrapped", level, Image.fromarray(image), 5) == official).all()
    black = corrupt("gaussian_wrapped", 0.02, picture(0))
    assert ((black > 200).mean(), (black < 50).mean()) == pytest.approx((0.42, 0.58), abs=0.03)


def test_shot_noise_grows_with_the_square_root_of_the_light():
    for grey in (60, 128, 200):
        noisy = corrupt("shot", 0.1, picture(grey)) / 255
        assert noisy.mean() == pytest.approx(grey / 255, rel=0.01)
        assert noisy.std() == pytest.approx(0.1 * np.sqrt(grey / 255), rel=0.05)
    assert not corrupt("shot", 0.5, picture(0)).any()
    assert (corrupt("shot", 1e-300, picture(77)) == 77).all()


def test_speckle_grows_with_the_pixel():
    for grey in (60, 128, 200):
        noisy = corrupt("speckle", 0.1, picture(grey)) / 255
        assert noisy.mean() == pytest.approx(grey / 255, rel=0.02)
        assert noisy.std() == pytest.approx(0.1 * grey / 255, rel=0.05)


def test_salt_pepper_sets_whole_pixels_and_impulse_single_values():
    noisy = corrupt("salt_pepper", 0.2, picture())
    changed = (noisy != 128).any(axis=2)
    assert changed.mean() == pytest.approx(0.2, abs=0.02)
    assert set(np.unique(noisy[changed])) == {0, 255}
    assert (noisy[changed].min(axis=1) == noisy[changed].max(axis=1)).all()
    noisy = corrupt("impulse", 0.2, picture())
    changed = noisy != 128
    assert changed.mean() == pytest.approx(0.2, abs=0.02)
    assert (noisy == 255).mean() == pytest.approx(0.1, abs=0.02)
    assert (noisy == 0).mean() == pytest.approx(0.1, abs=0.02)
    assert changed.all(axis=2).mean() == pytest.approx(0.2**3, abs=0.01)  # channels by themselves


def dot(size=41):
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[size // 2, size // 2] = 255
    return Image.fromarray(pixels)


def test_blur_is_a_gaussian():
    blurred = corrupt("blur", 1.0, dot())[..., 0] / 255
    assert blurred[20, 20] == pytest.approx(1 / (2 * np.pi), abs=0.005)
    assert blurred[20, 21] / blurred[20, 20] == pytest.approx(np.exp(-0.5), abs=0.03)


@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
def test_defocus_blur_is_a_disk(radius):
    blurred = corrupt("defocus_blur", radius, dot())[..., 0] / 255
    y, x = np.mgrid[-20:21, -20:21]
    away = np.hypot(y, x)
    inner, outer = away < radius - 0.71, away > radius + 0.71
    assert blurred[inner] == pytest.approx(1 / (np.pi * radius**2), abs=0.005)
    assert not blurred[outer].any()
    assert blurred == pytest.approx(blurred.T, abs=1e-9)


def test_motion_blur_is_a_line_at_an_angle_of_its_own():
    y, x = np.mgrid[-20:21, -20:21]
    angles = []
    for index in range(12):
        blurred = corrupt("motion_blur", 12.0, dot(), index)[..., 0] / 255
        weights = blurred / blurred.sum()
        spread = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=weights.ravel(), ddof=0)
        small, large = np.linalg.eigvalsh(spread)
        assert large == pytest.approx(12**2 / 12, rel=0.06)  # of a uniform line
        assert small < 0.5
        angles.append(np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]) / 2)
    assert np.ptp(angles) > 2  # of π


def test_smoothing_keeps_the_edges_of_an_even_picture():
    for name in ("blur", "defocus_blur", "motion_blur"):
        assert (corrupt(name, 5.0, picture(201)) == 201).all()


def test_contrast_keeps_the_mean_of_each_channel():
    image = scene()
    clean, flat = np.asarray(image, np.float64), corrupt("contrast", 0.7, image)
    assert flat.mean(axis=(0, 1)) == pytest.approx(clean.mean(axis=(0, 1)), abs=0.1)
    assert flat.std(axis=(0, 1)) == pytest.approx(0.3 * clean.std(axis=(0, 1)), abs=0.3)
    grey = corrupt("contrast", 1.0, image)
    assert (np.ptp(grey, axis=(0, 1)) == 0).all()


def test_brightness_is_the_value_of_hsv():
    image = scene()
    before, after = (np.asarray(x.convert("HSV"), np.float64) / 255 for x in (
        image, Corruption("brightness", 0.2)(image, 0)
    ))  # fmt: skip
    assert after[..., 2] == pytest.approx(np.clip(before[..., 2] + 0.2, 0, 1), abs=0.005)
    bright = before[..., 2] > 0.3
    assert after[..., 1][bright] == pytest.approx(before[..., 1][bright], abs=0.03)
    assert (corrupt("brightness", 0.2, picture(0)) == 51).all()
    assert (corrupt("brightness", -0.2, picture(102)) == 51).all()
    assert (corrupt("brightness", 0.2, picture(100, mode="L")) == 151).all()


def test_jpeg_has_the_quality_that_is_left():
    image, buffer = scene(), io.BytesIO()
    image.save(buffer, "JPEG", quality=15)
    with Image.open(buffer) as other:
        assert (corrupt("jpeg", 85, image) == np.asarray(other)).all()


def test_pixelate_makes_blocks_of_averages():
    image = scene(32, 48)
    blocks = np.asarray(image, np.float64).reshape(8, 4, 12, 4, 3).mean(axis=(1, 3))
    found = corrupt("pixelate", 0.75, image)
    assert found == pytest.approx(
        blocks.repeat(4, axis=0).repeat(4, axis=1), abs=1.01
    )  # PIL rounds twice
    assert (np.ptp(corrupt("pixelate", 1.0, image), axis=(0, 1)) == 0).all()


def test_rotation_goes_to_either_side():
    image = scene(33, 33)
    clean = np.asarray(image)
    turns = [corrupt("rotation", 90.0, image, index) for index in range(20)]
    left = [np.abs(turn - np.rot90(clean)).max() <= 1 for turn in turns]
    right = [np.abs(turn - np.rot90(clean, 3)).max() <= 1 for turn in turns]
    assert all(a != b for a, b in zip(left, right, strict=True))
    assert 4 < sum(left) < 16
    bright = corrupt("rotation", 45.0, picture(200))
    assert (bright == 200).all()  # no black corners
