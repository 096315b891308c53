"""Outcomes of cascade prefixes for the exact search: who is right, and samples grouped by equal confidence."""

import numpy as np

from .curves import exits_of
from .names import unmasked


class Outcomes:
    """A stage function's outcomes, checked, computed once and kept compact; picklable by :meth:`only`.

    stage(prefix) → (correct [k], confidence [k]); last_only: whether only the last model of a prefix counts.
    """

    def __init__(self, stage, last_only):
        self.stage, self.last_only = stage, last_only
        self.rights, self.wrongs, self.grouped, self.orders = {}, {}, {}, {}

    def key(self, prefix):
        """What prefixes with the same outcomes share."""
        return prefix[-1:] if self.last_only else prefix

    def prepare(self, cascades):
        """Let a stage that computes many prefixes together (a mean ensemble) do so for all ``cascades``."""
        if hasattr(self.stage, "prepare"):
            whole = list(cascades)
            heads = {c[:n] for c in whole for n in range(1, len(c))}
            self.stage.prepare([*heads, *whole], heads)

    def right(self, prefix):
        """uint8 [k]: whether the cascade's output after ``prefix`` is right. Kept as bits for longer prefixes."""
        key = self.key(prefix)
        if key not in self.rights:
            right = self.stage.right(prefix) if hasattr(self.stage, "right") else self.stage(prefix)[0]
            right = np.asarray(unmasked(right, f"correctness after models {prefix}"))
            if right.dtype != bool and not np.isin(right, (0, 1)).all():
                raise ValueError(f"correctness after models {prefix} is not boolean: the exact search counts samples")
            right = right.astype(bool).view(np.uint8)
            self.rights[key] = right if len(key) == 1 else (len(right), np.packbits(right))
        kept = self.rights[key]
        return kept if len(key) == 1 else np.unpackbits(kept[1], count=kept[0])

    def wrong(self, prefix):
        """int32: the samples that :meth:`right` has as wrong."""
        key = self.key(prefix)
        if len(key) > 1:
            return np.flatnonzero(self.right(prefix) == 0).astype(np.int32)
        if key not in self.wrongs:
            self.wrongs[key] = np.flatnonzero(self.right(prefix) == 0).astype(np.int32)
        return self.wrongs[key]

    def sure(self, prefix):
        """float64 [k]: confidence after ``prefix``; nan is refused."""
        sure = np.asarray(unmasked(self.stage(prefix)[1], f"confidence after models {prefix}"), np.float64)
        if np.isnan(sure).any():
            raise ValueError(f"confidence after models {prefix} is nan at sample {int(np.argmax(np.isnan(sure)))}")
        return sure

    def groups(self, prefix):
        """int32 [k]: each sample's group of equal confidence, surest first."""
        key = self.key(prefix)
        if key not in self.grouped:
            order, ends = exits_of(self.sure(prefix))
            rank = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
            group = np.empty(len(order), np.min_scalar_type(rank[-1]))
            group[order] = rank
            if len(key) == 1:
                self.orders[key] = order
            self.grouped[key] = group
        return self.grouped[key].astype(np.int32)

    def order(self, prefix):
        """int64 [k]: samples by falling confidence."""
        group = self.groups(prefix)
        kept = self.orders.get(self.key(prefix))
        return np.argsort(group, kind="stable") if kept is None else kept

    def only(self, prefixes, last):
        """A copy that knows the groups and correctness of ``prefixes``, the correctness of ``last``, nothing else."""
        copy = Outcomes(None, self.last_only)
        for prefix in prefixes:
            self.groups(prefix)
            copy.grouped[self.key(prefix)] = self.grouped[self.key(prefix)]
        for prefix in (*prefixes, *last):
            self.right(prefix)
            copy.rights[self.key(prefix)] = self.rights[self.key(prefix)]
        return copy
