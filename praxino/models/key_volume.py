"""Key volume mining: only the part of a video that shows the action learns what it looks like.

Zhu et al., "A Key Volume Mining Deep Framework for Action Recognition", CVPR 2016.

Notable: a video is a bag of volumes, crops in space and time, most of which show nothing of the
action. A network scores each of them for each class, and a class's score is that of its key volume
alone, so that the gradient goes back to this one: multiple instances, hard attention. The key
volume is the best one (max), or, in training, it is drawn, each volume with the probability that
the softmax over volumes of the class's scores gives it (stochastic out); tested is then the mean
that draws give. So what scores well already does not keep all others from ever being tried.
Differs from the paper: volumes are proposed by what moves in them, which needs no supervision
either, and is not how the paper does it. The clip is cut into stretches of time, each at five
places (corners and centre), and those stay in which neighbouring frames differ most. In a volume of
colours one frame is seen, its middle one; in a volume of flow all are, stacked.
"""

from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.backbone_2d import Backbone2d, from_torchvision_vector
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.models.two_stream import for_flow
from praxino.video.clip_spec import FLOW_MEAN, FLOW_STD, IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State

__all__ = ["key_volume", "key_volume_flow"]

Key = Literal["max", "stochastic"]
PLACES = 5  # four corners and the centre


