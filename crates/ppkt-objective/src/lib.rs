//! Losses between pixel and point embeddings.
