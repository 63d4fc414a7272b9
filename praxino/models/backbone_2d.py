"""Any 2D classification network of torchvision, or BN-Inception, cut into map, vector, classifier.

The models that look at frames (single frame, late fusion, early fusion) stand on this. Parameters
keep torchvision's names behind `features.` or `neck.`, so published weights load by a rule.
"""

import math
from collections import OrderedDict
from typing import Any, Literal, TypedDict

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.did_you_mean import did_you_mean
from praxino.models import bn_inception
from praxino.models.bn_inception import BnInception
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

# In torchvision's networks the children with these names come after the last map.
_AFTER_THE_MAP = ("avgpool", "flatten", "dropout", "classifier", "fc", "head", "heads")


class FrameOptions(TypedDict, total=False):
    """Options of every model that stands on a 2D network.

    Attributes:
        frames: T of `clip_spec`; 8 by default.
        size: H and W of `clip_spec`, in pixels; 224 by default.
        same_padding: pad as TensorFlow does, for weights trained there.
        normalisation: what the weights expect: `imagenet` subtracts ImageNet's mean colour, as
            torchvision's networks do; `symmetric` maps pixels to [-1, 1], as TensorFlow's do.
    """

    frames: int
    size: int
    same_padding: bool
    normalisation: Literal["imagenet", "symmetric"]


def frame_clip_spec(options: FrameOptions) -> ClipSpec:
    """Frames spread over the whole video, cut from a margin of an eighth (224 from 256).

    Raises:
        ValueError: a normalisation that does not exist.
    """
    means = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "symmetric": ((0.5,) * 3, (0.5,) * 3)}
    normalisation = options.get("normalisation", "imagenet")
    if normalisation not in means:
        raise ValueError(f"normalisation is 'imagenet' or 'symmetric', not {normalisation!r}.")
    mean, std = means[normalisation]
    size = options.get("size", 224)
    frames = options.get("frames", 8)
    return ClipSpec(frames, size=size, resize_short=round(size * 8 / 7), mean=mean, std=std)


class Backbone2d(nn.Module):
    """A 2D network without its classifier: frames to a map, a map to a vector.

    Args:
        name: a classification network of torchvision, for example `mobilenet_v2`, or
            `bn_inception`.
        channels: of the input; other than 3 replaces the first convolution.
        same_padding: pad convolutions of stride 2 right and bottom only, as TensorFlow's `SAME`
            does for images of even size. Needed for weights that were trained that way.

    Attributes:
        features: `(N, C, H, W)` to the map before pooling, `(N, D, H', W')`.
        neck: that map to a vector, `(N, out_features)`: pooling and, in VGG and its like, layers.
        out_features: the length of the vector.

    Raises:
        ValueError: no such network, or one that cannot be cut this way.
    """

    def __init__(self, name: str, *, channels: int = 3, same_padding: bool = False) -> None:
        super().__init__()
        network = _torchvision_network(name)
        self.name, self.channels = name, channels
        before, after = OrderedDict[str, nn.Module](), OrderedDict[str, nn.Module]()
        for child_name, child in network.named_children():
            if isinstance(child, nn.ModuleList):  # MaxViT's blocks run one after the other
                child = nn.Sequential(*child)
            (after if child_name in _AFTER_THE_MAP else before)[child_name] = child
        if name.startswith("densenet"):
            before["relu"] = nn.ReLU(inplace=True)  # a function call in torchvision's forward
        self.features = _ClassToken(network) if "encoder" in before else nn.Sequential(before)
        self.neck, self.out_features = _neck(name, after)
        if channels != 3:
            name, first = first_convolution(self.features)
            _replace(self.features, name, _like(first, nn.Conv2d, channels))
        if same_padding:
            for name, layer in list(self.features.named_modules()):
                if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1:
                    _replace(self.features, name, _like(layer, _SameConv2d, layer.in_channels))

    def maps(self, clip: Tensor) -> Tensor:
        """The map of every frame of a clip: `(B, C, T, H, W)` to `(B, D, T, H', W')`."""
        maps = self.features(rearrange(clip, "b c t h w -> (b t) c h w"))
        return rearrange(maps, "(b t) d h w -> b d t h w", b=len(clip))

    def vectors(self, maps: Tensor) -> Tensor:
        """A vector for every map: `(B, D, T, H', W')` to `(B, T, out_features)`."""
        vectors = self.neck(rearrange(maps, "b d t h w -> (b t) d h w"))
        return rearrange(vectors, "(b t) d -> b t d", b=len(maps))

    def map_shape(self, height: int, width: int | None = None) -> torch.Size:
        """`(D, H', W')` for frames of so many pixels, found by trying; without width, squares."""
        device = next(self.parameters()).device
        training = self.training
        self.eval()  # batch norm must not learn from this frame
        with torch.no_grad():
            frame = torch.zeros(1, self.channels, height, width or height, device=device)
            shape = self.features(frame).shape
        self.train(training)
        return torch.Size(shape[1:])


