"""The premises of a guarantee about the certification samples, and the checks of them.

docs/premises.md describes each check and its limits.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import binom, ks_2samp, mannwhitneyu

from ..checks import items_of, validate_choice
from ..evaluation.guarantee import NOT_VERIFIABLE, VERIFIED, VIOLATED, Premise
from ..methods.confidence_range import has_power
from ..origin import Origin, as_numbers, parts_of
from ..store.tables.answers import EXACT, describe_gaps
from .case import Case
from .p_values import cluster_means
from .repeats import LEVEL, REMEDY, Finding, equal_rows, overlap_of, repeated_ids

UNCLUSTERED = "no sample repeats another by id or content"
# A grade is a confidence that was computed from the label.
LEAST_GRADED = 20  # least numbers of correct and of wrong answers to detect a grade
GRADE = 0.998  # least area under the ROC curve of a grade
LEAST_EQUAL = 200  # least number of samples to detect one model under two names
DRAW = np.sqrt(np.log(2 / LEVEL) / 2)  # largest √k × distance of a uniform draw from its table
COMPUTED: Counter[int] = Counter()  # certificates of this process, by the samples that they used


def independent(case: Case) -> Finding:
    """Look for samples, or first samples of clusters, that repeat others by id or by content.

    Rows of the table that gave the thresholds must be a uniform draw from it. No check can show
    that samples are independent.
    """
    ids = case.origin.sample_ids
    evidence = f"{UNCLUSTERED}; clusters= names samples that belong together"
    if case.clusters is not None:
        pairs = pd.DataFrame({"cluster": case.clusters, "sample": ids})
        ids = ids[~pairs.duplicated().to_numpy()]
        evidence = f"{len(case.first_of_clusters)} clusters are named, and none repeats another"
        if len(case.first_of_clusters) == len(case.store):
            evidence = "each cluster has a single sample, which shows nothing"
    if fault := repeated_ids(ids) or equal_rows(case.first_of_clusters, case.models, case.deciding):
        return VIOLATED, fault, REMEDY
    if case.table and (fault := unlike_table(case)):
        return VIOLATED, fault, "label a uniform draw of the table"
    return NOT_VERIFIABLE, evidence, ""


def unlike_table(case: Case) -> str:
    """Describe how the samples differ from a uniform draw of the table that gave the thresholds.

    The distributions of all outputs of the models are compared, and how often models agree with the
    reference. Of clusters, means are compared. For a draw of k without replacement, the distance
    between the distributions of a number exceeds DRAW ÷ √k with a probability of at most LEVEL
    (Dvoretzky, Kiefer, Wolfowitz; Hoeffding, 1963).
    """
    table: Any = case.table
    there = compared_numbers(table, case, case.table_clusters)
    pairs = zip(compared_numbers(case.origin, case, case.clusters), there)
    distance = max((ks_2samp(*pair, method="asymp").statistic for pair in pairs), default=0.0)
    if distance <= DRAW / np.sqrt(len(case.first_of_clusters)):
        return ""
    return (
        f"the {len(case.store)} samples are not a uniform draw from the {len(table)} rows of the "
        f"table: outputs of the models are distributed otherwise, by {distance:.2f}"
    )


def compared_numbers(part: Origin, case: Case, clusters: Array | None) -> list[Array]:
    """Return outputs of all models as numbers [k], and whether each model agrees with the first.

    Of ``clusters``, int [k], the means are returned.
    """
    outputs = list(filter(None, map(part.outputs, case.models)))
    answers = [columns[-1] for columns in outputs]
    numbers = [as_numbers(column) for columns in outputs for column in columns]
    numbers += [as_numbers(answer == answers[0]) for answer in answers[1:]]
    return [np.nan_to_num(cluster_means(values, clusters), nan=np.inf) for values in numbers]


def spelling_of(store: Any, models: Sequence[str]) -> Finding:
    """State how a store reads predictions as labels, and how many answers of models are unread."""
    if store.class_count is not None:
        return VERIFIED, "labels and predictions are numbers of classes", ""
    if not store.has_predictions:
        return NOT_VERIFIABLE, "correctness is an input, so that no text was compared", ""
    if getattr(store, "answer", None) == EXACT:
        return NOT_VERIFIABLE, "text was compared as written: answer='exact'", ""
    if gaps := describe_gaps(store, models):
        return NOT_VERIFIABLE, gaps, ""
    return VERIFIED, "all answers were read as labels", ""


def labels_complete(case: Case) -> Finding:
    """Count the missing labels that can matter, and the dropped samples with missing rows.

    Labels that are the answers of a model cannot show how much it loses.
    """
    if fault := labels_of_model(case):
        return VIOLATED, fault, "certify with labels that no model of the cascade gave"
    matter = case.differs.any(axis=0)
    wanted = np.count_nonzero(matter)
    missing = np.count_nonzero(matter & ~case.is_known)
    if missing and case.draw is None:
        counted = f"{missing} of {wanted} labels that can matter are missing"
        return NOT_VERIFIABLE, f"{counted}, and count as the worst case", ""
    if dropped := getattr(case.store, "dropped", 0):
        rows = f"{dropped} samples with missing rows were dropped"
        return NOT_VERIFIABLE, f"{rows}: others like them are not covered", ""
    if missing:
        drawn = f"{wanted - missing} of {wanted} labels that can matter are known"
        return VERIFIED, f"{drawn}, the first of the draw", ""
    return VERIFIED, f"all {wanted} labels that can matter are known", ""


def reference_complete(case: Case) -> Finding:
    """Count the samples on which the reference has no answer, or an unreadable one."""
    if case.absent.any():
        share = f"the reference has no readable answer on {case.absent.mean():.1%} of the samples"
        return NOT_VERIFIABLE, f"{share}, which count as the worst case", ""
    return VERIFIED, "the reference has an answer for every sample", ""


def confidences(case: Case) -> Finding:
    """Look for confidences computed from labels, or in another unit than on the selection split.

    The median confidence of each model is compared with its range on the selection splits. Single
    values outside of the range are normal. Samples without a confidence are deferred, so that a
    model loses nothing on them. They must not be more frequent than on the selection splits.
    """
    if case.store.class_count is not None:
        return VERIFIED, "computed from the models' outputs by the metric", ""
    names = sorted(case.deciding)
    graded = [name for name in names if case.is_known.all() and is_grade(case.store, name)]
    if graded:
        return (
            VIOLATED,
            f"the confidences of {graded[0]!r} separate its correct from its wrong answers, so "
            "they seem to be computed from the labels",
            "give a confidence that is known before the label",
        )
    parts = {part for point in case.points for part in parts_of(point.origin)}
    unknown = []
    for name in names:
        here, missing = confidences_of([case.origin], name)
        seen, missing_before = confidences_of(parts, name)
        share = (len(here) + missing) / max(1, len(here) + missing + len(seen) + missing_before)
        if binom.sf(missing - 1, missing + missing_before, share) <= LEVEL:
            few = f"{missing} confidences of {name!r} are missing, and {missing_before} on the "
            return NOT_VERIFIABLE, f"{few}selection splits", ""
        if not has_power(len(seen), len(here), LEVEL / len(names)):
            unknown.append(repr(name))
        elif not seen.min() <= (median := np.median(here)) <= seen.max():
            return (
                VIOLATED,
                f"the median confidence of {name!r} is {median:.4g}, and all {len(seen)} on the "
                f"selection splits are from {seen.min():.4g} to {seen.max():.4g}",
                "use the same unit on both splits, either 0.93 or 93",
            )
    if unknown:
        few = f"the selection splits have too few confidences of {', '.join(unknown)}"
        return NOT_VERIFIABLE, few, ""
    return VERIFIED, "the median of each is inside the range of the selection splits", ""


def is_grade(store: Any, name: str) -> bool:
    """Return whether confidences separate correct from wrong answers (nearly) without error.

    They can do so only if they know the label.
    """
    correct, confidence = store.outcome([name], None, "top1")((0,))
    finite = np.isfinite(confidence)
    of_wrong, of_correct = (confidence[finite & (correct == one)] for one in (0, 1))
    if correct.dtype != bool or min(len(of_wrong), len(of_correct)) < LEAST_GRADED:
        return False
    rank_sum = mannwhitneyu(of_correct, of_wrong, method="asymptotic").statistic
    return bool(rank_sum >= GRADE * len(of_correct) * len(of_wrong))


def confidences_of(parts: Iterable[Origin | None], name: str) -> tuple[Array, int]:
    """Return the finite known confidences of a model on sets of samples, and how many are not."""
    outputs = [part.outputs(name)[:1] for part in parts if part is not None]
    values = np.concatenate([np.empty(0), *(column for found in outputs for column in found)])
    is_finite = np.isfinite(values)
    return values[is_finite], int(np.count_nonzero(~is_finite))


def labels_of_model(case: Case) -> str:
    """Describe a model whose answers are all known labels, although the reference errs."""
    labels = getattr(case.store, "labels", None)
    if labels is None or not case.store.has_predictions:
        return ""
    known = case.is_known
    errors = np.count_nonzero(case.store.predicted(case.reference) != labels)
    for name in case.models if errors >= LEAST_GRADED else ():
        if (case.store.predicted(name) == labels)[known].all():
            return f"the labels are the answers of {name!r} on all {known.sum()} samples"
    return ""


def rows_aligned(case: Case) -> Finding:
    """Test whether the rows of all models belong to the same samples."""
    if not case.is_known.all():
        return NOT_VERIFIABLE, "labels are known only where models differ", ""
    store = case.store
    is_table = store.class_count is None and store.has_predictions
    if is_table and len(store) >= LEAST_EQUAL:
        answers = store.predicted(case.reference)
        equal = [name for name in case.models[1:] if (store.predicted(name) == answers).all()]
        if equal and (answers != answers[0]).any():
            fault = f"the answers of {equal[0]!r} and {case.reference!r} are equal on all samples"
            return VIOLATED, fault, "check that the table does not hold one model under two names"
    found = case.alignment
    remedy = (
        "join the models' rows by sample id; if the models are wrong on different samples indeed, "
        "accept the violation"
    )
    if found.status == VIOLATED and not case.is_usable.all():
        return NOT_VERIFIABLE, f"{found.evidence}; their cascades are left out", ""
    return found.status, found.evidence, remedy


# In the order of the table. To add a premise, write a function of a Case and add it here.
CHECKS: dict[str, Callable[[Case], Finding]] = {
    "independent": independent,
    "overlap": lambda case: overlap_of(case.points, case.store, case.models),
    "spelling": lambda case: spelling_of(case.store, case.models),
    "labels complete": labels_complete,
    "reference complete": reference_complete,
    "confidences": confidences,
    "rows aligned": rows_aligned,
}


def checked_premises(
    case: Case, accept: Iterable[str], certificates: int = 1
) -> tuple[Premise, ...]:
    """Check every premise of a guarantee, which is one of ``certificates`` on these samples.

    Raises
    ------
    ValueError
        If a premise is violated that ``accept`` does not name, or if ``accept`` names no premise.
    """
    accepted = [validate_choice(name, CHECKS, "premise in accept") for name in items_of(accept)]
    premises = []
    faults = []
    for name, check in CHECKS.items():
        status, evidence, remedy = check(case)
        premises.append(Premise(name, status, evidence))
        if status == VIOLATED and name not in accepted:
            faults.append(
                f"{evidence}; {remedy}. accept=({name!r},) certifies all the same, and the "
                "certificate names the violated premise"
            )
    if faults:
        raise ValueError(". ".join(faults))
    computed = count_certificate(case.origin)
    if computed > certificates:
        counted = f"{computed} certificates of this process, {certificates} are accounted for"
        premises[0] = replace(premises[0], evidence=f"{premises[0].evidence}; {counted}")
    return tuple(premises)


def premises_table(premises: Sequence[Premise]) -> pd.DataFrame:
    """Return a row per premise: premise, status, evidence."""
    columns = ["premise", "status", "evidence"]
    return pd.DataFrame([astuple(premise) for premise in premises], columns=columns)


def count_certificate(origin: Origin) -> int:
    """Return the number of certificates that this process has computed on these samples.

    Each of them may fail with probability delta.
    """
    source = "" if origin.has_ids else origin.source
    samples = hash((source, origin.sample_ids.tobytes()))
    COMPUTED[samples] += 1
    return COMPUTED[samples]
