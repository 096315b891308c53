"""Cascades of four models: what gap in cost is certified after so many minutes."""

from search import compile_kernels, quadruples, scores


def run(quick=False):
    """Rows of the table; quick: a small table, exact."""
    compile_kernels()
    return quadruples(scores(8, 2000) if quick else scores())
