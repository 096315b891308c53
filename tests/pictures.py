"""Photographs drawn for tests."""

import io
from typing import Any

from PIL import Image


def jpeg(colour: Any, size: tuple[int, ...] = (20, 16)) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()
