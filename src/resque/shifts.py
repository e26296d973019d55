"""Corruptions of images with a level, for studies: on [0, 1] pixels, before the processor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.errors import UsageError

Pixels = NDArray[np.float64]


def _gaussian(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    return pixels + level * rng.standard_normal(pixels.shape)


def _salt_pepper(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    """Set each pixel, all its channels at once, to black or white with probability `level`."""
    draw = rng.random(pixels.shape[:2])[..., None]
    return np.where(draw < level / 2, 0.0, np.where(draw < level, 1.0, pixels))


def _blur(pixels: Pixels, level: float, rng: np.random.Generator) -> Pixels:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(pixels, sigma=(level, level, 0), mode="nearest"))


@dataclass(frozen=True)
class _Kind:
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    level: str  # what the level is
    highest: float


KINDS = {
    "gaussian": _Kind(_gaussian, "standard deviation on [0, 1] pixels", math.inf),
    "salt_pepper": _Kind(_salt_pepper, "probability of a pixel", 1.0),
    "blur": _Kind(_blur, "standard deviation in pixels", math.inf),
}


@dataclass(frozen=True)
class Corruption:
    """A corruption that depends on the seed and the sample's index alone.

    Attributes:
        name: "gaussian" (level: σ on [0, 1] pixels), "salt_pepper" (level: probability that a
            pixel turns black or white) or "blur" (level: σ of a Gaussian, in pixels).
        level: strength; 0 leaves every image as it is.
        seed: of the noise.

    Raises:
        ValueError: where name or level is not one of those.
    """

    name: str
    level: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise UsageError(f"unknown corruption {self.name!r}; known: {', '.join(KINDS)}")
        kind = KINDS[self.name]
        if not 0 <= self.level <= kind.highest or math.isinf(self.level):
            limit = f"from 0 to {kind.highest:g}" if kind.highest < math.inf else "from 0 up"
            raise UsageError(
                f"the level of {self.name} is {self.level}; expected a number {limit} "
                f"({kind.level})"
            )

    def __str__(self) -> str:
        return f"{self.name}:{self.level:g}"

    def __call__(self, image: Any, index: int) -> Any:
        """Return the corrupted PIL image, rounded and clipped to 8 bits.

        Args:
            image: PIL image, mode RGB or L.
            index: the sample's index in its split, at least 0.
        """
        from PIL import Image

        if self.level == 0:
            return image
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, index)))
        array = np.asarray(image, np.float64)
        pixels = array.reshape(*array.shape[:2], -1) / 255
        out = KINDS[self.name].apply(pixels, self.level, rng)
        rounded = np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(rounded.reshape(array.shape))


def parse_corruption(text: str, seed: int = 0) -> Corruption:
    """Read `NAME:LEVEL`.

    Raises:
        ValueError: where it is not of that form, or name or level is unknown.

    >>> parse_corruption("gaussian:0.1")
    Corruption(name='gaussian', level=0.1, seed=0)
    """
    name, colon, level = text.partition(":")
    try:
        number = float(level)
    except ValueError:
        number = math.nan
    if not colon or math.isnan(number):
        raise UsageError(
            f"corruption {text!r} is not NAME:LEVEL, as in gaussian:0.1; names: {', '.join(KINDS)}"
        )
    return Corruption(name, number, seed)
