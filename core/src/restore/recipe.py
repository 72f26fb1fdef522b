"""Recipes: one TOML file says everything, and every mistake in it is named with file, line and key."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from restore.convert import structure
from restore.document import Document, Place


@attrs.frozen
class Use:
    """A component and its parameters, as a recipe writes them."""

    use: str
    parameters: dict[str, Any]
    place: Place


@attrs.frozen
class Start:
    """``[training.start]``: weights to begin from, whole but for the parameters named.

    Attributes:
        weights: a name or a path.
        exclude: patterns (``fnmatch``) of parameters that keep their fresh values.
    """

    weights: str
    exclude: tuple[str, ...] = ()


@attrs.frozen
class Training:
    """``[training]``.

    Attributes:
        iterations: optimizer steps.
        batch: clips a step.
        seed: of weights, data order, crops and degradations.
        precision: of Lightning Fabric: ``32-true``, ``bf16-mixed``, ``16-mixed``.
        channels_last: memory layout of weights and activations.
        workers: processes that load data; 0 loads in the main one.
        clip_norm: largest gradient norm; absent: no clipping.
        validate_every, checkpoint_every, log_every: in iterations.
        start: weights to begin from.
    """

    iterations: int
    batch: int = 16
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    workers: int = 0
    clip_norm: float | None = None
    validate_every: int = 1000
    checkpoint_every: int = 1000
    log_every: int = 50
    start: Start | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("iterations", "batch", "validate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@attrs.frozen
class Evaluation:
    """``[evaluation]``: the protocol that `restore eval` and validation measure under."""

    protocol: str = "sr-y"


@attrs.frozen
class Output:
    """``[run.output]``: how `restore run` writes.

    Attributes:
        container: suffix of the result, ``mkv``, ``mp4``, ...; absent: as the input where it can hold everything.
        codec: ``auto``, ``h264``, ``hevc``, ``av1``, ``vp9`` or ``ffv1``.
        quality: the codec's own constant-quality number (CRF); absent: a visually lossless one.
        preset: the encoder's own speed preset.
        options: passed to the encoder as they are.
        pixel_format: libav's name, e.g. ``yuv444p10le``; absent: as near to the input as the codec allows.
        image_format: suffix of restored images; absent: as the input.
        image_quality: JPEG and WebP quality, 1 to 100.
    """

    container: str | None = None
    codec: Literal["auto", "h264", "hevc", "av1", "vp9", "ffv1"] = "auto"
    quality: float | None = None
    preset: str | None = None
    options: dict[str, str] = attrs.field(factory=dict)
    pixel_format: str | None = None
    image_format: str | None = None
    image_quality: int = 95


@attrs.frozen
class Run:
    """``[run]``: how the engine works.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto`` takes the fastest whose output agrees with float32.
        tile: side of a tile in input pixels, without its halo; 0: whole frames; ``auto``: whole frames, halved when
            memory runs out.
        batch: frames at once; ``auto`` fills a GPU and spares a CPU's cache.
        channels_last: memory layout; ``auto`` measures.
        compile: use ``torch.compile``.
        output: how results are written.
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    tile: int | Literal["auto"] = "auto"
    batch: int | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    compile: bool = False
    output: Output = attrs.field(factory=Output)


@attrs.frozen
class Data:
    """``[data]``: clean clips for training, validation and evaluation."""

    train: Use | None = None
    validation: Use | None = None
    test: Use | None = None


@attrs.frozen
class Recipe:
    """A whole recipe. Tables that name a component (``use``) are checked against that component when it is built."""

    recipe: int = 1
    summary: str = ""
    model: Use | None = None
    degradation: Use | None = None
    losses: tuple[Use, ...] = ()
    optimizer: Use | None = None
    data: Data = attrs.field(factory=Data)
    training: Training | None = None
    evaluation: Evaluation = attrs.field(factory=Evaluation)
    stages: tuple[Use, ...] = ()
    run: Run = attrs.field(factory=Run)

    def __attrs_post_init__(self) -> None:
        if self.recipe != 1:
            raise ValueError(f"this core reads recipe = 1, the file says recipe = {self.recipe}: upgrade restorekit")


def _use(value: Any, annotation: Any, place: Any) -> Any:
    if annotation is not Use:
        return NotImplemented
    if isinstance(value, str):
        return Use(value, {}, place)
    if not isinstance(value, dict) or not isinstance(value.get("use"), str):
        raise place.error('needs a table with use = "component"')
    return Use(value["use"], {k: v for k, v in value.items() if k != "use"}, place)


def check(document: Document) -> Recipe:
    """The document as a :class:`Recipe`; components themselves are checked when they are built.

    Raises:
        RequestError: with file, line, key and the nearest right name.
    """
    recipe = structure(document.data, Recipe, document.root, _use)
    assert isinstance(recipe, Recipe)
    return recipe
