"""Inputs wait, and leave in batches, in their order."""

from collections import deque
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cascadelib.policy.batches import enqueue, next_batch


@dataclass
class Numbers:
    numbers: list
    kind: str

    def __len__(self):
        return len(self.numbers)

    def take(self, rows):
        return Numbers(self.numbers[rows], self.kind)

    def joined(self, others):
        return Numbers(sum((other.numbers for other in others), self.numbers), self.kind)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab")), max_size=20), st.integers(1, 5)
)
def test_inputs_keep_their_order_in_full_batches_of_one_kind(arrivals, size):
    waiting = deque()
    expected = []
    for count, kind in arrivals:
        numbers = list(range(len(expected), len(expected) + count))
        expected += [(number, kind) for number in numbers]
        enqueue(waiting, Numbers(numbers, kind), size)
    batches = []
    while waiting:
        batches.append(next_batch(waiting, size))
    assert [(n, batch.kind) for batch in batches for n in batch.numbers] == expected
    assert all(len(batch) <= size for batch in batches)
    for batch, after in zip(batches, batches[1:]):
        assert len(batch) == size or after.kind != batch.kind
