"""Images and figures as the bytes of files. Imports the libraries that the user has, no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from digital_experiments.views import type_name

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
}
_EXPECTED = "expected the path or the bytes of a PNG, JPEG, GIF, WebP or SVG file"


def image_file(image: Any) -> tuple[str, bytes]:
    """The ending and the bytes of an image: a path, bytes, an image of PIL, a NumPy array.

    Raises
    ------
    FileNotFoundError
        If there is no file at the path.
    TypeError, ValueError
        If it is no image.
    ModuleNotFoundError
        If an array is given and Pillow, which writes it, is missing.
    """
    if isinstance(image, (str, os.PathLike)):
        with open(image, "rb") as file:
            image = file.read()
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        return _ending_of(data), data
    if hasattr(image, "__array__") and not hasattr(image, "save"):
        image = _image_of(image)
    if not (hasattr(image, "save") and hasattr(image, "mode")):
        raise TypeError(
            f"log_image {_EXPECTED}, an image of PIL or a NumPy array, not "
            f"{type_name(type(image))}. Figures go to log_figure."
        )
    return ".png", _png_of(image)


def _png_of(image: Any) -> bytes:
    """An image of PIL as PNG, which has no colours for print or video."""
    if image.mode in ("CMYK", "YCbCr", "HSV"):
        image = image.convert("RGB")
    buffer = BytesIO()
    try:
        image.save(buffer, "PNG")
    except OSError as problem:
        raise ValueError(
            f"log_image can't write an image of mode {image.mode!r} as PNG: convert it to "
            "'RGB' or 'L' before."
        ) from problem
    return buffer.getvalue()


def _ending_of(data: bytes) -> str:
    for signature, ending in _SIGNATURES.items():
        if data.startswith(signature):
            return ending
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if b"<svg" in data[:1000].lower():
        return ".svg"
    raise ValueError(f"log_image {_EXPECTED}; these bytes are none: {data[:12]!r}...")


def _image_of(array: Any) -> Any:
    import numpy

    pixels = numpy.asarray(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    colours = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if not (pixels.ndim == 2 or colours) or not pixels.size or pixels.dtype.kind not in "buif":
        raise ValueError(
            "log_image expects an array of shape (height, width), (height, width, 3) or "
            f"(height, width, 4) with numbers, not of shape {pixels.shape} and {pixels.dtype}."
        )
    largest = 1 if pixels.dtype.kind in "bf" else 255
    if not (pixels.min() >= 0 and pixels.max() <= largest):
        raise ValueError(
            f"log_image expects {pixels.dtype} values from 0 to {largest}; these go from "
            f"{pixels.min()} to {pixels.max()}."
        )
    try:
        from PIL import Image
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            "An array is made an image by Pillow: pip install 'digital-experiments[images]'."
        ) from problem
    scale = 255 if largest == 1 else 1
    return Image.fromarray(numpy.round(pixels * scale).astype(numpy.uint8))


def figure_files(figure: Any, plotly_ending: str) -> Iterator[tuple[str, bytes]]:
    """Endings and bytes of a figure: PNG and SVG of Matplotlib's, JSON of Plotly's.

    Raises
    ------
    TypeError
        If it is no figure.
    """
    if hasattr(figure, "to_plotly_json") and hasattr(figure, "to_json"):
        yield plotly_ending, figure.to_json().encode()
        return
    if not hasattr(figure, "savefig") and hasattr(figure, "get_figure"):
        figure = figure.get_figure()  # axes
    if not hasattr(figure, "savefig"):
        raise TypeError(
            "log_figure expects a name and a figure or axes of Matplotlib or a figure of Plotly, "
            f"not {type_name(type(figure))}. Images go to log_image."
        )
    for ending in (".png", ".svg"):
        buffer = BytesIO()
        figure.savefig(buffer, format=ending[1:], bbox_inches="tight", dpi=150)
        yield ending, buffer.getvalue()
