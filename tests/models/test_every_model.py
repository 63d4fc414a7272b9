"""What every model in the table promises, whoever wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.layer_table import count_parameters, layer_table
from praxino.model_facts import ModelFacts, facts_of
from praxino.models import MODELS, create_model, list_models
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import load_strict

ON_2D = {"frames": 2, "size": 32}
HARA = {"frames": 3, "size": 33, "widen": 0.125}
THIN = {"frames": 8, "size": 32, "width": 16}
PROBED = {"frames": 4, "size": 32, "patch": 16, "width": 24, "depth": 2, "heads": 2}
MOMENTS = {"chunks": 2, "chunk_stride": 2, "chunk_jitter": 1, "flows": 2}
SEGMENTS = {"backbone": "resnet18", "segments": 2, "size": 32}
SNIPPETS = SEGMENTS | {"length": 2}
FLOW = {"backbone": "resnet18", "flows": 2}
# A frozen network would have no gradients.
RECURRENT = {"backbone": "shufflenet_v2_x0_5", "hidden": 8, "frames": 3, "size": 32}
VIT = PROBED | {"hidden": 48}
PROBED |= {"probe_depth": 1}
# Three frames, so that each gate has done something; cells enough that attention is a choice.
EGO = {"backbone": "resnet18", "hidden": 8, "frames": 3, "size": 64}
VLAD = {"frames": 3, "size": 32, "centres": 4, "alpha": 10.0, "width": 8}
STACKS = {"stack": 2, "places": 2}
VOLUMES = {"backbone": "resnet18", "frames": 4, "size": 32, "crop": 24, "stretch": 2}
SEEING = {"frames": 2, "size": 32, "hidden": 8, "backbone": "resnet18"}
MOTION = {"flows": 2, "size": 64, "width": 8}
HIDDEN = MOTION | {"backbone": "resnet18"}

# Options that make a model small enough to test, and the smallest clip (T, H, W) it takes then.
SMALLEST: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "actionvlad": (VLAD, (1, 16, 16)),
    "actionvlad_flow": (VLAD | STACKS, (2, 16, 16)),
    "actionvlad_two_stream": (VLAD | STACKS, (2, 16, 16)),
    "attention_pooling": (ON_2D | {"backbone": "resnet18"}, (1, 1, 1)),
    "baccouche_3dcnn": ({}, (9, 1, 1)),
    "baccouche_lstm": ({"steps": 2, "frozen": False}, (9, 1, 1)),
    "beyond_short_snippets_lstm": (RECURRENT | {"layers": 2}, (1, 1, 1)),
    "beyond_short_snippets_lstm_flow": (RECURRENT, (1, 1, 1)),
    "beyond_short_snippets_pooling": (RECURRENT, (1, 1, 1)),
    "beyond_short_snippets_pooling_flow": (RECURRENT, (1, 1, 1)),
    "c2d_mmaction2_r50": (THIN, (2, 5, 5)),
    "c2d_mmaction2_r50_16x4": (THIN, (2, 5, 5)),
    "c2d_nl_r50": (THIN, (2, 17, 17)),
    "c2d_nopool_r101": (THIN, (1, 1, 1)),
    "c2d_nopool_r50": (THIN, (1, 1, 1)),
    "c2d_r101": (THIN, (2, 1, 1)),
    "c2d_r50": (THIN, (2, 1, 1)),
    "c3d": ({}, (16, 112, 112)),
    "c3d_depth": ({"size": 32}, (16, 32, 32)),
    "c3d_lstm": (
        {"steps": 2, "size": 32, "width": 4, "hidden": 8, "frozen": False},
        (16, 32, 32),
    ),
    "c3d_i3d_paper": ({"size": 32}, (16, 32, 32)),
    "cnn_gru": (RECURRENT | {"frozen": False}, (1, 1, 1)),
    "cnn_lstm": (RECURRENT | {"frozen": False}, (1, 1, 1)),
    "cnn_rnn": (RECURRENT | {"frozen": False}, (1, 1, 1)),
    "conv_gru": ({"width": 4, "frames": 3, "size": 16}, (1, 1, 1)),
    "csn_r101": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "densenet3d_121": ({"frames": 16, "size": 61, "growth": 8}, (15, 29, 29)),
    "densenet3d_169": ({"frames": 16, "size": 61, "growth": 8}, (15, 29, 29)),
    "densenet3d_201": ({"frames": 16, "size": 61, "growth": 8}, (15, 29, 29)),
    "densenet3d_264": ({"frames": 16, "size": 61, "growth": 8}, (15, 29, 29)),
    "early_fusion": (ON_2D, (2, 1, 1)),
    "early_fusion_mobilenet_v2": (ON_2D, (2, 1, 1)),
    "early_fusion_resnet18": (ON_2D, (2, 1, 1)),
    "ego_rnn": (EGO, (1, 1, 1)),
    "ego_rnn_convlstm": (EGO, (1, 1, 1)),
    "ego_rnn_flow": ({"frames": 2, "size": 32, "backbone": "resnet18"}, (2, 1, 1)),
    "ego_rnn_joint": (EGO | {"flow_frames": 2}, (2, 1, 1)),
    "ego_rnn_motion": (EGO, (1, 64, 64)),
    "fast_only_r50": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "frame_difference": ({"frames": 4, "size": 32}, (4, 1, 1)),
    "fstcn": ({"frames": 14, "stride": 2, "size": 40, "hidden": 64}, (14, 25, 25)),
    "gru_rcn": ({"width": 2, "frames": 3, "size": 32}, (1, 32, 32)),
    "gru_rcn_bidirectional": ({"width": 2, "frames": 3, "size": 32}, (1, 32, 32)),
    "gru_rcn_stacked": ({"width": 2, "frames": 3, "size": 32}, (1, 32, 32)),
    "fused_3d_two_stream": (
        {"backbone": "resnet18", "places": 2, "flows": 2, "width": 8, "size": 32},
        (4, 1, 1),
    ),
    "hara_r2plus1d_10": (HARA, (1, 1, 1)),
    "hara_r2plus1d_101": (HARA, (1, 1, 1)),
    "hara_r2plus1d_152": (HARA, (1, 1, 1)),
    "hara_r2plus1d_18": (HARA, (1, 1, 1)),
    "hara_r2plus1d_200": (HARA, (1, 1, 1)),
    "hara_r2plus1d_34": (HARA, (1, 1, 1)),
    "hara_r2plus1d_50": (HARA, (1, 1, 1)),
    "hidden_temporal_stream": (HIDDEN | {"segments": 2}, (6, 32, 32)),
    "hidden_two_stream": (HIDDEN, (3, 32, 32)),
    "i3d": ({"frames": 8, "size": 32}, (1, 1, 1)),
    "i3d_flow": ({"frames": 8, "size": 32}, (1, 1, 1)),
    "i3d_heavy_r50": (THIN, (2, 1, 1)),
    "i3d_nl_r101": (THIN, (2, 17, 17)),
    "i3d_nl_r50": (THIN, (2, 17, 17)),
    "i3d_nl_r50_32x2": (THIN | {"frames": 16}, (5, 17, 17)),
    "i3d_r101": (THIN, (2, 1, 1)),
    "i3d_r101_32x2": (THIN, (5, 1, 1)),
    "i3d_r50": (THIN, (2, 1, 1)),
    "i3d_r50_32x2": (THIN, (5, 1, 1)),
    "inflated": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "ip_csn_101": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "ip_csn_152": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "ip_csn_50": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "ir_csn_101": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "ir_csn_152": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "ir_csn_50": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "ji_3dcnn": ({}, (7, 1, 1)),
    "ji_3dcnn_kth": ({}, (9, 1, 1)),
    "karpathy_early_fusion": ({"hidden": 8}, (10, 170, 170)),
    "karpathy_late_fusion": ({"hidden": 8}, (2, 170, 170)),
    "karpathy_single_frame": ({"hidden": 8}, (1, 170, 170)),
    "key_volume": (VOLUMES, (2, 24, 24)),
    "key_volume_flow": (VOLUMES, (2, 24, 24)),
    "late_fusion_fc": (ON_2D, (2, 32, 32)),
    "late_fusion_fc_mobilenet_v2": (ON_2D, (2, 32, 32)),
    "late_fusion_fc_resnet18": (ON_2D, (2, 32, 32)),
    "late_fusion_pool": (ON_2D, (1, 1, 1)),
    "late_fusion_pool_mobilenet_v2": (ON_2D, (1, 1, 1)),
    "late_fusion_pool_resnet18": (ON_2D, (1, 1, 1)),
    "lrcn": (RECURRENT, (1, 1, 1)),
    "lrcn_flow": (RECURRENT, (1, 1, 1)),
    "lstm_inception": (RECURRENT, (1, 1, 1)),
    "ltc": ({"frames": 16, "size": 32}, (16, 32, 32)),
    "ltc_flow": ({"frames": 16, "size": 32}, (16, 32, 32)),
    "mc3_18": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "motionnet": (MOTION, (3, 32, 32)),
    "mvit_v1_b": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "mvit_v1_b_24": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "mvit_v1_b_32x3": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "mvit_v2_b": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "mvit_v2_l": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "mvit_v2_s": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "mvit_v2_t": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "preact_resnet3d_10": (HARA, (1, 1, 1)),
    "preact_resnet3d_101": (HARA, (1, 1, 1)),
    "preact_resnet3d_152": (HARA, (1, 1, 1)),
    "preact_resnet3d_18": (HARA, (1, 1, 1)),
    "preact_resnet3d_200": (HARA, (1, 1, 1)),
    "preact_resnet3d_34": (HARA, (1, 1, 1)),
    "preact_resnet3d_50": (HARA, (1, 1, 1)),
    "r2plus1d_18": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r2plus1d_18_jf": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r2plus1d_34": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r2plus1d_34_32x2": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r2plus1d_34_ig65m": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r2plus1d_34_jf": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r2plus1d_r50": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r3d_18": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r3d_18_jf": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "r3d_34_jf": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "recurrent_conv": ({"width": 4, "frames": 3, "size": 16}, (1, 1, 1)),
    "resnet3d_10": (HARA, (1, 1, 1)),
    "resnet3d_101": (HARA, (1, 1, 1)),
    "resnet3d_152": (HARA, (1, 1, 1)),
    "resnet3d_18": (HARA, (1, 1, 1)),
    "resnet3d_200": (HARA, (1, 1, 1)),
    "resnet3d_34": (HARA, (1, 1, 1)),
    "resnet3d_50": (HARA, (1, 1, 1)),
    "resnext3d_101": (HARA | {"widen": 0.25}, (1, 1, 1)),
    "resnext3d_152": (HARA | {"widen": 0.25}, (1, 1, 1)),
    "resnext3d_200": (HARA | {"widen": 0.25}, (1, 1, 1)),
    "resnext3d_50": (HARA | {"widen": 0.25}, (1, 1, 1)),
    "rev_mvit_b": ({"frames": 4, "size": 32, "width": 8}, (4, 32, 32)),
    "rstar_cnn": ({"frames": 2, "size": 64, "hidden": 8, "width": 8}, (1, 16, 16)),
    "s3d": ({"frames": 8, "size": 32}, (5, 17, 17)),
    "s3d_g": ({"frames": 8, "size": 32}, (5, 17, 17)),
    "semi_transformer_r50": ({"frames": 2, "size": 32}, (2, 32, 32)),
    "single_frame": (ON_2D, (1, 1, 1)),
    "single_frame_mobilenet_v2": (ON_2D, (1, 1, 1)),
    "single_frame_resnet18": (ON_2D, (1, 1, 1)),
    "skip_gru": (RECURRENT | {"frozen": False}, (1, 1, 1)),
    "skip_lstm": (RECURRENT | {"frozen": False}, (1, 1, 1)),
    "slow_fusion": ({"hidden": 8}, (10, 170, 170)),
    "slow_nl_mmaction2_r50": (THIN, (1, 17, 17)),
    "slow_nl_mmaction2_r50_4x16": (THIN, (1, 17, 17)),
    "slow_nl_r50": (THIN, (1, 17, 17)),
    "slow_nl_r50_4x16": (THIN, (1, 17, 17)),
    "slow_r101": (THIN, (1, 1, 1)),
    "slow_r101_4x16": (THIN, (1, 1, 1)),
    "slow_r50": (THIN, (1, 1, 1)),
    "slow_r50_4x16": (THIN, (1, 1, 1)),
    "slowfast_16x8_r101_50_50": (THIN, (4, 1, 1)),
    "slowfast_8x8_r101_50_101": (THIN, (4, 1, 1)),
    "slowfast_8x8_r101_50_50": (THIN, (4, 1, 1)),
    "slowfast_mmaction2_r101": (THIN, (4, 1, 1)),
    "slowfast_mmaction2_r101_r50_4x16": (THIN, (8, 1, 1)),
    "slowfast_mmaction2_r152_r50_4x16": (THIN, (8, 1, 1)),
    "slowfast_mmaction2_r50": (THIN, (4, 1, 1)),
    "slowfast_mmaction2_r50_4x16": (THIN, (8, 1, 1)),
    "slowfast_nl_16x8_r101_50_50": (THIN, (8, 17, 17)),
    "slowfast_nl_r50": (THIN, (4, 17, 17)),
    "slowfast_nl_r50_4x16": (THIN, (8, 17, 17)),
    "slowfast_r101": (THIN, (4, 1, 1)),
    "slowfast_r50": (THIN, (4, 1, 1)),
    "slowfast_r50_16x8": (THIN, (4, 1, 1)),
    "slowfast_r50_4x16": (THIN, (8, 1, 1)),
    "small_2d": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "small_3d": ({"frames": 4, "size": 32}, (1, 1, 1)),
    "spatial_stream": ({"backbone": "resnet18", "size": 32}, (1, 1, 1)),
    "spatial_stream_cnn_m": ({"size": 41}, (1, 41, 41)),
    "soft_attention": (SEEING | {"size": 64}, (1, 64, 64)),
    "swin3d_b": ({"frames": 4, "size": 40, "width": 32}, (1, 1, 1)),
    "swin3d_l": ({"frames": 4, "size": 40, "width": 48}, (1, 1, 1)),
    "swin3d_s": ({"frames": 4, "size": 40, "width": 24}, (1, 1, 1)),
    "swin3d_t": ({"frames": 4, "size": 40, "width": 24}, (1, 1, 1)),
    "t3d_121": ({"frames": 16, "size": 61, "growth": 8}, (15, 29, 29)),
    "t3d_169": ({"frames": 16, "size": 61, "growth": 8}, (15, 29, 29)),
    "t3d_densenet3d_121": ({"frames": 32, "size": 61, "growth": 8}, (29, 29, 29)),
    "t3d_densenet3d_161": ({"frames": 32, "size": 61, "growth": 8}, (29, 29, 29)),
    "t3d_densenet3d_169": ({"frames": 32, "size": 61, "growth": 8}, (29, 29, 29)),
    "t3d_densenet3d_201": ({"frames": 32, "size": 61, "growth": 8}, (29, 29, 29)),
    "tanet_r101": ({"frames": 2, "size": 32}, (2, 1, 1)),
    "tanet_r50": ({"frames": 2, "size": 32}, (2, 1, 1)),
    "temporal_stream": (FLOW | {"size": 32}, (2, 1, 1)),
    "temporal_stream_cnn_m": ({"flows": 2, "size": 41}, (2, 41, 41)),
    "temporal_stream_multi_task": (
        {"flows": 2, "size": 41, "first_classes": 2},
        (2, 41, 41),
    ),
    "temporal_attention": (SEEING, (2, 1, 1)),
    "timesformer_b": (VIT, (4, 32, 32)),
    "timesformer_b_joint": (VIT, (4, 32, 32)),
    "timesformer_b_space": (VIT, (4, 32, 32)),
    "timesformer_hr": (VIT, (4, 32, 32)),
    "timesformer_l": (VIT, (4, 32, 32)),
    "tin_r50": ({"frames": 8, "size": 32}, (8, 1, 1)),
    "toy_3d": ({}, (4, 4, 4)),
    "toy_early_fusion": ({}, (20, 4, 4)),
    "toy_late_fusion": ({}, (1, 4, 4)),
    "tpn_slow_r101": ({"frames": 2, "size": 32, "width": 8}, (1, 1, 1)),
    "tpn_slow_r50": ({"frames": 2, "size": 32, "width": 8}, (1, 1, 1)),
    "tpn_tsm_r50": (ON_2D, (1, 1, 1)),
    "trn_bn_inception": ({"frames": 3, "size": 32}, (3, 1, 1)),
    "trn_r101": ({"frames": 3, "size": 32}, (3, 1, 1)),
    "trn_r18": ({"frames": 3, "size": 32}, (3, 1, 1)),
    "trn_r50": ({"frames": 3, "size": 32}, (3, 1, 1)),
    "tsm_mobilenet_v2": (ON_2D, (1, 1, 1)),
    "tsm_nl_r50": (ON_2D, (1, 17, 17)),
    "tsm_r101": (ON_2D, (1, 1, 1)),
    "tsm_r18": (ON_2D, (1, 1, 1)),
    "tsm_r34": (ON_2D, (1, 1, 1)),
    "tsm_r50": (ON_2D, (1, 1, 1)),
    "tsn": (SEGMENTS, (1, 1, 1)),
    "tsn_flow": (SNIPPETS, (3, 1, 1)),
    "tsn_r101": ({"segments": 2, "size": 32}, (1, 1, 1)),
    "tsn_r50": ({"segments": 2, "size": 32}, (1, 1, 1)),
    "tsn_r50_flow": ({"segments": 2, "size": 32, "length": 2}, (3, 1, 1)),
    "tsn_real_time": (SNIPPETS, (3, 1, 1)),
    "tsn_rgb_difference": (SNIPPETS, (3, 1, 1)),
    "tsn_three_stream": (SNIPPETS, (3, 1, 1)),
    "tsn_two_stream": (SNIPPETS, (3, 1, 1)),
    "tsn_warped_flow": (SNIPPETS, (3, 1, 1)),
    "two_stream": (FLOW | {"size": 32}, (2, 1, 1)),
    "two_stream_cnn_m": ({"flows": 2, "size": 41}, (2, 41, 41)),
    "two_stream_fusion": (MOMENTS | {"size": 32, "hidden": 8}, (4, 32, 32)),
    "two_stream_fusion_cnn_m": (MOMENTS | {"size": 41}, (4, 41, 41)),
    "two_stream_i3d": ({"frames": 8, "size": 32}, (1, 1, 1)),
    "two_stream_inception": (FLOW | {"size": 32}, (2, 1, 1)),
    "uniformer_b": ({"frames": 4, "size": 32, "width": 8}, (1, 32, 32)),
    "uniformer_b_32x4": ({"frames": 4, "size": 32, "width": 8}, (1, 32, 32)),
    "uniformer_s": ({"frames": 4, "size": 32, "width": 8}, (1, 32, 32)),
    "videomae_b": (VIT, (4, 32, 32)),
    "videomae_h": (VIT, (4, 32, 32)),
    "videomae_l": (VIT, (4, 32, 32)),
    "videomae_s": (VIT, (4, 32, 32)),
    "vivit_b": (VIT, (4, 32, 32)),
    "vivit_l": (VIT, (4, 32, 32)),
    "vjepa2_g": (PROBED, (2, 32, 32)),
    "vjepa2_h": (PROBED, (2, 32, 32)),
    "vjepa2_l": (PROBED, (2, 32, 32)),
    "vlad": ({"frames": 2, "size": 32, "centres": 4, "width": 8}, (1, 16, 16)),
    "wide_resnet3d_101": ({"frames": 3, "size": 33, "k": 0.125}, (1, 1, 1)),
    "wide_resnet3d_152": ({"frames": 3, "size": 33, "k": 0.125}, (1, 1, 1)),
    "wide_resnet3d_200": ({"frames": 3, "size": 33, "k": 0.125}, (1, 1, 1)),
    "wide_resnet3d_50": ({"frames": 3, "size": 33, "k": 0.125}, (1, 1, 1)),
    "x3d_l": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "x3d_m": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "x3d_s": ({"frames": 2, "size": 32}, (1, 1, 1)),
    "x3d_xs": ({"frames": 2, "size": 32}, (1, 1, 1)),
}

# Parameters that the logits do not depend on, in the authors' code as in ours. MViTv2's last block
# still places the queries of all positions; the classifier reads the class token, which has none.
IDLE = {
    name: [
        f"blocks.{last}.attn.{parameter}"
        for parameter in ("rel_pos_h", "rel_pos_w", "rel_pos_t", "pool_q.pool.weight")
    ]
    for name, last in {"mvit_v2_t": 9, "mvit_v2_s": 15, "mvit_v2_b": 23, "mvit_v2_l": 47}.items()
}
# Of Ego-RNN's ImageNet classifier only the weights of the likeliest class are used; its streams
# bring heads of their own, and the motion task is there for training.
IDLE |= {
    "ego_rnn": ["objects.bias"],
    "ego_rnn_joint": [
        "rgb.objects.bias",
        *(f"{stream}.head.{part}" for stream in ("rgb", "flow") for part in ("weight", "bias")),
    ],
    "ego_rnn_motion": [
        "objects.bias",
        *(f"{layer}.{part}" for layer in ("squeeze", "motion") for part in ("weight", "bias")),
    ],
}


def random_model(name: str, seed: int = 0) -> Any:
    """A model with three classes."""
    torch.manual_seed(seed)
    model = create_model(name, 3, **json.loads(json.dumps(SMALLEST[name][0]))).eval()
    for module in model.modules():
        # Blocks that start as the identity would hide what is inside of them.
        if isinstance(module, nn.BatchNorm3d) and not module.weight.any():
            nn.init.ones_(module.weight)
    return model


def clips(model: Any, batch: int = 2) -> Tensor:
    spec = model.clip_spec
    generator = torch.Generator().manual_seed(1)
    shape = (batch, spec.channels, spec.frames, spec.size, spec.size)
    return torch.randn(*shape, generator=generator)


def test_every_model_is_tested() -> None:
    assert sorted(SMALLEST) == list_models()
    assert list(MODELS) == list_models(), "the table is kept in alphabetical order"


@pytest.mark.parametrize("name", list_models())
def test_keeps_the_five_promises(name: str, tmp_path: Path) -> None:
    """All on one model, because building it is what takes time."""
    model = random_model(name)
    gives_logits_features_head_and_clip_spec(name, model)
    neighbours_in_the_batch_do_not_matter(model)
    every_parameter_gets_a_gradient(name, model)
    takes_its_smallest_clip(name, model)
    says_what_is_wrong_with_a_clip(model)
    weights_survive_a_file(name, model, tmp_path)
    head_is_the_last_word(model)


def gives_logits_features_head_and_clip_spec(name: str, model: Any) -> None:
    clip = clips(model)
    with torch.no_grad():
        logits, features = model(clip), model.forward_features(clip)
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()
    assert features.ndim == 5
    assert features.shape[0] == 2
    assert isinstance(model.head, nn.Linear)
    assert isinstance(model.clip_spec, ClipSpec)
    assert model.clip_spec.inputs == MODELS[name].inputs


def neighbours_in_the_batch_do_not_matter(model: Any) -> None:
    clip = clips(model)
    with torch.no_grad():
        alone, together = model(clip[:1]), model(torch.cat([clip[:1], 100 * clip[1:]]))
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def every_parameter_gets_a_gradient(name: str, model: Any) -> None:
    loss = cross_entropy(model(clips(model)), torch.tensor([0, 2]))
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    idle = [n for n, g in zip(names, gradients, strict=True) if g is None or not g.any()]
    assert idle == IDLE.get(name, [])


def takes_its_smallest_clip(name: str, model: Any) -> None:
    with torch.no_grad():
        logits = model(torch.zeros(1, model.clip_spec.channels, *SMALLEST[name][1]))
    assert logits.shape == (1, 3)
    assert logits.isfinite().all()


def weights_survive_a_file(name: str, model: Any, folder: Path) -> None:
    save_file(model.state_dict(), folder / "weights.safetensors")
    other = random_model(name, seed=1)
    load_strict(other, load_file(folder / "weights.safetensors"), "weights.safetensors")
    (folder / "weights.safetensors").unlink()
    clip = clips(model, batch=1)
    with torch.no_grad():
        assert torch.equal(model(clip), other(clip))


def head_is_the_last_word(model: Any) -> None:
    bias = torch.tensor([3.0, -1.0, 0.5])
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(bias)
        logits = model(clips(model))
    torch.testing.assert_close(logits, bias.expand(2, 3))


def says_what_is_wrong_with_a_clip(model: Any) -> None:
    clip = clips(model, batch=1)
    channels = clip.shape[1]
    with pytest.raises(ValueError, match=r"needs a clip of shape \(B, C, T, H, W\), got \("):
        model(clip[0])
    other = channels + 1
    wrong = rf"needs C={channels}, got C={other} in a clip of shape \(1, {other}, {channels}, "
    with pytest.raises(ValueError, match=wrong):
        model(torch.zeros(1, other, channels, 8, 8))
    with pytest.raises(ValueError, match="Are time and channels swapped"):
        model(torch.zeros(1, other, channels, 8, 8))
    with pytest.raises(TypeError, match=r"needs floats, got torch\.uint8"):
        model(clip.byte())


# Their layer tables take more than a few seconds.
LONG = {
    "mvit_v1_b_24",
    "mvit_v2_b",
    "mvit_v2_l",
    "swin3d_b",
    "swin3d_l",
    "swin3d_s",
    "uniformer_b",
    "uniformer_b_32x4",
    "vjepa2_g",
}
DEEP = ("_152", "_169", "_200", "_201", "_264")  # shallower models of the same class always run


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] if n in LONG or n.endswith(DEEP) else [])
        for n in list_models()
    ],
)
def test_takes_the_clip_it_asks_for(name: str) -> None:
    """At its default size, on the meta device; and its line in the list of models is true."""
    with torch.device("meta"):
        model: Any = create_model(name)
    rows = layer_table(model)
    spec = model.clip_spec
    assert rows[0].size == (spec.channels, spec.frames, spec.size, spec.size)
    assert rows[-1].size == (model.head.out_features,)
    assert sum(row.parameters for row in rows) == count_parameters(model)
    cost = sum(row.multiply_adds for row in rows)
    facts = ModelFacts(spec.frames, spec.size, count_parameters(model), cost)
    assert facts_of(name) == facts, "`python -m praxino.model_facts` writes it anew"
