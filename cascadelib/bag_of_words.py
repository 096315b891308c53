"""The linear floor under sequence classifiers: a weight a word and class, summed."""

import torch


class BagOfWords(torch.nn.Module):
    """[N, L] numbers of word pieces and their mask → logits [N, classes]; the order of the words does not count."""

    def __init__(self, vocab_size: int, classes: int):
        super().__init__()
        self.weights = torch.nn.Embedding(vocab_size, classes)
        torch.nn.init.zeros_(self.weights.weight)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        # As a product, so that a count of multiply-accumulates sees one a word and class.
        return (attention_mask.to(self.weights.weight.dtype).unsqueeze(1) @ self.weights(input_ids)).squeeze(1)
