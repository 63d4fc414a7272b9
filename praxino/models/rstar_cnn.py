"""R*CNN: an action is seen in the person, and in one more region that speaks for it.

Gkioxari, Girshick and Malik, "Contextual Action Recognition with R*CNN", ICCV 2015,
arXiv:1505.01197.

Notable: a person's box is scored for each action, and so is every other region that overlaps it
somewhat, with an intersection over union from 0.2 to 0.75; the best of these is added (Eq. 1):
score = w . phi(r) + max over s of w_s . phi(s). So the racket or the horse is found without a box
of its own in training. Both kinds of region share VGG-16, pooled to 7 x 7 (Fast R-CNN), and its two
hidden layers. In training 10 regions are drawn for each person.
Differs from the paper: it is about pictures; of a clip every frame is scored, and probabilities are
averaged. Regions come with the clip (`forward_regions`), from whatever found them; the paper takes
selective search. Without any, the person is the whole frame, and regions are windows of a fixed
grid. Boxes are not regressed, which the paper's code trains beside the scores and leaves unused in
its test.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from praxino.models.actionvlad import vgg16_conv5
from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.models.single_frame import AverageProbabilities
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State

__all__ = ["rstar_cnn"]

LEAST_OVERLAP, MOST_OVERLAP = 0.2, 0.75
DRAWN = 10  # regions of a person, in training
POOLED = 7  # positions of a region, in height and width
STRIDE = 16  # pixels of the picture in one of the map


class RStarCnn(nn.Module):
    """VGG-16 on regions; see `rstar_cnn`."""

    def __init__(
        self, num_classes: int, *, hidden: int, width: int, frames: int, size: int
    ) -> None:
        super().__init__()
        self.backbone = vgg16_conv5(3, width)
        self.fc6 = nn.Linear(8 * width * POOLED * POOLED, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(2 * hidden, num_classes)  # w, then w_s
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.average = AverageProbabilities()
        self.clip_spec = ClipSpec(frames, size=size, resize_short=size)

    def forward_features(self, clip: Tensor) -> Tensor:
        """conv5_3 of each frame: `(B, D, T, H / 16, W / 16)`."""
        check_clip(clip, "R*CNN", least_size=STRIDE)
        maps = self.backbone(rearrange(clip, "b c t h w -> (b t) c h w")).relu()
        return rearrange(maps, "(b t) d h w -> b d t h w", b=len(clip))

    def _phi(self, maps: Tensor, boxes: Tensor) -> Tensor:
        """Regions `(F, N, 4)` of as many maps `(F, D, h, w)` as vectors `(F, N, hidden)`."""
        # Imported late: it takes seconds, and most of praxino does without.
        from torchvision.ops import roi_pool

        numbers = torch.arange(len(maps), device=maps.device).to(boxes)
        rows = torch.cat(
            [numbers.repeat_interleave(boxes.shape[1])[:, None], boxes.flatten(0, 1)], 1
        )
        pooled = roi_pool(maps, rows.to(maps), POOLED, 1 / STRIDE)  # (F * N, D, 7, 7)
        vectors = self.dropout(self.fc6(pooled.flatten(1)).relu())
        vectors = self.dropout(self.fc7(vectors).relu())
        return vectors.view(*boxes.shape[:2], -1)

    def score_regions(
        self, clip: Tensor, person_boxes: Tensor, candidate_boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of every frame, and which region spoke for each action.

        Args:
            clip: as `forward` takes it.
            person_boxes: as `forward_regions` takes it.
            candidate_boxes: as `forward_regions` takes it.

        Returns:
            `(B, T, K)` logits, and `(B, T, K)` numbers of candidates; -1 where none may speak.
        """
        _check_boxes(clip, person_boxes, candidate_boxes)
        maps = rearrange(self.forward_features(clip), "b d t h w -> (b t) d h w")
        persons, candidates = person_boxes.flatten(0, 1), candidate_boxes.flatten(0, 1)
        overlaps = overlap(persons[:, None], candidates)  # (B * T, N)
        may = (overlaps >= LEAST_OVERLAP) & (overlaps <= MOST_OVERLAP)
        # Those that may speak come first, in training in any order, and then only some of them.
        order = may + (torch.rand(may.shape, device=may.device) if self.training else 0.0)
        most = DRAWN if self.training else may.shape[1]
        drawn = order.argsort(dim=1, descending=True, stable=True)[:, :most]
        may = may.gather(1, drawn)
        chosen = candidates.gather(1, drawn[:, :, None].expand(-1, -1, 4))
        person = self._phi(maps, persons[:, None])  # (B * T, 1, hidden)
        others = self._phi(maps, chosen)  # (B * T, n, hidden)
        # The person's share is the same whatever the other region is, so the maximum is over w_s.
        scores = self.head(torch.cat([person.expand_as(others), others], dim=2))
        best = scores.masked_fill(~may[:, :, None], -torch.inf).max(dim=1)
        alone = self.head(torch.cat([person, torch.zeros_like(person)], dim=2))[:, 0]
        spoke = may.any(dim=1, keepdim=True)  # (B * T, 1)
        which = torch.where(spoke, drawn.gather(1, best.indices), -1)
        logits = torch.where(spoke, best.values, alone)
        shape = (len(clip), clip.shape[2], -1)
        return logits.view(shape), which.view(shape)

    def forward_regions(
        self, clip: Tensor, person_boxes: Tensor, candidate_boxes: Tensor
    ) -> Tensor:
        """Classify what people do, with regions that were found before.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says.
            person_boxes: `(B, T, 4)` in pixels of the clip: left, top, right, bottom.
            candidate_boxes: `(B, T, N, 4)` likewise; those count that overlap the person by 0.2 to
                0.75. Where none does, the person is scored alone.

        Returns:
            `(B, K)` logits; their softmax is the average of the frames' probabilities.

        Raises:
            ValueError: another shape, or a box without height or width.
        """
        logits, _ = self.score_regions(clip, person_boxes, candidate_boxes)
        average: Tensor = self.average(logits)
        return average

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips whose regions nobody has found: the whole frame, and windows of a grid.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits; their softmax is the average of the frames' probabilities.
        """
        check_clip(clip, "R*CNN", least_size=STRIDE)
        batch, _, frames, height, width = clip.shape
        pixels = clip.new_tensor([width, height, width, height])
        windows = clip.new_tensor(WINDOWS) * pixels
        whole = clip.new_tensor([0.0, 0.0, 1.0, 1.0]) * pixels
        return self.forward_regions(
            clip, whole.expand(batch, frames, 4), windows.expand(batch, frames, -1, 4)
        )


def _windows() -> list[tuple[float, float, float, float]]:
    """Windows of half the width, half the height, or three quarters of both."""
    sizes = (((0.5, 0.5), 3, 3), ((0.5, 1.0), 3, 1), ((1.0, 0.5), 1, 3), ((0.75, 0.75), 2, 2))
    found = []
    for (width, height), columns, rows in sizes:
        for row in range(rows):
            for column in range(columns):
                left = (1 - width) * column / max(1, columns - 1)
                top = (1 - height) * row / max(1, rows - 1)
                found.append((left, top, left + width, top + height))
    return found


WINDOWS = _windows()  # left, top, right, bottom; all overlap the whole frame by 0.25 to 0.57


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes `(..., 4)` with as many others, or with one each."""
    left_top = torch.maximum(boxes[..., :2], others[..., :2])
    right_bottom = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    return shared / (areas + (others[..., 2:] - others[..., :2]).prod(dim=-1) - shared)


