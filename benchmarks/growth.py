"""How the exact search of pairs and triples grows with the samples and with the models."""

from search import compile_kernels, growth

SAMPLES, MODELS = [5_000, 20_000, 50_000, 100_000, 200_000], [10, 20, 40, 60]


def run(quick=False):
    """Rows of the table: seconds against k (27 models) and against M (k = 50,000)."""
    compile_kernels()
    if quick:
        return growth([1000, 2000], [5, 8], 2)
    return growth(SAMPLES, MODELS, 2) + growth(SAMPLES, MODELS, 3)
