"""The table of all models: the rows of the papers' files, in alphabetical order."""

from praxino.models.actionvlad import MODELS as ACTIONVLAD
from praxino.models.attention_pooling import MODELS as ATTENTION_POOLING
from praxino.models.baccouche import MODELS as BACCOUCHE
from praxino.models.beyond_short_snippets import MODELS as BEYOND_SHORT_SNIPPETS
from praxino.models.c2d import MODELS as C2D
from praxino.models.c2d import PUBLISHED as C2D_PUBLISHED
from praxino.models.c3d import MODELS as C3D
from praxino.models.c3d import PUBLISHED as C3D_PUBLISHED
from praxino.models.c3d_lstm import MODELS as C3D_LSTM
from praxino.models.cnn_lstm import MODELS as CNN_LSTM
from praxino.models.csn import MODELS as CSN
from praxino.models.csn import PUBLISHED as CSN_PUBLISHED
from praxino.models.densenet3d import MODELS as DENSENET3D
from praxino.models.densenet3d import PUBLISHED as DENSENET3D_PUBLISHED
from praxino.models.early_fusion import MODELS as EARLY_FUSION
from praxino.models.ego_rnn import MODELS as EGO_RNN
from praxino.models.ego_rnn import PUBLISHED as EGO_RNN_PUBLISHED
from praxino.models.frame_difference import MODELS as FRAME_DIFFERENCE
from praxino.models.fstcn import MODELS as FSTCN
from praxino.models.gru_rcn import MODELS as GRU_RCN
from praxino.models.hara_r2plus1d import MODELS as HARA_R2PLUS1D
from praxino.models.hara_r2plus1d import PUBLISHED as HARA_R2PLUS1D_PUBLISHED
from praxino.models.hidden_two_stream import MODELS as HIDDEN_TWO_STREAM
from praxino.models.hidden_two_stream import PUBLISHED as HIDDEN_TWO_STREAM_PUBLISHED
from praxino.models.i3d import MODELS as I3D
from praxino.models.i3d import PUBLISHED as I3D_PUBLISHED
from praxino.models.i3d_paper import MODELS as I3D_PAPER
from praxino.models.i3d_paper import PUBLISHED as I3D_PAPER_PUBLISHED
from praxino.models.i3d_resnet import MODELS as I3D_RESNET
from praxino.models.i3d_resnet import PUBLISHED as I3D_RESNET_PUBLISHED
from praxino.models.inflated import MODELS as INFLATED
from praxino.models.inflated import PUBLISHED as INFLATED_PUBLISHED
from praxino.models.ji import MODELS as JI
from praxino.models.ji import PUBLISHED as JI_PUBLISHED
from praxino.models.karpathy import MODELS as KARPATHY
from praxino.models.karpathy import PUBLISHED as KARPATHY_PUBLISHED
from praxino.models.key_volume import MODELS as KEY_VOLUME
from praxino.models.late_fusion import MODELS as LATE_FUSION
from praxino.models.lrcn import MODELS as LRCN
from praxino.models.ltc import MODELS as LTC
from praxino.models.ltc import PUBLISHED as LTC_PUBLISHED
from praxino.models.mc3 import MODELS as MC3
from praxino.models.mc3 import PUBLISHED as MC3_PUBLISHED
from praxino.models.mvit import MODELS as MVIT
from praxino.models.mvit import PUBLISHED as MVIT_PUBLISHED
from praxino.models.non_local import MODELS as NON_LOCAL
from praxino.models.non_local import PUBLISHED as NON_LOCAL_PUBLISHED
from praxino.models.preact_resnet3d import MODELS as PREACT_RESNET3D
from praxino.models.preact_resnet3d import PUBLISHED as PREACT_RESNET3D_PUBLISHED
from praxino.models.r2plus1d import MODELS as R2PLUS1D
from praxino.models.r2plus1d import PUBLISHED as R2PLUS1D_PUBLISHED
from praxino.models.r3d import MODELS as R3D
from praxino.models.r3d import PUBLISHED as R3D_PUBLISHED
from praxino.models.r3d_jf import MODELS as R3D_JF
from praxino.models.r3d_jf import PUBLISHED as R3D_JF_PUBLISHED
from praxino.models.recurrent_conv import MODELS as RECURRENT_CONV
from praxino.models.resnet3d import MODELS as RESNET3D
from praxino.models.resnet3d import PUBLISHED as RESNET3D_PUBLISHED
from praxino.models.resnext3d import MODELS as RESNEXT3D
from praxino.models.resnext3d import PUBLISHED as RESNEXT3D_PUBLISHED
from praxino.models.rev_mvit import MODELS as REV_MVIT
from praxino.models.rev_mvit import PUBLISHED as REV_MVIT_PUBLISHED
from praxino.models.row import ModelRow, Published
from praxino.models.rstar_cnn import MODELS as RSTAR_CNN
from praxino.models.s3d import MODELS as S3D
from praxino.models.s3d import PUBLISHED as S3D_PUBLISHED
from praxino.models.semi_transformer import MODELS as SEMI_TRANSFORMER
from praxino.models.semi_transformer import PUBLISHED as SEMI_TRANSFORMER_PUBLISHED
from praxino.models.single_frame import MODELS as SINGLE_FRAME
from praxino.models.single_frame import PUBLISHED as SINGLE_FRAME_PUBLISHED
from praxino.models.skip_rnn import MODELS as SKIP_RNN
from praxino.models.slow import MODELS as SLOW
from praxino.models.slow import PUBLISHED as SLOW_PUBLISHED
from praxino.models.slowfast import MODELS as SLOWFAST
from praxino.models.slowfast import PUBLISHED as SLOWFAST_PUBLISHED
from praxino.models.small_3d import MODELS as SMALL_3D
from praxino.models.soft_attention import MODELS as SOFT_ATTENTION
from praxino.models.swin3d import MODELS as SWIN3D
from praxino.models.swin3d import PUBLISHED as SWIN3D_PUBLISHED
from praxino.models.t3d import MODELS as T3D
from praxino.models.t3d import PUBLISHED as T3D_PUBLISHED
from praxino.models.tanet import MODELS as TANET
from praxino.models.tanet import PUBLISHED as TANET_PUBLISHED
from praxino.models.temporal_attention import MODELS as TEMPORAL_ATTENTION
from praxino.models.timesformer import MODELS as TIMESFORMER
from praxino.models.timesformer import PUBLISHED as TIMESFORMER_PUBLISHED
from praxino.models.tin import MODELS as TIN
from praxino.models.tin import PUBLISHED as TIN_PUBLISHED
from praxino.models.toy_columns import MODELS as TOY_COLUMNS
from praxino.models.toy_columns import PUBLISHED as TOY_COLUMNS_PUBLISHED
from praxino.models.tpn import MODELS as TPN
from praxino.models.tpn import PUBLISHED as TPN_PUBLISHED
from praxino.models.trn import MODELS as TRN
from praxino.models.trn import PUBLISHED as TRN_PUBLISHED
from praxino.models.tsm import MODELS as TSM
from praxino.models.tsm import PUBLISHED as TSM_PUBLISHED
from praxino.models.tsn import MODELS as TSN
from praxino.models.tsn import PUBLISHED as TSN_PUBLISHED
from praxino.models.two_stream import MODELS as TWO_STREAM
from praxino.models.two_stream import PUBLISHED as TWO_STREAM_PUBLISHED
from praxino.models.two_stream_fusion import MODELS as TWO_STREAM_FUSION
from praxino.models.uniformer import MODELS as UNIFORMER
from praxino.models.uniformer import PUBLISHED as UNIFORMER_PUBLISHED
from praxino.models.videomae import MODELS as VIDEOMAE
from praxino.models.videomae import PUBLISHED as VIDEOMAE_PUBLISHED
from praxino.models.vivit import MODELS as VIVIT
from praxino.models.vivit import PUBLISHED as VIVIT_PUBLISHED
from praxino.models.vjepa2 import MODELS as VJEPA2
from praxino.models.wide_resnet3d import MODELS as WIDE_RESNET3D
from praxino.models.wide_resnet3d import PUBLISHED as WIDE_RESNET3D_PUBLISHED
from praxino.models.x3d import MODELS as X3D
from praxino.models.x3d import PUBLISHED as X3D_PUBLISHED

