"""Layers that apply a function to every element."""

from __future__ import annotations

from typing import Any

from symc import initializer
from symc.gluon.hybrid import HybridBlock


class Activation(HybridBlock):
    """relu, sigmoid, tanh, softrelu or softsign."""

    def __init__(self, activation: str, **kwargs: Any) -> None:
        self._act_type = activation
        super().__init__(**kwargs)

    def _alias(self) -> str:
        return self._act_type

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._act_type})"

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # type: ignore[override]
        """The function of every element."""
        return F.Activation(x, act_type=self._act_type, name="fwd")


class _Leaky(HybridBlock):
    """The functions of the operator LeakyReLU."""

    _given: dict[str, Any]

    def hybrid_forward(self, F: Any, x: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The function of every element."""
        return F.LeakyReLU(x, name="fwd", **self._given, **kwargs)


class LeakyReLU(_Leaky):
    """x above zero, alpha * x below."""

    def __init__(self, alpha: float, **kwargs: Any) -> None:
        if alpha < 0:
            raise AssertionError("LeakyReLU: alpha is not negative")
        super().__init__(**kwargs)
        self._alpha = alpha
        self._given = {"act_type": "leaky", "slope": alpha}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._alpha})"


class PReLU(_Leaky):
    """x above zero, alpha * x below, where alpha is learned: one number, or one a channel."""

    _given = {"act_type": "prelu"}

    def __init__(self, alpha_initializer: Any = None, in_channels: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        init = initializer.Constant(0.25) if alpha_initializer is None else alpha_initializer
        with self.name_scope():
            self.alpha = self.params.get("alpha", shape=(in_channels,), init=init)

    def hybrid_forward(self, F: Any, x: Any, alpha: Any) -> Any:  # type: ignore[override]
        """The function of every element."""
        return super().hybrid_forward(F, x, gamma=alpha)


class ELU(_Leaky):
    """x above zero, alpha * (exp(x) - 1) below."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._given = {"act_type": "elu", "slope": alpha}


class SELU(_Leaky):
    """The scaled exponential linear unit (Klambauer et al. 2017)."""

    _given = {"act_type": "selu"}


class GELU(_Leaky):
    """x times the probability that a normal variable is below x (Hendrycks and Gimpel 2016)."""

    _given = {"act_type": "gelu"}


class Swish(HybridBlock):
    """x * sigmoid(beta * x)."""

    def __init__(self, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._beta = beta

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # type: ignore[override]
        """The function of every element."""
        return x * F.sigmoid(self._beta * x, name="fwd")
