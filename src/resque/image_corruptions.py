"""Corruptions of [0, 1] pixels: an array (H, W, C) of float64 in, one of its shape out.

Values beyond [0, 1] are clipped by `corrupt_image`, which also rounds to 8 bits. All but
`gaussian_wrapped`, `salt_pepper`, `motion_blur` and `rotation` follow Hendrycks & Dietterich
(ICLR 2019, arXiv 1903.12261) and the code of ImageNet-C and CIFAR-10-C, with a level that rises
from 0 in place of a severity.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
MOST_PHOTONS = 1e12  # beyond, Poisson noise is far below the steps of 8 bits


def corrupt_image(
    image: Any,
    apply: Callable[[Pixels, float, np.random.Generator], Pixels],
    level: float,
    rng: np.random.Generator,
) -> Any:
    """Return the corrupted PIL image, of the same mode and size, rounded and clipped to 8 bits.

    Args:
        image: PIL image, mode RGB or L.
        apply: one of this module's corruptions.
        level: its strength.
        rng: what it draws from.
    """
    return _to_image(apply(_to_pixels(image), level, rng))


def _to_pixels(image: Any) -> Pixels:
    array = np.asarray(image, np.float64)
    pixels: Pixels = array.reshape(*array.shape[:2], -1) / 255
    return pixels


def _to_image(pixels: Pixels) -> Any:
    from PIL import Image

    array = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def gaussian(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Add normal noise of standard deviation `level`."""
    return pixels + level * rng.standard_normal(pixels.shape)


def gaussian_wrapped(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Add normal noise as RESQUE's official code does: to bytes modulo 256, without clipping.

    In float32, then × 255, cut towards 0 and taken modulo 256 (`helpers_noise/noise.py` and
    torchvision's `ToPILImage`), so that a little noise turns black pixels white. It is here to
    reproduce published figures alone; `gaussian` is what such noise should be.
    """
    noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(level)
    sums = (pixels.astype(np.float32) + noise) * np.float32(255)
    return np.asarray(sums.astype(np.int64) % 256 / 255)


def shot(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Count photons, 1 / level² of them in a white pixel, whose deviation is then `level`."""
    photons = min(1 / max(level, 1e-9) ** 2, MOST_PHOTONS)
    return rng.poisson(pixels * photons) / photons


def impulse(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Set each value, every channel by itself, to 0 or 1 with probability `level`."""
    return _salted(pixels, level, rng.random(pixels.shape))


def salt_pepper(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Set each pixel, all its channels at once, to black or white with probability `level`."""
    return _salted(pixels, level, rng.random(pixels.shape[:2])[..., None])


def _salted(pixels: Pixels, level: float, draw: Pixels) -> Pixels:
    return np.where(draw < level / 2, 0.0, np.where(draw < level, 1.0, pixels))


def speckle(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Add normal noise of standard deviation `level` × the pixel."""
    return pixels + level * pixels * rng.standard_normal(pixels.shape)


def blur(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Smooth with a Gaussian of standard deviation `level`, in pixels."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(pixels, sigma=(level, level, 0), mode="nearest"))


def defocus_blur(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Smooth with a disk of radius `level`, in pixels; its edge weighs by the area covered."""
    reach, fine = int(np.ceil(level)), 11
    at = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    inside = at[:, None] ** 2 + at**2 <= level**2
    covered = inside.reshape(2 * reach + 1, fine, -1, fine).mean(axis=(1, 3))
    return _convolve(pixels, covered / covered.sum())


def motion_blur(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Smooth along a line of length `level`, in pixels, at a random angle."""
    angle = rng.uniform(0, np.pi)
    reach, n = int(np.ceil(level / 2)), 16 * int(np.ceil(level))
    at = ((np.arange(n) + 0.5) / n - 0.5) * level
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2))  # the last row and column stay out
    y, x = reach + at * np.sin(angle), reach + at * np.cos(angle)
    row, column = y.astype(int), x.astype(int)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):  # each point weighs on four pixels
        weight = np.abs(1 - down - (y - row)) * np.abs(1 - right - (x - column))
        np.add.at(kernel, (row + down, column + right), weight / n)
    return _convolve(pixels, kernel[:-1, :-1])


def _convolve(pixels: Pixels, kernel: Pixels) -> Pixels:
    """Convolve each channel with a square kernel of odd size; edge pixels go on outside."""
    from scipy.signal import fftconvolve

    reach = len(kernel) // 2
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return np.asarray(fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1)))


def contrast(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Bring each channel closer to its mean, by the share `level` of the distance."""
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + (1 - level) * (pixels - mean))


def brightness(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Add `level` to the value of HSV, the greatest channel; hue and saturation stay."""
    value = pixels.max(axis=2, keepdims=True)
    lifted = np.clip(value + level, 0, 1)
    black = value == 0
    return np.asarray(np.where(black, lifted, pixels * lifted / np.where(black, 1, value)))


def jpeg(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Compress as JPEG of quality 100 − `level`, rounded to a whole number."""
    from PIL import Image

    buffer = io.BytesIO()
    _to_image(pixels).save(buffer, "JPEG", quality=max(1, round(100 - level)))
    with Image.open(buffer) as image:
        return _to_pixels(image)


def pixelate(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Lose the share `level` of rows and of columns, by averages over boxes; then widen again."""
    from PIL import Image

    image = _to_image(pixels)
    small = [max(1, round((1 - level) * length)) for length in image.size]
    box = Image.Resampling.BOX
    return _to_pixels(image.resize((small[0], small[1]), box).resize(image.size, box))


def rotation(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Rotate by `level` degrees, to a random side; the corners are filled by reflection."""
    from scipy.ndimage import rotate

    angle = level if rng.random() < 0.5 else -level
    return np.asarray(rotate(pixels, angle, (1, 0), reshape=False, order=1, mode="reflect"))
