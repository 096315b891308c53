"""Exit policies that are trained (Bolukbasi et al., 2017; Guan et al., 2018)."""

from cascadelib.methods.method import Method

LEARNED = Method(confidence="logistic", columns=("max_softmax", "softmax_margin", "entropy"))
"""A learned exit policy for :func:`cascadelib.search`, which fits it.

Equal to the originals: a linear policy on these features for each stage. Different: it is trained
once, on whether the model is correct. A search covers all chains and thresholds on that
probability. The originals train again for each price of cost.

References
----------
Bolukbasi et al., 2017: Adaptive neural networks for efficient inference, ICML.
Guan et al., 2018: Energy-efficient amortized inference with cascaded deep classifiers, IJCAI.
"""
