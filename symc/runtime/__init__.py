"""Running compiled programs: tables of kernels, threads, control flow, memory. As mx.runtime: features."""

from symc.runtime.features import Feature, Features, feature_list

__all__ = ["Feature", "Features", "feature_list"]
