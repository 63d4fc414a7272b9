"""LRCN: a CNN on every frame, an LSTM over the frames, an answer at every step.

Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and Description",
CVPR 2015, arXiv:1411.4389.

Notable: trained end to end on 16 frames in a row, with the label at every step; a clip's class
probabilities are the average over its steps, a video's over clips whose first frames are 8 apart.
Flow has an LSTM of 1024 units, RGB one of 256; the paper adds up the two nets' probabilities, 1 : 1
or 1 : 2. The features are those of fc6 (fc7 did no better), and 9 of 10 are dropped in training.
Differs from the paper: its "hybrid of CaffeNet and Zeiler and Fergus' network" is built as the
authors' settings have it, but nobody publishes it with ImageNet weights any more: with `backbone`
any 2D network of torchvision takes its place. Our flow is not Brox's, nor written to JPEG.
"""

from collections import OrderedDict
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.backbone_2d import VECTOR_LAYOUTS, Backbone2d
from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import LstmState
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec

__all__ = ["lrcn", "lrcn_flow"]

MEAN, STD = (128.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
# What leaves the clip are pixels of motion, from bytes that end at 20 pixels.
FLOW_MEAN, FLOW_STD = (0.5, 0.5), (1 / 40, 1 / 40)

Layer = Literal["fc6", "fc7"]


class Lrcn(nn.Module):
    """CNN, LSTM and a classifier that all steps share; see `lrcn` for the arguments.

    Args:
        num_classes: K.
        flow: whether clips hold flow instead of colours.
        backbone: a network of torchvision; None: the paper's.
        layer: of the paper's network.
        hidden: units of the LSTM.
        dropout: before the LSTM.
        frames: T of `clip_spec`.
        size: H and W of `clip_spec`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        flow: bool,
        backbone: str | None,
        layer: Layer,
        hidden: int,
        dropout: float,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.backbone = HybridNet(layer) if backbone is None else Backbone2d(backbone)
        self.dropout, self.dropout_after = nn.Dropout(dropout), nn.Dropout(0.5)
        self.lstm = nn.LSTM(self.backbone.out_features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, num_classes)
        self.average = AverageProbabilities()
        if backbone is None:
            _start_as_the_authors(self)
        colours = (MEAN, STD) if backbone is None else (IMAGENET_MEAN, IMAGENET_STD)
        mean, std = (FLOW_MEAN, FLOW_STD) if flow else colours
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=1,
            size=size,
            resize_short=round(size * 240 / 227),
            mean=mean,
            std=std,
            inputs=("flow",) if flow else ("rgb",),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each frame: `(B, D, T, H', W')`."""
        check_clip(clip, "LRCN", channels=2 if self.flow else 3)
        return self.backbone.maps(flow_pictures(clip) if self.flow else clip)

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits; of `forward`'s clips."""
        return self._steps(clip, None)[0]

    def step(self, frame: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """The next frame of a stream, which may go on for ever.

        Args:
            frame: `(B, C, H, W)`.
            state: what the last call returned; None at the beginning.

        Returns:
            `(B, K)` logits, those of `forward_steps` at this frame, and the new state.
        """
        logits, state = self._steps(frame.unsqueeze(2), state)
        return logits[:, 0], state

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, or `(B, 2, T, H, W)` of flow, normalised as `self.clip_spec`
                says; any T.

        Returns:
            `(B, K)` logits; their softmax is the average of the steps' probabilities.
        """
        logits: Tensor = self.average(self.forward_steps(clip))
        return logits

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What training makes small: the cross entropy at every step, averaged.

        Args:
            clip: as in `forward`.
            labels: `(B,)`.

        Returns:
            The loss, and `forward`'s `(B, K)` logits.
        """
        steps = self.forward_steps(clip).float()  # (B, T, K)
        loss = functional.cross_entropy(
            steps.flatten(0, 1), labels.repeat_interleave(steps.shape[1])
        )
        return loss, self.average(steps)

    def _steps(self, clip: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        vectors = self.backbone.vectors(self.forward_features(clip))  # (B, T, D)
        hidden, state = self.lstm(self.dropout(vectors), state)  # (B, T, hidden)
        return self.head(self.dropout_after(hidden)), state


class HybridNet(nn.Module):
    """The paper's CNN: CaffeNet, with the small first kernels of Zeiler and Fergus' network.

    Args:
        layer: the last one, fc6 or fc7.

    Attributes:
        out_features: 4096.
    """

    def __init__(self, layer: Layer = "fc6") -> None:
        super().__init__()
        if layer not in ("fc6", "fc7"):
            raise ValueError(f"layer is 'fc6' or 'fc7', not {layer!r}.")
        self.features = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(3, 96, 7, stride=2),
                relu1=nn.ReLU(inplace=True),
                pool1=nn.MaxPool2d(3, 2, ceil_mode=True),  # Caffe's pooling rounds up
                norm1=nn.LocalResponseNorm(5),
                conv2=nn.Conv2d(96, 384, 5, stride=2, groups=2),
                relu2=nn.ReLU(inplace=True),
                pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
                norm2=nn.LocalResponseNorm(5),
                conv3=nn.Conv2d(384, 512, 3, padding=1),
                relu3=nn.ReLU(inplace=True),
                conv4=nn.Conv2d(512, 512, 3, padding=1, groups=2),
                relu4=nn.ReLU(inplace=True),
                conv5=nn.Conv2d(512, 384, 3, padding=1, groups=2),
                relu5=nn.ReLU(inplace=True),
            )
        )
        neck = OrderedDict[str, nn.Module](
            pool5=nn.MaxPool2d(3, 2, ceil_mode=True),
            flatten=nn.Flatten(),
            fc6=nn.Linear(384 * 6 * 6, 4096),
            relu6=nn.ReLU(inplace=True),
        )
        if layer == "fc7":
            neck |= {
                "drop6": nn.Dropout(0.5),
                "fc7": nn.Linear(4096, 4096),
                "relu7": nn.ReLU(inplace=True),
            }
        self.neck, self.out_features = nn.Sequential(neck), 4096

    def maps(self, clip: Tensor) -> Tensor:
        """The map of every frame: `(B, 3, T, 227, 227)` to `(B, 384, T, 13, 13)`."""
        check_clip(clip, "LRCN's own CNN", size=227)
        maps = self.features(rearrange(clip, "b c t h w -> (b t) c h w"))
        return rearrange(maps, "(b t) d h w -> b d t h w", b=len(clip))

    def vectors(self, maps: Tensor) -> Tensor:
        """A vector for every map: `(B, 384, T, 13, 13)` to `(B, T, 4096)`."""
        vectors = self.neck(rearrange(maps, "b d t h w -> (b t) d h w"))
        return rearrange(vectors, "(b t) d -> b t d", b=len(maps))


def flow_pictures(clip: Tensor) -> Tensor:
    """Flow as the authors' CNN saw it: u, v and speed, 16 grey levels a pixel, cut off at 128.

    Args:
        clip: `(B, 2, T, H, W)`, in pixels.

    Returns:
        `(B, 3, T, H, W)`.
    """
    speed = torch.linalg.vector_norm(clip, dim=1, keepdim=True)
    return (16 * torch.cat([clip, speed], dim=1)).clamp(-128, 127)


def _start_as_the_authors(model: Lrcn) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.0 if layer is model.head else 0.1)
    for name, parameter in model.lstm.named_parameters():
        nn.init.zeros_(parameter) if "bias" in name else nn.init.uniform_(parameter, -0.01, 0.01)


