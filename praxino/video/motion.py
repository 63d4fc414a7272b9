"""Where the flow of a clip comes from: computed between its frames, or kept beside the videos.

Flow of frame t leads from frame t to frame t + 1 of the clip; the last frame repeats the flow of
the one before it, so that T frames have T flows. Up to the model flow is bytes, as denseflow keeps
it: -20 to 20 pixels are 0 to 255.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from praxino.did_you_mean import did_you_mean
from praxino.errors import VideoError
from praxino.video.clip_spec import FLOWS
from praxino.video.flow import FLOW_METHODS, compute_flow, flow_to_bytes


@dataclass(frozen=True)
class Motion:
    """What makes the channels beside the colours, for models that want flow.

    Args:
        source: one of `FLOW_METHODS`: flow between the frames of the clip, at the size at which
            they are decoded; or a folder that `praxino flow` has filled: flow between successive
            frames of the video, whatever the distance of the clip's frames.

    Raises:
        ValueError: neither a method nor a folder.
    """

    source: str = "dis"

    def __post_init__(self) -> None:
        if self.source not in FLOW_METHODS and not Path(self.source).is_dir():
            raise ValueError(
                f"flow is a method or a folder that `praxino flow` has filled, and {self.source!r} "
                f"is neither.{did_you_mean(self.source, FLOW_METHODS)}"
            )

    @property
    def method(self) -> str:
        """What has computed the flow; TV-L1 where a folder does not tell, as denseflow's are."""
        if self.source in FLOW_METHODS:
            return self.source
        from praxino.video.flow_store import FlowStore

        return FlowStore(self.source).method or "tvl1"

    def add(
        self,
        frames: NDArray[np.uint8],
        inputs: tuple[str, ...],
        video: str,
        places: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """The frames of a clip with a pair of channels for each stream of flow.

        Args:
            frames: `(T, H, W, 3)`.
            inputs: the streams of `ClipSpec`; without flow among them nothing is added.
            video: its name, under which a folder knows it.
            places: `(T,)` which frames of the video they are.

        Returns:
            `(T, H, W, 3 + 2 n)`: u, v for each stream of flow, in the order of `inputs`.

        Raises:
            VideoError: a video of one frame, or whose flow is missing or not that of this video.
        """
        wanted = [name for name in inputs if name in FLOWS]
        if not wanted:
            return frames
        flows = [self._flow(frames, video, places, warped=name == "warped_flow") for name in wanted]
        return np.concatenate([frames, *flows], axis=-1)

    def _flow(
        self, frames: NDArray[np.uint8], video: str, places: NDArray[np.int64], *, warped: bool
    ) -> NDArray[np.uint8]:
        if self.source not in FLOW_METHODS:
            from praxino.video.flow_store import FlowStore

            return FlowStore(self.source, warped=warped).flow(video, places, frames.shape[1:3])
        forward = np.diff(places) > 0
        if not forward.any():
            raise VideoError(
                video,
                f"shows one frame in a clip of {len(frames)}, and flow leads from one frame to "
                "another. Use a longer video, or a model of colours only.",
                code="short",
            )
        flow = compute_flow(frames, self.source)  # (T - 1, H, W, 2) pixels
        if warped:
            from praxino.video.warped_flow import warp_flow

            flow = warp_flow(frames, flow)
        # A short video begins again, or stands still at its end: nothing moves from there to there.
        flow[~forward] = 0
        return flow_to_bytes(np.concatenate([flow, flow[-1:]]))
