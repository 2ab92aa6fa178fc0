from keras_sllmr.evaluation.report.sentences import headline


def test_headline_says_better_level_and_worse(metrics):
    assert headline(metrics) == [
        (
            "By auc_sampled, S-LLMR is better than None on all rows (+.0110); "
            "worse on long-tail items (-.0191); level on cold users."
        ),
        "By auc_full, S-LLMR is level with None on all rows.",
    ]


def test_headline_lists_places_and_can_be_all_worse(metrics):
    for one in metrics["differences"]:
        one.update(difference=-0.02, low=-0.03, high=-0.01)
    assert headline(metrics)[0] == (
        "By auc_sampled, S-LLMR is worse than None on all rows (-.0200), "
        "cold users (-.0200) and long-tail items (-.0200)."
    )


def test_headline_without_a_comparison(metrics):
    metrics["differences"] = []
    assert headline(metrics) == [
        "No method was compared with the baseline in this run."
    ]
    assert headline({}) == headline(metrics)
