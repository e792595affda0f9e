"""Where metrics go beside TensorBoard."""
