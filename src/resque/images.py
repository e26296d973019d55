"""Images in any form as RGB. Needs no torch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def decode_image(value: Any) -> Image:
    """Return an RGB PIL image, upright, from encoded bytes, a path, a PIL image or an array."""
    from PIL import Image, ImageOps

    if isinstance(value, dict):
        source = io.BytesIO(value["bytes"]) if value.get("bytes") else value["path"]
        with Image.open(source) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # as datasets does where it decodes
            return as_rgb(image)
    if isinstance(value, Image.Image):
        return as_rgb(value)
    array = np.asarray(value)
    if array.ndim not in (2, 3) or array.dtype.kind not in "iu":
        raise ValueError(f"an image of shape {array.shape}, {array.dtype}; expected 8-bit pixels")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"an image of {array.min()} to {array.max()}; expected pixels of 0 to 255")
    return as_rgb(Image.fromarray(array.astype(np.uint8)))


def as_rgb(image: Image) -> Image:
    """Return the image in RGB, 8 bits; alpha is dropped, 16-bit greys keep their upper 8 bits.

    Raises:
        ValueError: for images of floats.
    """
    from PIL.Image import fromarray

    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ValueError("an image of floats; expected 8 or 16 bits")
    if image.mode.startswith("I"):
        array = np.asarray(image).astype(np.int64) >> 8
        image = fromarray(np.clip(array, 0, 255).astype(np.uint8))
    return image.convert("RGB")
