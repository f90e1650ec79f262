"""Measurements of real machines as columns: end-to-end points, operation tables, request logs."""

from workloads.measured.layout import Column, Layout
from workloads.measured.layouts import LAYOUTS
from workloads.measured.read import Measured, detect_layout, find_measured, read_measured

__all__ = [
    "LAYOUTS",
    "Column",
    "Layout",
    "Measured",
    "detect_layout",
    "find_measured",
    "read_measured",
]
