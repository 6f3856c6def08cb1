"""Stochastic gradients of reduced variance (Johnson & Zhang, 2013): a Module, and the optimizer it trains with."""

from symc.contrib.svrg_optimization import svrg_module, svrg_optimizer
from symc.contrib.svrg_optimization.svrg_module import SVRGModule
from symc.contrib.svrg_optimization.svrg_optimizer import _SVRGOptimizer as _SVRGOptimizer

__all__ = ["SVRGModule", "svrg_module", "svrg_optimizer"]
