"""Training data: prepared faces and the sources that draw samples from them."""
