"""From samples to batches, and from network outputs back to label maps."""
