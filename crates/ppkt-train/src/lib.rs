//! Training drivers, optimisers, schedules, checkpoints and run folders of ppkt.
