"""mx.image: pictures as NDArrays, augmenters, and iterators over pictures, with or without boxes."""

from symc.aliases import inner_names as _inner_names
from symc.image import detection
from symc.image import detection as det
from symc.image.augmenters import *  # noqa: F403
from symc.image.augmenters import __all__ as _augmenters
from symc.image.detection import *  # noqa: F403
from symc.image.functions import *  # noqa: F403
from symc.image.functions import __all__ as _functions
from symc.image.functions import _get_interp_method as _get_interp_method
from symc.image.iterator import ImageIter

__all__ = ["ImageIter", "det", "detection", *_augmenters, *detection.__all__, *_functions]

globals().update(_inner_names(__name__))
