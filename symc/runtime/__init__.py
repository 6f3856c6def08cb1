"""Running compiled programs: tables of kernels, threads, control flow, memory."""
