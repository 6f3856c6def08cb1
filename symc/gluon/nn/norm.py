"""Layers that normalise: by batch, by example, by group."""

from __future__ import annotations

from typing import Any

import numpy as np

from symc.gluon.hybrid import HybridBlock


class _Norm(HybridBlock):
    """A scale gamma and a shift beta a channel; where they are not wanted they stay as they begin."""

    def __init__(
        self, kwargs: dict[str, Any], channels: int, center: bool, scale: bool, beta: Any, gamma: Any,
        differentiable: bool, prefix: str | None = None, params: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(prefix=prefix, params=params)
        self._kwargs = kwargs
        for name, init, wanted in (("gamma", gamma, scale), ("beta", beta, center)):
            made = self.params.get(
                name, grad_req="write" if wanted else "null", shape=(channels,), init=init, allow_deferred_init=True,
                differentiable=wanted or not differentiable,
            )  # fmt: skip
            setattr(self, name, made)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._facts()}, in_channels={self._channels()})"

    def _facts(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items())

    def _channels(self) -> int:
        shape = self._reg_params["gamma"].shape
        return shape[0] if shape else 0


class BatchNorm(_Norm):
    """Every channel with the mean and variance of the batch; of what was seen before, where it does not train."""

    def __init__(
        self, axis: int = 1, momentum: float = 0.9, epsilon: float = 1e-5, center: bool = True, scale: bool = True,
        use_global_stats: bool = False, beta_initializer: Any = "zeros", gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros", running_variance_initializer: Any = "ones", in_channels: int = 0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        given = {
            "axis": axis, "eps": epsilon, "momentum": momentum, "fix_gamma": not scale,
            "use_global_stats": use_global_stats,
        }  # fmt: skip
        super().__init__(given, in_channels, center, scale, beta_initializer, gamma_initializer, True, **kwargs)
        if in_channels:
            self.in_channels = in_channels
        for name, init in (("mean", running_mean_initializer), ("var", running_variance_initializer)):
            made = self.params.get(
                f"running_{name}", grad_req="null", shape=(in_channels,), init=init, allow_deferred_init=True,
                differentiable=False,
            )  # fmt: skip
            setattr(self, f"running_{name}", made)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._facts()}, in_channels={self._channels() or None})"

    def cast(self, dtype: Any) -> None:
        """Change the element type; half precision nets normalise in single precision."""
        super().cast("float32" if np.dtype(dtype).name == "float16" else dtype)

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        """The normalised data."""
        return F.BatchNorm(x, gamma, beta, running_mean, running_var, name="fwd", **self._kwargs)


class BatchNormReLU(BatchNorm):
    """BatchNorm, and what is below 0 is 0."""

    def hybrid_forward(  # type: ignore[override]
        self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any
    ) -> Any:
        """The normalised data where it is positive."""
        return F.contrib.BatchNormWithReLU(x, gamma, beta, running_mean, running_var, name="fwd", **self._kwargs)


class InstanceNorm(_Norm):
    """Every channel of every example by itself; channels are along `axis`."""

    def __init__(
        self, axis: int = 1, epsilon: float = 1e-5, center: bool = True, scale: bool = False,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", in_channels: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        self._axis, self._epsilon = axis, epsilon
        given = {"eps": epsilon, "axis": axis, "center": center, "scale": scale}
        super().__init__(given, in_channels, center, scale, beta_initializer, gamma_initializer, False, **kwargs)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:  # type: ignore[override]
        """The normalised data."""
        if self._axis == 1:
            return F.InstanceNorm(x, gamma, beta, name="fwd", eps=self._epsilon)
        made = F.InstanceNorm(x.swapaxes(1, self._axis), gamma, beta, name="fwd", eps=self._epsilon)
        return made.swapaxes(1, self._axis)


class LayerNorm(_Norm):
    """Along one axis, for every position of the others."""

    def __init__(
        self, axis: int = -1, epsilon: float = 1e-5, center: bool = True, scale: bool = True,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", in_channels: int = 0,
        prefix: str | None = None, params: Any = None,
    ) -> None:  # fmt: skip
        self._axis, self._epsilon = axis, epsilon
        given = {"eps": epsilon, "axis": axis, "center": center, "scale": scale}
        super().__init__(given, in_channels, center, scale, beta_initializer, gamma_initializer, False, prefix, params)

    def hybrid_forward(self, F: Any, data: Any, gamma: Any, beta: Any) -> Any:  # type: ignore[override]
        """The normalised data."""
        return F.LayerNorm(data, gamma=gamma, beta=beta, axis=self._axis, eps=self._epsilon)


class GroupNorm(_Norm):
    """Groups of channels, for every example; there is a scale and a shift for each group."""

    def __init__(
        self, num_groups: int = 1, epsilon: float = 1e-5, center: bool = True, scale: bool = True,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", prefix: str | None = None,
        params: Any = None,
    ) -> None:  # fmt: skip
        self._num_groups, self._epsilon = num_groups, epsilon
        given = {"eps": epsilon, "num_groups": num_groups, "center": center, "scale": scale}
        super().__init__(given, num_groups, center, scale, beta_initializer, gamma_initializer, False, prefix, params)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._facts()})"

    def hybrid_forward(self, F: Any, data: Any, gamma: Any, beta: Any) -> Any:  # type: ignore[override]
        """The normalised data."""
        return F.GroupNorm(data, gamma=gamma, beta=beta, num_groups=self._num_groups, eps=self._epsilon)