def _check_boxes(clip: Tensor, person_boxes: Tensor, candidate_boxes: Tensor) -> None:
    check_clip(clip, "R*CNN", least_size=STRIDE)
    batch, frames = len(clip), clip.shape[2]
    if person_boxes.shape != (batch, frames, 4):
        raise ValueError(
            f"person_boxes must be (B, T, 4) = ({batch}, {frames}, 4), one box in each frame, got "
            f"{tuple(person_boxes.shape)}."
        )
    shape = tuple(candidate_boxes.shape)
    if len(shape) != 4 or shape[:2] != (batch, frames) or shape[2] < 1 or shape[3] != 4:
        raise ValueError(
            f"candidate_boxes must be (B, T, N, 4) = ({batch}, {frames}, N, 4), at least one in "
            f"each frame, got {shape}."
        )
    if clip.is_meta:
        return
    for name, boxes in (("person_boxes", person_boxes), ("candidate_boxes", candidate_boxes)):
        flat = boxes.flatten(0, -2)
        empty = ~(flat[:, 2:] > flat[:, :2]).all(dim=1)
        if empty.any():
            raise ValueError(
                f"{name} are left, top, right, bottom in pixels, got {flat[empty][0].tolist()}, "
                "which has no height or no width."
            )


def rstar_cnn(
    num_classes: int = 10,
    *,
    hidden: int = 4096,
    width: int = 64,
    frames: int = 4,
    size: int = 600,
) -> RStarCnn:
    """R*CNN on VGG-16.

    Args:
        num_classes: K; the paper's VOC 2012 has 10 actions.
        hidden: units of fc6 and fc7.
        width: channels of the first convolution.
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels.
    """
    return RStarCnn(num_classes, hidden=hidden, width=width, frames=frames, size=size)


def from_torchvision(state: State, model: nn.Module) -> State:
    """Convolutions and hidden layers of torchvision's VGG-16; the head stays as it is."""
    found = {name: value for name, value in model.state_dict().items() if name.startswith("head.")}
    places = {"classifier.0": "fc6", "classifier.3": "fc7"}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        if layer.startswith("features."):
            found[f"backbone.{layer.removeprefix('features.')}.{leaf}"] = value
        elif layer in places:
            found[f"{places[layer]}.{leaf}"] = value
    return found


LAYOUTS = {"torchvision": from_torchvision}

PAPER = "Gkioxari et al., Contextual Action Recognition with R*CNN, ICCV 2015"
MODELS = {
    "rstar_cnn": ModelRow(rstar_cnn, PAPER, 2015, "attention", backbone="vgg16", layouts=LAYOUTS),
}