_PAPERS = (
    ACTIONVLAD,
    ATTENTION_POOLING,
    BACCOUCHE,
    BEYOND_SHORT_SNIPPETS,
    C2D,
    C3D,
    C3D_LSTM,
    CNN_LSTM,
    CSN,
    DENSENET3D,
    EARLY_FUSION,
    EGO_RNN,
    FRAME_DIFFERENCE,
    FSTCN,
    GRU_RCN,
    HARA_R2PLUS1D,
    HIDDEN_TWO_STREAM,
    I3D,
    I3D_PAPER,
    I3D_RESNET,
    INFLATED,
    JI,
    KARPATHY,
    KEY_VOLUME,
    LATE_FUSION,
    LRCN,
    LTC,
    MC3,
    MVIT,
    NON_LOCAL,
    PREACT_RESNET3D,
    R2PLUS1D,
    R3D,
    R3D_JF,
    RECURRENT_CONV,
    RESNET3D,
    RESNEXT3D,
    REV_MVIT,
    RSTAR_CNN,
    S3D,
    SEMI_TRANSFORMER,
    SINGLE_FRAME,
    SKIP_RNN,
    SLOW,
    SLOWFAST,
    SMALL_3D,
    SOFT_ATTENTION,
    SWIN3D,
    T3D,
    TANET,
    TEMPORAL_ATTENTION,
    TIMESFORMER,
    TIN,
    TOY_COLUMNS,
    TPN,
    TRN,
    TSM,
    TSN,
    TWO_STREAM,
    TWO_STREAM_FUSION,
    UNIFORMER,
    VIDEOMAE,
    VIVIT,
    VJEPA2,
    WIDE_RESNET3D,
    X3D,
)

