//! Sparse voxel tensors and convolution for candle, in MinkowskiEngine's conventions.
