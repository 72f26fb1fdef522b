"""Recipes: one TOML file says everything, and every mistake in it is named with file, line and key."""

from __future__ import annotations

from typing import Any, Iterator, Literal

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
    """``[training.start]``, ``[phases.start]``: weights to begin from.

    Attributes:
        weights: a name or a path.
        exclude: patterns of names, of the model or of the file, that are left as they are; ``"tail"`` means everything
            below ``tail`` too.
        rename: regular expressions on the file's names, and what takes the place of each first match.
    """

    weights: str
    exclude: tuple[str, ...] = ()
    rename: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class EarlyStopping:
    """``[training.early_stopping]``, ``[phases.early_stopping]``: end a phase that no longer gets better.

    Attributes:
        patience: validations without a new best after which the phase ends.
        metric: ``psnr``, ``ssim``, or ``loss``, the recipe's own on the validation data.
        minimum_change: by how much a validation must be better to count.
        restore_best: the phase ends with its best weights rather than its last.
    """

    patience: int
    metric: Literal["psnr", "ssim", "loss"] = "psnr"
    minimum_change: float = 0.0
    restore_best: bool = True

    def __attrs_post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError("patience must be at least 1")


def _check_stepping(settings: Any) -> None:
    """What ``[training]`` and ``[[phases]]`` have in common."""
    for name in ("iterations", "batch", "accumulate"):
        if getattr(settings, name) is not None and getattr(settings, name) < 1:
            raise ValueError(f"{name} must be at least 1")
    if settings.epochs is not None and settings.epochs <= 0:
        raise ValueError("epochs must be more than 0")
    if settings.iterations is not None and settings.epochs is not None:
        raise ValueError("give iterations or epochs, not both")
    for name in ("clip_norm", "clip_value", "skip_above", "ema"):
        if (getattr(settings, name) or 0) < 0:
            raise ValueError(f"{name} must not be negative")
    if (settings.ema or 0) >= 1:
        raise ValueError(f"ema must be below 1, e.g. 0.999, got {settings.ema}")
    if settings.clip_norm and settings.clip_value:
        raise ValueError("give clip_norm or clip_value, not both")


