"""What every architecture of the table can see: the litmus test for all of them, in tiny sizes.

python benchmarks/litmus.py [MODEL ...] [--results FILE] [--page FILE] [--videos FOLDER]

Each line of `LINES` stands for one design; its model is built small, trained for a minute and asked
the three questions of `praxino litmus`. A line that the results hold already is not run again, so
a run that was stopped goes on; a line whose settings have changed is.
"""

import argparse
import dataclasses
import fnmatch
import functools
import json
import re
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from praxino.atomic import write_text
from praxino.datasets.pointlight import Answer
from praxino.litmus import LitmusResult, litmus, litmus_videos, markdown_rows
from praxino.models import create_model, list_models, option_types
from praxino.models.tin import Interlace

HERE = Path(__file__).parent
FRAMES, SIZE = 8, 32  # fed to models that let us choose
NARROWEST = 8  # widths below are no channels: colours, kernels, groups


@dataclass(frozen=True)
class Line:
    """One design.

    Args:
        model: the one that is trained.
        others: shell patterns of the names that it stands for as well.
        thin: by how much the channels of every layer are divided.
        whole: regular expression of layers that stay as wide as they are.
        options: of the builder.
        epochs: over the training videos.
        lr: peak of the learning rate.
        note: why the design sees what it sees, or why others stand here.
    """

    model: str
    others: tuple[str, ...] = ()
    thin: int = 1
    whole: str = r"(?!)"
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 4
    lr: float = 3e-3
    note: str = ""

    def names(self) -> list[str]:
        """All models that the line stands for, in alphabetical order."""
        patterns = (self.model, *self.others)
        return [n for n in list_models() if any(fnmatch.fnmatchcase(n, p) for p in patterns)]

    def settings(self) -> dict[str, Any]:
        """What a result depends on; as JSON gives it back."""
        kept = ("model", "thin", "options", "epochs", "lr")
        settings: dict[str, Any] = json.loads(json.dumps({key: getattr(self, key) for key in kept}))
        return settings


WIDTH8 = {"width": 8}
HARA = {"widen": 0.125}
DENSE = {"frames": 16, "growth": 4}
VIT = {"patch": 8, "width": 64, "depth": 4, "heads": 4}
PROBED = VIT | {"probe_depth": 2}
VIT |= {"hidden": 256}
ON_2D = {"backbone": "resnet18"}
CELLS = {"backbone": "shufflenet_v2_x0_5", "hidden": 64}
BAG = {"width": 8, "centres": 8, "size": 64}
LOOKING = {"backbone": "mobilenet_v2", "hidden": 64}
SNIPPETS = ON_2D | {"segments": 3, "length": 2}
EGO = {"backbone": "resnet18", "hidden": 32, "size": 64}

