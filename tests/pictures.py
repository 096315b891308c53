"""Photographs drawn for tests."""

import io

import pytest


def jpeg(colour, size=(20, 16)):
    Image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()
