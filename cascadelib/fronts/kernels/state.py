"""Store the best cascade for each number of correct samples, and the arrays of a search.

``Best`` is a tuple of four arrays, indexed by the number n = 0 … k of correct samples:

* ``reach`` float64 (k + 1,): known least cost with *at least* n correct samples. Threads share it
  without locks.
* ``exact`` float64 (k + 1,): cost of the cascade that one thread recorded with exactly n.
* ``where`` int64 (k + 1, 1 + 2 D): that cascade. It has a number, D boundaries, and the numbers of
  samples that reach stages 2 … D + 1. Shorter cascades end in zeros.
* ``floor`` float64 (k + 1,): least cost of the boxes that were skipped because of the tolerance, at
  the largest n of each box.

A *boundary* is a threshold between two confidences. The samples with equal confidence at a stage
form a group. Groups are numbered from 0, the most confident first. At boundary e, the samples in
groups 0 … e − 1 exit. At boundary 0 no sample exits. If e is the number of groups, all samples
exit.

The result does not depend on the order in which threads update ``reach`` (docs/architecture.md,
*Threads*).
"""

from collections import namedtuple
from collections.abc import Iterable

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel
from .structs import ArrayStruct

Best = namedtuple("Best", "reach exact where floor")


def new_best(n_samples: int, stages: int) -> Best:
    """Return an empty ``Best`` for cascades of up to `stages` models. All costs are inf."""
    reach, exact, floor = np.full((3, n_samples + 1), np.inf)
    where = np.full((n_samples + 1, 1 + 2 * (stages - 1)), -1, np.int64)
    return Best(reach, exact, where, floor)


def same_reach(best: Best) -> Best:
    """Return an empty ``Best`` for one thread, which shares the ``reach`` of ``best``."""
    n_samples = len(best.reach) - 1
    stages = best.where.shape[1] // 2 + 1
    return new_best(n_samples, stages)._replace(reach=best.reach)


def least_onwards(costs: Array) -> Array:
    """Return the minimum of each cost and all later costs, float64 (k + 1,).

    For costs by number of correct samples n, this is the least cost of *at least* n.
    """
    return np.minimum.accumulate(costs[::-1])[::-1]


def merge_best(best: Best, others: Iterable[Best]) -> None:
    """Merge others into ``best``. At each n, the entry that :func:`comes_first` remains."""
    for other in others:
        merge_entries(best, other)
        np.minimum(best.floor, other.floor, out=best.floor)
    np.minimum(best.reach, least_onwards(best.exact), out=best.reach)


@inner
def copy(target: Array, source: Array, size: int) -> None:
    """Copy source[:size] to target, without the checks and copies of numba's slices."""
    for x in range(size):
        target[x] = source[x]


@kernel
def merge_entries(best: Best, other: Best) -> None:
    """Copy the entries of ``other`` that come before the entries of ``best``."""
    most = best.where.shape[1] // 2
    for n in range(len(best.exact)):
        if comes_first(best, n, other.exact[n], other.where[n, 0], other.where[n, 1 + most :]):
            best.exact[n] = other.exact[n]
            copy(best.where[n], other.where[n], 1 + 2 * most)


@inner
def comes_first(best: Best, n: int, cost: float, cascade: int, at: Array) -> bool:
    """Return whether a cascade comes before the recorded cascade with n correct samples.

    Cascades are sorted by cost, then by their number, then by `at`, the numbers of samples that
    reach stages 2, 3, … (d,). These numbers determine all exits, so different cascades are never
    equal.
    """
    exact = best.exact
    where = best.where
    if cost != exact[n]:
        return cost < exact[n]
    if cascade != where[n, 0]:
        return cascade < where[n, 0]
    # The entry is the same cascade at other thresholds, or at the same ones.
    most = where.shape[1] // 2
    for i in range(len(at)):
        if at[i] != where[n, 1 + most + i]:
            return at[i] < where[n, 1 + most + i]
    return False


@kernel
def improves(best: Best, n: int, cost: float, cascade: int, at: Array) -> bool:
    """Return whether a cascade with n correct samples at this cost has to be recorded.

    `at` int64 (d,) has the numbers of samples that reach stages 2, 3, ….
    """
    reach = best.reach
    if reach[n] < cost or (n + 1 < len(reach) and reach[n + 1] <= cost):
        return False
    # No known cascade at n is cheaper, and none with more correct samples costs the same. Another
    # thread may have lowered ``reach`` since, so the entry of this thread is compared too.
    return comes_first(best, n, cost, cascade, at)