LINES = (
    # Teaching
    Line("small_3d", epochs=6),
    Line("small_2d", epochs=6, note="averages what it says of each frame"),
    Line("toy_3d", epochs=2),
    Line("toy_early_fusion", epochs=8, note="sees all frames in the first layer"),
    Line("toy_late_fusion", epochs=2, note="averages over frames"),
    # Frames by themselves, and joined
    Line(
        "single_frame_resnet18",
        ("single_frame", "single_frame_*"),
        thin=4,
        note="averages what it says of each frame",
    ),
    Line(
        "late_fusion_pool_resnet18",
        ("late_fusion_pool", "late_fusion_pool_*"),
        thin=4,
        note="pools over frames before the classifier",
    ),
    Line(
        "late_fusion_fc_resnet18",
        ("late_fusion_fc", "late_fusion_fc_*"),
        thin=4,
        note="a classifier with its own weights for each frame",
    ),
    Line("early_fusion_resnet18", ("early_fusion", "early_fusion_*"), thin=4, epochs=8),
    Line("frame_difference", thin=4, options=ON_2D | {"frames": 7}, epochs=8),
    Line("trn_r18", ("trn_*",), thin=4),
    # Two frames' channels shifted, interlaced, filtered
    Line("tsm_r18", ("tsm_r*",), thin=4),
    Line("tsm_mobilenet_v2", thin=2, epochs=3, note="shifts only where there is a shortcut"),
    Line("tsm_nl_r50", thin=8, epochs=4),
    Line("tin_r50", thin=4, whole="offset_fc", epochs=3),
    Line("tanet_r50", ("tanet_*",), thin=8, whole="make_kernel", epochs=12),
    # 3D kernels
    Line(
        "c3d_depth",
        ("c3d",),
        thin=8,
        options={"size": 32},
        epochs=5,
        lr=1e-3,
        note="c3d takes 112 pixels only; this is the same design with a free size",
    ),
    Line("ltc", ("ltc_flow",), thin=8, options={"frames": 16}, epochs=5, lr=1e-3),
    Line("r3d_18", thin=8),
    Line("r3d_18_jf", ("r3d_34_jf",), thin=8),
    Line("i3d", ("i3d_flow",), thin=8, epochs=6),
    Line("inflated", thin=8, epochs=6),
    Line("resnet3d_18", ("resnet3d_*",), options=HARA),
    Line("preact_resnet3d_18", ("preact_resnet3d_*",), options=HARA),
    Line("resnext3d_50", ("resnext3d_*",), options={"widen": 0.25, "widen_stem": True}, epochs=3),
    Line(
        "wide_resnet3d_50",
        ("wide_resnet3d_*",),
        options={"k": 0.125, "widen_stem": True},
        epochs=4,
    ),
    Line("densenet3d_121", ("densenet3d_*",), options=DENSE, epochs=3),
    Line("t3d_121", ("t3d_169",), options=DENSE, epochs=3),
    Line("t3d_densenet3d_121", ("t3d_densenet3d_*",), options=DENSE | {"frames": 32}, epochs=3),
    Line("slow_fusion", thin=16, epochs=3, lr=1e-3),
    Line("karpathy_early_fusion", thin=16, epochs=5, lr=1e-3),
    Line("karpathy_late_fusion", thin=16, epochs=5, lr=1e-3, note="sees two frames"),
    Line("karpathy_single_frame", thin=16, epochs=8, lr=1e-3, note="sees one frame"),
    Line("ji_3dcnn", ("ji_3dcnn_kth",), epochs=3),
    Line("baccouche_3dcnn"),
    # Factorised
    Line("mc3_18", thin=8, epochs=12),
    Line(
        "r2plus1d_18", ("r2plus1d_34", "r2plus1d_34_32x2", "r2plus1d_34_ig65m"), thin=8, epochs=12
    ),
    Line("r2plus1d_r50", thin=8, epochs=4),
    Line("r2plus1d_18_jf", ("r2plus1d_34_jf",), thin=8, epochs=4),
    Line("hara_r2plus1d_18", ("hara_r2plus1d_*",), options=HARA),
    Line("s3d", thin=8, epochs=12),
    Line("s3d_g", thin=8, epochs=4),
    Line("ir_csn_50", ("ir_csn_*", "csn_r101"), thin=8, epochs=12),
    Line("ip_csn_50", ("ip_csn_*",), thin=8, epochs=4),
    Line("fstcn", options={"frames": 14, "stride": 4, "size": 40, "hidden": 64}, epochs=3, lr=1e-3),
    # ResNets of a pathway or two
    Line(
        "c2d_r50",
        ("c2d_r101",),
        options=WIDTH8,
        note="no kernel spans time; its pool joins the same pairs of frames backwards",
    ),
    Line("c2d_nopool_r50", ("c2d_nopool_r101",), options=WIDTH8, note="no kernel spans time"),
    Line("c2d_mmaction2_r50", ("c2d_mmaction2_*",), options=WIDTH8, note="no kernel spans time"),
    Line(
        "c2d_nl_r50",
        options=WIDTH8,
        note="a non-local block looks at all frames, and does not know which came first",
    ),
    Line("i3d_r50", ("i3d_r50_32x2", "i3d_r101", "i3d_r101_32x2"), options=WIDTH8),
    Line("i3d_heavy_r50", options=WIDTH8),
    Line("i3d_nl_r50", ("i3d_nl_*",), options=WIDTH8),
    Line(
        "slow_r50",
        ("slow_r50_4x16", "slow_r101", "slow_r101_4x16"),
        options=WIDTH8,
        note="kernels span time in the two last stages only, where 32 pixels have become 2 and 1",
    ),
    Line("slow_nl_r50", ("slow_nl_*",), options=WIDTH8, epochs=4),
    Line("fast_only_r50", options=WIDTH8),
    Line("slowfast_r50", ("slowfast_[!n]*",), options=WIDTH8),
    Line("slowfast_nl_16x8_r101_50_50", ("slowfast_nl_r50*",), options=WIDTH8, epochs=3),
    Line("tpn_slow_r50", ("tpn_slow_*",), options=WIDTH8),
    Line("tpn_tsm_r50", thin=8, epochs=4),
    Line("x3d_s", ("x3d_*",), thin=4, epochs=12),
    # Bags, places, frames and regions
    Line(
        "actionvlad",
        ("actionvlad_flow",),
        options=BAG | {"alpha": 10.0},
        epochs=8,
        lr=1e-3,
        note="the features of all frames in one bag",
    ),
    Line(
        "actionvlad_two_stream",
        options=BAG | {"alpha": 10.0, "stack": 2, "places": 4},
        epochs=8,
        lr=1e-3,
        note="flow points the other way when time does",
    ),
    Line("vlad", options=BAG, epochs=8, lr=1e-3, note="the same bag, with random centres"),
    Line(
        "attention_pooling",
        thin=4,
        options=ON_2D,
        note="an average over frames",
    ),
    Line("soft_attention", options=LOOKING | {"size": 64, "layers": 1}, epochs=6, lr=1e-3),
    Line(
        "temporal_attention",
        options=LOOKING,
        epochs=6,
        lr=1e-3,
        note="frames are weighed by what is in them, whenever they come",
    ),
    Line(
        "key_volume",
        ("key_volume_flow",),
        thin=4,
        options=ON_2D | {"crop": 24, "stretch": 1, "volumes": 8, "key": "max"},
        note="the best volume counts, whenever it comes",
    ),
    Line("semi_transformer_r50", epochs=6, lr=1e-3),
    Line(
        "rstar_cnn",
        options={"width": 8, "hidden": 64, "size": 64},
        epochs=6,
        lr=1e-3,
        note="averages what it says of each frame",
    ),
    # Two streams, on stride-one flow in the papers and on the flow of spread frames here
    Line(
        "spatial_stream_cnn_m",
        ("spatial_stream",),
        thin=4,
        options={"size": 48},
        epochs=8,
        lr=1e-3,
        note="sees one frame",
    ),
    Line(
        "temporal_stream_cnn_m",
        ("temporal_stream",),
        thin=4,
        options={"size": 48, "flows": 7},
        lr=1e-3,
        note="sees no colours: flow in the order of time",
    ),
    Line(
        "temporal_stream_multi_task",
        thin=4,
        options={"size": 48, "flows": 7, "first_classes": 9},
        lr=1e-3,
        note="sees no colours: flow in the order of time",
    ),
    Line(
        "two_stream_cnn_m",
        ("two_stream", "two_stream_inception"),
        options={"size": 48, "flows": 7},
        lr=3e-4,
    ),
    Line(
        "two_stream_fusion_cnn_m",
        ("two_stream_fusion",),
        options={"size": 48, "flows": 2, "chunks": 3, "chunk_stride": 3, "chunk_jitter": 0},
        lr=3e-4,
    ),
    Line(
        "hidden_temporal_stream",
        thin=4,
        whole="^motion",
        options=ON_2D | {"flows": 7, "width": 8},
        epochs=8,
        lr=1e-3,
        note="MotionNet learns from the classes alone here, without its own losses",
    ),
    Line(
        "hidden_two_stream",
        whole="^motion",
        options=ON_2D | {"flows": 7, "width": 8},
        epochs=4,
        lr=1e-3,
        note="likewise; its spatial stream sees one frame",
    ),
    Line(
        "motionnet",
        whole="^motion",
        options={"flows": 7, "width": 8},
        epochs=8,
        lr=1e-3,
        note="likewise; a classifier of seven mean flows, which is no recogniser",
    ),
    Line(
        "tsn",
        ("tsn_r50", "tsn_r101"),
        thin=4,
        options=ON_2D | {"segments": 8},
        epochs=8,
        note="averages what it says of each frame",
    ),
    Line("tsn_flow", ("tsn_r50_flow", "tsn_warped_flow"), thin=4, options=SNIPPETS, epochs=8),
    Line("tsn_rgb_difference", thin=4, options=SNIPPETS, epochs=8),
    Line("tsn_two_stream", ("tsn_three_stream",), thin=4, options=SNIPPETS, epochs=8),
    Line("tsn_real_time", thin=4, options=SNIPPETS, epochs=8),
    Line("c3d_i3d_paper", thin=8, epochs=5, lr=1e-3),
    Line(
        "fused_3d_two_stream",
        thin=4,
        options=ON_2D | {"places": 4, "flows": 3, "width": 64},
        epochs=8,
    ),
    Line("two_stream_i3d", thin=8, epochs=6),
    Line(
        "beyond_short_snippets_pooling",
        ("beyond_short_snippets_pooling_flow",),
        thin=4,
        options=ON_2D | {"hidden": 256},
        epochs=8,
        note="a maximum over frames",
    ),
    # Where objects are, and a memory
    Line("ego_rnn", ("ego_rnn_convlstm",), options=EGO, epochs=6, lr=1e-3),
    Line("ego_rnn_motion", options=EGO, epochs=6, lr=1e-3, note="without its task: `ego_rnn`"),
    Line("ego_rnn_flow", thin=4, options={"backbone": "resnet18", "frames": 8}),
    Line("ego_rnn_joint", options=EGO | {"flow_frames": 8}, epochs=6, lr=1e-3),
    # A state that each frame changes
    Line("recurrent_conv", epochs=6),
    Line("conv_gru", epochs=6),
    Line(
        "beyond_short_snippets_lstm",
        ("beyond_short_snippets_lstm_flow",),
        options=CELLS | {"layers": 2},
        epochs=6,
        lr=1e-3,
    ),
    Line("lstm_inception", options=CELLS, epochs=6, lr=1e-3),
    Line("lrcn", ("lrcn_flow",), options=CELLS, epochs=6, lr=1e-3),
    Line(
        "cnn_lstm",
        ("cnn_gru", "cnn_rnn"),
        options=CELLS | {"frozen": False},
        epochs=6,
        lr=1e-3,
        note="without ImageNet's weights, so the CNN below it learns too",
    ),
    Line(
        "skip_lstm",
        ("skip_gru",),
        options=CELLS | {"frozen": False},
        epochs=6,
        lr=1e-3,
        note="likewise",
    ),
    Line("gru_rcn", ("gru_rcn_stacked",), options=WIDTH8, epochs=6, lr=1e-3),
    Line("gru_rcn_bidirectional", options=WIDTH8, epochs=6, lr=1e-3),
    Line(
        "c3d_lstm",
        options={"steps": 2, "width": 8, "hidden": 64, "frozen": False, "background_weight": 1.0},
        epochs=5,
        lr=1e-3,
    ),
    Line("baccouche_lstm", options={"steps": 4, "frozen": False}),
    # Attention
    Line("videomae_s", ("videomae_*",), options=VIT, epochs=10, lr=1e-3),
    Line("timesformer_b", ("timesformer_hr", "timesformer_l"), options=VIT, epochs=24, lr=1e-3),
    Line("timesformer_b_joint", options=VIT, epochs=6, lr=1e-3),
    Line(
        "timesformer_b_space",
        options=VIT,
        epochs=6,
        lr=1e-3,
        note="no attention between frames; their mean is classified",
    ),
    Line("vivit_b", ("vivit_*",), options=VIT, epochs=10, lr=1e-3),
    Line("vjepa2_l", ("vjepa2_*",), options=PROBED, epochs=6, lr=1e-3),
    Line("mvit_v1_b", ("mvit_v1_*",), options={"width": 16}, lr=1e-3, epochs=4),
    Line("mvit_v2_t", ("mvit_v2_*",), options={"width": 16}, lr=1e-3, epochs=4),
    Line("uniformer_s", ("uniformer_*",), options={"width": 16}, lr=1e-3),
    Line("rev_mvit_b", ("rev_mvit_*",), options={"width": 16}, lr=1e-3),
    Line("swin3d_t", ("swin3d_*",), options={"width": 12}, epochs=3, lr=1e-3),
)


