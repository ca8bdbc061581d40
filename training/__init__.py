"""Training of the generator: teacher, data, networks, losses, evaluation."""
