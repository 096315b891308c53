"""The declared design of each figure and table of the paper.

Notebook 10 draws a figure from its design alone, and prints it as the caption. No other module
states the candidates, the split, the cost or the accuracies of a figure.
"""

from dataclasses import dataclass

MEANS = ("mean_logits", "mean_softmax")
WITH_F1 = ("reviews", "mrpc", "qqp")  # tasks of texts
CANDIDATES = {
    "front": "models on the selection split's front of single models in top-1",
    "either front": "models on the front in MACs or in time",
    "all": "all models",
}
SPLITS = {
    "selection": "drawn on the split that selected the cascades (optimistic)",
    "held out": "selected on one split, evaluated on other samples of the same distribution",
    "shifted": "selected on one split, evaluated unchanged on shifted splits",
}
COSTS = {"macs": "cost in MACs", "time": "cost in time", "none": "no cost"}
TOPICS = {
    "logits": "the models' logits",
    "metrics": "several confidence metrics of one model",
    "time": "a measured time of every model",
    "shifted": "a shifted split",
    "texts": "text classifiers",
    "sizes": "at least three models on the front",
}


@dataclass(frozen=True)
class Design:
    """The design of a figure or table.

    Parameters
    ----------
    what : str
        What is drawn.
    candidates : str
        The models that are cascaded or drawn, a key of ``CANDIDATES``.
    split : str
        The samples on which it is drawn, a key of ``SPLITS``.
    cost : str
        The kind of cost, a key of ``COSTS``.
    above : float, default=0
        The accuracy of the paper at which the figure begins, 0 for all accuracies.
    needs : tuple of str
        What a study must have, keys of ``TOPICS``.
    """

    what: str
    candidates: str
    split: str
    cost: str
    above: float = 0.0
    needs: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """Return the design as text, without what is drawn."""
        parts = [CANDIDATES[self.candidates], SPLITS[self.split], COSTS[self.cost]]
        if self.above:
            parts.append(f"accuracies above the paper's {self.above:.0%}")
        return "; ".join(parts)


DESIGNS = {
    "Figure 1": Design("pairs and single models", "front", "selection", "macs"),
    "Table 1": Design("points of locally largest improvement", "front", "held out", "macs"),
    "Figure 2": Design("what makes a good pair", "front", "selection", "macs"),
    "Figure 3": Design(
        "pairs by twelve methods", "front", "selection", "macs", 0.75, needs=("metrics",)
    ),
    "Figure 4": Design(
        "pairs and triples, and triples by mean logits",
        "front",
        "selection",
        "macs",
    ),
    "Figure 5": Design("pairs and single models", "front", "selection", "time", needs=("time",)),
    "Figure 6": Design(
        "identical pairs and threshold ranges", "front", "shifted", "macs", needs=("shifted",)
    ),
    "Figure 7": Design("pairs on texts", "all", "selection", "macs", needs=("texts",)),
    "Figure 8": Design(
        "triples by twelve methods", "front", "selection", "macs", needs=("metrics",)
    ),
    "Figure 9": Design(
        "pairs by twelve methods", "front", "selection", "time", needs=("metrics", "time")
    ),
    "Figure 10": Design(
        "pairs by methods, scored by the k best classes",
        "front",
        "selection",
        "macs",
        needs=("logits",),
    ),
    "Figure 11": Design(
        "pairs by mean ensembles and metrics", "front", "selection", "macs", 0.80, needs=("logits",)
    ),
    "Figure 12": Design(
        "segments of the front of pairs", "front", "shifted", "macs", needs=("shifted",)
    ),
    "Figure 13": Design(
        "confidence and accuracy of single models",
        "either front",
        "selection",
        "none",
        needs=("metrics",),
    ),
    "Figure 14": Design(
        "first models of Table 1, above and below a threshold",
        "front",
        "selection",
        "macs",
        needs=("logits",),
    ),
}
"""The paper's figures and its table, in the order of the paper's text and appendices."""