def line_of(name: str) -> Line:
    """The line that stands for a model."""
    return next(line for line in LINES if name in line.names())


def tiny_model(line: Line, num_classes: int) -> nn.Module:
    """A line's model in its tiny size, and as a training of a few hundred steps needs it."""
    known = option_types(line.model)
    chosen = {"frames": FRAMES, "size": SIZE}
    options = {key: value for key, value in chosen.items() if key in known} | line.options
    model = create_model(line.model, num_classes, **options)
    thin(model, line.thin, line.whole)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.1  # some average over a thousand steps, more than there are
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0  # it slows learning down, and in a minute nobody overfits
    return model


def thin(model: nn.Module, by: int, whole: str = r"(?!)") -> None:
    """Divide the channels of every layer, in place; shapes in between follow by themselves.

    Weights keep what they started as, times what keeps the variance of the outputs.

    Args:
        model: of convolutions, batch norms and linear layers; its `head` keeps its classes.
        by: the divisor, for widths of 8 and more.
        whole: regular expression of the layers' names that stay as they are.
    """
    first = True
    for name, layer in model.named_modules():
        if re.search(whole, name):
            continue
        if isinstance(layer, nn.modules.conv._ConvNd):
            before = layer.in_channels // layer.groups
            if not first:  # which sees colours, of several frames perhaps
                layer.in_channels = _narrow(layer.in_channels, by)
            first = False
            layer.out_channels = _narrow(layer.out_channels, by)
            layer.groups = _narrow(layer.groups, by)
            after = layer.in_channels // layer.groups
            _cut(layer, (layer.out_channels, after), before)
        elif isinstance(layer, nn.Linear):
            before = layer.in_features
            layer.in_features = _narrow(before, by)
            if name != "head":
                layer.out_features = _narrow(layer.out_features, by)
            _cut(layer, (layer.out_features, layer.in_features), before)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.num_features = _narrow(layer.num_features, by)
            _cut(layer, (layer.num_features,), 1)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean = layer.running_mean[: layer.num_features]
            layer.running_var = layer.running_var[: layer.num_features]
        elif isinstance(layer, Interlace):
            layer.moved //= by