@kernel
def record(best: Best, n: int, cost: float, cascade: int, boundaries: Array, at: Array) -> None:
    """Record a cascade that :func:`improves`.

    `boundaries` and `at`, int64 (d,), are its boundaries and the numbers of samples that reach
    stages 2 … d + 1.
    """
    reach, exact, where, _ = best
    most = where.shape[1] // 2
    exact[n] = cost
    where[n, 0] = cascade
    where[n, 1:] = 0
    for i in range(len(boundaries)):
        where[n, 1 + i] = boundaries[i]
        where[n, 1 + most + i] = at[i]
    # A cascade with n correct samples has at least n − 1, n − 2, … of them.
    while n >= 0 and reach[n] > cost:
        reach[n] = cost
        n -= 1


@inner
def is_skipped(best: Best, n: int, cost: float, tolerance: Array) -> bool:
    """Return whether the tolerance skips cascades with at most n correct samples.

    They cost at least `cost`, which is recorded in ``floor``. `tolerance`, float64 (k + 1,),
    depends on the number of correct samples. It is read at each call, because it becomes inf at the
    deadline.
    """
    # The product is nan for cascades without a cost at the deadline.
    if tolerance[n] > 0 and not best.reach[n] > (1 + tolerance[n]) * cost:
        best.floor[n] = min(best.floor[n], cost)
        return True
    return False


@inner
def must_search(best: Best, n: int, cost: float, cascade: int, at: Array, tolerance: Array) -> bool:
    """Return whether a box has to be searched.

    The cascades of the box have at most n correct samples, and cost at least `cost`. At least `at`
    samples, int64 (d,), reach stages 2, 3, …. For `tolerance` see :func:`is_skipped`.
    """
    return improves(best, n, cost, cascade, at) and not is_skipped(best, n, cost, tolerance)


LINES = 12  # largest number of lines below the costs of a box, see bounds.is_covered

MAX_MODELS = 8
# Bins per stage of the root's grid, by the number d of stages with a threshold. COARSE_BINS are
# those of a coarser root, which only bounds cascades.
ROOT_BINS = {2: 64, 3: 22, 4: 6, 5: 3, 6: 3, 7: 2}
COARSE_BINS = {2: 24, 3: 16, 4: 6, 5: 2, 6: 2, 7: 2}
LEVELS = 24  # largest depth of the search
LEAST_BOXES = 32  # of a grid within a box
MOST_BOXES = 2048  # of a grid within a box

# Arrays that the kernels for cascades of d + 1 models on k samples write to, one set per thread.
# `workspace` describes each field.
Workspace = namedtuple("Workspace", "levels walk box root")
Levels = namedtuple(
    "Levels",
    "group bits start boundary_of settled slots edges last_boundary correct_stride slot_stride "
    "boxes bounds n_boxes n_processed",
)
Walk = namedtuple(
    "Walk",
    "by_correctness by_slot correctness_tail slot_tail slot_correct slot_samples slot "
    "correct_before correct_through deferred cost boundaries",
)
Box = namedtuple(
    "Box",
    "gathered cell index first_group n_groups gains saved extra_saved extra_gains new_number "
    "slot_of multi_open multi_exits n_multi_open price stack deferred_correct deferred_cost",
)
Root = namedtuple("Root", "code number index order position bits is_ordered by_correctness by_slot")


