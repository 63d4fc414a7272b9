"""The ledger: every job over many items ends with exactly one line for each of them."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from praxino.atomic import write_text
from praxino.errors import EXIT_OK, EXIT_SOME_ITEMS_FAILED, VideoError

Status = Literal["ok", "partial", "failed", "skipped"]


@dataclass(frozen=True)
class Entry:
    """The final word on one item."""

    item: str
    status: Status
    code: str = ""
    message: str = ""
    frames_got: int | None = None
    frames_expected: int | None = None


@dataclass
class Ledger:
    """Collects one entry per item and refuses a second one."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def ok(self, item: str) -> None:
        """The item was done completely."""
        self._add(Entry(item, "ok"))

    def partial(self, item: str, frames_got: int, frames_expected: int) -> None:
        """The item was done with fewer frames than its file promises."""
        message = f"{frames_got} of {frames_expected} frames could be read"
        self._add(Entry(item, "partial", "short", message, frames_got, frames_expected))

    def failed(self, item: str, error: Exception) -> None:
        """The item could not be done."""
        code = error.code if isinstance(error, VideoError) else type(error).__name__
        self._add(Entry(item, "failed", code, str(error)))

    def skipped(self, item: str, code: str, message: str = "") -> None:
        """The item was left out on purpose."""
        self._add(Entry(item, "skipped", code, message))

    def _add(self, entry: Entry) -> None:
        if entry.item in self.entries:
            raise ValueError(f"The ledger already has a line for {entry.item!r}.")
        self.entries[entry.item] = entry

    @property
    def counts(self) -> dict[str, int]:
        """How many items ended in each status; the values sum to the number of items."""
        found = Counter(entry.status for entry in self.entries.values())
        return {status: found[status] for status in ("ok", "partial", "failed", "skipped")}

    @property
    def failures(self) -> list[Entry]:
        """The entries whose item failed."""
        return [entry for entry in self.entries.values() if entry.status == "failed"]

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, else 1."""
        return EXIT_SOME_ITEMS_FAILED if self.failures else EXIT_OK

    def write(self, path: str | Path) -> None:
        """Write `items.jsonl`: one JSON object a line, fields that say nothing left out."""
        lines = []
        for entry in self.entries.values():
            said = {key: value for key, value in vars(entry).items() if value not in ("", None)}
            lines.append(json.dumps(said, ensure_ascii=False))
        write_text(path, "".join(line + "\n" for line in lines))
