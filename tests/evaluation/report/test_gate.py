import pytest

from keras_sllmr.evaluation.report.gate import gate_section
from keras_sllmr.evaluation.report.heat_map import heat_map
from keras_sllmr.evaluation.report.html import render


def test_map_says_its_numbers(judged, parse):
    section = gate_section(judged)
    where = next(panel for panel in section.panels if "opened" in panel.title)
    drawn = parse(where.svg)
    assert [w for w in drawn.words if w.strip() in ("0.810", "0.420", "–", "0.092")]
    # Bins of whole numbers, from each edge to below the next.
    for title in ("1", "2–5", "0–4", "5–89"):
        assert title in drawn.text
    assert "n = 1,250 pairs" in where.note
    rows = section.numbers[0].rows
    assert rows == [
        ("1", "0.8100 (12)", "0.4200 (30)"),
        ("2–5", "-", "0.0917 (1,208)"),
    ]


def test_gates_calibration_is_in_its_section(judged, parse, undrawn):
    text = parse(render(judged)).text
    assert "ECE 0.0512, Brier 0.2213, AUC 0.6101, n = 400 pairs" in text
    assert "1 0.2500 0.3100 150" in text and "share right" in text


@pytest.mark.parametrize(
    "gate_map",
    [
        None,
        {"history_edges": [], "popularity_edges": [], "alpha": [], "pairs": []},
        {
            "history_edges": [1, 2],
            "popularity_edges": [1, 2],
            "alpha": [[None]],
            "pairs": [[0]],
        },
    ],
)
def test_no_map_without_a_pair(judged, gate_map):
    judged["training"]["sllmr"]["gate_map"] = gate_map
    judged["training"]["sllmr"]["gate_calibration"] = {"pairs": 0, "bins": []}
    assert len(gate_section(judged).panels) == 1


def test_one_cell_and_equal_cells():
    for cells in ([[0.5]], [[0.5, 0.5]]):
        names = {"row_name": "r", "column_name": "c"}
        svg = heat_map("h", "", cells, ["1"], ["1"] * len(cells[0]), **names)
        assert "0.500" in svg
