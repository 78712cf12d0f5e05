"""Builds the two images without a registry, as archives that a cluster can load.

``python -m tests.images build`` is the same by hand.
"""

from tests.images.build import IMAGES, Image, build

__all__ = ["IMAGES", "Image", "build"]
