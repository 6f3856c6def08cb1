"""`python -m symc.as_mxnet`: see symc.as_mxnet."""

import sys

from symc.as_mxnet import main

if __name__ == "__main__":
    main(sys.argv[1:])
