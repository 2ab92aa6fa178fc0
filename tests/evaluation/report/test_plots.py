import matplotlib
import pytest

from keras_sllmr.evaluation.report.plots import (
    Line,
    calibration,
    curves,
    reliability,
)
from keras_sllmr.evaluation.report.svg import INK, SERIES, inline_svg, series

LINES = [
    Line("a", [(1, 0.5), (2, 0.7)], 0, best=2),
    Line("b", [(1, None), (2, 0.6)], 8, dashed=True),
]


def test_figure_takes_colours_from_the_page_and_asks_for_nothing(parse):
    svg = curves("c", "two curves", LINES)
    page = parse(svg)
    assert "currentColor" in svg and "var(--series-0)" in svg
    assert not any(stand_in in svg for stand_in in (INK, *SERIES))
    assert "http" not in svg and "<style" not in svg and "<metadata" not in svg
    assert page.named("svg") == [
        {"viewbox": "0 0 360 240", "role": "img", "aria-label": "two curves"}
    ]
    # Text stays text, in the page's font.
    assert "epoch" in page.text and "DejaVu" not in svg


def test_ids_are_the_figures_own_and_resolve(parse):
    tags = parse(curves("c", "", LINES)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids) and all(one.startswith("c-") for one in ids)
    used = [attributes["href"] for _, attributes in tags if "href" in attributes]
    assert used and {one.removeprefix("#") for one in used} <= set(ids)


def test_label_is_escaped():
    svg = inline_svg("n", '"><script>', lambda figure: None)
    assert "<script" not in svg and "&lt;script&gt;" in svg


def test_equal_bytes_whatever_the_users_settings_which_stay():
    first = curves("c", "", LINES)
    with matplotlib.rc_context({"font.size": 30, "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        again = curves("c", "", LINES)
        assert dict(matplotlib.rcParams) == before
    assert first == again


def test_unknown_points_are_left_out_and_markers_differ():
    assert LINES[1].known == [(2, 0.6)]
    assert LINES[0].glyph == "●" and LINES[1].glyph == "□"
    assert [series(place) for place in (0, 1, 6, 7)] == [0, 1, 6, 1]


@pytest.mark.parametrize("points", [[(1, 0.5)], [(1, 0.5), (2, 0.5)]])
def test_flat_or_single_epoch(points):
    assert "<svg" in curves("c", "", [Line("a", points, 0)], from_zero=True)


def test_bin_without_width_is_drawn():
    one = {"gap_low": 0.2, "gap_high": 0.2, "gap": 0.2, "pairs": 9, "accuracy": 0.5}
    assert "<svg" in reliability("r", "", [one])


def test_reliability_shows_counts_and_chance(metrics, parse):
    svg = reliability("r", "", metrics["teacher"]["reliability"]["bins"])
    text = parse(svg).text
    assert "gap of the two scores" in text and "0.5" in text and "1,000" in text


@pytest.mark.parametrize("chances", [[0.5], [0.0, 1.0], [0.61, 0.62, 0.63]])
def test_calibration_has_one_scale_on_both_axes(parse, chances):
    bins = [{"chance": p, "accuracy": 1 - p} for p in chances]
    text = parse(calibration("k", "", bins, 2, "share of hits")).text
    assert "stated chance" in text and "share of hits" in text


def test_letters_that_the_measuring_font_lacks(recwarn):
    inline_svg("n", "", lambda figure: figure.text(0, 0, "\u65e5\u672c"))
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
