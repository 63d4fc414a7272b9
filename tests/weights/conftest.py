"""Files that tests of several modules read."""

import base64
import zlib

import pytest

# A checkpoint of five small variables as TensorFlow 2.21 saved it (`tf.compat.v1.train.Saver`).
FROM_TENSORFLOW = {
    "model.ckpt.index": (
        "c-muNVB=tvV&Y(AP!tYwchYyx&nq)di8oA)H?J_)Pf9FF&WO*;FUr+VN-as`U=-"
        "pI0;&aKW(^)wY0ke!LY#`pKrQjcDf;C=2@$9?3^Re0D)4AXm>#%oE6%_qn3TrBC&U7hQBcufG2O}?;?K"
        "asTU?S_z`-"
        "fRprE0_VVb|4w;w20l3G#1!44EN(BLwC^WcCc0}wER2+t*pBjKC_pB8RlU}P?3*vtqQn|$o$=N*h3M;Z"
        "AU2!in64c#iG?zaI`kTBN"
    ),
    "model.ckpt.data-00000-of-00001": (
        "c-muNV6bOkIIy3Afx&?R3>xeqYzH820OAD>2kZq7Oo(R$%d*})Hpe+5H76$@02Sg4bN"
    ),
}


@pytest.fixture
def from_tensorflow() -> dict[str, bytes]:
    """The files of a checkpoint that TensorFlow wrote, by name."""
    return {name: zlib.decompress(base64.b85decode(text)) for name, text in FROM_TENSORFLOW.items()}
