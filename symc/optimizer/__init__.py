"""mx.optimizer: SGD, Adam and the others, and the Updater that applies them."""

from symc.aliases import inner_names as _inner_names
from symc.aliases import standing_elsewhere as _standing_elsewhere
from symc.optimizer import contrib as contrib
from symc.optimizer.base import Optimizer, create, register
from symc.optimizer.large_batch import LARS, LBSGD
from symc.optimizer.rules import (
    DCASGD,
    FTML,
    LAMB,
    NAG,
    SGD,
    SGLD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    Ftrl,
    Nadam,
    RMSProp,
    Signum,
    Test,
    ccSGD,
)  # fmt: skip
from symc.optimizer.updater import Updater, get_updater

__all__ = [
    "DCASGD", "FTML", "LAMB", "LARS", "LBSGD", "NAG", "SGD", "SGLD", "AdaDelta", "AdaGrad", "Adam", "Adamax",
    "Ftrl", "Nadam", "Optimizer", "RMSProp", "Signum", "Test", "Updater", "ccSGD", "create", "get_updater", "register",
]  # fmt: skip

globals().update(_inner_names(__name__))
__getattr__ = _standing_elsewhere(__name__)