def _torchvision_network(name: str) -> nn.Module:
    # Imported late: torchvision takes seconds, and most of praxino does without.
    from torchvision import models

    _check_name(name)
    if name == "bn_inception":
        return BnInception()
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # The auxiliary classifiers train the lower layers only; published weights drop them too.
        options = {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, weights=None, **options)
    return network


def _check_name(name: str) -> None:
    from torchvision import models

    names = [*models.list_models(module=models), "bn_inception"]
    if name not in names:
        raise ValueError(
            f"torchvision has no image network named {name!r}.{did_you_mean(name, names)}"
        )


class _ClassToken(nn.Module):
    """A vision transformer's class token as a map of one pixel."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.conv_proj, self.class_token = network.conv_proj, network.class_token
        self.encoder, self.size = network.encoder, network.image_size

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"This vision transformer takes H=W={self.size}, got {frames.shape[-2]} x "
                f"{frames.shape[-1]}: it has learned one position for each patch."
            )
        tokens = self.conv_proj(frames).flatten(2).transpose(1, 2)  # (N, H' * W', D)
        first = self.class_token.expand(len(tokens), -1, -1)
        tokens = self.encoder(torch.cat([first, tokens], dim=1))
        return tokens[:, 0, :, None, None]  # (N, D, 1, 1)


def _neck(name: str, after: OrderedDict[str, nn.Module]) -> tuple[nn.Module, int]:
    """What stands between the map and the last linear layer, and how wide that layer is."""
    last_name, last = next(reversed(after.items()))
    layers = list(last.children()) or [last]
    classifier = layers[-1]
    if not isinstance(classifier, nn.Linear):
        raise ValueError(
            f"{name} does not end in a linear layer but in {type(classifier).__name__}, so it "
            "cannot be given other classes. Choose another backbone."
        )
    del after[last_name]
    if len(layers) > 1:
        after[last_name] = nn.Sequential(*layers[:-1])
    kinds = [type(module) for child in after.values() for module in child.modules()]
    neck = OrderedDict[str, nn.Module]()
    # Where the pooling or the flattening is a function call in torchvision's forward.
    if nn.AdaptiveAvgPool2d not in kinds:
        neck["avgpool"] = nn.AdaptiveAvgPool2d(1)
    if "avgpool" in after:
        neck["avgpool"] = after.pop("avgpool")
    if nn.Flatten not in kinds:
        neck["flatten"] = nn.Flatten()
    neck.update(after)
    return nn.Sequential(neck), classifier.in_features


def first_convolution(features: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that sees the pixels, and its name."""
    layers = features.named_modules()
    found = next(((name, layer) for name, layer in layers if isinstance(layer, nn.Conv2d)), None)
    assert found is not None, "every network of torchvision begins with a convolution"
    return found


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _like(layer: nn.Conv2d, kind: type[nn.Conv2d], channels: int) -> nn.Conv2d:
    kept = ("out_channels", "kernel_size", "stride", "dilation", "groups")
    options: dict[str, Any] = {name: getattr(layer, name) for name in kept}
    options["padding"] = 0 if kind is _SameConv2d else layer.padding
    return kind(channels, **options, bias=layer.bias is not None)


class _SameConv2d(nn.Conv2d):
    """TensorFlow's `SAME`: the odd pixel of padding goes right and below."""

    def forward(self, frames: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (1, 0):  # F.pad starts from the last axis
            size, kernel, stride = frames.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(frames, pads), self.weight, self.bias, self.stride, groups=self.groups
        )


