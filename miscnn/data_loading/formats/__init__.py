"""One file each: its header and its voxels, read and written. The interfaces build on them."""
