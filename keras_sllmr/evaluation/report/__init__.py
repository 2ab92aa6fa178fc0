"""The reports of runs and comparisons: HTML files that need nothing else to be read."""

from keras_sllmr.evaluation.report.html import write_comparison, write_report

__all__ = ["write_comparison", "write_report"]
