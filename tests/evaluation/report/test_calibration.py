from keras_sllmr.evaluation.report.calibration import calibration_section
from keras_sllmr.evaluation.report.html import render


def test_a_figure_and_a_row_a_method(judged, parse, undrawn):
    section = calibration_section(judged)
    assert [panel.title for panel in section.panels] == [
        "Calibration of None",
        "Calibration of S-LLMR",
    ]
    assert section.panels[0].note.startswith("ECE 0.0512, Brier 0.2213, n = 400 rows")
    assert section.tables[0].rows[1] == ("S-LLMR", "0.0512", "0.2213")
    assert section.numbers[0].rows[0] == ("1", "0.2500", "0.3100", "150")
    # What a method has by name is not taken for a metric by slice.
    text = parse(render(judged)).text
    assert "half of which are" in text and "ece" not in text


def test_methods_without_calibration_are_left_out(judged):
    judged["methods"]["none"]["calibration"] = {"ece": None, "brier": None, "bins": []}
    assert len(calibration_section(judged).panels) == 1
    assert len(calibration_section(judged).tables[0].rows) == 1
    judged["methods"]["sllmr"]["calibration"] = None
    assert not calibration_section(judged)
