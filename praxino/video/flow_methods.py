"""The names of the ways to compute optical flow; cheap to import."""

from typing import Literal, get_args

FlowMethod = Literal["lucas_kanade", "farneback", "dis", "tvl1", "torch_tvl1", "raft", "raft_small"]
FLOW_METHODS: tuple[str, ...] = get_args(FlowMethod)
