"""Which cases stay together where pytest-xdist spreads them over workers."""

from tests.groups import pytest_xdist_make_scheduler

__all__ = ["pytest_xdist_make_scheduler"]
