"""What stays of a removed task: how it ended and what the engine kept of its output go in; pieces of it come out.

It lies in the task's folder, beside the sandbox: `stdout.0`, `stderr.0`, `ended`. `RemovedTasks` has it for a day.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kato.drivers.runtime.folders.removed import RemovedTasks
from kato.drivers.runtime.folders.streams import Stream
from kato.model.link import Output, Reached, RemovedTask


class Archive:
    """The removed tasks of a driver. All of it blocks: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self._tasks = RemovedTasks(folder)

    def add(self, folder: Path, kept: RemovedTask, output: Mapping[str, bytes]) -> None:
        """Writes into a task's folder what is to stay, and puts it to the others."""
        for stream, data in output.items():
            (folder / f"{stream}.0").write_bytes(data)
        (folder / "ended").write_bytes(msgspec.json.encode(kept))
        self._tasks.take(folder)

    def all(self) -> Sequence[RemovedTask]:
        """How each of them ended."""
        files = (folder / "ended" for folder in self._tasks.all())
        return [msgspec.json.decode(file.read_bytes(), type=RemovedTask) for file in files if file.is_file()]

    def output(
        self, task: str, stream: str, tail: int | None, since: Reached | None = None
    ) -> Sequence[Output] | None:
        """What a removed task wrote; None where it is not kept."""
        folder = self._tasks.of(task)
        if not (folder / f"{stream}.0").is_file():
            return None
        with Stream(folder, stream) as reader:
            first = since.offset if since else 0 if tail is None else reader.tail(tail)
            return [Output(task, stream, offset, data) for offset, data in reader.read(first)]
