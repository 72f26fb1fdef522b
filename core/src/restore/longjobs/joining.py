"""The parts of a video become one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from restore.errors import MediaError, RequestError
from restore.inference.following import Follower
from restore.longjobs.identity import stamp
from restore.longjobs.journal import Journal, folder_for, peek
from restore.media.encoders import OutputOptions, choose_codec, choose_layout, container_for
from restore.media.joining import JoinedWriter, joinable
from restore.media.probe import MediaInfo
from restore.media.reader import VideoReader

if TYPE_CHECKING:
    from restore.inference.jobs import Job
    from restore.longjobs.work import Setting


def join(
    job: Job,
    options: OutputOptions,
    journal: Journal,
    entries: Sequence[Mapping[str, Any]],
    before: Sequence[int],
    overwrite: bool,
    partial: Path | None = None,
) -> list[str]:
    """Writes finished parts as one file, with the source's sound and whatever else it holds.

    Args:
        job: source and output.
        options: of the output.
        journal: its folder holds the parts.
        entries: the journal's, of the parts that are joined, in their order.
        before: the source's size and time of change when the work began.
        overwrite: an existing output may be replaced.
        partial: a file for the first parts alone, where the rest cannot be had; None: all are there.

    Returns:
        Warnings.

    Raises:
        MediaError: the source was changed, or the file cannot be written.
    """
    source, output = job.source, partial or job.output
    width, height = entries[0]["width"], entries[0]["height"]
    codec = choose_codec(output, source.layout, options, width)
    layout = choose_layout(source.layout, width, height, codec, options.pixel_format)
    with VideoReader(source.path) as template:
        writer = JoinedWriter(output, template, width, height, layout, options=options, overwrite=overwrite)
        writer.place_in(journal.folder)
        follower = Follower(source.path, template.stream.index, writer.copy)
        try:
            for packet in writer.join([journal.folder / e["file"] for e in entries]):
                follower.up_to(float(packet.pts * writer.seconds))
            if partial is None:
                follower.up_to(None)
            if list(stamp(source.path)) != list(before):
                raise MediaError(f"{source.path} was changed while it was being restored")
            # Should the power go between the next two steps, the file of that name is known to be ours.
            if partial is None:
                journal.append({"joined": True})
            writer.commit()
        except BaseException:
            writer.abort(keep=False)
            raise
        finally:
            follower.close()
    return writer.warnings


def summary(
    job: Job,
    header: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    seconds: float,
    restored: int,
    resumed: int,
) -> dict[str, Any]:
    """What :func:`restore.inference.jobs.run_job` says, the number of ``segments``, and of those that were there before
    (``resumed``); ``restored`` is the number of frames of this run alone."""
    guesses = job.source.color.describe_guesses()
    told = [*([guesses] if guesses else []), *warnings, *(w for e in entries for w in e["said"][2:])]
    schedule = entries[0]["said"][1]
    return {
        "input": str(job.source.path),
        "output": str(job.output),
        "frames": sum(e["frames"] for e in entries),
        "width": entries[0]["width"],
        "height": entries[0]["height"],
        "seconds": round(seconds, 3),
        "fps": round(restored / seconds, 3),
        "precision": entries[0]["said"][0],
        "warnings": list(dict.fromkeys(told)),
        "codec": entries[0]["codec"],
        **({"schedule": schedule, "scene_cuts": header["cuts"]} if schedule else {}),
        "segments": len(entries),
        "resumed": resumed,
    }


def was_joined(output: Path) -> bool:
    """Whether an output that is there is the work of a run that ended before it could remove its journal."""
    return any("joined" in entry for entry in peek(folder_for(output)))


def whole_because(source: Path, why: str) -> str:
    """For people: a long video is not cut into parts."""
    return f"{source.name}: {why}; it is restored in one go, by one worker, and cannot be taken up again"


def can_be_parted(source: MediaInfo, output: Path, setting: Setting) -> bool:
    """Whether a file is a video long enough to be cut into parts, and of a kind whose parts can be joined."""
    length = setting.recipe.run.segments.frames
    if source.kind != "video" or length == 0 or (source.frames or 0) < 1.5 * (250 if length == "auto" else length):
        return False
    try:
        options = setting.options
        joinable(source.layout, choose_codec(output, source.layout, options), container_for(output))
    except RequestError:
        return False
    return True
