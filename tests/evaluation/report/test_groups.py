from collections import Counter

import pytest

from keras_sllmr.evaluation.report.groups import (
    by_domain,
    comparison_headline,
    corrected,
    merged,
    verdicts,
)


def test_headline_counts_the_groups(comparison):
    assert comparison_headline(comparison) == [
        (
            "By auc_sampled, S-LLMR is better than None on all rows in 2 of 3 groups "
            "(worse in 1), on cold users in none of 3 (level in 2 and worse in 1) and "
            "on long-tail items in none of 3 (worse in 3)."
        ),
        (
            "By auc_full, S-LLMR is better than None on all rows in none of 3 groups "
            "(level in 2 and worse in 1)."
        ),
        (
            "Better and worse: the 95% interval, simultaneous over all groups and "
            "methods of a metric and slice (max-t), excludes zero. Level: it does not."
        ),
    ]


def test_headline_of_one_group_is_a_runs(comparison):
    comparison["groups"] = comparison["groups"][:1]
    first = comparison_headline(comparison)[0]
    assert first.startswith(
        "By auc_sampled, S-LLMR is better than None on all rows (+.0110)"
    )


@pytest.mark.parametrize("groups", [[], [{}], [{}, {}], [{"differences": []}] * 2])
def test_headline_without_a_difference(groups):
    said = comparison_headline({"groups": groups})
    assert said == ["No method was compared with the baseline in this run."]


def test_verdicts_by_metric_and_slice(comparison):
    found = verdicts(comparison)
    assert found["auc_sampled", "all"]["kd"] == Counter(better=2, worse=1)
    assert list(found["auc_sampled", "all"]) == ["sllmr", "kd"]
    comparison["groups"][0]["differences"][0]["low"] = None
    assert verdicts(comparison)["auc_sampled", "all"]["sllmr"].total() == 2


def test_groups_by_domain_and_all_as_one(comparison):
    sizes = {name: len(groups) for name, groups in by_domain(comparison).items()}
    assert sizes == {"beauty": 2, "toys": 1}
    del comparison["groups"][0]["methods"]["kd"]
    assert set(merged(comparison)["methods"]) == {"none", "sllmr", "kd"}


@pytest.mark.parametrize(
    ("how", "told"),
    [(None, "not corrected"), ("max-t", "simultaneous"), ("holm", "(holm)")],
)
def test_correction_in_words(how, told):
    assert told in corrected({"corrected": how})
