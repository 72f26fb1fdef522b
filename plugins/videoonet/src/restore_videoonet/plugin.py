"""What this plugin registers. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from restore import Component, hookimpl

_PAPER = "Milacski, Poczos, Lorincz, VideoOneNet, ICML 2020"
_WAVELETS = "Wakin et al., Compressive Imaging for Video Representation and Coding, PCS 2006"
_TV = "Chan, Shen, Zhou, Total Variation Wavelet Inpainting, JMIV 2006; Beck & Teboulle, 2009"
_PLUG = "Venkatakrishnan, Bouman, Wohlberg, Plug-and-Play Priors for Model Based Reconstruction, GlobalSIP 2013"


# Networks that ship, by the names of their files.
_WEIGHTS = sorted(path.stem for path in (Path(__file__).parent / "weights").glob("*.safetensors"))


@hookimpl
def restore_models() -> list[Component]:
    """The networks, and the classical methods beside them: all are given the operator."""
    here = "restore_videoonet.classical"
    return [
        Component(
            "videoonet",
            "restore_videoonet.networks.unrolled:VideoOneNet",
            "unrolled ADMM with learned prior and data steps, for any linear operator",
            _PAPER,
            weights={name: f"restore_videoonet:weights/{name}.safetensors" for name in _WEIGHTS},
        ),
        Component("zero-filling", f"{here}.plain:ZeroFilling", "A^T y", _PAPER),
        Component("pseudo-inverse", f"{here}.plain:PseudoInverse", "pinv(A) y, the least-norm solution"),
        Component("wavelets", f"{here}.wavelets:Wavelets", "ADMM with sparse 3D wavelets, as published", _WAVELETS),
        Component(
            "wavelets-haar", f"{here}.wavelets:haar", "ADMM with sparse 3D Haar wavelets of two levels", _WAVELETS
        ),
        Component("total-variation", f"{here}.total_variation:TotalVariation", "ADMM with total variation", _TV),
        Component("plug-and-play", f"{here}.plug_and_play:PlugAndPlay", "ADMM with a trained model as denoiser", _PLUG),
    ]


@hookimpl
def restore_degradations() -> list[Component]:
    """The problems."""
    here = "restore_videoonet.problems"
    return [
        Component("problems", f"{here}:Problems", "one linear problem for every sample, drawn from several", _PAPER)
    ]


@hookimpl
def restore_datasets() -> list[Component]:
    """The paper's three."""
    here = "restore_videoonet.datasets"
    return [
        Component(
            "rotated-mnist", f"{here}.rotated_mnist:RotatedMNIST", "digits turning, nine frames of 14x14", _PAPER
        ),
        Component(
            "scanned-cifar10", f"{here}.scanned_cifar10:ScannedCIFAR10", "four corners of 16x16 as frames", _PAPER
        ),
        Component("ucf101", f"{here}.ucf101:UCF101", "actions, from the official videos and lists", _PAPER),
    ]


_RECIPES = {
    "paper-mnist": "Rotated MNIST at the paper's settings",
    "paper-cifar": "Scanned CIFAR-10 at the paper's settings",
    "paper-ucf": "UCF-101 at the paper's settings",
    "small-mnist": "Rotated MNIST for one core: VideoOneNet BCRNN",
    "small-mnist-onenet": "the same for OneNet CNN",
    "small-cifar": "Scanned CIFAR-10 for one core",
    "small-ucf": "UCF-101 for one core",
    "small-general": "photographs in motion, any size, for the problems of real video",
}
# With the network of small-general, where its weights lie in the package.
_FOR_FILES = {
    "run": "fills scattered blocks that were hidden in the sample",
    "inpaint": "fills what a mask marks: a logo, a scratch, dust",
    "interpolate": "twice the frame rate",
    "deblur": "takes back a known blur",
    "colorize": "colours for a grey clip",
    "superres": "twice the height and width",
}


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes; see this package's README."""
    every = {**_RECIPES, **(_FOR_FILES if "general" in _WEIGHTS else {})}
    return [Component(name, f"restore_videoonet:recipes/{name}.toml", what, _PAPER) for name, what in every.items()]
