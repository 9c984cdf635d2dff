import runtime  # noqa: F401  Keras 2 is chosen before TensorFlow is imported
