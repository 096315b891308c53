"""Photographs drawn for tests."""

import io

from PIL import Image


def jpeg(colour, size=(20, 16)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()
