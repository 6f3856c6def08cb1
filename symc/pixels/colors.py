"""What is known of colors: red, green and blue, in this order."""

from __future__ import annotations

import numpy as np

#: the share of each color in the brightness of a pixel
BRIGHTNESS = np.array([0.299, 0.587, 0.114])
#: the principal components of ImageNet's colors (Krizhevsky et al., 2012): deviations, and a column each
DEVIATIONS = np.array([55.46, 4.794, 1.148])
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
