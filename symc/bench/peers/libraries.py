"""The libraries that workloads run in."""

#: library -> the translation that serves it, and what tells it which way
LIBRARIES = {
    "symc": ("of_symbol", "symc"),
    "mxnet": ("of_symbol", "mxnet"),
    "numpy": ("of_numpy", ""),
    "torch": ("of_torch", ""),
    "torch-channels-last": ("of_torch", "channels-last"),
    "torch-compile": ("of_torch", "compile"),
    "jax": ("of_jax", ""),
    "onnxruntime": ("of_onnx", "onnxruntime"),
    "openvino": ("of_onnx", "openvino"),
}