def _narrow(width: int, by: int) -> int:
    return width if width < NARROWEST else width // by


def _cut(layer: Any, shape: tuple[int, ...], fan_in: int) -> None:
    gain = (fan_in / shape[1]) ** 0.5 if len(shape) > 1 else 1.0
    weight = layer.weight.detach()[tuple(slice(size) for size in shape)]
    layer.weight = nn.Parameter(gain * weight)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[: shape[0]].clone())


def run(lines: Iterable[Line], results: Path, videos: Path) -> None:
    """Test lines and append their results, a JSON object on a line each.

    Several runs can share the results: what another has finished meanwhile is left out.
    """
    point_lights = litmus_videos(videos)
    for line in lines:
        if line.model in read_results(results):
            continue
        result = litmus(
            line.model,
            functools.partial(tiny_model, line),
            point_lights,
            epochs=line.epochs,
            lr=line.lr,
        )
        entry = {"settings": line.settings(), **dataclasses.asdict(result)}
        with results.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(markdown_rows([result])[2], flush=True)


def read_results(path: Path) -> dict[str, LitmusResult]:
    """Results of the lines as they are now, by model; of several the last."""
    settings = {line.model: line.settings() for line in LINES}
    found = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        entry = json.loads(text)
        if settings.get(entry["model"]) == entry.pop("settings"):
            entry["clip"] = tuple(entry["clip"])
            entry["answers"] = {name: Answer(*answer) for name, answer in entry["answers"].items()}
            found[entry["model"]] = LitmusResult(**entry)
    return found


