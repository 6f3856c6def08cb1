"""Programs to look at: pictures of graphs, tables of kernels and of memory, and one page that shows every level."""