def workspace(k: int, d: int) -> ArrayStruct:
    """Return the arrays of a thread that searches cascades of d + 1 models on k samples.

    The arrays are large, but a page of memory is used only after something is written to it.
    """
    slots = ROOT_BINS[d] + 2
    # Of all grids with this number of boxes, a grid that divides a single stage has the most cells.
    most_boxes = MOST_BOXES if d < 6 else MOST_BOXES // 8
    n_cells = max(slots**d, 4**d, (most_boxes + 2) * 3 ** (d - 1))
    n_boxes = max(ROOT_BINS[d] ** d, MOST_BOXES)
    n_correct = 2 ** (d + 1) * n_cells
    n_slots = max(slots, k + 3)
    stages = (LEVELS, d)
    groups = (d, k + 1)
    # The levels of the depth-first search. Samples are in the order of a level's cells.
    levels = Levels(
        # Group of each sample at each stage, −1 for a group before the box.
        group=np.empty((LEVELS, d, k), np.int32),
        # Correctness of a sample: bit i is set if stage i + 1 is correct.
        bits=np.empty((LEVELS, k), np.int32),
        # Position of the first sample of each cell.
        start=np.empty((LEVELS, n_cells + 1), np.int32),
        # Number in the full search of each boundary of the level.
        boundary_of=np.empty((LEVELS, d, k + 2), np.int32),
        # Settled samples: number of correct ones, and numbers that reach stages 2 … d + 1.
        settled=np.zeros((LEVELS, 1 + d), np.int64),
        # Number of slots of each stage's grid.
        slots=np.empty(stages, np.int64),
        # Boundary at which slots 1, 2, … begin. Slot 1 begins at boundary 0.
        edges=np.empty((LEVELS, d, n_boxes + 3), np.int32),
        # Last boundary of each stage.
        last_boundary=np.empty(stages, np.int64),
        # Stride of a half slot of each stage in ``walk.by_correctness``.
        correct_stride=np.empty(stages, np.int64),
        # Stride of a slot of each stage in ``walk.by_slot``.
        slot_stride=np.empty(stages, np.int64),
        # Slot at each stage of the boxes to open.
        boxes=np.empty((LEVELS, n_boxes, d), np.int32),
        # Bounds of each box: most correct samples, and fewest samples that reach stages 2 … d + 1.
        bounds=np.empty((LEVELS, n_boxes, 1 + d), np.int64),
        # Number of boxes in the lists of the level.
        n_boxes=np.zeros(LEVELS, np.int64),
        # Number of processed boxes.
        n_processed=np.zeros(LEVELS, np.int64),
    )
    # The walk over the grid of one level, see cascadelib.fronts.kernels.grid.
    walk = Walk(
        # Samples by slot and correctness, then the tails of stages 2 … d.
        by_correctness=np.empty(2 * n_correct, np.int32),
        # Samples by slot, then the tails of stages 2 … d.
        by_slot=np.empty(2 * n_cells, np.int32),
        # Start of each stage in ``by_correctness``.
        correctness_tail=np.empty(d, np.int64),
        # Start of each stage in ``by_slot``.
        slot_tail=np.empty(d, np.int64),
        # Samples of each slot that are correct at the stage.
        slot_correct=np.empty((d, n_slots), np.int64),
        # Samples of each slot.
        slot_samples=np.empty((d, n_slots), np.int64),
        # Current slot of each stage.
        slot=np.zeros(d, np.int64),
        # Correct samples that exit before each stage.
        correct_before=np.zeros(d, np.int64),
        # Correct samples that exit up to each stage, at its current slot.
        correct_through=np.zeros(d, np.int64),
        # Samples that each stage defers.
        deferred=np.zeros(d, np.int64),
        # Mean cost of the stages up to each stage.
        cost=np.zeros(d),
        # Boundaries of the current corner in the full search.
        boundaries=np.zeros(d, np.int64),
    )
    # The opened box, see cascadelib.fronts.kernels.bounds.
    box = Box(
        # Positions of the gathered samples.
        gathered=np.empty(k, np.int32),
        # Cell of each gathered sample in the new grid.
        cell=np.empty(k, np.int32),
        # Index of its count in ``walk.by_correctness``, then its position on the next level.
        index=np.empty(k, np.int32),
        # First boundary of the box at each stage.
        first_group=np.empty(d, np.int64),
        # Number of groups of the box at each stage.
        n_groups=np.empty(d, np.int64),
        # Change of the number of correct samples if a group exits.
        gains=np.zeros(groups, np.int32),
        # Cost that the exit of a group saves.
        saved=np.zeros(groups),
        # Cost minus the value of correct samples, saved by the samples open at several stages.
        extra_saved=np.zeros(groups),
        # Change of the number of correct samples among these samples.
        extra_gains=np.zeros(groups, np.int32),
        # New number of a group or boundary.
        new_number=np.zeros(groups, np.int32),
        # Slot in the new grid of groups before the box, of each group, and of groups after it.
        slot_of=np.zeros((d, k + 2), np.int32),
        # Positions of the samples open at several stages.
        multi_open=np.empty(k, np.int32),
        # Stages at which these samples may exit, see ``bounds.possible_exits``.
        multi_exits=np.empty(k, np.int32),
        # Their number.
        n_multi_open=np.zeros(1, np.int64),
        # Mean cost that one sample adds if it exits at each stage, without the first model's cost.
        price=np.zeros(d + 1),
        # Stretches of the hull, one per row, see ``write_stretch``.
        stack=np.zeros((LINES + 1, 6)),
        # Samples open at a single stage, if all are deferred: number of correct ones, and total
        # cost.
        deferred_correct=np.zeros(1, np.int64),
        deferred_cost=np.zeros(1),
    )
    # Arrays of all cascades that differ only in their last model.
    root = Root(
        # See cascadelib.fronts.cascades.RootStage.
        code=np.empty((d, k), np.uint8),
        number=np.empty((d, k), np.int32),
        # Index of a sample in ``by_correctness``.
        index=np.empty(k, np.int32),
        # Sample at each position, in the order of cells.
        order=np.empty(k, np.int32),
        # Position of each sample.
        position=np.empty(k, np.int32),
        # Correctness bits of the sample at each position, as if the last model were always correct.
        bits=np.empty(k, np.int32),
        # 1 if the arrays by position are computed, else 0.
        is_ordered=np.zeros(1, np.int64),
        # Samples by slot and correctness at all stages but the last.
        by_correctness=np.empty(n_correct // 2, np.int32),
        # Samples by slot.
        by_slot=np.empty(n_cells, np.int32),
    )
    return ArrayStruct(Workspace(levels, walk, box, root))
