"""What the core itself registers."""

from __future__ import annotations

from restore.component import Component
from restore.hookspecs import hookimpl

_HERE = "restore.builtin"


@hookimpl
def restore_models() -> list[Component]:
    """The baselines."""
    return [
        Component(
            "bicubic", f"{_HERE}.models.bicubic:BicubicUpscale", "MATLAB-compatible bicubic up-scaling, a baseline"
        ),
        Component("identity", f"{_HERE}.models.bicubic:Identity", "gives back what it gets"),
    ]


@hookimpl
def restore_degradations() -> list[Component]:
    """What spoils clean clips."""
    return [
        Component(
            "bicubic", f"{_HERE}.degradations.bicubic:Bicubic", "MATLAB-compatible antialiased down-scaling (BI)"
        ),
        Component("gaussian-noise", f"{_HERE}.degradations.noise:GaussianNoise", "white Gaussian noise"),
        Component("poisson-noise", f"{_HERE}.degradations.noise:PoissonNoise", "photon noise, stronger where brighter"),
        Component("rounding", f"{_HERE}.degradations.noise:Rounding", "storing in 8 bits, or in any other number"),
        Component("jpeg", f"{_HERE}.degradations.jpeg:JPEG", "JPEG, every frame by itself"),
        Component(
            "codec", f"{_HERE}.degradations.codec:Codec", "x264 or x265 with QP or CRF, or HM's low-delay ladder"
        ),
        Component("chain", f"{_HERE}.degradations.chain:Chain", "degradations one after the other"),
        *_linear_degradations(),
        Component("choice", f"{_HERE}.degradations.choice:Choice", "one of several degradations, drawn at random"),
    ]


def _linear_degradations() -> list[Component]:
    """Those with a linear operator, which the pair carries."""
    here, videoonet = f"{_HERE}.degradations", "Milacski et al., ICML 2020 (VideoOneNet)"
    return [
        Component("inpainting", f"{here}.inpainting:Inpainting", "random values or pixels are missing", videoonet),
        Component("block-inpainting", f"{here}.inpainting:BlockInpainting", "the middle is missing", videoonet),
        Component("scattered-inpainting", f"{here}.inpainting:ScatteredInpainting", "random boxes missing", videoonet),
        Component("mask", f"{here}.masks:FileMask", "what an image or a video of masks marks is missing"),
        Component("box", f"{here}.linear:BoxDownscale", "means of boxes, any whole scale", videoonet),
        Component("gaussian-downscale", f"{here}.linear:GaussianDownscale", "Gaussian blur and stride (BD)"),
        Component("frame-interpolation", f"{here}.linear:FrameInterpolation", "every n-th frame is seen", videoonet),
        Component("frame-prediction", f"{here}.linear:FramePrediction", "the first frames are seen", videoonet),
        Component("greyscale", f"{here}.linear:Greyscale", "the BT.601 luma alone is seen", videoonet),
        Component("compressive-sensing", f"{here}.sensing:ClipSensing", "random sums over the whole clip", videoonet),
        Component("video-sensing", f"{here}.sensing:ChangeSensing", "first frame, random sums of changes", videoonet),
        Component("snapshot", f"{here}.sensing:SnapshotSensing", "coded frames summed into one", "Llull et al., 2013"),
        Component("disk-blur", f"{here}.blurring:DiskBlur", "out of focus", videoonet),
        Component("motion-blur", f"{here}.blurring:MotionBlur", "motion along a line", videoonet),
        Component("temporal-blur", f"{here}.blurring:TemporalBlur", "means over neighbours in time", videoonet),
        Component("kernel-blur", f"{here}.blurring:FileBlur", "a blur whose kernel a file holds"),
    ]


@hookimpl
def restore_losses() -> list[Component]:
    """Pixel losses."""
    return [
        Component("charbonnier", f"{_HERE}.losses.pixel:Charbonnier", "sqrt(d^2 + eps^2), a differentiable L1"),
        Component("l1", f"{_HERE}.losses.pixel:L1", "absolute difference"),
        Component("mse", f"{_HERE}.losses.pixel:MSE", "squared difference"),
        Component(
            "log-mse",
            f"{_HERE}.losses.pixel:LogMSE",
            "what PSNR counts, so that every frame weighs alike",
            "Chen et al., HINet: Half Instance Normalization Network for Image Restoration, 2021",
        ),
    ]


