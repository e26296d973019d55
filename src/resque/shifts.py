"""Corruptions of images, texts and sound with a level, for studies.

They act on what a row holds, before the model's processor. Level 0 leaves a sample as it is, and
a higher level is worse. `NAME:severity=N` is the N-th of five standard levels.

| images           | level                                       | severities 1 to 5               |
|------------------|---------------------------------------------|---------------------------------|
| gaussian         | σ of the noise on [0, 1] pixels             | 0.08, 0.12, 0.18, 0.26, 0.38    |
| gaussian_wrapped | the same, modulo 256: for reproduction only | 0.08, 0.12, 0.18, 0.26, 0.38    |
| shot             | σ at a white pixel, 1 / √photons            | 0.129, 0.2, 0.289, 0.447, 0.577 |
| speckle          | σ as a share of the pixel                   | 0.15, 0.2, 0.35, 0.45, 0.6      |
| impulse          | probability that a value becomes 0 or 1     | 0.03, 0.06, 0.09, 0.17, 0.27    |
| salt_pepper      | probability that a pixel is black or white  | 0.03, 0.06, 0.09, 0.17, 0.27    |
| blur             | σ of a Gaussian, in pixels                  | 0.4, 0.6, 0.7, 0.8, 1           |
| defocus_blur     | radius of a disk, in pixels                 | 0.8, 1.2, 1.4, 1.6, 2           |
| motion_blur      | length of a line, in pixels                 | 2, 3, 4, 6, 8                   |
| contrast         | share of the contrast that is lost          | 0.6, 0.7, 0.8, 0.9, 0.95        |
| brightness       | added to the value of HSV, −1 to 1          | 0.1, 0.2, 0.3, 0.4, 0.5         |
| jpeg             | 100 − JPEG's quality                        | 75, 82, 85, 90, 93              |
| pixelate         | share of rows and columns that is lost      | 0.4, 0.5, 0.6, 0.7, 0.75        |
| rotation         | degrees, to either side                     | 5, 10, 20, 30, 45               |

| texts            | level                                       | severities 1 to 5               |
|------------------|---------------------------------------------|---------------------------------|
| letters_replaced | share of the letters                        | 0.02, 0.05, 0.1, 0.2, 0.4       |
| letters_dropped  | share of the letters                        | 0.02, 0.05, 0.1, 0.2, 0.4       |
| letters_swapped  | share of the letters, with their neighbours | 0.02, 0.05, 0.1, 0.2, 0.4       |
| keyboard_typos   | share of the letters a to z                 | 0.02, 0.05, 0.1, 0.2, 0.4       |
| words_dropped    | share of the words; one stays               | 0.02, 0.05, 0.1, 0.2, 0.4       |

| audio            | level                                       | severities 1 to 5               |
|------------------|---------------------------------------------|---------------------------------|
| white_noise      | amplitude over the sound's (0.1: SNR 20 dB) | 0.01, 0.0316, 0.1, 0.316, 1     |
| gain             | dB, −60 to 60; clipped to [-1, 1]           | 6, 12, 18, 24, 30               |
| low_pass         | share of the frequencies that is lost       | 0.25, 0.5, 0.75, 0.875, 0.9375  |

The severities of gaussian, shot, speckle, impulse, contrast, brightness, jpeg and pixelate are
those of ImageNet-C (Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261), as these levels do not
depend on an image's size (shot rounded to three digits; salt_pepper has those of impulse). Those
of blur are CIFAR-10-C's, for images of about 32 pixels; for 224 pixels, ImageNet-C takes 1, 2, 3,
4 and 6. The radii of defocus_blur are twice these σ, which is a disk of the same variance. All
others are ours: the published ones are in other units, or there are none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from resque import audio_corruptions as sounds
from resque import image_corruptions as images
from resque import text_corruptions as texts
from resque.errors import UsageError, near

NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
IMPULSES = (0.03, 0.06, 0.09, 0.17, 0.27)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Kind:
    """What a corruption is.

    Attributes:
        modality: "image", "text" or "audio".
        apply: returns a sample at a level, with random numbers.
        level: what the level is, with its unit.
        severities: the levels of severities 1 to 5.
        highest: level.
        lowest: level; 0 in any case changes nothing.
    """

    modality: str
    apply: Callable[[Any, float, np.random.Generator], Any]
    level: str
    severities: tuple[float, float, float, float, float]
    highest: float = math.inf
    lowest: float = 0.0


_SIGMA = "standard deviation on [0, 1] pixels"
_LETTERS, _PX = "share of the letters", "in pixels"
KINDS = {
    "gaussian": Kind("image", images.gaussian, _SIGMA, NOISE),
    "gaussian_wrapped": Kind("image", images.gaussian_wrapped, _SIGMA, NOISE),
    "shot": Kind(
        "image",
        images.shot,
        "standard deviation at a white pixel",
        (0.129, 0.2, 0.289, 0.447, 0.577),
    ),
    "speckle": Kind(
        "image",
        images.speckle,
        "standard deviation as a share of the pixel",
        (0.15, 0.2, 0.35, 0.45, 0.6),
    ),
    "impulse": Kind("image", images.impulse, "probability of a value", IMPULSES, 1.0),
    "salt_pepper": Kind("image", images.salt_pepper, "probability of a pixel", IMPULSES, 1.0),
    "blur": Kind("image", images.blur, f"standard deviation {_PX}", (0.4, 0.6, 0.7, 0.8, 1.0)),
    "defocus_blur": Kind(
        "image", images.defocus_blur, f"radius {_PX}", (0.8, 1.2, 1.4, 1.6, 2.0), 100.0
    ),
    "motion_blur": Kind(
        "image", images.motion_blur, f"length {_PX}", (2.0, 3.0, 4.0, 6.0, 8.0), 100.0
    ),
    "contrast": Kind(
        "image", images.contrast, "share of the contrast lost", (0.6, 0.7, 0.8, 0.9, 0.95), 1.0
    ),
    "brightness": Kind(
        "image",
        images.brightness,
        "added to the value of HSV",
        (0.1, 0.2, 0.3, 0.4, 0.5),
        1.0,
        -1.0,
    ),
    "jpeg": Kind("image", images.jpeg, "100 − quality", (75.0, 82.0, 85.0, 90.0, 93.0), 99.0),
    "pixelate": Kind(
        "image", images.pixelate, "share of rows and columns lost", (0.4, 0.5, 0.6, 0.7, 0.75), 1.0
    ),
    "rotation": Kind("image", images.rotation, "degrees", (5.0, 10.0, 20.0, 30.0, 45.0), 180.0),
    "letters_replaced": Kind("text", texts.letters_replaced, _LETTERS, SHARES, 1.0),
    "letters_dropped": Kind("text", texts.letters_dropped, _LETTERS, SHARES, 1.0),
    "letters_swapped": Kind("text", texts.letters_swapped, _LETTERS, SHARES, 1.0),
    "keyboard_typos": Kind(
        "text", texts.keyboard_typos, "share of the letters a to z", SHARES, 1.0
    ),
    "words_dropped": Kind("text", texts.words_dropped, "share of the words", SHARES, 1.0),
    "white_noise": Kind(
        "audio", sounds.white_noise, "amplitude over the sound's", (0.01, 0.0316, 0.1, 0.316, 1.0)
    ),
    "gain": Kind("audio", sounds.gain, "dB", (6.0, 12.0, 18.0, 24.0, 30.0), 60.0, -60.0),
    "low_pass": Kind(
        "audio",
        sounds.low_pass,
        "share of the frequencies lost",
        (0.25, 0.5, 0.75, 0.875, 0.9375),
        0.99,
    ),
}
_CORRUPT: dict[str, Callable[..., Any]] = {
    "image": images.corrupt_image,
    "text": texts.corrupt_text,
    "audio": sounds.corrupt_audio,
}


@dataclass(frozen=True)
class Corruption:
    """A corruption that depends on the seed and the sample's index alone.

    Attributes:
        name: one of `KINDS`; the module's table says what its level is.
        level: strength; 0 leaves every sample as it is.
        seed: of the random numbers.

    Raises:
        ValueError: where the name is unknown, or the level out of its range.
    """

    name: str
    level: float
    seed: int = 0

    def __post_init__(self) -> None:
        kind = _kind_of(self.name)
        if not kind.lowest <= self.level <= kind.highest or math.isinf(self.level):
            upper = f"to {kind.highest:g}" if kind.highest < math.inf else "up"
            raise UsageError(
                f"the level of {self.name} is {self.level}; expected a number from "
                f"{kind.lowest:g} {upper} ({kind.level})"
            )

    def __str__(self) -> str:
        return f"{self.name}:{self.level:.12g}"

    @property
    def modality(self) -> str:
        """The data that it is for: "image", "text" or "audio"."""
        return modality_of(self.name)

    def __call__(self, sample: Any, index: int) -> Any:
        """Return the corrupted sample.

        Args:
            sample: PIL image (mode RGB or L, which it keeps, rounded and clipped to 8 bits), text
                or pair of texts, or (T,) float32 audio.
            index: the sample's index in its split, at least 0.
        """
        if self.level == 0:
            return sample
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, index)))
        return _CORRUPT[self.modality](sample, KINDS[self.name].apply, self.level, rng)


def parse_corruption(text: str, seed: int = 0) -> Corruption:
    """Read `NAME:LEVEL`, or `NAME:severity=N` with N from 1 to 5.

    Raises:
        ValueError: where it is not of that form, the name is unknown, or the level out of range.

    >>> parse_corruption("gaussian:0.1")
    Corruption(name='gaussian', level=0.1, seed=0)
    >>> str(parse_corruption("gaussian:severity=3"))
    'gaussian:0.18'
    """
    name, _, level = text.partition(":")
    severities = severities_of(name)
    word, equals, severity = level.partition("=")
    if word == "severity" and equals:
        if severity not in ("1", "2", "3", "4", "5"):
            raise UsageError(f"the severity of {name} is {severity!r}; expected 1 to 5")
        return Corruption(name, severities[int(severity) - 1], seed)
    try:
        number = float(level)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise UsageError(
            f"corruption {text!r} is not NAME:LEVEL or NAME:severity=N, as in {name}:"
            f"{severities[2]:g} or {name}:severity=3; the level is the {KINDS[name].level}"
        )
    return Corruption(name, number, seed)


def modality_of(name: str) -> str:
    """Return the data that a corruption is for: "image", "text" or "audio".

    Raises:
        ValueError: where the name is unknown.
    """
    return _kind_of(name).modality


def severities_of(name: str) -> tuple[float, ...]:
    """Return the levels of severities 1 to 5.

    Raises:
        ValueError: where the name is unknown.
    """
    return _kind_of(name).severities


def check_fits(corruption: Corruption | None, modality: str) -> None:
    """Refuse a corruption of other data than these.

    Args:
        corruption: the corruption, or None.
        modality: of the data: "image", "text", "audio" or "tensor".

    Raises:
        UsageError: naming the corruptions that fit.
    """
    if corruption is None or corruption.modality == modality:
        return
    fit = ", ".join(_names_of(modality)) or "none"
    raise UsageError(
        f"corruption {corruption} is for {corruption.modality} data; the data is {modality}. "
        f"For {modality} data there are: {fit}"
    )


def _names_of(modality: str) -> list[str]:
    return [name for name, kind in KINDS.items() if kind.modality == modality]


def _kind_of(name: str) -> Kind:
    if name in KINDS:
        return KINDS[name]
    like = near(name, KINDS)
    meant = f"; did you mean {' or '.join(like)}?" if like else "; known"
    known = "; ".join(f"for {of} data: {', '.join(_names_of(of))}" for of in _CORRUPT)
    raise UsageError(f"unknown corruption {name!r}{meant} {known}")
