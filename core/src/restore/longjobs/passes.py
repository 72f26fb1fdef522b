"""What a worker does for a scene that is swept part by part (``exact``)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Sequence

import attrs

from restore.errors import MediaError
from restore.inference.exact import ExactRunner
from restore.inference.memory import OutOfMemory
from restore.inference.parts import SweptPart, Values, sweep_part
from restore.inference.store import Store
from restore.inference.video import Channel, Hung, batch_size, decode_into, in_thread
from restore.longjobs.easing import less_precise
from restore.longjobs.encoding import Advance, HungUp, unchanged
from restore.longjobs.journal import failure, sha256_of, throw_away, write_through
from restore.longjobs.work import Workbench
from restore.media.color import Picture
from restore.media.indexing import Stretch, StretchReader


@attrs.frozen
class Pass:
    """One sweep over a part of a scene.

    Attributes:
        source, stamp: the video, and its size and time of change.
        part: what is swept.
        stretch: what the first sweep reads; None behind it.
        settled: how each model is run.
        inputs: files of the values of the sweep before.
        target: file for the values.
        state_in, state_out: files of states; None: nothing comes in, nothing is wanted.
        attempt: as of :class:`restore.longjobs.work.Piece`.
    """

    source: Path
    stamp: Sequence[int]
    part: SweptPart
    stretch: Stretch | None
    settled: Sequence[dict[str, Any]]
    inputs: tuple[Path, ...]
    target: Path
    state_in: Path | None = None
    state_out: Path | None = None
    attempt: int = 1

    def do(self, bench: Workbench, advance: Advance) -> dict[str, Any]:
        """Checksums of the files.

        Raises:
            Changed, HungUp, OutOfMemory: see there.
            MediaError, RestoreError: the source cannot be read, the disk is full, or values are not finite.
        """
        unchanged(self.source, self.stamp)
        parts = bench.prepared(self.settled, self.attempt)
        cpu = time.process_time()
        try:
            found = self._made(bench)
        except OutOfMemory as error:
            if not less_precise(parts, str(error)):
                raise
            found = self._made(bench)
        finally:
            parts.reset()
        unchanged(self.source, self.stamp)
        return {**found, "cpu": round(time.process_time() - cpu, 3), "warnings": list(parts.warnings)}

    def _made(self, bench: Workbench) -> dict[str, Any]:
        runner = bench.parts.restorers[0]
        assert isinstance(runner, ExactRunner)
        try:
            return self._swept(bench, runner)
        except OSError as error:
            missing = next((p for p in (*self.inputs, self.target.parent) if not p.exists()), None)
            if missing is not None:
                raise MediaError(
                    f"{missing} is not seen here; the folder where `exact` keeps what waits must be seen by all workers"
                ) from error
            raise failure(f"{self.target} cannot be written", error) from error

    def _swept(self, bench: Workbench, runner: ExactRunner) -> dict[str, Any]:
        from safetensors.torch import load_file, save

        frames: Store | None = None
        values: Values | None = None
        scratch = scratch_of(self.target)
        try:
            if self.stretch is not None:
                scratch.mkdir()
                frames = Store(scratch, runner.device)
                self._read(bench, runner, frames)
            else:
                values = Values(self.inputs, runner.device)
            before = None if self.state_in is None else load_file(self.state_in)
            sha256, states = sweep_part(runner, self.part, frames, values, self.target, before)
        finally:
            if values is not None:
                values.close()
            if frames is not None:
                frames.close()
                throw_away(scratch)
        if self.state_out is None:
            return {"sha256": sha256, "state": None}
        whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in states.items()}
        write_through(self.state_out, save(whole))
        return {"sha256": sha256, "state": sha256_of(self.state_out)}

    def _read(self, bench: Workbench, runner: ExactRunner, frames: Store) -> None:
        assert self.stretch is not None
        limit = bench.setting.recipe.run.segments.time_limit
        channel = Channel(limit=limit)
        reader = StretchReader(self.source, self.stretch)
        with reader:
            size = batch_size(reader.info.width, reader.info.height, bench.setting.recipe.run.batch, runner.device.type)
            thread = in_thread("decode", lambda: decode_into(reader, size, channel))
            at = self.stretch.first
            try:
                for batch in channel:
                    picture = bench.parts.informed(Picture.from_frames(batch, runner.device), self.source, at)
                    for k in range(len(batch)):
                        frames.put(at, {"frame": picture[k : k + 1].channels(runner.traits.channels)})
                        at += 1
            except Hung:
                raise HungUp(
                    f"{self.source}: the decoder gave nothing for {limit:g} s near frame {at}; "
                    "run.segments.time_limit is how long is waited"
                ) from None
            finally:
                channel.shut()
                thread.join(5)


def scratch_of(target: Path) -> Path:
    """Folder of what waits while a file is made."""
    return target.with_name(target.name + ".frames")
