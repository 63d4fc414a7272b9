"""Ego-RNN: a network that knows objects says where to look, and a ConvLSTM remembers what it saw.

Sudhakaran and Lanz, "Attention is All We Need: Nailing Down Object-centric Attention for Egocentric
Activity Recognition", BMVC 2018, arXiv:1807.11794. Its motion task: Planamente, Bottino and Caputo,
"Joint Encoding of Appearance and Motion Features with Self-supervision for First Person Action
Recognition", arXiv:2002.03982.

Notable: an ImageNet network names the likeliest object in each frame; where that is (its class
activation map) weighs the frame's map before a convolutional LSTM reads it. What is classified is
the LSTM's memory after the last frame, its cell state, not what it shows. The map that is weighed
has no batch norm and no ReLU, `conv2(x) + x` of the last block; the class activation map is made
from the usual one.
Differs from the authors' code: the joint network is fed one clip, and sees the flow of five
neighbouring frames of it, in training at a random place and otherwise in the middle; theirs takes
five successive frames of the video, whichever frames the clip holds. `forward_streams` is fed both
apart. Without attention the ConvLSTM reads the ResNet's own last map. The motion task learns from
warped flow, which the network itself is not shown, where the paper has maps of dense trajectories.
"""

from typing import Any, Literal, TypedDict, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.backbone_2d import Backbone2d
from praxino.models.clip_shape import check_clip
from praxino.models.recurrent_cells import ConvLSTMCell, LstmState
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["ego_rnn", "ego_rnn_convlstm", "ego_rnn_flow", "ego_rnn_joint", "ego_rnn_motion"]

Backbone = Literal["resnet18", "resnet34"]
MapBackbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

IMAGENET_CLASSES = 1000
WIDTH = 512  # channels of the last map of ResNet-18 and ResNet-34
CELL_PIXELS = 32  # of a frame, to a side of a cell of that map
BOUND = 20.0  # pixels: flow of a clip is 0 to 1 for what lies within, before it is normalised
# The authors normalise pictures of flow, which are grey, by the means over the three colours.
GREY_MEAN, GREY_STD = (sum(IMAGENET_MEAN) / 3,) * 2, (sum(IMAGENET_STD) / 3,) * 2