MODELS: dict[str, ModelRow] = dict(sorted(row for paper in _PAPERS for row in paper.items()))

# What `praxino verify` checks.
PUBLISHED: tuple[Published, ...] = (
    *C2D_PUBLISHED,
    *C3D_PUBLISHED,
    *CSN_PUBLISHED,
    *DENSENET3D_PUBLISHED,
    *EGO_RNN_PUBLISHED,
    *HARA_R2PLUS1D_PUBLISHED,
    *HIDDEN_TWO_STREAM_PUBLISHED,
    *I3D_PUBLISHED,
    *I3D_PAPER_PUBLISHED,
    *I3D_RESNET_PUBLISHED,
    *INFLATED_PUBLISHED,
    *JI_PUBLISHED,
    *KARPATHY_PUBLISHED,
    *LTC_PUBLISHED,
    *MC3_PUBLISHED,
    *MVIT_PUBLISHED,
    *NON_LOCAL_PUBLISHED,
    *PREACT_RESNET3D_PUBLISHED,
    *R2PLUS1D_PUBLISHED,
    *R3D_PUBLISHED,
    *R3D_JF_PUBLISHED,
    *RESNET3D_PUBLISHED,
    *RESNEXT3D_PUBLISHED,
    *REV_MVIT_PUBLISHED,
    *S3D_PUBLISHED,
    *SEMI_TRANSFORMER_PUBLISHED,
    *SINGLE_FRAME_PUBLISHED,
    *SLOW_PUBLISHED,
    *SLOWFAST_PUBLISHED,
    *SWIN3D_PUBLISHED,
    *T3D_PUBLISHED,
    *TANET_PUBLISHED,
    *TIMESFORMER_PUBLISHED,
    *TIN_PUBLISHED,
    *TOY_COLUMNS_PUBLISHED,
    *TPN_PUBLISHED,
    *TRN_PUBLISHED,
    *TSM_PUBLISHED,
    *TSN_PUBLISHED,
    *TWO_STREAM_PUBLISHED,
    *UNIFORMER_PUBLISHED,
    *VIDEOMAE_PUBLISHED,
    *VIVIT_PUBLISHED,
    *WIDE_RESNET3D_PUBLISHED,
    *X3D_PUBLISHED,
)
