"""Pictures and numbers around the architectures: what they look for, and what they cost."""
