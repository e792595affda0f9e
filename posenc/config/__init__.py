"""From options to objects: what may be typed, what it builds, and what has no effect."""