class EgoRnn(nn.Module):
    """A ResNet on each frame and a ConvLSTM over them; see `EgoRnnOptions`.

    Args:
        num_classes: K.
        attention: weigh each frame's map; otherwise the ConvLSTM reads the ResNet's last map.
        frames: T.
        size: H and W in pixels.
        backbone: the ResNet.
        hidden: channels of the ConvLSTM.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        attention: bool,
        frames: int = 25,
        size: int = 224,
        backbone: Backbone = "resnet34",
        hidden: int = 512,
    ) -> None:
        super().__init__()
        if backbone not in ("resnet18", "resnet34"):  # the blocks of deeper ones have no such map
            raise ValueError(f"backbone is 'resnet18' or 'resnet34', not {backbone!r}.")
        self.backbone = Backbone2d(backbone)
        self.objects = nn.Linear(WIDTH, IMAGENET_CLASSES) if attention else None
        self.memory = ConvLSTMCell(WIDTH, hidden)
        self.dropout = nn.Dropout(0.7)
        self.head = nn.Linear(hidden, num_classes)
        self.clip_spec = ClipSpec(frames, size=size, resize_short=round(size * 8 / 7))

    def frame_maps(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The ResNet's last map, and the same before its last batch norm and ReLU.

        Args:
            frames: `(N, 3, H, W)`.

        Returns:
            Two maps `(N, 512, H / 32, W / 32)`, rounded up.
        """
        *layers, layer4 = self.backbone.features.children()
        *blocks, last = layer4.children()
        maps = frames
        for layer in (*layers, *blocks):
            maps = layer(maps)
        block: Any = last
        convolved = block.conv2(block.relu(block.bn1(block.conv1(maps))))
        return block.relu(block.bn2(convolved) + maps), convolved + maps

    def object_maps(self, maps: Tensor) -> Tensor:
        """Where the likeliest object of each frame is (Sec. 3.1); a frame's map adds up to 1.

        Args:
            maps: the ResNet's last, `(N, 512, H', W')`.

        Returns:
            `(N, H', W')`.

        Raises:
            ValueError: the network was built without attention.
        """
        if self.objects is None:
            raise ValueError("This Ego-RNN was built without attention. Build ego_rnn, which has.")
        likeliest = self.objects(maps.mean(dim=(2, 3))).argmax(dim=1)  # (N,)
        activation = torch.einsum("nd,ndhw->nhw", self.objects.weight[likeliest], maps)
        return activation.flatten(1).softmax(dim=1).view_as(activation)

    def attention(self, clip: Tensor) -> Tensor:
        """Where the network looks: `(B, C, T, H, W)` to `(B, T, H / 32, W / 32)`, rounded up.

        Raises:
            ValueError: the network was built without attention.
        """
        maps, _ = self.frame_maps(self._frames_of(clip))
        return rearrange(self.object_maps(maps), "(b t) h w -> b t h w", b=len(clip))

    def forward_features(self, clip: Tensor) -> Tensor:
        """The memory after each frame: `(B, hidden, T, H / 32, W / 32)`, rounded up."""
        return self._remember(*self.frame_maps(self._frames_of(clip)), batch=len(clip))

    def forward_steps(self, clip: Tensor) -> Tensor:
        """What the network says after each frame: `(B, T, K)` logits."""
        memories = self.forward_features(clip).unbind(dim=2)
        return torch.stack([self._classify(memory) for memory in memories], dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, C, T, H, W)`, normalised as `self.clip_spec` says; any T.

        Returns:
            `(B, K)` logits.
        """
        return self._classify(self.forward_features(clip)[:, :, -1])

    def step(self, frame: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """One frame of a stream; after the last frame of a clip it says what `forward` says.

        Args:
            frame: `(B, C, H, W)`.
            state: after the frame before; None: this is the first.

        Returns:
            `(B, K)` logits, and the state after this frame.
        """
        fed = self._weigh(*self.frame_maps(self._frames_of(frame.unsqueeze(2))))
        state = self.memory(fed, state)
        return self._classify(state[1]), state

    def _frames_of(self, clip: Tensor) -> Tensor:
        """The colours of a clip, `(B * T, 3, H, W)`."""
        check_clip(clip, "Ego-RNN", channels=self.clip_spec.channels)
        return rearrange(clip[:, :3], "b c t h w -> (b t) c h w")

    def _weigh(self, maps: Tensor, plain: Tensor) -> Tensor:
        """What the ConvLSTM is fed, `(N, 512, H', W')`, of the two maps of `frame_maps`."""
        return maps if self.objects is None else plain * self.object_maps(maps).unsqueeze(1)

    def _remember(self, maps: Tensor, plain: Tensor, batch: int) -> Tensor:
        """The memory after each frame, `(B, hidden, T, H', W')`, of the two maps of all frames."""
        state, memories = None, []
        for fed in rearrange(self._weigh(maps, plain), "(b t) d h w -> t b d h w", b=batch):
            state = self.memory(fed, state)
            memories.append(state[1])
        return torch.stack(memories, dim=2)

    def _classify(self, memory: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(memory.mean(dim=(2, 3))))
        return logits


class EgoRnnMotion(EgoRnn):
    """Ego-RNN that learns besides which cells of each frame move; see `ego_rnn_motion`."""

    def __init__(
        self,
        num_classes: int,
        *,
        task: Literal["classification", "regression"],
        distance: Literal["squared", "absolute"],
        task_weight: float,
        threshold: float,
        **options: Unpack["EgoRnnOptions"],
    ) -> None:
        super().__init__(num_classes, attention=True, **options)
        if task not in ("classification", "regression"):
            raise ValueError(f"task is 'classification' or 'regression', not {task!r}.")
        if distance not in ("squared", "absolute"):
            raise ValueError(f"distance is 'squared' or 'absolute', not {distance!r}.")
        if not (0 <= task_weight < float("inf") and 0 < threshold < BOUND):
            raise ValueError(
                f"task_weight must be at least 0 and threshold between 0 and {BOUND:g} pixels, got "
                f"task_weight={task_weight} and threshold={threshold}."
            )
        self.task, self.distance = task, distance
        self.task_weight, self.threshold = task_weight, threshold
        spec = self.clip_spec
        self.cells = -(-spec.size // CELL_PIXELS)  # to a side of a map
        answers = 2 if task == "classification" else 1  # "still" and "moving", or how much moves
        self.squeeze = nn.Conv2d(WIDTH, 100, kernel_size=1)
        self.motion = nn.Linear(100 * self.cells**2, answers * self.cells**2)
        self.clip_spec = ClipSpec(
            spec.frames,
            size=spec.size,
            resize_short=spec.resize_short,
            mean=IMAGENET_MEAN + GREY_MEAN,
            std=IMAGENET_STD + GREY_STD,
            inputs=("rgb", "warped_flow"),
        )

    def moving(self, clip: Tensor) -> Tensor:
        """Which share of each cell's pixels moves by more than the threshold: `(B, T, H', W')`."""
        mean, std = (
            torch.tensor(numbers[3:], device=clip.device).view(2, 1, 1, 1)
            for numbers in (self.clip_spec.mean, self.clip_spec.std)
        )
        pixels = (2 * (clip[:, 3:] * std + mean) - 1) * BOUND  # flow in pixels, (B, 2, T, H, W)
        moves = (pixels.norm(dim=1) > self.threshold).to(clip.dtype)  # (B, T, H, W)
        return functional.adaptive_avg_pool2d(moves, self.cells)

    def loss(self, clip: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What training lowers.

        Args:
            clip: `(B, 5, T, H, W)`; H and W are those of `self.clip_spec`.
            labels: `(B,)` class indices.

        Returns:
            The cross entropy of the actions plus `task_weight` times the motion task's loss, and
            the `(B, K)` logits.
        """
        maps, plain = self.frame_maps(self._frames_of(clip))
        logits = self._classify(self._remember(maps, plain, batch=len(clip))[:, :, -1])
        answers = self.motion(self.squeeze(plain.relu()).flatten(1))
        loss = functional.cross_entropy(logits, labels)
        return loss + self.task_weight * self.motion_loss(answers, self.moving(clip)), logits

    def motion_loss(self, answers: Tensor, moving: Tensor) -> Tensor:
        """The mean over all cells of all frames.

        Args:
            answers: of the task's last layer, `(B * T, 2 * H' * W')`, or half as many.
            moving: `(B, T, H', W')`, the share of each cell that moves.
        """
        shares = moving.flatten()  # (B * T * H' * W')
        if self.task == "classification":
            classes = rearrange(answers, "n (k p) -> (n p) k", k=2)
            return functional.cross_entropy(classes, (shares >= 0.5).long())
        found = answers.flatten().sigmoid()  # a share is between 0 and 1
        if self.distance == "squared":
            return functional.mse_loss(found, shares)
        return functional.l1_loss(found, shares)

    def _frames_of(self, clip: Tensor) -> Tensor:
        frames = super()._frames_of(clip)
        size = self.clip_spec.size  # one answer for each cell
        check_clip(clip, "Ego-RNN's motion task", channels=5, size=size)
        return frames


class EgoRnnFlow(nn.Module):
    """A ResNet on the flow of a few successive frames, all at once; see `ego_rnn_flow`."""

    def __init__(
        self,
        num_classes: int,
        *,
        frames: int,
        size: int,
        backbone: MapBackbone,
        stream: Literal["warped_flow", "flow"] = "warped_flow",
    ) -> None:
        super().__init__()
        if not backbone.startswith("resnet"):
            raise ValueError(f"backbone is a ResNet, such as 'resnet34', not {backbone!r}.")
        self.backbone = Backbone2d(backbone, channels=2 * frames)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(self.backbone.out_features, num_classes)
        self.clip_spec = ClipSpec(
            frames,
            stride_frames=1,
            size=size,
            resize_short=round(size * 8 / 7),
            mean=GREY_MEAN,
            std=GREY_STD,
            inputs=(stream,),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The ResNet's last map: `(B, D, 1, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "Ego-RNN's flow network", channels=2, frames=self.clip_spec.frames)
        stack = rearrange(clip, "b c t h w -> b (t c) h w")  # u and v of a frame, then of the next
        maps: Tensor = self.backbone.features(stack)
        return maps.unsqueeze(2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 2, T, H, W)`, normalised as `self.clip_spec` says; T is its `frames`.

        Returns:
            `(B, K)` logits.
        """
        vectors = self.forward_features(clip).mean(dim=(2, 3, 4))
        logits: Tensor = self.head(self.dropout(vectors))
        return logits


class EgoRnnJoint(nn.Module):
    """The networks of colours and of flow with one classifier; see `ego_rnn_joint`.

    Each keeps its own head, which nothing here uses, so that its weights fit as they are.
    """

    def __init__(
        self, num_classes: int, *, flow_frames: int, **options: Unpack["EgoRnnOptions"]
    ) -> None:
        super().__init__()
        frames = options.get("frames", 25)
        if not 0 < flow_frames <= frames:
            raise ValueError(
                f"A clip of frames={frames} has no flow_frames={flow_frames} to take. Give from 1 "
                f"to {frames}."
            )
        self.rgb = EgoRnn(num_classes, attention=True, **options)
        spec = self.rgb.clip_spec
        self.flow = EgoRnnFlow(
            num_classes,
            frames=flow_frames,
            size=spec.size,
            backbone=options.get("backbone", "resnet34"),
        )
        self.flow_frames = flow_frames
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(self.flow.head.in_features + self.rgb.head.in_features, num_classes)
        self.clip_spec = ClipSpec(
            spec.frames,
            size=spec.size,
            resize_short=spec.resize_short,
            mean=IMAGENET_MEAN + GREY_MEAN,
            std=IMAGENET_STD + GREY_STD,
            inputs=("rgb", "warped_flow"),
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The last maps of flow and of memory: `(B, 512 + hidden, 1, H / 32, W / 32)`."""
        check_clip(clip, "Ego-RNN's joint network", channels=5, least_frames=self.flow_frames)
        spare = clip.shape[2] - self.flow_frames
        start = int(torch.randint(spare + 1, ())) if self.training else spare // 2
        flow = clip[:, 3:, start : start + self.flow_frames]
        return self._maps(clip[:, :3], flow)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 5, T, H, W)`, normalised as `self.clip_spec` says; T of `flow_frames` or
                more.

        Returns:
            `(B, K)` logits.
        """
        return self._classify(self.forward_features(clip))

    def forward_streams(self, frames: Tensor, flow: Tensor) -> Tensor:
        """Classify clips whose flow is not that of their frames, as the authors' code does.

        Args:
            frames: `(B, 3, T, H, W)`.
            flow: `(B, 2, flow_frames, H, W)`, of successive frames of the same video.

        Returns:
            `(B, K)` logits.
        """
        return self._classify(self._maps(frames, flow))

    def attention(self, clip: Tensor) -> Tensor:
        """Where the network looks: `(B, 5, T, H, W)` to `(B, T, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "Ego-RNN's joint network", channels=5, least_frames=self.flow_frames)
        return self.rgb.attention(clip[:, :3])

    def _maps(self, frames: Tensor, flow: Tensor) -> Tensor:
        memory = self.rgb.forward_features(frames)[:, :, -1:]
        return torch.cat([self.flow.forward_features(flow), memory], dim=1)

    def _classify(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3, 4))))
        return logits


class EgoRnnOptions(TypedDict, total=False):
    """Options of the networks that see colours.

    Attributes:
        frames: T of `clip_spec`, 25 by default.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        backbone: `resnet34`, as in the paper, or `resnet18`.
        hidden: channels of the ConvLSTM; 512 by default.
    """

    frames: int
    size: int
    backbone: Backbone
    hidden: int


def ego_rnn(num_classes: int = 61, **options: Unpack[EgoRnnOptions]) -> EgoRnn:
    """Ego-RNN on colours: attention to objects, then a ConvLSTM.

    Args:
        num_classes: K; GTEA61 has 61.
        **options: see `EgoRnnOptions`; any T can be fed.
    """
    return EgoRnn(num_classes, attention=True, **options)


def ego_rnn_convlstm(num_classes: int = 61, **options: Unpack[EgoRnnOptions]) -> EgoRnn:
    """Ego-RNN without its attention: a ConvLSTM on the maps of a ResNet.

    Args:
        num_classes: K; GTEA61 has 61.
        **options: see `EgoRnnOptions`; any T can be fed.
    """
    return EgoRnn(num_classes, attention=False, **options)


def ego_rnn_motion(
    num_classes: int = 61,
    *,
    task: Literal["classification", "regression"] = "classification",
    distance: Literal["squared", "absolute"] = "squared",
    task_weight: float = 1.0,
    threshold: float = 1.0,
    **options: Unpack[EgoRnnOptions],
) -> EgoRnnMotion:
    """Ego-RNN that learns besides, from warped flow, which parts of each frame move.

    Only `loss` looks at the flow: `forward` gives the same logits whatever it holds.

    Args:
        num_classes: K; GTEA61 has 61.
        task: is a cell still or moving, or how large is the share of it that moves?
        distance: of a share from the true one, squared or absolute; of "regression" only.
        task_weight: of the task's loss beside that of the actions.
        threshold: pixels; what the camera does not explain and is longer counts as motion.
        **options: see `EgoRnnOptions`; any T can be fed, but only `size`.
    """
    return EgoRnnMotion(
        num_classes,
        task=task,
        distance=distance,
        task_weight=task_weight,
        threshold=threshold,
        **options,
    )


def ego_rnn_flow(
    num_classes: int = 61,
    *,
    frames: int = 5,
    size: int = 224,
    backbone: MapBackbone = "resnet34",
    stream: Literal["warped_flow", "flow"] = "warped_flow",
) -> EgoRnnFlow:
    """Ego-RNN's network of motion: a ResNet on stacked warped flow.

    Args:
        num_classes: K; GTEA61 has 61.
        frames: T, successive frames whose flow is stacked. The network takes no other.
        size: H and W of `clip_spec`, in pixels.
        backbone: `resnet34`, as in the paper, or another depth.
        stream: `flow` leaves the wearer's own motion in, to see what taking it out is worth.
    """
    return EgoRnnFlow(num_classes, frames=frames, size=size, backbone=backbone, stream=stream)


def ego_rnn_joint(
    num_classes: int = 61, *, flow_frames: int = 5, **options: Unpack[EgoRnnOptions]
) -> EgoRnnJoint:
    """Ego-RNN on colours and flow, with a classifier for both; trained jointly.

    Args:
        num_classes: K; GTEA61 has 61.
        flow_frames: neighbouring frames of a clip whose flow is stacked.
        **options: see `EgoRnnOptions`; any T of `flow_frames` or more can be fed.
    """
    return EgoRnnJoint(num_classes, flow_frames=flow_frames, **options)


def join_streams(rgb: State, flow: State, model: nn.Module) -> State:
    """Weights of `ego_rnn` and of `ego_rnn_flow` as those of `ego_rnn_joint`.

    Args:
        rgb: of the trained network of colours, under our names.
        flow: of the trained network of flow, likewise.
        model: an `ego_rnn_joint`; its own classifier stays.
    """
    joined = {f"rgb.{name}": value for name, value in rgb.items()}
    joined |= {f"flow.{name}": value for name, value in flow.items()}
    return joined | {f"head.{name}": value for name, value in model.head.state_dict().items()}  # type: ignore[union-attr]


# --- weights --------------------------------------------------------------------------------------

_NAMES = (
    (r"^resNet\.fc\.", "objects."),
    (r"^resNet\.", "backbone.features."),
    (r"^ms_module\.conv1\.", "squeeze."),
    (r"^ms_module\.fc1\.", "motion."),
    (r"^classifier\.1\.", "head."),
)
_FLOW_NAMES = ((r"^fc_action\.", "head."), (r"^(?!head\.)", "backbone.features."))
_TASK = ("squeeze.", "motion.")


def from_swathikirans(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' `attentionModel`.

    Its classifier and the weights of its attention are there twice, under two names.
    """
    once = {
        name: value
        for name, value in state.items()
        if name != "weight_softmax" and not name.startswith(("fc.", "lstm_cell."))
    }
    renamed = rename(once, _NAMES)
    for part, letters in (("input", "xx"), ("state", "hh")):  # the four gates are one layer
        gates = [f"lstm_cell.conv_{gate}_{letters}" for gate in "ifco"]
        renamed[f"memory.of_{part}.weight"] = torch.cat([state[f"{g}.weight"] for g in gates])
        if part == "input":
            renamed["memory.of_input.bias"] = torch.cat([state[f"{g}.bias"] for g in gates])
    if getattr(model, "objects", None) is None:
        renamed = {n: value for n, value in renamed.items() if not n.startswith("objects.")}
    return renamed


def flow_from_swathikirans(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' `flow_resnet34` and its kin."""
    return rename(state, _FLOW_NAMES)


def joint_from_swathikirans(state: State, model: nn.Module) -> State:
    """Rename the entries of the authors' `twoStreamAttentionModel`."""
    assert isinstance(model, EgoRnnJoint)
    streams = {
        "rgb": from_swathikirans(_under(state, "frameModel."), model.rgb),
        "flow": flow_from_swathikirans(_under(state, "flowModel."), model.flow),
        "head": _under(state, "classifier.1."),
    }
    return {f"{s}.{name}": value for s, found in streams.items() for name, value in found.items()}


def from_torchvision(state: State, model: nn.Module) -> State:
    """A torchvision ResNet, whose classifier names the objects; all else stays as it is."""
    renamed = rename(state, ((r"^fc\.", "objects."), (r"^(?!objects\.)", "backbone.features.")))
    if getattr(model, "objects", None) is None:
        renamed = {n: value for n, value in renamed.items() if not n.startswith("objects.")}
    return _others(model) | renamed


def flow_from_torchvision(state: State, model: nn.Module) -> State:
    """A torchvision ResNet that sees flow where it saw colours; the head stays as it is.

    Each channel of flow gets the mean kernel of the three colours (cross-modality initialisation).
    """
    assert isinstance(model, EgoRnnFlow)
    channels = 2 * model.clip_spec.frames
    renamed = {
        f"backbone.features.{name}": value
        for name, value in state.items()
        if not name.startswith("fc.")
    }
    first = "backbone.features.conv1.weight"
    renamed[first] = renamed[first].mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
    return _others(model) | renamed


def joint_from_torchvision(state: State, model: nn.Module) -> State:
    """A torchvision ResNet in both streams."""
    assert isinstance(model, EgoRnnJoint)
    rgb, flow = from_torchvision(state, model.rgb), flow_from_torchvision(state, model.flow)
    return join_streams(rgb, flow, model)


def from_ego_rnn(state: State, model: nn.Module) -> State:
    """Weights of `ego_rnn` for `ego_rnn_motion`, whose task begins anew, or the other way round."""
    kept = {name: value for name, value in state.items() if not name.startswith(_TASK)}
    own = model.state_dict().items()
    return kept | {name: value for name, value in own if name.startswith(_TASK)}


def _under(state: State, prefix: str) -> State:
    return {n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}


def _others(model: nn.Module) -> State:
    """What a model holds besides its ResNet."""
    known = ("backbone.", "objects.")
    return {n: value for n, value in model.state_dict().items() if not n.startswith(known)}


LAYOUTS = {
    "swathikirans": from_swathikirans,
    "torchvision": from_torchvision,
    "ego_rnn": from_ego_rnn,
}
FLOW_LAYOUTS = {"swathikirans": flow_from_swathikirans, "torchvision": flow_from_torchvision}
JOINT_LAYOUTS = {"swathikirans": joint_from_swathikirans, "torchvision": joint_from_torchvision}


def _weights(key: str, stream: str) -> dict[str, Weights]:
    return {
        "gtea61": Weights(
            url=f"https://drive.google.com/open?id={key}",
            by_hand=f"best_model_state_dict_{stream}_split2.pth",
            sha256_prefix=None,
            trained_on="GTEA61, S1, S3 and S4 (ResNet from ImageNet-1K)",
            num_classes=61,
            licence="none stated (ego-rnn)",
            layout="swathikirans",
        )
    }


PAPER = "Sudhakaran and Lanz, Attention is All We Need: Object-centric Attention, BMVC 2018"
MOTION_PAPER = "Planamente et al., Joint Encoding of Appearance and Motion Features, 2020"
MODELS = {
    "ego_rnn": ModelRow(
        ego_rnn,
        PAPER,
        2018,
        "recurrent",
        weights=_weights("1B7Xh6hQ9Py8fmL-pjmLzlCent6dnuex5", "rgb"),
        backbone="resnet34",
        layouts=LAYOUTS,
    ),
    "ego_rnn_convlstm": ModelRow(
        ego_rnn_convlstm, PAPER, 2018, "recurrent", backbone="resnet34", layouts=LAYOUTS
    ),
    "ego_rnn_flow": ModelRow(
        ego_rnn_flow,
        PAPER,
        2018,
        "two-stream",
        inputs=("warped_flow",),
        weights=_weights("1eG-ZF1IwOtYJqpIIeMASURB0uyCM_cFd", "flow"),
        backbone="resnet34",
        layouts=FLOW_LAYOUTS,
    ),
    "ego_rnn_joint": ModelRow(
        ego_rnn_joint,
        PAPER,
        2018,
        "two-stream",
        inputs=("rgb", "warped_flow"),
        weights=_weights("11U5xbrOr8GtEhpkxY2lpPsyFDFJ8savp", "twoStream"),
        backbone="resnet34",
        layouts=JOINT_LAYOUTS,
    ),
    "ego_rnn_motion": ModelRow(
        ego_rnn_motion,
        MOTION_PAPER,
        2020,
        "recurrent",
        inputs=("rgb", "warped_flow"),
        backbone="resnet34",
        layouts=LAYOUTS,
    ),
}
_SOURCE = "the authors' code, counted"
PUBLISHED = (
    Published(
        "ego_rnn",
        _SOURCE,
        clip=(3, 3, 224, 224),
        parameters="40,705,381",
        multiply_adds="13.77 G",
    ),
    Published("ego_rnn_flow", _SOURCE, parameters="21,337,917", multiply_adds="3.94 G"),
    Published("ego_rnn_joint", _SOURCE, parameters="62,105,823"),
)