class KeyVolume(nn.Module):
    """A 2D network on the volumes of a bag; see `key_volume` and `key_volume_flow`."""

    def __init__(
        self,
        num_classes: int,
        stream: Literal["rgb", "flow"],
        *,
        backbone: str,
        key: Key,
        volumes: int,
        stretch: int,
        crop: int,
        frames: int,
        size: int,
    ) -> None:
        super().__init__()
        if key not in get_args(Key):
            raise ValueError(f"key is one of {', '.join(get_args(Key))}, not {key!r}.")
        if not 1 <= stretch <= frames:
            raise ValueError(f"stretch must be from 1 to frames={frames}, got {stretch}.")
        if not 1 <= crop <= size:
            raise ValueError(f"crop must be from 1 to size={size}, got {crop}.")
        if volumes < 1:
            raise ValueError(f"volumes must be at least 1, got {volumes}.")
        self.key, self.volumes, self.stretch, self.crop = key, volumes, stretch, crop
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if stream == "rgb" else (FLOW_MEAN, FLOW_STD)
        self.clip_spec = ClipSpec(
            frames, size=size, resize_short=size, mean=mean, std=std, inputs=(stream,)
        )
        self.stacked = stretch if stream == "flow" else 1  # frames that are seen of a volume
        self.backbone = Backbone2d(backbone, channels=self.clip_spec.channels * self.stacked)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(self.backbone.out_features, num_classes)

    def propose(self, clip: Tensor) -> Tensor:
        """The bag: which of all volumes stay, those in which most moves; in no order.

        Args:
            clip: as `forward` takes it.

        Returns:
            `(B, N)` numbers of volumes: stretch of time times 5, plus place. Flow is movement; of
            colours it is what differs between neighbouring frames, or, in a stretch of one frame,
            from the clip's mean.
        """
        spans = self._cut(clip)  # (B, stretches, 5, C, stretch, crop, crop)
        if self.clip_spec.inputs == ("flow",):
            movement = spans.square()
        elif self.stretch == 1:
            movement = (spans - spans.mean(dim=1, keepdim=True)).square()
        else:
            movement = spans.diff(dim=4).square()
        energy = movement.mean(dim=(3, 4, 5, 6)).flatten(1)  # (B, stretches * 5)
        return energy.topk(min(self.volumes, energy.shape[1]), dim=1).indices

    def _cut(self, clip: Tensor) -> Tensor:
        """All volumes: `(B, stretches, 5, C, stretch, crop, crop)`; frames left over are not."""
        stretches = clip.shape[2] // self.stretch
        clip = clip[:, :, : stretches * self.stretch]
        right, below = clip.shape[4] - self.crop, clip.shape[3] - self.crop
        corners = [(0, 0), (0, right), (below, 0), (below, right), (below // 2, right // 2)]
        crops = [clip[..., top : top + self.crop, left : left + self.crop] for top, left in corners]
        return rearrange(
            torch.stack(crops, dim=1), "b p c (n s) h w -> b n p c s h w", s=self.stretch
        )

    def bag(self, clip: Tensor) -> Tensor:
        """The volumes that stay: `(B, N, C, stretch, crop, crop)`.

        Args:
            clip: as `forward` takes it.
        """
        check_clip(
            clip,
            "Key volume mining",
            channels=self.clip_spec.channels,
            least_frames=self.stretch,
            least_size=self.crop,
        )
        chosen = self.propose(clip)
        volumes = self._cut(clip).flatten(1, 2)
        return volumes[torch.arange(len(clip), device=clip.device)[:, None], chosen]

    def _maps(self, bag: Tensor) -> Tensor:
        """`(B, N, C, stretch, crop, crop)` to `(B, D, N, h, w)`."""
        if self.stacked == 1:
            seen = bag[:, :, :, bag.shape[3] // 2]
        else:
            seen = rearrange(bag, "b n c s h w -> b n (s c) h w")
        return self.backbone.maps(seen.transpose(1, 2))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map of each volume: `(B, D, N, h, w)`."""
        return self._maps(self.bag(clip))

    def score(self, bag: Tensor) -> Tensor:
        """Score volumes one by one, whoever proposed them.

        Args:
            bag: `(B, N, C, stretch, crop, crop)`.

        Returns:
            `(B, N, K)` logits.
        """
        scores: Tensor = self.head(self.dropout(self.backbone.vectors(self._maps(bag))))
        return scores

    def choose(self, scores: Tensor) -> Tensor:
        """The key volume of each class in training: `(B, N, K)` scores to `(B, K)` numbers."""
        if self.key == "max":
            return scores.argmax(dim=1)
        chances = scores.detach().softmax(dim=1).transpose(1, 2)  # (B, K, N)
        drawn = torch.multinomial(chances.flatten(0, 1), 1)
        return drawn.view(chances.shape[:2])

    def forward_bag(self, bag: Tensor) -> Tensor:
        """Classify bags of volumes, whoever proposed them.

        Args:
            bag: `(B, N, C, stretch, crop, crop)`; any N.

        Returns:
            `(B, K)` logits.
        """
        scores = self.score(bag)
        if self.key == "stochastic" and not self.training:
            return (scores.softmax(dim=1) * scores).sum(dim=1)  # what draws give on average
        key = self.choose(scores)
        return scores.gather(1, key[:, None])[:, 0]

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, C, T, H, W)`, normalised as `self.clip_spec` says; T of a stretch or more,
                H and W of a crop or more.

        Returns:
            `(B, K)` logits.
        """
        return self.forward_bag(self.bag(clip))


def key_volume(
    num_classes: int = 101,
    *,
    backbone: str = "vgg16",
    key: Key = "stochastic",
    volumes: int = 25,
    stretch: int = 2,
    crop: int = 224,
    frames: int = 32,
    size: int = 256,
) -> KeyVolume:
    """Key volume mining on colours.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision.
        key: `max`: the best volume of each class; `stochastic`: in training drawn by its score.
        volumes: in a bag, at most.
        stretch: frames of a volume; its middle one is seen.
        crop: height and width of a volume, in pixels.
        frames: T of `clip_spec`; any T from `stretch` on can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return KeyVolume(
        num_classes,
        "rgb",
        backbone=backbone,
        key=key,
        volumes=volumes,
        stretch=stretch,
        crop=crop,
        frames=frames,
        size=size,
    )


def key_volume_flow(
    num_classes: int = 101,
    *,
    backbone: str = "vgg16",
    key: Key = "stochastic",
    volumes: int = 25,
    stretch: int = 10,
    crop: int = 224,
    frames: int = 60,
    size: int = 256,
) -> KeyVolume:
    """Key volume mining on optical flow; a volume is a stack of as many as `stretch`.

    Args:
        num_classes: K; UCF101 has 101.
        backbone: a classification network of torchvision.
        key: as in `key_volume`.
        volumes: in a bag, at most.
        stretch: flows of a volume, which are seen as one picture.
        crop: height and width of a volume, in pixels.
        frames: T of `clip_spec`; any T from `stretch` on can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return KeyVolume(
        num_classes,
        "flow",
        backbone=backbone,
        key=key,
        volumes=volumes,
        stretch=stretch,
        crop=crop,
        frames=frames,
        size=size,
    )


def from_torchvision(state: State, model: nn.Module) -> State:
    """A torchvision network up to its classifier; flow's first layer gets the mean of colours'."""
    renamed = from_torchvision_vector(state, model)
    for name, own in model.state_dict().items():
        if own.ndim == 4 and own.shape[1] != renamed[name].shape[1] == 3:
            renamed[name] = for_flow(renamed[name], own.shape[1])
    return renamed


LAYOUTS = {"torchvision": from_torchvision}

PAPER = "Zhu et al., A Key Volume Mining Deep Framework for Action Recognition, CVPR 2016"
MODELS = {
    "key_volume": ModelRow(key_volume, PAPER, 2016, "attention", backbone="vgg16", layouts=LAYOUTS),
    "key_volume_flow": ModelRow(
        key_volume_flow,
        PAPER,
        2016,
        "attention",
        inputs=("flow",),
        backbone="vgg16",
        layouts=LAYOUTS,
    ),
}
