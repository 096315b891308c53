"""Transforms of grey images, photographs and texts, compared with plain loops."""

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cascadelib.zoo import transforms
from cascadelib.zoo.transforms import (
    Cut,
    GreyImages,
    Photos,
    Tokenized,
    find_distinct,
    prepare_batch,
)

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def test_grey_images_are_standardized_pixel_by_pixel():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 5, 5), np.uint8))
    transformed = GreyImages(5, 0.25, 0.5)(images)
    for n, row, column in np.ndindex(3, 5, 5):
        expected = (float(images[n, row, column]) / 255 - 0.25) / 0.5
        assert transformed[n, 0, row, column] == pytest.approx(expected, abs=1e-6)
    assert transformed.dtype == torch.float32 and images.dtype == torch.uint8


@pytest.mark.parametrize("size", [3, 8])
def test_uniform_grey_images_are_uniform_at_every_size(size):
    images = np.full((2, 5, 5), 51, np.uint8)
    transformed = GreyImages(size, 0.1, 0.2)(images)
    assert transformed.shape == (2, 1, size, size)
    torch.testing.assert_close(transformed, torch.full_like(transformed, 0.5))


def test_photographs_are_cut_and_then_standardized():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 12, 16, 3), np.uint8)
    photographs = [Image.fromarray(each) for each in pixels]
    photos = Photos(Cut((8, 8), "bilinear", 1.0), MEAN, STD)
    assert photos.cut(photographs[0]).dtype == torch.uint8
    transformed = photos(photographs)
    assert transformed.shape == (2, 3, 8, 8)
    for n, channel in np.ndindex(2, 3):
        cut = photos.cut(photographs[n])[channel].double() / 255
        expected = (cut - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(transformed[n, channel].double(), expected, atol=1e-5, rtol=0)
    grey = Image.fromarray(pixels[0, ..., 0])
    assert photos([grey]).shape == (1, 3, 8, 8)  # as RGB


TEXTS = st.lists(st.sampled_from("a b film story dull bright".split()), max_size=9).map(" ".join)


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_a_batch_of_texts_is_padded_to_the_longest(texts):
    tokenizer = tiny.tokenizer()
    transform = Tokenized(tokenizer, 6)
    batch = transform(texts)
    singles = [tokenizer(text, truncation=True, max_length=6)["input_ids"] for text in texts]
    longest = max(map(len, singles))
    for row, single in enumerate(singles):
        padding = longest - len(single)
        assert batch["input_ids"][row].tolist() == single + [tokenizer.pad_token_id] * padding
        assert batch["attention_mask"][row].tolist() == [1] * len(single) + [0] * padding
    uncut = [len(tokenizer(text, truncation=False)["input_ids"]) for text in texts]
    assert transform.lengths(texts).tolist() == uncut


def test_lengths_are_counted_in_blocks(monkeypatch):
    transform = Tokenized(tiny.tokenizer(), 8)
    pairs = [("a b", "film"), ("a", "b"), ("dull story", "bright film a")]
    whole = transform.lengths(pairs)
    monkeypatch.setattr(transforms, "TOKENIZE_BLOCK", 2)
    assert transform.lengths(pairs).tolist() == whole.tolist() == [6, 5, 8]


def test_a_tokenizer_without_padding_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token.*Set tokenizer.pad_token"):
        Tokenized(tokenizer, 8)


def test_equal_transforms_are_returned_once():
    cut = Cut((8, 8), "bilinear", 1.0)
    first = Photos(cut, MEAN, STD)
    same = Photos(cut, MEAN, STD)
    other = Photos(cut, MEAN, MEAN)
    assert find_distinct([first, None, same, other, None]) == [first, None, other]


def test_complex_numbers_are_refused_and_others_are_converted_to_floats():
    assert prepare_batch(None, torch.tensor([1, 2])).dtype == torch.float32
    assert prepare_batch(len, [1, 2]) == 2
    with pytest.raises(ValueError, match="real numbers, not complex ones"):
        prepare_batch(None, torch.ones(2, dtype=torch.complex64))


def test_a_function_of_one_photograph_is_applied_to_a_batch():
    """The same transform then runs in extraction and in a cascade."""

    def pixels(image):
        return torch.tensor(np.array(image)).permute(2, 0, 1) / 255

    images = [Image.new("RGB", (3, 2), (51 * shade, 0, 255)) for shade in range(4)]
    assert torch.equal(
        prepare_batch(pixels, images), torch.stack([pixels(image) for image in images])
    )
    assert prepare_batch(len, ["a text", "another"]) == 2
