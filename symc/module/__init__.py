"""mx.mod: nets with their parameters and training: Module, and the modules made of modules."""

from symc.module.base_module import BaseModule
from symc.module.bucketing_module import BucketingModule
from symc.module.module import Module
from symc.module.python_module import PythonLossModule, PythonModule
from symc.module.sequential_module import SequentialModule

__all__ = ["BaseModule", "BucketingModule", "Module", "PythonLossModule", "PythonModule", "SequentialModule"]