def imagenet_weights(backbone: str) -> dict[str, Weights]:
    """The first ImageNet weights that were published for a network, named `imagenet`.

    Raises:
        ValueError: torchvision has no network of that name.
    """
    from torchvision import models

    _check_name(backbone)
    if backbone == "bn_inception":
        return {"imagenet": bn_inception.IMAGENET}
    published = models.get_model_weights(backbone)
    if not hasattr(published, "IMAGENET1K_V1"):
        return {}
    row = published.IMAGENET1K_V1
    accuracy = row.meta["_metrics"]["ImageNet-1K"]
    own_mean = backbone in ("googlenet", "inception_v3")  # ported from TensorFlow
    return {
        "imagenet": Weights(
            url=row.url,
            sha256_prefix=row.url.rsplit("-", 1)[1].split(".")[0],
            megabytes=row.meta["_file_size"],
            trained_on="ImageNet-1K",
            num_classes=len(row.meta["categories"]),
            licence="BSD-3-Clause (torchvision)",
            accuracy={"top1": accuracy["acc@1"], "top5": accuracy["acc@5"]},
            protocol="single images, centre crop, as torchvision's references",
            layout="torchvision",
            mean=(0.5,) * 3 if own_mean else None,
            std=(0.5,) * 3 if own_mean else None,
        )
    }


def from_torchvision(state: State, model: nn.Module) -> State:
    """Rename the entries of a torchvision classification network.

    The last linear layer becomes `head`, what stands before it `backbone.neck`, the rest
    `backbone.features`. Auxiliary classifiers, which only training uses, are left out. Of
    BN-Inception the entries of its ports are renamed, and the colours put in the order of ours.
    """
    if bn_inception.is_caffe(state):
        state = bn_inception.from_caffe(state)
        state |= {"conv1.conv.weight": bn_inception.in_rgb(state["conv1.conv.weight"])}
    state = rename(state, ((_OLD_DENSENET, r"\1\2"),))
    layers = {name.rpartition(".")[0] for name in state}
    heads = {name for name in layers if name.split(".")[0] in ("classifier", "fc", "head", "heads")}
    # `classifier.6` comes after `classifier.3`; and a classifier's norm is no linear layer.
    head = max((name for name in heads if state[f"{name}.weight"].ndim == 2), default=None)
    # MaxViT's classifier has no bias, which is the same as a bias of zero.
    renamed: State = (
        {} if head is None else {"head.bias": torch.zeros(len(state[f"{head}.weight"]))}
    )
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        if layer == head:
            renamed[f"head.{leaf}"] = value
        elif layer in heads:
            renamed[f"backbone.neck.{name}"] = value
        elif not name.startswith(("aux1.", "aux2.", "AuxLogits.")):
            renamed[f"backbone.features.{name}"] = value
    return renamed


def from_torchvision_map(state: State, model: nn.Module) -> State:
    """Rename what makes a torchvision network's map; all that comes after it stays as it is."""
    own = model.state_dict()
    found = {name: value for name, value in own.items() if not name.startswith(_MAP)}
    renamed = from_torchvision(state, model).items()
    return found | {name: value for name, value in renamed if name.startswith(_MAP)}


def from_single_frame(state: State, model: nn.Module) -> State:
    """Weights of our single-frame CNN, as trained; what comes after its vector stays as it is."""
    if not all(name.startswith(("backbone.", "head.")) for name in state):
        return state  # of a model that has more, which is not to be left out
    own = model.state_dict()
    found = {name: value for name, value in own.items() if not name.startswith("backbone.")}
    return found | {name: value for name, value in state.items() if name.startswith("backbone.")}


def from_torchvision_vector(state: State, model: nn.Module) -> State:
    """Rename what makes a torchvision network's vector; all that comes after it stays as it is."""
    return from_single_frame(from_torchvision(state, model), model)


_MAP = "backbone.features."

# Published DenseNets still say `denselayer1.norm.1.weight` for `denselayer1.norm1.weight`.
_OLD_DENSENET = r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.)"

LAYOUTS = {"torchvision": from_torchvision}
# Of models that have weights of their own after a frame's vector.
VECTOR_LAYOUTS = {"torchvision": from_torchvision_vector, "single_frame": from_single_frame}

# From MMAction2's 2D ResNets, where a convolution and its norm are one module, to torchvision's.
MMACTION2_RESNET_NAMES = (
    (r"^(backbone\..*)\.downsample\.conv\.", r"\1.downsample.0."),
    (r"^(backbone\..*)\.downsample\.bn\.", r"\1.downsample.1."),
    (r"^(backbone\.(?:.*\.)?)conv(\d)\.conv\.", r"\1conv\2."),
    (r"^(backbone\.(?:.*\.)?)conv(\d)\.bn\.", r"\1bn\2."),
    (r"^backbone\.(conv1|bn1|layer\d)\.", r"backbone.features.\1."),
)
