"""From texts to a sequence classifier's input, and how many tokens that takes."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

BLOCK = 4096  # texts that are tokenized at once where only lengths are asked for


@dataclass(frozen=True, eq=False)
class Tokenized:
    """Transform of a batch of texts, or of pairs: {key: int64 tensor [N, L]}, padded to the longest of the batch.

    ``keys``: what the model takes (input_ids, attention_mask …). Texts of more than ``max_length`` tokens are cut
    there. Equal settings compare equal, so that :func:`cascadelib.extract` tokenizes once for all models that share
    them. Raises ValueError for a tokenizer without a padding token.
    """

    tokenizer: object
    max_length: int
    keys: tuple[str, ...] = ("input_ids", "attention_mask")

    def __post_init__(self):
        if self.tokenizer.pad_token is None:
            raise ValueError(
                "the tokenizer has no padding token, so texts of different lengths make no batch; set "
                "tokenizer.pad_token and the model's config.pad_token_id, and save both (save_pretrained)"
            )
        object.__setattr__(self, "_digest", _digest(self.tokenizer))

    def __call__(self, texts) -> dict:
        encoded = self.tokenizer(
            *_columns(texts), padding="longest", truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        return {key: encoded[key] for key in self.keys}

    def lengths(self, texts) -> np.ndarray:
        """Tokens of each text with its special ones, uncut, int64 [k]."""
        counted = []
        for start in range(0, len(texts), BLOCK):
            columns = _columns(texts[start : start + BLOCK])
            counted += map(len, self.tokenizer(*columns, truncation=False, verbose=False)["input_ids"])
        return np.array(counted, np.int64)

    def __eq__(self, other):
        return isinstance(other, Tokenized) and repr(self) == repr(other)

    def __hash__(self):
        return hash(repr(self))

    def __repr__(self):
        return f"Tokenized({self._digest}, max_length={self.max_length}, keys={self.keys})"


def _columns(texts):
    """Texts → one list; pairs → two."""
    return [list(part) for part in zip(*texts)] if isinstance(texts[0], (tuple, list)) else [list(texts)]


def _digest(tokenizer) -> str:
    """Part of a SHA-256 over the vocabulary and rules: tells tokenizers apart."""
    rules = tokenizer.backend_tokenizer.to_str() if hasattr(tokenizer, "backend_tokenizer") else None
    whole = json.loads(rules) if rules else {"vocab": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    # How it padded and cut last time is kept in the tokenizer, too.
    kept = {key: value for key, value in whole.items() if key not in ("truncation", "padding")}
    kept |= {"pad": tokenizer.pad_token, "side": [tokenizer.padding_side, tokenizer.truncation_side]}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