def page(results: Mapping[str, LitmusResult], machine: str) -> str:
    """The text of `litmus.md`.

    Args:
        results: by model, from `read_results`.
        machine: where they were had.
    """
    found = [results[line.model] for line in LINES if line.model in results]
    missing = [line.model for line in LINES if line.model not in results]
    asked = {name: answer.videos for name, answer in found[0].answers.items()}
    lines = ["# Litmus test", ""]
    for paragraph in (ABOUT, CONDITIONS.format(machine=machine, **asked)):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), 100, break_on_hyphens=False), ""]
    lines += [*markdown_rows(found), ""]
    if missing:
        lines += [*textwrap.wrap(f"Not run yet: {', '.join(missing)}.", 100), ""]
    lines += [
        "## What each line stands for",
        "",
        "Models of one design that differ in depth, width, clip or toolkit share a line. Those for",
        "optical flow stand under their RGB sibling, because the point lights have colours only.",
        "",
        "| trained | stands for as well | made small by | lr | note |",
        "|---|---|---|--:|---|",
    ]
    for line in LINES:
        others = ", ".join(name for name in line.names() if name != line.model)
        lines.append(
            f"| {line.model} | {others} | {_made_small(line)} | {line.lr:g} | {line.note} |"
        )
    return "\n".join([*lines, ""])


