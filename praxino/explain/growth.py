"""What a network costs in 2D, on every frame, and inflated into time."""

from dataclasses import dataclass

from praxino.layer_table import count_parameters, multiply_adds
from praxino.models import create_model
from praxino.weights.shapes_only import ShapesOnly


@dataclass(frozen=True)
class Growth:
    """A 2D network and its inflated sibling, for the same clip.

    Args:
        flat_parameters: of the 2D network.
        grown_parameters: of the inflated one.
        flat_multiply_adds: of the 2D network on all frames.
        grown_multiply_adds: of the inflated one on the clip.
    """

    flat_parameters: int
    grown_parameters: int
    flat_multiply_adds: int
    grown_multiply_adds: int


def growth(backbone: str, *, num_classes: int = 400, frames: int = 16, size: int = 224) -> Growth:
    """Count both networks.

    Args:
        backbone: a classification network of torchvision, for example `resnet18`.
        num_classes: K.
        frames: T of the clip.
        size: H and W of the clip, in pixels.

    Raises:
        ValueError: no such network, one that cannot be inflated, or a clip it cannot take.
    """
    with ShapesOnly():
        flat, grown = (
            create_model(name, num_classes, backbone=backbone, frames=frames, size=size)
            for name in ("single_frame", "inflated")
        )
    clip = (3, frames, size, size)
    return Growth(
        count_parameters(flat),
        count_parameters(grown),
        multiply_adds(flat, clip),
        multiply_adds(grown, clip),
    )
