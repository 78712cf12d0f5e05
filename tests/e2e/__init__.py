"""Whole lives on real pods: ``make e2e``."""
