"""One table of samples of every primitive: its result is compared with numpy written independently here, its element
rule with its value, its gradient with differences."""

from primitive_samples.control import control_samples, random_samples
from primitive_samples.elementwise import elementwise_samples
from primitive_samples.linear import linear_samples, window_samples, winograd_samples
from primitive_samples.sample import Sample
from primitive_samples.shapes import indexing_samples, movement_samples, reduce_samples

SAMPLES: list[Sample] = [
    *elementwise_samples(),
    *movement_samples(),
    *reduce_samples(),
    *indexing_samples(),
    *linear_samples(),
    *window_samples(),
    *winograd_samples(),
    *control_samples(),
    *random_samples(),
]
