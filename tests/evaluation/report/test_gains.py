import pytest

from keras_sllmr.evaluation.report.comparison import Difference
from keras_sllmr.evaluation.report.gains import Category, Mark, gain_bars, seed_dots


def mark(low, high, series=1, by_seed=()):
    one = Difference(
        "auc_full", "all", "m", "none", (low + high) / 2, low, high, 0.95, 9, by_seed
    )
    return Mark(series, one)


BETTER, LEVEL = mark(0.01, 0.02), mark(-0.01, 0.02)


def height(svg):
    return float(svg.split('viewBox="0 0 360 ')[1].split('"')[0])


def test_bars_show_counts_and_pale_level(parse):
    categories = [
        Category("all", [BETTER], 1943),
        Category("cold", [LEVEL], 311),
        Category("tail", [mark(-0.02, -0.01)]),
    ]
    svg = gain_bars("g", "", categories)
    text = parse(svg).text
    assert "n = 1,943" in text and "n = 311" in text and text.count("n = ") == 2
    assert svg.count("fill-opacity: 0.3") == 1
    assert height(svg) == 240


def test_a_missing_difference_leaves_a_gap(parse):
    whole = gain_bars("g", "", [Category("a", [BETTER, BETTER])])
    gap = gain_bars("g", "", [Category("a", [BETTER, Mark(2, None)])])
    assert len(parse(gap).named("path")) < len(parse(whole).named("path"))


def test_many_or_long_categories_stand_below_each_other(parse):
    names = [f"users of the {n}th bucket of history length" for n in range(20)]
    svg = gain_bars("g", "", [Category(name, [BETTER, LEVEL], 9) for name in names])
    text = parse(svg).text
    # Room for three lines a name and its count.
    assert height(svg) > 20 * 45
    for n in range(20):
        assert f"users of the {n}th" in text
    assert height(gain_bars("g", "", [Category("b" * 60, [BETTER])] * 4)) != 240


def test_long_names_keep_their_ends():
    lines = Category(
        "a very long name that begins like others but ends in 17", ()
    ).lines
    assert lines[0] == "a very long name" and lines[-1].endswith("ends in 17")
    assert len(lines) <= 3 and max(map(len, lines)) <= 18
    assert Category("", (), 1200).lines == ["", "n = 1,200"]


def test_many_bars_in_a_category_lie_flat():
    few = gain_bars("g", "", [Category("a", [BETTER] * 3)] * 4)
    many = gain_bars("g", "", [Category("a", [BETTER] * 12)] * 4)
    assert height(few) == 240 < height(many)


def test_dots_are_the_seeds_and_the_mean(parse):
    def dots(*by_seed):
        one = mark(-0.01, 0.02, by_seed=by_seed)
        return len(parse(seed_dots("d", "", [Category("deepfm", [one])])).named("use"))

    assert dots(0.001, 0.002, 0.012) - dots() == 3


@pytest.mark.parametrize("half", [0.0, 0.00004, 0.004, 0.4])
def test_ticks_are_signed_and_differ(parse, half):
    svg = gain_bars("g", "", [Category("all", [mark(-half, half)])])
    ticks = [word for word in parse(svg).words if word[:1] in "+\N{MINUS SIGN}0"]
    assert len(set(ticks)) == len(ticks)


def test_nothing_to_draw():
    assert "<svg" in gain_bars("g", "", [])
