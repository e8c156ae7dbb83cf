//! Cameras, poses, depth, projection, visibility and voxels, with frames in the types.
