"""Linear operators on clips, exact and matrix-free: forward, adjoint, pseudo-inverse, data step, and their algebra."""

from restore.operators.algebra import Composition, Scaled, Transpose, compose, scale, stack
from restore.operators.base import DataStep, Identity, Operator, Plan, Shape
from restore.operators.boxes import BoxDownsample
from restore.operators.circular import Circulant, CircularBlur
from restore.operators.convolution import FullBlur, blur, temporal_blur
from restore.operators.dense import dense_matrix
from restore.operators.diagonal import Grey, Mask, Snapshot
from restore.operators.mixed import Mixed
from restore.operators.resampling import area_downsample, bicubic_downsample, gaussian_downsample
from restore.operators.selection import FrameSelection, frame_interpolation, frame_prediction
from restore.operators.sensing import CompressiveSensing, VideoSensing
from restore.operators.separable import Separable
from restore.operators.solvers import Solution, SolveInfo, ToleranceWarning, conjugate_gradients
from restore.operators.stacking import Stack, Sum
from restore.operators.structure import Structure

__all__ = [
    "BoxDownsample",
    "Circulant",
    "CircularBlur",
    "Composition",
    "CompressiveSensing",
    "DataStep",
    "FrameSelection",
    "FullBlur",
    "Grey",
    "Identity",
    "Mask",
    "Mixed",
    "Operator",
    "Plan",
    "Scaled",
    "Separable",
    "Shape",
    "Snapshot",
    "Solution",
    "SolveInfo",
    "Stack",
    "Structure",
    "Sum",
    "ToleranceWarning",
    "Transpose",
    "VideoSensing",
    "area_downsample",
    "bicubic_downsample",
    "blur",
    "compose",
    "conjugate_gradients",
    "dense_matrix",
    "frame_interpolation",
    "frame_prediction",
    "gaussian_downsample",
    "scale",
    "stack",
    "temporal_blur",
]
