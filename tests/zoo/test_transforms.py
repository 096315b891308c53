"""What turns inputs into what a model takes."""

import tiny_checkpoints as tiny

from cascadelib.zoo.transforms import Tokenized


def test_equal_tokenizers_compare_equal():
    one = Tokenized(tiny.tokenizer(), 8)
    two = Tokenized(tiny.tokenizer(), 8)
    one(("a b c",))  # leaves its padding in the tokenizer
    assert one == two and hash(one) == hash(two) and repr(one) == repr(Tokenized(one.tokenizer, 8))
    assert one != Tokenized(tiny.tokenizer(), 9) and one != Tokenized(
        tiny.tokenizer(), 8, ("input_ids",)
    )