def lrcn(
    num_classes: int = 101,
    *,
    backbone: str | None = None,
    layer: Layer = "fc6",
    hidden: int = 256,
    dropout: float = 0.9,
    frames: int = 16,
    size: int = 227,
) -> Lrcn:
    """LRCN on colours.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision, for example `resnet18`; None: the
            paper's own.
        layer: what the LSTM sees of the paper's own: fc6 or fc7.
        hidden: units of the LSTM.
        dropout: share of the CNN's features that training leaves out.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels; the paper's own network takes 227 only.
    """
    return Lrcn(
        num_classes,
        flow=False,
        backbone=backbone,
        layer=layer,
        hidden=hidden,
        dropout=dropout,
        frames=frames,
        size=size,
    )


def lrcn_flow(
    num_classes: int = 101,
    *,
    backbone: str | None = None,
    layer: Layer = "fc6",
    hidden: int = 1024,
    dropout: float = 0.9,
    frames: int = 16,
    size: int = 227,
) -> Lrcn:
    """LRCN on optical flow, whose LSTM has four times the units.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: as in `lrcn`.
        layer: as in `lrcn`.
        hidden: units of the LSTM.
        dropout: as in `lrcn`.
        frames: as in `lrcn`.
        size: as in `lrcn`.
    """
    return Lrcn(
        num_classes,
        flow=True,
        backbone=backbone,
        layer=layer,
        hidden=hidden,
        dropout=dropout,
        frames=frames,
        size=size,
    )


PAPER = "Donahue et al., Long-term Recurrent Convolutional Networks, CVPR 2015"
MODELS = {
    "lrcn": ModelRow(lrcn, PAPER, 2015, "recurrent", layouts=VECTOR_LAYOUTS),
    "lrcn_flow": ModelRow(
        lrcn_flow, PAPER, 2015, "recurrent", inputs=("flow",), layouts=VECTOR_LAYOUTS
    ),
}
