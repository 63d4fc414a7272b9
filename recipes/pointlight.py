"""Small networks on point lights: what is in a frame, and what only time tells.

praxino data pointlight pointlight
praxino train recipes/pointlight.py:small_3d
praxino train recipes/pointlight.py:small_2d
"""

from praxino.demo import pointlight_config
from praxino.recipe import TrainConfig

MANIFEST = "pointlight/manifest.csv"


def small_3d() -> TrainConfig:
    """Sixteen frames seen together."""
    return pointlight_config("small_3d", MANIFEST)


def small_2d() -> TrainConfig:
    """The same network, frames one by one."""
    return pointlight_config("small_2d", MANIFEST)
