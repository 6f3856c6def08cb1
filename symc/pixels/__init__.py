"""Pictures as arrays of numbers: read from JPEG and PNG files, written, resized and padded, without NDArrays."""
