"""Predictions of a fixed cascade on unlabelled images, and the file that ImageNet's test server takes (paper, table 1).

The paper checks three cascades against overfitting to the validation set this way: labels of the test set are not
public, so neither a store nor ``evaluate`` can.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .candidates import resolved
from .combining import own_output
from .confidence import confidence, confidence_of_softmax, softmax
from .evaluation import exit_stages
from .feeding import feed
from .forwarding import Precision, on_device, ready, timed_logits
from .image_folders import existing, images_in
from .logit_files import replacing
from .methods import Method
from .photographs import Files


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels, by name: ILSVRC2012_test_00000001.JPEG, …"""

    source: Files

    def __len__(self):
        return len(self.source)


def unlabelled(folder) -> Unlabelled:
    """All images of a flat folder, sorted by name. Raises FileNotFoundError, or ValueError for an empty one."""
    root = existing(folder, "a flat folder of images")
    names = images_in(root)
    if not names:
        raise ValueError(f"{root} holds no images")
    return Unlabelled(Files(root, tuple(names)))


def predictions(point, models, images, guesses=5, batch_size=64, device=None, amp=False, workers=0):
    """(classes int [k, guesses], best first; exit_stage int [k]) of the cascade ``point`` on images without labels.

    models: as for :func:`cascadelib.extract`, all those of the point; images: :func:`unlabelled`. Each image is
    decoded once, and a later model sees only the images that have not left.
    Raises ValueError naming a model of the point that is not given, or an image that cannot be read; and for a vote.
    """
    given = {model.name: model for model in resolved(models)}
    missing = [name for name in point.models if name not in given]
    if missing:
        raise ValueError(f"the cascade needs model {missing[0]!r}; given are {', '.join(map(repr, given))}")
    chain = [given[name] for name in point.models]
    precision, method = Precision.chosen(device, amp), point.method or Method()
    if method.ensemble == "vote":
        raise ValueError("a vote has one winner and ranks no other classes: use a cascade with another ensemble")
    spans = [(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    classes, stages = [], []
    fed = feed(images, spans, [m.transform for m in chain], precision.device, workers)
    for (start, stop), prepare in fed:
        scores, stage = _batch(chain, prepare, stop - start, method, point.inside, precision)
        classes.append(np.argsort(-scores, axis=1, kind="stable")[:, :guesses])
        stages.append(stage)
    return np.concatenate(classes), np.concatenate(stages)


def _batch(chain, prepare, count, method, thresholds, precision):
    """(scores float64 [count, classes] at the exit, exit stage int [count]) of one batch."""
    left, outputs, scores, exits = np.arange(count), [], None, np.zeros(count, np.int64)
    for stage, model in enumerate(chain):
        rows = torch.as_tensor(left, device=precision.device)
        inputs = on_device(prepare(model.transform)[rows], precision.device)
        with ready(model.module, precision.device), torch.inference_mode():
            logits, _ = timed_logits(model.name, model.module, inputs, precision)
        outputs.append(logits.float().cpu().numpy().astype(np.float64) / method.temperature_of(model.name))
        own, sure = output(method, outputs)
        scores = np.empty((count, own.shape[1])) if scores is None else scores
        scores[left], exits[left] = own, stage
        if stage < len(thresholds):
            stays = exit_stages([sure], thresholds[stage : stage + 1]) == 1
            left, outputs = left[stays], [o[stays] for o in outputs]
            if not len(left):
                break
    return scores, exits


def output(method, logits):
    """What a cascade puts out after some models: (scores [N, classes], confidence [N]); logits: scaled, one each."""
    if method.ensemble == "mean_softmax":
        mean = np.mean([softmax(z) for z in logits], axis=0)
        return mean, confidence_of_softmax(mean, method.metric)
    if method.ensemble == "most_confident":
        sure = np.stack([confidence(z, method.metric) for z in logits])
        chosen = sure.argmax(axis=0)
        return np.stack(logits)[chosen, np.arange(sure.shape[1])], sure.max(axis=0)
    if callable(method.ensemble):
        scores = own_output(method.ensemble, np.stack(logits))
    else:
        scores = np.mean(logits, axis=0) if method.ensemble == "mean_logits" else logits[-1]
    return scores, confidence(scores, method.metric)


def write(path, classes, order=None) -> None:
    """One line an image: its guesses, best first, separated by spaces; the order of the lines is that of the images.

    order: int [classes], from :func:`imagenet.ilsvrc_order`: then the numbers are the challenge's, 1 … 1000, as the
    test server wants them; without it, labels as in the stores. Raises ValueError for a class that order lacks.
    """
    classes = np.asarray(classes)
    if order is not None:
        numbers = np.full(max(int(classes.max()), int(np.max(order))) + 1, -1)
        numbers[np.asarray(order)] = np.arange(1, len(order) + 1)
        classes = numbers[classes]
        if (classes < 0).any():
            raise ValueError(
                f"order names {len(order)} classes, but image {int((classes < 0).any(1).argmax())} has another"
            )
    with replacing(Path(path)) as temporary:
        temporary.write_text("".join(" ".join(map(str, row)) + "\n" for row in classes.tolist()), encoding="utf-8")
