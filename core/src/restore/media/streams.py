"""What travels beside the picture: sound, subtitles, fonts, covers, chapters and words about them."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import av

from restore.media.probe import disposition, is_cover, libav_name
from restore.media.quantizers import TAG
from restore.media.reader import VideoReader

# The muxer writes these itself, or they describe the old coding.
_STALE = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "rotate", TAG.lower()}
)
_STALE_STARTS = ("_statistics", "number_of_", "bps", "duration-")
_MP4_KEYS = frozenset(
    {"title", "artist", "album", "album_artist", "composer", "comment", "genre", "copyright", "date", "year", "track",
     "disc", "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "media_type",
     "creation_time", "encoding_tool", "compilation", "make", "model", "location", "language", "performer", "author"}
)  # fmt: skip

# A copy needs no encoder; the first PyAV 14 always asked for one and lacks the word.
_AS_IT_IS: dict[str, Any] = {"opaque": True} if tuple(int(n) for n in av.__version__.split(".")[:2]) >= (14, 2) else {}


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Without what would be untrue of the output."""
    return {k: v for k, v in metadata.items() if k.lower() not in _STALE and not k.lower().startswith(_STALE_STARTS)}


def needs_free_tags(metadata: dict[str, str]) -> bool:
    """Whether MP4's fixed set of tags is too small for ``metadata``."""
    return any(key.lower() not in _MP4_KEYS for key in metadata)


def describe(stream: Any) -> str:
    """How a message names a stream: ``stream 3 (subtitle ass, eng)``."""
    codec = stream.codec_context.name if stream.codec_context is not None else getattr(stream, "name", None)
    words = [" ".join(filter(None, [stream.type, codec])), stream.metadata.get("language", "")]
    return f"stream {stream.index} ({', '.join(w for w in words if w and w != 'und')})"


class StreamCopier:
    """Adds the source's other streams to an output container and says which could not be kept.

    Attributes:
        targets: from the source's stream index to the output's stream.
        warnings: one line for each thing that the output cannot hold.
    """

    def __init__(self, output: Any, container: str, source: VideoReader) -> None:
        self.output = output
        self.container = container
        self.source = source
        self.targets: dict[int, Any] = {}
        self.warnings: list[str] = []
        for stream in source.other_streams:
            self._add(stream)
        self._add_chapters()

    def _add(self, stream: Any) -> None:
        if stream.type == "attachment":
            self._attach(stream, stream.name or "attachment", stream.mimetype or "application/octet-stream", None)
        elif stream.type == "video" and self.container == "matroska" and is_cover(stream):
            name = stream.metadata.get("filename", "cover")
            self._attach(stream, name, stream.metadata.get("mimetype", "image/jpeg"), self._cover_bytes(stream))
        elif stream.type == "data":
            # QuickTime's chapter and timecode tracks come back through chapters and metadata.
            if "mov" not in self.source.info.container:
                self._lost(stream)
        elif stream.type not in ("audio", "subtitle", "video") or (stream.type == "video" and not is_cover(stream)):
            self._lost(stream)
        elif self._fits(stream):
            target = self.output.add_stream_from_template(stream, **_AS_IT_IS)
            target.metadata.update(kept_metadata(stream.metadata))
            set_disposition(target, stream)
            self.targets[stream.index] = target
        else:
            self._lost(stream)

    def _lost(self, stream: Any) -> None:
        hint = "" if self.container == "matroska" else "; write to .mkv to keep it"
        self.warnings.append(f"{describe(stream)} does not fit into {self.container} and is left out{hint}")

    def _fits(self, stream: Any) -> bool:
        """Tries the stream alone in a container of the kind in memory: only the muxer knows."""
        trial = av.open(io.BytesIO(), "w", format=self.container)
        try:
            trial.add_stream_from_template(stream, **_AS_IT_IS)
            trial.start_encoding()
        except (ValueError, av.error.FFmpegError):
            return False
        finally:
            # No packets were written, which some muxers call an error.
            with contextlib.suppress(ValueError, av.error.FFmpegError):
                trial.close()
        return True

    def _attach(self, stream: Any, name: str, mime: str, data: bytes | None) -> None:
        if self.container != "matroska" or not hasattr(self.output, "add_attachment"):
            self._lost(stream)
            return
        target = self.output.add_attachment(name, mime, stream.data if data is None else data)
        target.metadata.update({**kept_metadata(stream.metadata), "filename": name, "mimetype": mime})

    def _cover_bytes(self, stream: Any) -> bytes:
        with av.open(libav_name(self.source.path)) as again:
            for packet in again.demux(again.streams[stream.index]):
                if packet.size:
                    return bytes(packet)
        return b""

    def _add_chapters(self) -> None:
        chapters = self.source.container.chapters() if hasattr(self.source.container, "chapters") else []
        if not chapters:
            return
        if self.container == "avi" or not hasattr(self.output, "set_chapters"):
            self.warnings.append(f"{len(chapters)} chapters do not fit into {self.container} and are left out")
            return
        self.output.set_chapters(chapters)


def set_disposition(target: Any, source: Any) -> None:
    """Default, forced, hearing-impaired and so on, where this PyAV can set it."""
    with contextlib.suppress(AttributeError, TypeError):
        target.disposition = disposition(source)
