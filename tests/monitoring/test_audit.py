"""The draw of the audit, the verdicts, and the table of audited inputs."""

import hmac

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.monitoring import audited_table, is_audited, monitor, renew_policy
from cascadelib.monitoring.audit import draw_p_value
from cascadelib.monitoring.log import load_log
from tests.monitoring.logs import PAIR, POLICY, disagreeing, frame, random_rows, row

SALT = b"sixteen secret b"


def test_an_audit_is_the_keyed_hash_of_the_id():
    digest = hmac.digest(SALT, b"id 7", "sha256")
    share = int.from_bytes(digest[:8], "big") / 2**64
    assert is_audited(["id 7"], share * 1.001, SALT).tolist() == [True]
    assert is_audited(["id 7"], share * 0.999, SALT).tolist() == [False]
    assert is_audited([7, "7"], 0.5, SALT).tolist() in ([True, True], [False, False])
    assert is_audited("id 7", 1, SALT).tolist() == [True]  # one id, not its characters
    assert is_audited(range(9), 1, SALT).all() and not is_audited(range(9), 0, SALT).any()


@pytest.mark.parametrize(
    ("share", "salt", "message"),
    [
        (0.1, None, "salt must be 16 secret bytes or more, not a NoneType. Make a salt once"),
        (0.1, b"short", "salt must be 16 secret bytes or more, not 5 bytes. Make a salt once"),
        (0.1, "x" * 16, "salt must be 16 secret bytes or more, not a str. Make a salt once"),
        (1.1, SALT, "share must be a number from 0 to 1, such as 0.02 for 2%, not 1.1"),
        ("2%", SALT, "share must be a number from 0 to 1, such as 0.02 for 2%, not '2%'"),
    ],
)
def test_a_draw_without_a_salt_or_a_share_is_refused(share, salt, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        is_audited(["a"], share, salt)


def audited_rows(is_drawn):
    """A log of 4,000 inputs, of which half exit at the first model."""
    rng = np.random.default_rng(0)
    rows = []
    for number, draw in enumerate(rng.random((4000, 2)).tolist()):
        confidences = [0.9] if draw[0] < 0.5 else [0.1, None]
        stages = len(confidences)
        audited = is_drawn(number, stages, draw[1])
        rows.append(row(number, PAIR, confidences, ["yes"] * stages, audited=audited))
    return frame(rows)


DRAWS = {
    "uniform": lambda number, stages, draw: draw < 0.1,
    "fewer of those that reach the last model": lambda _, stages, draw: draw < 0.1 / stages,
    "only at the start": lambda number, stages, draw: number < 400,
    "another share later": lambda number, stages, draw: draw < (0.05 if number < 2000 else 0.1),
}


@pytest.mark.parametrize("name", DRAWS)
def test_an_audit_that_is_not_a_random_draw_is_seen(name):
    report = monitor(audited_rows(DRAWS[name]), PAIR)
    assert (report.rows["audit_p"] > 0.001) == (name == "uniform")
    assert ("audit is not a random draw" in repr(report)) == (name != "uniform")


def test_the_p_value_of_random_draws_is_rarely_small():
    rng = np.random.default_rng(1)
    inputs = load_log(audited_rows(DRAWS["uniform"])[:500], PAIR).inputs
    draws = [inputs._replace(is_audited=rng.random(500) < 0.1) for _ in range(200)]
    p_values = np.array([draw_p_value(each) for each in draws])
    assert np.mean(p_values < 0.1) < 0.17  # more with a probability of 1 in 1,000
    assert np.isnan(draw_p_value(inputs._replace(is_audited=np.ones(500, bool))))


SPELLINGS = {
    "the label 'Yes' of input 'id 0' differs from 'yes' only in": ("yes", {"id 0": "Yes"}, None),
    "the reference's answer 'Yes' of input 'id 99' differs from 'yes' only": ("Yes", {}, None),
    "labels must be {id: label} or a Series by id, not a list": ("yes", ["yes"], None),
    "the label 'maybe' of input 'id 0' is not an audited": ("yes", {"id 0": "maybe"}, None),
    "the label 'maybe' of input 'id 0' is not one of": ("yes", {"id 0": "maybe"}, ["yes", "no"]),
    "the reference's answer 'YES' of input 'id 99' is not one of": ("YES", {}, ["yes", "no"]),
    "the cascade's answer 'yes' of input 'id 99' is not one of": ("no", {}, ["Yes", "no"]),
}


@pytest.mark.parametrize("message", SPELLINGS)
def test_answers_and_labels_that_are_spelled_otherwise_are_refused(message):
    reference, labels, classes = SPELLINGS[message]
    with pytest.raises(ValueError, match=f"^{message}"):
        monitor(disagreeing(100, 4, reference), PAIR, labels, classes=classes)


def test_classes_make_other_labels_and_spellings_valid():
    labels = {"id 0": "maybe", "id 4": "YES", "id 8": "yes", "id 12": None}
    loss = monitor(disagreeing(100, 4), PAIR, labels, classes=["yes", "no", "maybe", "YES"]).loss
    assert (loss["tied"], loss["lost"], loss["open"]) == (2, 1, 22)


def test_labels_may_be_a_series_and_those_of_other_inputs_do_not_matter():
    labels = pd.Series({"id 0": "yes", "id 4": np.nan, "id 999": "Unaudited"})
    loss = monitor(disagreeing(100, 4), PAIR, labels).loss
    assert (loss["lost"], loss["open"]) == (1, 24)


def worker(tag, start, wrong, seed, policy=PAIR):
    """Audited rows of a worker whose small model is often wrong."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, (value, draw) in enumerate(rng.random((800, 2)).tolist()):
        stages = 1 if value >= policy.thresholds[0] else 2
        answers = ["no" if draw < wrong * (1 - value) else "yes", "yes"][:stages]
        changes = {"id": f"{tag} {number}", "audited": True, "reference": "yes"}
        rows.append(row(start + number, policy, [value, None][:stages], answers, **changes))
    return rows


def certify_newest(rows, policy=PAIR):
    """Certify new thresholds on the inputs from time 6000 on."""
    table = audited_table(frame(rows), policy, since=6000.0)
    points = cl.ladder(table.take(slice(0, 100)), policy.models)
    rest = table.take(slice(100, None))
    return table, cl.certify(rest, points, 0.1, reference="large")


def test_new_thresholds_are_certified_on_the_newest_inputs_whatever_the_order_of_the_files():
    old = worker("old", 0, 0.0, 1)
    new = worker("new", 5000, 0.5, 2)
    (first, certificate), (second, other) = map(certify_newest, (old + new, new + old))
    assert {name.split()[0] for name in first.origin.sample_ids.tolist()} == {"new"}
    assert str(certificate) == str(other) and certificate.certified != ()
    np.testing.assert_array_equal(first.confidence, second.confidence)


def test_a_renewed_policy_decides_as_certified_and_expects_the_new_inputs():
    rows = worker("new", 5000, 0.5, 2)
    table, certificate = certify_newest(rows)
    policy = renew_policy(PAIR, certificate.point, table)
    assert policy.thresholds == certificate.point.thresholds
    assert certificate.guarantee is not None
    report = monitor(frame(worker("later", 9000, 0.5, 3, policy)), policy)
    assert report.drift["inputs"].tolist() == [800, 0] and not report.drift["alarm"].any()


def as_entropies(rows, policy):
    """The same rows of a policy whose entropy is 1 − the confidence."""
    changed = []
    for each in rows:
        values = [None if value is None else 1 - value for value in each["confidences"]]
        changed.append(each | {"confidences": values, "policy": policy.checksum})
    return changed


def test_a_renewed_policy_has_the_native_units_of_its_metric(tmp_path):
    """Of two policies, one has confidences c, the other entropies 1 − c, where low is confident."""
    entropy = cl.Policy(cl.Point(PAIR.models, (0.5,), method="entropy"))
    expected = certify_newest(worker("new", 5000, 0.5, 2))[1].point.thresholds[0]
    table, certificate = certify_newest(as_entropies(worker("new", 5000, 0.5, 2), entropy), entropy)
    policy = renew_policy(entropy, certificate.point, table)
    assert policy.thresholds[0] == pytest.approx(1 - expected)
    assert certificate.guarantee is not None and policy.point.guarantee is None
    policy.save(tmp_path / "policy.json")
    assert cl.Policy.load(tmp_path / "policy.json").thresholds == policy.thresholds
    same = cl.Policy(PAIR.point, (1 - policy.thresholds[0],))
    rows = as_entropies(worker("later", 9000, 0.5, 3, same), policy)
    assert not monitor(frame(rows), policy).drift["alarm"].any()


def test_without_a_certificate_there_is_no_new_policy():
    table, _ = certify_newest(worker("new", 5000, 0.5, 2))
    for point in (None, cl.Point(("large",), ())):
        with pytest.raises(
            ValueError, match="nothing is certified for small → large.* more audited inputs"
        ):
            renew_policy(PAIR, point, table)


def test_an_audited_table_has_the_answers_of_the_log():
    rows = random_rows(200, 0, PAIR)
    table = audited_table(frame(rows), PAIR)
    audited = [each for each in rows if each["audited"]]
    assert table.origin.sample_ids.tolist() == [each["id"] for each in audited]
    for place, each in enumerate(audited):
        is_first = each["failures"][0] == "none" and each["models"][0] == "small"
        answer = each["predictions"][0] if is_first else ""
        assert table.predicted("small")[place] == answer
        assert table.predicted("large")[place] == (each["reference"] or "")
        confidence = each["confidences"][0] if is_first else -np.inf
        assert table.confidence[0, place] == confidence


@pytest.mark.parametrize(
    ("rows", "policy", "message"),
    [
        (random_rows(20, 0), POLICY, "a policy of two models is needed, not 3"),
        ([row(1)], PAIR, "the log has no audited input"),
    ],
)
def test_a_table_without_two_models_or_audits_is_refused(rows, policy, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        audited_table(frame(rows), policy)
