"""restore: learned restoration of images and video, with papers as plugins.

The names a plugin needs are here. Importing this package imports no torch.
"""

from restore.component import Component, RemoteWeights
from restore.contracts import (
    Dataset,
    Degradation,
    Halo,
    LinearOperator,
    Loss,
    Metric,
    Model,
    Pair,
    Place,
    Prediction,
    Pruner,
    Schedule,
    Step,
    Sweep,
    Teacher,
    Traits,
    VideoMeasurement,
    Window,
)
from restore.errors import MediaError, RequestError, RestoreError
from restore.hookspecs import hookimpl

__version__ = "0.1.0"

__all__ = [
    "Component",
    "Dataset",
    "Degradation",
    "Halo",
    "LinearOperator",
    "Loss",
    "MediaError",
    "Metric",
    "Model",
    "Pair",
    "Place",
    "Prediction",
    "Pruner",
    "RemoteWeights",
    "RequestError",
    "RestoreError",
    "Schedule",
    "Step",
    "Sweep",
    "Teacher",
    "Traits",
    "VideoMeasurement",
    "Window",
    "__version__",
    "hookimpl",
]
