"""Calibration: machines, and unsaid settings of measurements, that explain measured rows."""