@attrs.frozen(kw_only=True)
class Training:
    """``[training]``.

    Attributes:
        iterations: optimizer steps of a recipe without ``[[phases]]``; or
        epochs: passes over the training data, with all patches that its images hold side by side counted once.
        batch: clips an optimizer step, over all devices.
        accumulate: parts that a batch is worked through in, one after the other, to save memory; their gradients are
            averaged.
        clip_norm: largest gradient norm; 0: no limit.
        clip_value: largest gradient component, each cut by itself; 0: no limit.
        skip_above: a step whose loss exceeds this many times the one before is skipped (ECO: 5); 0: none is.
        ema: decay of an exponential moving average of the weights, e.g. 0.999; validation and the final weights are
            then the average's; 0: none.
        freeze: patterns (``fnmatch``) of parameters that stay as they are; ``"encoder"`` names all below it too.
        checkpoint_activations: patterns of modules whose activations are computed again in the backward pass, to save
            memory.
        early_stopping: when to end before the last iteration.
        start: weights to begin from.
        seed: of weights, data order, crops and degradations.
        precision: of Lightning Fabric: ``32-true``, ``bf16-mixed``, ``16-mixed``.
        channels_last: memory layout of weights and activations.
        workers: processes that load data, on each device; 0 loads in the main one.
        validate_every, checkpoint_every, log_every: in iterations.
        keep_every: keep the weights of every so many iterations; 0: only the best and the last.
        best: what makes a validation the best: ``psnr``, ``ssim`` or ``loss``.
        tensorboard: also write what TensorBoard reads.
        devices: how many, on each machine; 0 takes all. ``--devices`` overrides it.
        strategy: of Lightning Fabric: ``ddp`` has a copy on every device, ``fsdp`` spreads the weights.
        accelerator: of Lightning Fabric.
    """

    iterations: int | None = None
    epochs: float | None = None
    batch: int = 16
    accumulate: int = 1
    clip_norm: float = 0.0
    clip_value: float = 0.0
    skip_above: float = 0.0
    ema: float = 0.0
    freeze: tuple[str, ...] = ()
    checkpoint_activations: tuple[str, ...] = ()
    early_stopping: EarlyStopping | None = None
    start: Start | None = None
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    workers: int = 0
    validate_every: int = 1000
    checkpoint_every: int = 1000
    log_every: int = 50
    keep_every: int = 0
    best: Literal["psnr", "ssim", "loss"] = "psnr"
    tensorboard: bool = False
    devices: int = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    def __attrs_post_init__(self) -> None:
        _check_stepping(self)
        for name in ("validate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("keep_every", "devices", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


@attrs.frozen(kw_only=True)
class Phase:
    """One of ``[[phases]]``, worked through in order. What it leaves out is as ``[training]``, ``[[losses]]``,
    ``[degradation]`` and ``[optimizer]`` say; the keys that it shares with ``[training]`` mean the same.

    Attributes:
        name: for logs.
        iterations: optimizer steps; or
        epochs: passes over the training data.
        losses: instead of ``[[losses]]``, all of them.
        degradation: instead of ``[degradation]``.
        optimizer: a new one, from here on until a later phase says otherwise; it begins the schedules anew.
        lr: a new learning rate, number or schedule, for the optimizer in use; it begins the schedules anew.
        reset_optimizer: forget the optimizer's moments.
        reset_schedules: schedules count from the beginning of this phase. Else they go on with those of the phase
            before, and their total spans both.
        start: weights to load when the phase begins.
        pruning: with a ``[pruner]``, what it does: ``gates``, its gates are trained with all else; ``regularise``, its
            penalty is added to the loss; ``compact``, what it chose is cut out before the phase begins, with a new
            optimizer. As in the phase before; gates stay at 1 until a phase says so.
    """

    name: str = ""
    iterations: int | None = None
    epochs: float | None = None
    losses: tuple[Use, ...] | None = None
    degradation: Use | None = None
    optimizer: Use | None = None
    lr: Use | float | None = None
    reset_optimizer: bool = False
    reset_schedules: bool = False
    batch: int | None = None
    accumulate: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    skip_above: float | None = None
    ema: float | None = None
    freeze: tuple[str, ...] | None = None
    checkpoint_activations: tuple[str, ...] | None = None
    early_stopping: EarlyStopping | None = None
    start: Start | None = None
    pruning: Literal["gates", "regularise", "compact"] | None = None

    def __attrs_post_init__(self) -> None:
        _check_stepping(self)
        if self.iterations is None and self.epochs is None:
            raise ValueError("a phase needs iterations or epochs")


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
class Temporal:
    """``[run.temporal]``: how models that look along time work through a video. Models of single frames ignore it.

    Attributes:
        schedule: ``exact``: every pass over a whole scene, with what lies between two passes on disk; equal to the
            whole clip at once. ``look_ahead``: chunk by chunk; what goes forward is carried on exactly, what comes
            backward begins ``look_ahead`` frames beyond the chunk. ``causal``: frame by frame, nothing of the future.
            ``auto``: ``look_ahead``, which is exact where nothing comes backward, and for scenes no longer than chunk
            and look-ahead together; `restore eval` takes whole clips as long as they are short.
        look_ahead: frames.
        chunk: frames answered together; ``auto``: 32, fewer where memory is short.
        overlap: frames to both sides of a seam over which windows are blended, for models that answer a window at
            once; ``auto``: 4 where the model looks at its whole window (``global_context``), else 0, which is exact.
        scene_cuts: ``auto`` finds them and begins afresh there; ``ignore`` carries on across.
        scratch: folder for what waits on disk; absent: beside the output, or the system's where that has more room.
    """

    schedule: Literal["auto", "look_ahead", "causal", "exact"] = "auto"
    look_ahead: int = 16
    chunk: int | Literal["auto"] = "auto"
    overlap: int | Literal["auto"] = "auto"
    scene_cuts: Literal["auto", "ignore"] = "auto"
    scratch: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.look_ahead < 0:
            raise ValueError("look_ahead must not be negative")
        if self.chunk != "auto" and self.chunk < 1:
            raise ValueError("chunk must be at least 1")
        if self.overlap != "auto" and self.overlap < 0:
            raise ValueError("overlap must not be negative")


@attrs.frozen
class Segments:
    """``[run.segments]``: how a long video is cut into parts that are finished one by one. An interrupted run goes on
    behind the last finished one, and several workers each take another.

    Attributes:
        frames: about so many to a part; 0: never cut; ``auto``: 250, and more where the model looks far along time, so
            that frames seen twice stay few. A video of less than two parts is not cut.
        at: where: ``scenes``, at the nearest scene change; ``keys``, at the nearest key frame of the source, which
            spares decoding; ``frames``, anywhere; ``auto``: at scene changes where the model looks along time and at
            key frames where it does not.
        state: how a model that carries state along time comes into a part in the middle of a scene. ``carry``: with the
            state that the part before left, exactly; parts of a scene then go one after the other. ``again``: it begins
            ``run.temporal.look_ahead`` frames before the part, which comes near; workers can have all parts at once.
            ``auto``: ``carry`` where the schedule is ``causal`` or nothing comes backward, else ``again``.
        time_limit: seconds to wait for the decoder or the encoder before a part is given up as hung.
    """

    frames: int | Literal["auto"] = "auto"
    at: Literal["auto", "scenes", "keys", "frames"] = "auto"
    state: Literal["auto", "carry", "again"] = "auto"
    time_limit: float = 300.0

    def __attrs_post_init__(self) -> None:
        if self.frames != "auto" and self.frames < 0:
            raise ValueError("frames must not be negative; 0: never cut")
        if self.time_limit <= 0:
            raise ValueError("time_limit must be above 0")


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
        temporal: how models that look along time work.
        segments: how long videos are cut into parts.
        output: how results are written.
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    tile: int | Literal["auto"] = "auto"
    batch: int | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    compile: bool = False
    temporal: Temporal = attrs.field(factory=Temporal)
    segments: Segments = attrs.field(factory=Segments)
    output: Output = attrs.field(factory=Output)


@attrs.frozen
class Data:
    """``[data]``: clean clips for training, validation and evaluation."""

    train: Use | None = None
    validation: Use | None = None
    test: Use | None = None


@attrs.frozen
class Recipe:
    """A whole recipe. Tables that name a component (``use``) are checked against that component when it is built.

    ``[operator]`` says for `restore run` which linear operator made the file, for models that need to know: a
    degradation that is a :class:`restore.contracts.VideoMeasurement`, such as ``core:mask`` or ``core:disk-blur``.
    """

    recipe: int = 1
    summary: str = ""
    model: Use | None = None
    degradation: Use | None = None
    losses: tuple[Use, ...] = ()
    optimizer: Use | None = None
    pruner: Use | None = None
    operator: Use | None = None
    data: Data = attrs.field(factory=Data)
    training: Training | None = None
    phases: tuple[Phase, ...] = ()
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


# The kind of component that a recipe's key names; under [data] every key names a dataset.
_KINDS = {"model": "model", "stages": "model", "degradation": "degradation", "losses": "loss", "optimizer": "optimizer"}
_KINDS |= {"operator": "degradation"}
_KINDS |= {"pruner": "pruner", "train": "dataset", "validation": "dataset", "test": "dataset", "lr": "schedule"}


def uses(value: Any, key: str = "") -> Iterator[tuple[str, Use]]:
    """Every component that the tables of a recipe name, phases too, and its kind; not what parameters nest."""
    if isinstance(value, Use):
        yield _KINDS[key], value
    elif isinstance(value, tuple):
        for entry in value:
            yield from uses(entry, key)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from uses(getattr(value, field.name), field.name)


def check(document: Document) -> Recipe:
    """The document as a :class:`Recipe`; components themselves are checked when they are built.

    Raises:
        RequestError: with file, line, key and the nearest right name.
    """
    recipe = structure(document.data, Recipe, document.root, _use)
    assert isinstance(recipe, Recipe)
    if recipe.training is not None:
        _check_length(recipe.training, bool(recipe.phases), document.root.child("training"))
    return recipe


def _check_length(training: Training, phases: bool, place: Place) -> None:
    """A recipe says once how long training is: for all of it, or phase by phase."""
    given = [name for name in ("iterations", "epochs") if getattr(training, name) is not None]
    if phases and given:
        raise place.child(given[0]).error("the phases say how long they are: leave this out")
    if not phases and not given:
        raise place.error("'iterations' is missing (or epochs, or [[phases]])")
