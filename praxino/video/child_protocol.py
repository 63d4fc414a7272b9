"""What a process that decodes untrusted video and its parent agree on."""

from praxino.video.convert import MAX_PIXELS

SHARED_BYTES = 3 * MAX_PIXELS  # through which pictures come: one of the largest at least
NUMBERS_AT_ONCE = 2**19  # of an array of 8-byte numbers, through the same

# What `sandbox.locks_that_hold` tries, and what the decoding could do without.
DOORS = {
    "no_files": "open files",
    "no_network": "reach the network",
    "no_programs": "run programs",
    "no_processes": "start processes",
    "no_signals": "send signals",
    "memory_limit": "take any memory",
    "cpu_limit": "take any time",
}

WAY_OUT = "Leave the file out, or write it anew with ffmpeg -i."
OUT_OF_MEMORY_MESSAGE = (
    "its decoding needs more memory than it may have. Leave it out, or raise Limits.memory_bytes."
)
OUT_OF_MEMORY = 77  # exit status of a child that can make no answer for want of memory