@hookimpl
def restore_schedules() -> list[Component]:
    """Values that change with training."""
    here = f"{_HERE}.schedules"
    eco = "Noise-free Optimization in Early Training Steps for Image Super-Resolution (ECO)"
    crds = "Sun et al., Compression-Realized Deep Structural Network for Video Quality Enhancement (CRDS)"
    ssl = "Xia et al., Structured Sparsity Learning for Efficient Video Super-Resolution (SSL), Alg. 1"
    return [
        Component("constant", f"{here}.basic:Constant", "the same value always; a bare number means this"),
        Component("linear", f"{here}.basic:Linear", "a straight line"),
        Component("polynomial", f"{here}.basic:Polynomial", "a power of what is left to do"),
        Component("cosine", f"{here}.basic:Cosine", "half a cosine, with warm-up and restarts"),
        Component("step", f"{here}.basic:Stepwise", "multiplied by a factor every so many iterations"),
        Component("multistep", f"{here}.basic:MultiStep", "multiplied by a factor at milestones"),
        Component("ramp", f"{here}.basic:Ramp", "raised by a fixed amount every so many iterations", ssl),
        Component("sigmoid-clip", f"{here}.basic:SigmoidClip", "a sigmoid whose ends are cut flat", eco),
        Component("ladder", f"{here}.basic:Ladder", "levels in order, or drawn at random", crds),
        Component("warmup", f"{here}.combined:Warmup", "another schedule, rising to it in a straight line"),
        Component("chain", f"{here}.combined:Chain", "schedules one after the other"),
    ]


@hookimpl
def restore_optimizers() -> list[Component]:
    """What torch.optim lacks; everything it has is known by its own name."""
    paper = "You et al., Large Batch Optimization for Deep Learning, ICLR 2020"
    return [Component("lamb", f"{_HERE}.optimizers.lamb:Lamb", "Adam whose steps follow each layer's norm", paper)]


@hookimpl
def restore_pruners() -> list[Component]:
    """Smaller models."""
    paper = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017"
    return [Component("l1-norm", f"{_HERE}.pruners.magnitude:L1Norm", "cuts out the smallest weights at once", paper)]


@hookimpl
def restore_datasets() -> list[Component]:
    """Clean clips."""
    return [
        Component("images", f"{_HERE}.datasets.images:Images", "a folder of images, or random patches of them"),
        Component("frames", f"{_HERE}.datasets.frames:Frames", "folders of frame images, one folder a clip"),
        Component("videos", f"{_HERE}.datasets.videos:Videos", "video files, random clips decoded by seeking"),
        Component("raw", f"{_HERE}.datasets.raw:Raw", "raw YUV 4:2:0 files, their size in their names"),
        Component(
            "stills-in-motion",
            f"{_HERE}.datasets.stills_in_motion:StillsInMotion",
            "photographs moved along smooth paths, with moving pieces and true optical flow",
        ),
        Component("reds", f"{_HERE}.datasets.video_sets:REDS", "REDS in its folders; REDS4 is its test set"),
        Component("vimeo90k", f"{_HERE}.datasets.video_sets:Vimeo90K", "septuplets of Vimeo-90K by their lists"),
        Component("paired", f"{_HERE}.datasets.paired:Paired", "two datasets of the same clips, clean and observed"),
        Component("mixture", f"{_HERE}.datasets.mixture:mixture", "several datasets, each with its share"),
        Component("hdf5", f"{_HERE}.datasets.hdf5:HDF5", "an array of an HDF5 file (needs h5py)"),
        Component("mnist", f"{_HERE}.datasets.arrays:MNIST", "handwritten digits from idx files"),
        Component("cifar10", f"{_HERE}.datasets.arrays:CIFAR10", "CIFAR-10 from its batches, read safely, or npz"),
    ]


@hookimpl
def restore_metrics() -> list[Component]:
    """Numbers that compare two clips."""
    return [
        Component("psnr", f"{_HERE}.metrics.basic:PSNR", "peak signal-to-noise ratio in dB"),
        Component("ssim", f"{_HERE}.metrics.basic:SSIM", "structural similarity, 11x11 Gaussian window"),
        Component("ms-ssim", f"{_HERE}.metrics.multiscale:MSSSIM", "structural similarity over five scales"),
        Component("vif", f"{_HERE}.metrics.vif:VIF", "visual information fidelity (needs torchmetrics)"),
        Component("delta-psnr", f"{_HERE}.metrics.delta:DeltaPSNR", "PSNR gained over the observed clip, per frame"),
        Component("delta-ssim", f"{_HERE}.metrics.delta:DeltaSSIM", "SSIM gained over the observed clip, per frame"),
        Component("flicker", f"{_HERE}.metrics.temporal:Flicker", "change from frame to frame beyond the reference's"),
        Component(
            "warping-error", f"{_HERE}.metrics.temporal:WarpingError", "difference along the motion, where visible"
        ),
    ]


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes that need no plugin."""
    return [
        Component("bicubic", "restore.builtin:recipes/bicubic.toml", "bicubic up-scaling, the baseline of the tables"),
        Component("identity", "restore.builtin:recipes/identity.toml", "changes nothing; lossless FFV1 in Matroska"),
        Component("run", "restore.builtin:recipes/bicubic.toml", "what `--plugin core` runs: bicubic up-scaling"),
    ]
