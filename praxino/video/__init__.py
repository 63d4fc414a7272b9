"""From a file to a clip: reading, sampling, transforming, writing. Knows no model."""
