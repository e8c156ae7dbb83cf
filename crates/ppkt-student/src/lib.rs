//! Sparse-voxel networks (the MinkUNet family) for ppkt.
