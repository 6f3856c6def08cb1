"""mx.runtime: which of the features that MXNet was built with or without have an equivalent here."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Feature", "Features", "feature_list"]

#: MXNet's names; those that hold for symc are in _HERE
_NAMES = (
    "CUDA", "CUDNN", "NCCL", "CUDA_RTC", "TENSORRT", "CPU_SSE", "CPU_SSE2", "CPU_SSE3", "CPU_SSE4_1", "CPU_SSE4_2",
    "CPU_SSE4A", "CPU_AVX", "CPU_AVX2", "OPENMP", "SSE", "F16C", "JEMALLOC", "BLAS_OPEN", "BLAS_ATLAS", "BLAS_MKL",
    "BLAS_APPLE", "LAPACK", "MKLDNN", "OPENCV", "CAFFE", "DIST_KVSTORE", "CXX14", "INT64_TENSOR_SIZE",
    "SIGNAL_HANDLER", "DEBUG", "TVM_OP",
)  # fmt: skip
_HERE = ("LAPACK", "INT64_TENSOR_SIZE")


class Feature(NamedTuple):
    """A name, and whether symc has what it stands for."""

    name: str
    enabled: bool

    def __repr__(self) -> str:
        return f"{'✔' if self.enabled else '✖'} {self.name}"


def feature_list() -> list[Feature]:
    """Every feature that MXNet knows."""
    return [Feature(name, name in _HERE) for name in _NAMES]


class Features(dict[str, Feature]):
    """The features by name; there is one object of them, as in MXNet."""

    _one: Features | None = None

    def __new__(cls) -> Features:
        if cls._one is None:
            cls._one = super().__new__(cls)
        return cls._one

    def __init__(self) -> None:
        super().__init__((f.name, f) for f in feature_list())

    def is_enabled(self, feature_name: str) -> bool:
        """Whether symc has the feature (case does not matter). RuntimeError if MXNet knows none of that name."""
        name = feature_name.upper()
        if name not in self:
            raise RuntimeError(f"Feature '{name}' is unknown, known features are: {list(self)}")
        return self[name].enabled

    def __repr__(self) -> str:
        return str(list(self.values()))