ABOUT = """
What can each architecture see? Every design of the table of models is built small and trained from
random weights on the training videos of the point lights; then it is asked three questions about
other people. *Appearance*: which of eight looks is it? *Motion*: which of seven actions is it, an
action and its reversal being one? *Order*: an action, or its reversal? The same single frames occur
in both, so a design whose output stays the same when the frames are reversed answers like a coin:
"blind to order, as built". All others could tell, and "has not learnt it yet" speaks of these few
hundred steps at a fraction of the published size, not of the architecture. Do not rank
architectures by this table: it shows that each of them learns, and which cannot see order.
"""

CONDITIONS = """
Seed 0 only. The answers are about {appearance}, {motion} and {order} videos, so another seed moves
them by several hundredths; "sees order" asks for two standard deviations above a coin. AdamW with
the learning rate below, 16 clips a step, no dropout, batch norms that average over some ten steps.
Tried before: rates of 1e-3 and 3e-3, 6 to 20 epochs and 16 frames on small_3d, 6 epochs on r3d_18
and slow_r50. Nothing else was; epochs are what the machine had time for. {machine} Seconds are wall
clock while up to a dozen other programs had the machine: an upper bound, not to be compared from
line to line. `python benchmarks/litmus.py` does it anew, or the models that are named; `praxino
litmus NAME` does it for one model at its published width.
"""


MACHINE = "One thread of a machine with two cores (AMD EPYC)."


def _made_small(line: Line) -> str:
    settings = [f"{key}={value}" for key, value in line.options.items()]
    if line.thin > 1:
        settings.append(f"channels ÷ {line.thin}")
    return ", ".join(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names; all by default")
    parser.add_argument("--results", type=Path, default=HERE / "litmus.jsonl")
    parser.add_argument("--page", type=Path, default=HERE / "litmus.md")
    parser.add_argument("--videos", type=Path, help="keep the rendered videos here")
    parser.add_argument("--machine", default=MACHINE, help="a sentence about it, for the page")
    parser.add_argument("--page-only", action="store_true", help="from the results there are")
    arguments = parser.parse_args()
    if not arguments.page_only:
        lines = [line_of(name) for name in arguments.models] or LINES
        with tempfile.TemporaryDirectory() as folder:
            run(lines, arguments.results, arguments.videos or Path(folder))
    write_text(arguments.page, page(read_results(arguments.results), arguments.machine))


if __name__ == "__main__":
    main()
